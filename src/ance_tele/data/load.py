"""Find a collection by what a user types.

What is found by itself, and the word that forces it (``marco:FOLDER``):

    demo            the word itself: the embedded data
    beir            corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv; questions.jsonl with answers
    marco           collection.tsv, queries.SPLIT.tsv, qrels.SPLIT.tsv or qidpidtriples*.tsv
    dpr             psgs*.tsv, *train*.json, *dev*.json, *test*.csv
    tevatron        *train*.jsonl (query_id, positive_passages or positive_document_ids), corpus*.jsonl
    flagembedding   *train*.jsonl (query, pos, neg)
    triplets        *train*.jsonl, .csv, .tsv or .parquet (anchor, positive, negative, negative_1, ...)
    irds:ID         a dataset of ir_datasets, such as irds:beir/scifact
    hub:OWNER/NAME  a dataset of the Hugging Face hub, or a folder that the datasets library reads

Text files may be gzipped. One training file alone is taken as well as a folder of them.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ance_tele.data.artefacts import SCHEMA, Say, fingerprint, read_manifest, silent
from ance_tele.data.collection import Answered, Collection, Judgement, RawCollection, Record
from ance_tele.data.errors import UserError
from ance_tele.data.formats.beir import read_beir
from ance_tele.data.formats.detect import detect
from ance_tele.data.formats.dpr import read_dpr
from ance_tele.data.formats.flagembedding import read_flagembedding
from ance_tele.data.formats.hub import read_hub
from ance_tele.data.formats.irds import read_irds
from ance_tele.data.formats.marco import read_marco
from ance_tele.data.formats.tevatron import read_tevatron
from ance_tele.data.formats.triplets import read_triplets
from ance_tele.data.store import store

# Of all readers: raised where one of them reads the same files differently, so that they are imported again.
READERS_VERSION = 1

READERS: Mapping[str, Callable[[Path], tuple[RawCollection, list[Path]]]] = {
    "beir": read_beir,
    "marco": read_marco,
    "dpr": read_dpr,
    "tevatron": read_tevatron,
    "flagembedding": read_flagembedding,
    "triplets": read_triplets,
}
NAMED: Mapping[str, Callable[[str], RawCollection]] = {"irds": read_irds, "hub": read_hub}


def cache_folder() -> Path:
    """Return where collections, tokens and downloads are kept: $ANCE_TELE_CACHE, else the user's cache folder."""
    named = os.environ.get("ANCE_TELE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(named) if named else (Path(base) if base else Path.home() / ".cache") / "ance-tele"


def load_collection(data: str | Path, cache: Path | None = None, strict: bool = True, say: Say = silent) -> Collection:
    """Open a collection, importing it into the cache first where that has not been done.

    Args:
        data: "demo", a folder, a training file, or "FORMAT:REST"; the head of this module has the table. What
            ``irds:`` and ``hub:`` name is fetched once and not asked for again.
        cache: Where Arrow files are kept; :func:`cache_folder` by default.
        strict: Refuse what does not add up, rather than leave it out and count it.
        say: Gets lines about downloads and re-imports.

    Raises:
        UserError: There is no such data, or it does not hold together.
    """
    cache = cache or cache_folder()
    if str(data) == "demo":
        return load_demo(cache, say)
    prefix, colon, rest = str(data).partition(":")
    if colon and prefix in NAMED:
        inputs: dict[str, Any] = {"reader": prefix, "version": READERS_VERSION, "name": rest, "strict": strict}
        folder = cache / "collections" / f"{rest.strip('/').replace('/', '-')[-60:]}-{fingerprint(inputs)[:12]}"
        return _open(folder, inputs, lambda: NAMED[prefix](rest), strict, say)
    reader, place = (prefix, Path(rest)) if colon and prefix in READERS else ("", Path(data))
    if not place.exists() or (place.is_file() and reader in ("beir", "marco")):
        what = "a folder" if reader in ("beir", "marco") else "a folder or file"
        known = ", ".join([*READERS, *NAMED])
        raise UserError(
            f"{place} is not {what}; --data takes a folder, a training file, 'demo', or FORMAT:REST, of {known}."
        )
    reader = reader or detect(place)
    raw, files = READERS[reader](place)
    base = place if place.is_dir() else place.parent
    stamps = {str(file.relative_to(base)): [file.stat().st_size, file.stat().st_mtime_ns] for file in files}
    inputs = {"reader": reader, "version": READERS_VERSION, "files": stamps, "strict": strict}
    # The full path is part of the key, not of the manifest: the same folder is read once, and two that
    # share a name do not evict each other.
    key = fingerprint([str(place.resolve()), reader, strict])[:12]
    return _open(cache / "collections" / f"{raw.name}-{key}", inputs, lambda: raw, strict, say)


def _open(
    folder: Path, inputs: Mapping[str, Any], raw: Callable[[], RawCollection], strict: bool, say: Say
) -> Collection:
    """Open a collection that stands, or import it; ``raw`` is called only then."""
    stood = read_manifest(folder)
    if stood is not None and stood.inputs == inputs and stood.schema == SCHEMA:
        return Collection.open(folder)
    return store(raw(), folder, inputs, strict, say)


def load_demo(cache: Path, say: Say = silent) -> Collection:
    """Open the embedded demo data, building it first where that has not been done."""
    from ance_tele.data.demo import DEMO_FINGERPRINT, demo_texts

    def raw() -> RawCollection:
        texts = demo_texts(cache, say)
        return raw_from_dicts("demo", texts.corpus, texts.queries, texts.qrels)

    folder = cache / "collections" / f"demo-{DEMO_FINGERPRINT[:12]}"
    return _open(folder, {"reader": "demo", "fingerprint": DEMO_FINGERPRINT}, raw, True, say)


def raw_from_dicts(
    name: str,
    corpus: Mapping[str, tuple[str, str] | Mapping[str, str] | str],
    queries: dict[str, str],
    qrels: dict[str, dict[str, dict[str, int]]],
    answers: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
) -> RawCollection:
    """Wrap a collection held in dictionaries.

    Args:
        name: Short name, for reports.
        corpus: ``{passage id: (title, text)}``, ``{passage id: {"title": ..., "text": ...}}`` (as the library
            beir has it) or ``{passage id: text}``.
        queries: ``{query id: text}``.
        qrels: ``{split: {query id: {passage id: grade}}}``.
        answers: ``{split: {query id: [answer strings]}}``; the queries belong to the split, judged or not.
    """

    def passage(number: int, key: str, value: tuple[str, str] | Mapping[str, str] | str) -> Record:
        if isinstance(value, Mapping):
            if "text" not in value:
                raise UserError(f"the corpus, entry {number} has no field 'text' (its fields: {', '.join(value)}).")
            value = (value.get("title") or "", value.get("text") or "")
        title, text = ("", value) if isinstance(value, str) else value
        return record("the corpus", number, key, text, title)

    def record(where: str, number: int, key: str, text: str, title: str = "") -> Record:
        for what, given in (("id", key), ("title", title), ("text", text)):
            if not isinstance(given, str):
                raise UserError(f"{where}, entry {number}: the {what} must be a string, got {given!r:.60}.")
        return Record(key, title, text, number)

    def judgements(split: dict[str, dict[str, int]]) -> list[Judgement]:
        pairs = [(str(query), str(key), grade) for query, grades in split.items() for key, grade in grades.items()]
        return [Judgement(query, key, int(grade), number) for number, (query, key, grade) in enumerate(pairs, 1)]

    def answered(split: Mapping[str, Sequence[str]]) -> list[Answered]:
        for query, given in split.items():
            if isinstance(given, str) or not all(isinstance(answer, str) for answer in given):
                raise UserError(f"The answers of query '{query}' must be a list of strings, got {given!r:.60}.")
        return [Answered(str(query), tuple(given), number) for number, (query, given) in enumerate(split.items(), 1)]

    return RawCollection(
        name,
        (passage(number, key, value) for number, (key, value) in enumerate(corpus.items(), 1)),
        (record("the queries", number, key, text) for number, (key, text) in enumerate(queries.items(), 1)),
        {split: (f"qrels['{split}']", judgements(grades)) for split, grades in qrels.items()},
        answers={split: (f"answers['{split}']", answered(given)) for split, given in (answers or {}).items()},
    )


def collection_from_dicts(
    corpus: Mapping[str, tuple[str, str] | Mapping[str, str] | str],
    queries: dict[str, str],
    qrels: dict[str, dict[str, dict[str, int]]],
    name: str = "collection",
    cache: Path | None = None,
    strict: bool = True,
    answers: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
) -> Collection:
    """Make a collection of dictionaries, e.g. of what another library has loaded; see :func:`raw_from_dicts`."""

    content = [corpus, queries, qrels, *([answers] if answers else [])]
    inputs = {"reader": "dicts", "content": fingerprint(content), "strict": strict}
    folder = (cache or cache_folder()) / "collections" / f"{name}-{fingerprint(inputs)[:12]}"
    return store(raw_from_dicts(name, corpus, queries, qrels, answers), folder, inputs, strict)
