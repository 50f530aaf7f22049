"""Datasets of the ir_datasets package, by their ids."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.data.formats.examples import once
from ance_tele.data.grades import whole_grade
from ance_tele.data.raw import Answered, Judgement, RawCollection, Record

# Where the splits of a dataset lie below its id; the first that has judgements is taken.
SPLITS: Mapping[str, tuple[str, ...]] = {
    "train": ("train",),
    "dev": ("dev/small", "dev", "validation", "val", "valid"),
    "test": ("test",),
}


def read_irds(name: str) -> RawCollection:
    """Read a dataset of ir_datasets.

    Args:
        name: Its id, such as ``beir/scifact`` or ``msmarco-passage``. Judgements of its own are the split that the end
            of the id names, else test; those below it (``/train``, ``/dev/small``, ``/test``) are splits as well.
    """
    try:
        ir_datasets = import_module("ir_datasets")
    except ImportError:
        raise UserError(
            "'irds:' needs the package ir_datasets, which is not installed; pip install ir_datasets."
        ) from None

    def load(key: str) -> Any:
        try:
            return ir_datasets.load(key)
        except KeyError:
            return None

    name = name.strip("/")
    dataset = load(name)
    judged: dict[str, Any] = {}
    if dataset is not None and dataset.has_qrels() and dataset.has_queries():
        ends = {place: split for split, places in SPLITS.items() for place in places}
        judged[next((split for place, split in ends.items() if name.endswith(f"/{place}")), "test")] = dataset
    for split, places in SPLITS.items():
        for place in places:
            below = None if split in judged else load(f"{name}/{place}")
            if below is not None and below.has_qrels() and below.has_queries():
                judged[split] = below
    dataset = dataset or next(iter(judged.values()), None)
    if dataset is None:
        raise UserError(f"ir_datasets knows no dataset '{name}'; give an id such as irds:beir/scifact.")
    if not dataset.has_docs():
        raise UserError(f"The dataset '{name}' of ir_datasets holds no passages; take one that has docs.")
    if not judged:
        raise UserError(f"The dataset '{name}' of ir_datasets has no judgements, nor has one below it (/train, /test).")
    return RawCollection(
        name.replace("/", "-"),
        _passages(dataset),
        once(record for part in judged.values() for record in _queries(part)),
        {split: (f"irds:{name} ({split})", _judgements(part)) for split, part in judged.items()},
        f"irds:{name} (docs)",
        f"irds:{name} (queries)",
        {split: (f"irds:{name} ({split})", _answers(part)) for split, part in judged.items()},
    )


def _passages(dataset: Any) -> Iterator[Record]:
    for number, row in enumerate(dataset.docs_iter(), 1):
        title = getattr(row, "title", "") if hasattr(row, "text") else ""
        yield Record(str(row.doc_id), title or "", _text(row, f"Passage '{row.doc_id}'"), number)


def _queries(dataset: Any) -> Iterator[Record]:
    for number, row in enumerate(dataset.queries_iter(), 1):
        yield Record(str(row.query_id), "", _text(row, f"Query '{row.query_id}'"), number)


def _answers(dataset: Any) -> Iterator[Answered]:
    for number, row in enumerate(dataset.queries_iter(), 1):
        if answers := getattr(row, "answers", None):
            yield Answered(str(row.query_id), tuple(answers), number)


def _text(row: Any, where: str) -> str:
    for value in (getattr(row, "text", None), row.default_text() if hasattr(row, "default_text") else None):
        if isinstance(value, str):
            return value
    raise UserError(f"{where} of ir_datasets has no text (its fields: {', '.join(getattr(row, '_fields', ()))}).")


def _judgements(dataset: Any) -> Iterator[Judgement]:
    for number, row in enumerate(dataset.qrels_iter(), 1):
        grade = whole_grade(row.relevance, f"Judgement {number} of query '{row.query_id}' in ir_datasets")
        yield Judgement(str(row.query_id), str(row.doc_id), grade, number)
