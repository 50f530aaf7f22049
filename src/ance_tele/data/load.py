"""Load a collection by name or path.

Formats are detected, or forced by their name (``marco:FOLDER``):

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

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection
from ance_tele.data.dicts import Grades, Passages, listed_of, raw_from_dicts, whole_grades
from ance_tele.data.formats.beir import read_beir
from ance_tele.data.formats.detect import detect
from ance_tele.data.formats.dpr import read_dpr
from ance_tele.data.formats.flagembedding import read_flagembedding
from ance_tele.data.formats.hub import read_hub
from ance_tele.data.formats.irds import read_irds
from ance_tele.data.formats.marco import read_marco
from ance_tele.data.formats.tevatron import read_tevatron
from ance_tele.data.formats.triplets import read_triplets
from ance_tele.data.importing import store
from ance_tele.data.raw import RawCollection
from ance_tele.store.artefacts import cached
from ance_tele.store.fingerprints import fingerprint

# Version of the readers: incremented when one reads the same files differently, so that they are imported again.
READERS_VERSION = 2

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
    """Return the folder of collections, tokens and downloads: $ANCE_TELE_CACHE, or the user's cache folder."""
    named = os.environ.get("ANCE_TELE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(named) if named else (Path(base) if base else Path.home() / ".cache") / "ance-tele"


def load_collection(data: str | Path, cache: Path | None = None, strict: bool = True) -> Collection:
    """Open a collection; it is imported into the cache on first use.

    Args:
        data: "demo", a folder, a training file, or "FORMAT:REST"; the head of this module has the table. What
            ``irds:`` and ``hub:`` name is fetched once and not asked for again.
        cache: Where Arrow files are kept; :func:`cache_folder` by default.
        strict: Refuse inconsistent files, rather than leave out and count what is wrong.

    Raises:
        UserError: There is no such data, or it is inconsistent.

    Example:
        >>> import ance_tele as at
        >>> collection = at.collection_from_dicts({"p1": "a key"}, {"q1": "keys?"}, {"train": {"q1": {"p1": 1}}})
        >>> at.write_beir(collection, Path("my-data"))
        >>> again = load_collection("my-data")
        >>> len(again.corpus), list(again.qrels), again.fingerprint == collection.fingerprint
        (1, ['train'], True)
    """
    cache = cache or cache_folder()
    if str(data) == "demo":
        return load_demo(cache)
    prefix, colon, rest = str(data).partition(":")
    if colon and prefix in NAMED:
        inputs: dict[str, Any] = {"reader": prefix, "version": READERS_VERSION, "name": rest, "strict": strict}
        folder = cache / "collections" / f"{rest.strip('/').replace('/', '-')[-60:]}-{fingerprint(inputs)[:12]}"
        return _open(folder, inputs, lambda: NAMED[prefix](rest), strict)
    reader, place = (prefix, Path(rest)) if colon and prefix in READERS else ("", Path(data))
    if "\0" in str(place) or not place.exists() or (place.is_file() and reader in ("beir", "marco")):
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
    # The full path is part of the cache key only, so that folders of the same name do not replace each other.
    key = fingerprint([str(place.resolve()), reader, strict])[:12]
    return _open(cache / "collections" / f"{raw.name}-{key}", inputs, lambda: raw, strict)


def _open(folder: Path, inputs: Mapping[str, Any], raw: Callable[[], RawCollection], strict: bool) -> Collection:
    """Open a cached collection, or import it; ``raw`` is called only then."""
    return Collection.open(folder) if cached(folder, inputs) else store(raw(), folder, inputs, strict)


def load_demo(cache: Path) -> Collection:
    """Open the demo data; they are downloaded and imported on first use."""
    from ance_tele.data.demo import DEMO_FINGERPRINT, demo_texts

    def raw() -> RawCollection:
        texts = demo_texts(cache)
        return raw_from_dicts("demo", texts.corpus, texts.queries, texts.qrels)

    folder = cache / "collections" / f"demo-{DEMO_FINGERPRINT[:12]}"
    return _open(folder, {"reader": "demo", "fingerprint": DEMO_FINGERPRINT}, raw, True)


def collection_from_dicts(
    corpus: Passages,
    queries: Mapping[str, str],
    qrels: Grades,
    name: str = "collection",
    cache: Path | None = None,
    strict: bool = True,
    answers: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
    negatives: Mapping[str, Sequence[str]] | None = None,
    scores: Mapping[str, Mapping[str, float]] | None = None,
    prompts: Mapping[str, str] | None = None,
) -> Collection:
    """Return a collection made of dictionaries, e.g. those of another library.

    Args:
        corpus: ``{passage id: (title, text)}``, ``{passage id: {"title": ..., "text": ...}}`` (as the library
            beir has it) or ``{passage id: text}``.
        queries: ``{query id: text}``.
        qrels: ``{split: {query id: {passage id: grade}}}``; a query without a judgement belongs to its split, too.
        name: Short name, for reports.
        cache: Where Arrow files are kept; :func:`cache_folder` by default.
        strict: Refuse inconsistent data, rather than leave out and count what is wrong.
        answers: ``{split: {query id: [answer strings]}}``; the queries belong to the split, judged or not.
        negatives: ``{query id: [passage ids]}``: hard negatives that somebody has mined already.
        scores: ``{query id: {passage id: score}}`` of a teacher.
        prompts: ``{query id: instruction}``.

    Raises:
        UserError: The dictionaries are inconsistent; names what is wrong.

    Example:
        >>> corpus = {"p1": {"title": "Locks", "text": "A lock file names its owner."}, "p2": "A key opens a lock."}
        >>> collection = collection_from_dicts(corpus, {"q1": "who owns a lock?"}, {"train": {"q1": {"p1": 1}}})
        >>> len(collection.corpus), collection.corpus[0]["title"]
        (2, 'Locks')
    """
    graded, listed = whole_grades(qrels), listed_of(negatives or {}, scores or {})
    raw = raw_from_dicts(name, corpus, queries, graded, answers, listed, prompts)
    asides = {"answers": answers, "listed": listed, "prompts": prompts}
    parts: list[Any] = [corpus, queries, graded, *({what: given} for what, given in asides.items() if given)]
    try:
        content = fingerprint(parts)
    except TypeError as error:
        raise UserError(f"The dictionaries must hold texts and numbers under ids that are texts ({error}).") from None
    inputs = {"reader": "dicts", "version": READERS_VERSION, "content": content, "strict": strict}
    short = name.replace("/", "-").replace("\0", "-")[-60:]  # a name is no path
    folder = (cache or cache_folder()) / "collections" / f"{short}-{fingerprint(inputs)[:12]}"
    return store(raw, folder, inputs, strict)
