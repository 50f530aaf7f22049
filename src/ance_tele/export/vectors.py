"""Export vectors with their passages into an engine, check what it finds, and show how to ask it."""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ance_tele.console.errors import UserError
from ance_tele.console.progress import progress
from ance_tele.data.collection import Collection
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.vectors import Vectors
from ance_tele.export.check import Agreement, agreement
from ance_tele.export.choose import engine_of, opened
from ance_tele.export.source import Source, is_run, loading, source_of
from ance_tele.export.target import Batch, Description, Engine
from ance_tele.search.topk import TopK
from ance_tele.store.fingerprints import fingerprint

log = logging.getLogger(__name__)

# Queries that are asked at the end, and passages compared of each.
QUERIES, DEPTH = 100, 10

# Of vectors of length one, lengths differ from it by at most so much.
UNIT = 1e-3


@dataclass(frozen=True)
class Exported:
    """An export.

    Attributes:
        to: The engine, without a password.
        table: The table or collection in it.
        passages: How many it holds.
        written: How many of these this call has written.
        seconds: Writing, and building the index.
        index: The approximate index; None where the engine searches exactly.
        queries: How many were asked.
        exact: What the engine's exact search finds of our ten best passages.
        approximate: What its index finds of them; None without an index.
        code: Lines of Python that ask the engine one of the queries.
    """

    to: str
    table: str
    passages: int
    written: int
    seconds: float
    index: str | None
    queries: int
    exact: Agreement
    approximate: Agreement | None
    code: str


def export_vectors(
    source: str | Path,
    to: str | Path,
    *,
    data: str | Path | Collection | None = None,
    episode: int | None = None,
    best: bool = False,
    config: EncoderConfig | None = None,
    vectors: str | Path | None = None,
    table: str = "passages",
    texts: bool = True,
    index: bool = True,
    replace: bool = False,
) -> Exported:
    """Write the vectors of a corpus, with ids, titles and texts, into a vector database or files.

    Passages are compared by dot product, which gives the ranking of the package: where the model compares by cosine,
    its vectors have length one. An export that was cut short goes on, without duplicates. At the end the ten best
    passages of 100 queries are compared with the package's own.

    Args:
        source: A run folder, or the folder or hub name of a model, which needs ``data``.
        to: A folder, or ``qdrant://HOST:6333``, ``qdrant:FOLDER``, ``postgresql://USER@HOST/DATABASE``,
            ``lancedb:FOLDER``, ``milvus:FILE.db``.
        data: Of a model: a collection, or what :func:`load_collection` takes. Of a run: where its data lies now.
        episode: Of a run: which one; 0 is the initial model, the last one by default.
        best: Of a run: the checkpoint with the highest metric on the split of the episodes.
        config: Of a model: its settings.
        vectors: Of a model: the folder that ``ance-tele encode`` has filled; vectors that it lacks are encoded into it.
        table: Name of the table or collection.
        texts: Write titles and texts too.
        index: Build the engine's approximate index.
        replace: Delete an export of other vectors under this name.

    Raises:
        UserError: There is no such run, model or engine; the engine cannot be reached, or its package is missing; or
            the table is there and holds something else.

    Example:
        >>> import ance_tele as at
        >>> collection = at.collection_from_dicts({"p1": "t1", "p2": "t2"}, {"q1": "t1"}, {"test": {"q1": {"p1": 1}}})
        >>> done = export_vectors("my-model", "my-vectors", data=collection)
        >>> done.passages, done.exact.share, np.load("my-vectors/vectors.npy").shape
        (2, 1.0, (2, 32))
    """
    engine_of(str(to))  # before the corpus is encoded
    found = _source(str(source), data, episode, best, config, vectors)
    with opened(str(to), table) as engine:
        return _export(engine, found, str(to), table, texts, index, replace)


def _source(
    source: str,
    data: str | Path | Collection | None,
    episode: int | None,
    best: bool,
    config: EncoderConfig | None,
    vectors: str | Path | None,
) -> Source:
    if is_run(source) and (isinstance(data, Collection) or config is not None or vectors is not None):
        raise UserError(f"{source} is a run, which has its own data, settings and vectors; leave those out.")
    if not is_run(source) and data is None:
        raise UserError(f"{source} is no run folder; if it is a model, say with --data what it shall encode.")
    return source_of(source, data, episode, best, config, None if vectors is None else Path(vectors))


def _export(engine: Engine, source: Source, to: str, table: str, texts: bool, index: bool, replace: bool) -> Exported:
    vectors, place = source.vectors, engine_of(to)[1]
    what = _description(source, vectors, texts)
    started = time.perf_counter()
    _prepare(engine, what, f"{place}, table '{table}'", replace)
    done = _written(engine, what, place)
    with progress("writing", what.passages, "passages") as advance:
        advance(done)
        for batch in _batches(source.collection, vectors, done, engine.batch, texts):
            engine.write(batch)
            advance(len(batch.ids))
    if (count := engine.count()) != what.passages:
        raise UserError(
            f"{place} holds {count:,} passages after {what.passages:,} were written; export with --replace."
        )
    seconds = time.perf_counter() - started

    rows = source.queries(QUERIES)
    queries = source.retriever.encode_queries(rows)
    ours = source.retriever.nearest(queries, DEPTH, "searching here")
    exact = _agreement(engine, queries, vectors, ours, exact=True)
    started = time.perf_counter()
    built = engine.build() if index else None
    seconds += time.perf_counter() - started
    approximate = _agreement(engine, queries, vectors, ours, exact=False) if built else None
    text = source.collection.queries[int(rows[0])]["text"]
    code = _code(engine, source, text, queries[0], what.normalised)
    counts = what.passages, what.passages - done, round(seconds, 3)
    return Exported(place, table, *counts, built, len(rows), exact, approximate, code)


def _description(source: Source, vectors: Vectors, texts: bool) -> Description:
    key = fingerprint([vectors.key, source.collection.fingerprint, texts])
    lengths = np.linalg.norm(vectors.take(np.arange(min(len(vectors), QUERIES))), axis=1)
    normalised = bool(np.abs(lengths - 1).max() < UNIT)
    return Description(key, len(vectors), vectors.dimension, normalised, source.name, texts)


def _prepare(engine: Engine, what: Description, where: str, replace: bool) -> None:
    """Have a table of this description, empty or begun.

    Raises:
        UserError: There is one with something else.
    """
    found = engine.found()
    if found is not None and found.get("key") != what.key:
        if not found:
            raise UserError(f"{where} is there and is no export; give another --table, or another place.")
        if not replace:
            raise UserError(
                f"{where} holds other vectors ({_of(found)}); give another --table, or --replace to delete it."
            )
        log.info(f"{where}: deleted ({_of(found)})")
        engine.drop()
        found = None
    if found is None:
        engine.create(what)


def _of(found: Mapping[str, Any]) -> str:
    return f"{found.get('passages', 0):,} passages by {found.get('model')}{'' if found.get('texts') else ', no texts'}"


def _written(engine: Engine, what: Description, place: str) -> int:
    """Return from which row on passages are to be written: whole batches before it are there.

    Raises:
        UserError: The table holds more.
    """
    count = engine.count()
    if count > what.passages:
        raise UserError(
            f"{place} holds {count:,} passages, of which {what.passages:,} are this export's: others were added; "
            "give another --table."
        )
    done = count if count == what.passages else count // engine.batch * engine.batch
    if done:
        log.info(f"{place}: {done:,} of {what.passages:,} passages are there")
    return done


def _batches(collection: Collection, vectors: Vectors, first: int, size: int, texts: bool) -> Iterator[Batch]:
    """Yield batches of ``size`` passages from a row on."""
    corpus = collection.corpus
    for start in range(first, len(corpus), size):
        part = corpus.table.slice(start, size)
        ids = part["id"].to_pylist()
        titles, bodies = (part[name].to_pylist() if texts else None for name in ("title", "text"))
        yield Batch(start, ids, titles, bodies, vectors.take(np.arange(start, start + len(ids))))


def _agreement(engine: Engine, queries: np.ndarray, vectors: Vectors, ours: TopK, exact: bool) -> Agreement:
    found = engine.search(queries, ours.rows.shape[1], exact)
    held = vectors.take(np.maximum(found, 0).ravel()).reshape(*found.shape, -1)
    return agreement(ours, found, np.einsum("qd,qkd->qk", queries, held))


def _code(engine: Engine, source: Source, query: str, vector: np.ndarray, normalised: bool) -> str:
    """Return the lines that ask the engine a query."""
    libraries, asking = engine.code()
    library, load = loading(source.retriever, query, vector)
    length = "of length one, as the passages: the score is the cosine" if normalised else "the score is the dot product"
    imports = "\n".join(sorted([library, *libraries], key=lambda line: (line.startswith("from"), line)))
    return f"{imports}\n\n{load}\nquery = model.encode_query({query!r})  # {length}\n{asking}"
