"""Datasets of the Hugging Face hub, or of a folder that the datasets library reads, streamed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.data.formats import flagembedding, tevatron, triplets
from ance_tele.data.formats.detect import format_of
from ance_tele.data.formats.examples import Parse, collect, part
from ance_tele.data.formats.fields import passage_of, query_of
from ance_tele.data.formats.objects import identifier, need
from ance_tele.data.grades import whole_grade
from ance_tele.data.raw import Judgement, RawCollection, Record
from ance_tele.data.splits import our_splits

QRELS = ("default", "qrels")
PARSERS: Mapping[str, Parse] = {
    "tevatron": tevatron.parse,
    "flagembedding": flagembedding.parse,
    "triplets": triplets.parse,
}


def read_hub(name: str) -> RawCollection:
    """Read a dataset of the hub, in BEIR layout or as training rows.

    Args:
        name: ``OWNER/NAME`` or a local folder, then ``:CONFIG`` and ``@REVISION`` where they are needed. A dataset with
            the configs ``corpus`` and ``queries`` is in BEIR layout; its judgements are in its config ``default`` or
            ``qrels``, or in the dataset ``OWNER/NAME-qrels``. Any other has rows of triplets, of FlagEmbedding or of
            Tevatron; its corpus is the passages met.
    """
    path, revision, config = name, "", ""
    if not Path(name).is_dir():
        path, _, revision = path.partition("@")
        path, _, config = path.partition(":")
    short = path.strip("/").rpartition("/")[2]
    configs = _configs(path, revision)
    if {"corpus", "queries"} <= set(configs) and not config:
        return _beir(path, revision, configs, short)
    if config not in configs and (config or len(configs) > 1):
        raise UserError(
            f"The dataset '{path}' has the configs {', '.join(configs)}; name one of them: hub:{path}:NAME."
        )
    splits = _load(path, config or configs[0], revision)
    first: Mapping[str, Any] = next((row for rows in splits.values() for row in _stream(rows.take(1), path)), {})
    parse = PARSERS.get(format_of(first) or "")
    if parse is None:
        fields = ", ".join(first) or "none"
        raise UserError(
            f"The dataset '{path}' has rows with the fields {fields}; known are anchor, positive, negative (triplets), "
            "query, pos, neg (FlagEmbedding), and query_id, query, positive_passages (Tevatron)."
        )

    def rows(split: str, where: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
        return enumerate(_stream(splits[split], path), 1)

    names = our_splits(splits)
    return collect(
        short,
        [part(name, [Path(f"{short} ({one})")], partial(rows, one), parse, "row") for one, name in names.items()],
    )


def _beir(path: str, revision: str, configs: list[str], short: str) -> RawCollection:
    judged = next((config for config in QRELS if config in configs), None)
    place, config = (path, judged) if judged else (f"{path}-qrels", None)
    splits = _load(place, config or _configs(place, "")[0], revision if judged else "")
    names = our_splits(splits)
    return RawCollection(
        short,
        _records(_load(path, "corpus", revision), f"{path} (corpus)", passage_of),
        _records(_load(path, "queries", revision), f"{path} (queries)", query_of),
        {
            names[split]: (f"{place} ({split})", _judgements(rows, f"{place} ({split})"))
            for split, rows in splits.items()
        },
        f"{path} (corpus)",
        f"{path} (queries)",
    )


def _records(splits: Mapping[str, Any], name: str, record: Callable[..., Record]) -> Iterator[Record]:
    every = (row for rows in splits.values() for row in _stream(rows, name))
    for number, row in enumerate(every, 1):
        yield record(row, f"{name} row {number}", number, "_id", "id")


def _judgements(rows: Any, name: str) -> Iterator[Judgement]:
    for number, row in enumerate(_stream(rows, name), 1):
        where = f"{name} row {number}"
        query, passage = (identifier(need(row, where, key), where, key) for key in ("query-id", "corpus-id"))
        yield Judgement(query, passage, whole_grade(need(row, where, "score"), where), number)


def _configs(path: str, revision: str) -> list[str]:
    import datasets

    with _explained(path):
        return list(datasets.get_dataset_config_names(path, revision=revision or None))


def _load(path: str, config: str, revision: str) -> dict[str, Any]:
    import datasets

    with _explained(path):
        return dict(datasets.load_dataset(path, config, revision=revision or None, streaming=True))


def _stream(rows: Any, path: str) -> Iterator[Mapping[str, Any]]:
    with _explained(path):
        yield from rows


@contextmanager
def _explained(path: str) -> Iterator[None]:
    """Turn errors of the library or the network into one sentence."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(
            f"The dataset '{path}' cannot be read ({why:.200}); give hub:OWNER/NAME, or a folder."
        ) from None
