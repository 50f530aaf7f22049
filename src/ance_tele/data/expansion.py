"""Expansion of passages and queries by terms of a file: those of docT5query, GAR, or of any other model.

The file names an id and its terms in each line, or holds a line for each text of the collection, in their order. What
retrievers read is the text followed by its terms; titles and texts themselves stay as they are.
"""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ance_tele.console.errors import UserError
from ance_tele.data.annotations import Expansion, Part, derived
from ance_tele.data.arrow import ROWS_PER_BATCH, batches_of, gather, read_arrow, write_arrow
from ance_tele.data.collection import Collection, Texts
from ance_tele.data.formats.lines import read_fields, read_lines
from ance_tele.data.formats.objects import identifier, need, read_objects
from ance_tele.data.load import cache_folder
from ance_tele.data.ragged import offsets_of
from ance_tele.store.artefacts import build
from ance_tele.store.fingerprints import fingerprint

log = logging.getLogger(__name__)

# Version of the reader: incremented when it reads the same file differently.
VERSION = 1

_READ = pa.schema([("id", pa.large_string()), ("terms", pa.large_string())])
_ADDED = pa.schema([("terms", pa.large_string())])


def expand(
    collection: Collection,
    passages: str | Path | None = None,
    queries: str | Path | None = None,
    cache: Path | None = None,
) -> Collection:
    """Return a collection whose passages or queries are followed by the terms of a file where retrievers read them.

    Args:
        collection: Not expanded yet, or with the same files.
        passages: File of terms for passages; None leaves them as they are.
        queries: File of terms for queries.
        cache: Where the terms are kept; :func:`ance_tele.data.load.cache_folder` by default.

    Raises:
        UserError: A file cannot be read, is of another collection, or the collection has other terms already.

    Example:
        >>> import ance_tele as at
        >>> corpus, qrels = {"p1": "a lock", "p2": "a key"}, {"test": {"q1": {"p2": 1}}}
        >>> collection = at.collection_from_dicts(corpus, {"q1": "opener?"}, qrels)
        >>> _ = Path("terms.tsv").write_text("p2\\twhat opens a lock\\n")
        >>> expanded = at.expand(collection, passages="terms.tsv")
        >>> [texts for _, texts in expanded.corpus.batches(expanded=True)], expanded.corpus[1]["text"]
        ([['a lock', 'a key what opens a lock']], 'a key')
    """
    given: dict[Part, str | Path | None] = {"passages": passages, "queries": queries}
    for part, path in given.items():
        if path is not None:
            collection = _expanded(collection, part, Path(path), cache or cache_folder())
    return collection


def _expanded(collection: Collection, part: Part, path: Path, cache: Path) -> Collection:
    if not path.is_file():
        raise UserError(f"{path} is no file; expand_{part} takes a .tsv, .jsonl or .txt of terms, plain or gzipped.")
    texts = collection.corpus if part == "passages" else collection.queries
    stamp = [str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns]
    inputs = {"texts": collection.texts, "part": part, "file": fingerprint(stamp), "version": VERSION}
    folder = cache / "expansions" / fingerprint([collection.texts, part, stamp[0]])[:16]
    facts = build(
        folder, f"terms of {path.name}", inputs, lambda target: _store(path, texts, part, target), shared=True
    ).facts
    added = Expansion(str(path), **{name: facts[name] for name in ("filled", "texts", "unknown", "fingerprint")})
    if (before := collection.expansions.get(part)) is not None:
        if before.fingerprint == added.fingerprint:
            return collection
        raise UserError(f"The {part} are expanded by {before.path} already; begin with a collection that is not.")
    log.info(added.line(part))
    longer = Texts(texts.table.append_column("terms", read_arrow(folder / "terms.arrow")["terms"]))
    expansions = {**collection.expansions, part: added}
    return replace(
        collection,
        corpus=longer if part == "passages" else collection.corpus,
        queries=longer if part == "queries" else collection.queries,
        fingerprint=derived(collection.texts, collection.hold_out, expansions),
        whole=collection.texts,
        expansions=expansions,
    )


def _store(path: Path, texts: Texts, part: Part, target: Path) -> dict[str, Any]:
    """Write the terms of each row, in row order, without having them all in memory."""
    target.mkdir()
    read, name = target / "read.arrow", path.name.removesuffix(".gz")
    reader = next((found for ending, found in _READERS.items() if name.endswith(ending)), None)
    if reader is None:
        raise UserError(f"{path.name} must end in .tsv, .jsonl or .txt (or that and .gz): an id and its terms a line.")
    write_arrow(read, _READ, batches_of(reader(path), _READ))
    found = read_arrow(read)
    if name.endswith(".txt"):
        if len(found) != len(texts):
            raise UserError(
                f"{path.name} has {len(found):,} lines, and the collection {len(texts):,} {part}: plain text takes a "
                "line for each, in their order; or write id<TAB>terms as .tsv."
            )
        rows = np.arange(len(texts))
    else:
        rows = texts.rows(found["id"])
    known = np.flatnonzero(rows >= 0)
    if not len(known):
        example = f" such as '{found['id'][0].as_py():.60}'" if len(found) else ""
        raise UserError(f"{path.name} names none of the {part} of this collection{example}; is it of other data?")
    order = known[np.argsort(rows[known], kind="stable")]
    counts = np.bincount(rows[known], minlength=len(texts))
    digest, filled, added_terms = hashlib.sha256(), 0, found["terms"]

    def added() -> Iterator[tuple[str]]:
        nonlocal filled
        for terms in _by_row(added_terms, order, counts):
            filled += bool(terms)
            digest.update(f"{len(terms)}\0{terms}".encode())
            yield (terms,)

    write_arrow(target / "terms.arrow", _ADDED, batches_of(added(), _ADDED))
    read.unlink()
    unknown = len(rows) - len(known)
    return {"texts": len(texts), "filled": filled, "unknown": unknown, "fingerprint": digest.hexdigest()}


def _by_row(terms: pa.ChunkedArray, order: np.ndarray, counts: np.ndarray) -> Iterator[str]:
    """Yield the terms of each row, those of several lines joined; "" for none.

    Args:
        terms: Of each line of the file.
        order: Lines by row, int64 [known lines].
        counts: Lines of each row, int64 [rows].
    """
    offsets = offsets_of(counts)
    for start in range(0, len(counts), ROWS_PER_BATCH):
        bounds = offsets[start : start + ROWS_PER_BATCH + 1]
        lines = order[bounds[0] : bounds[-1]]
        ascending = np.argsort(lines)
        found = np.empty(len(lines), dtype=object)
        found[ascending] = gather(terms, lines[ascending])
        for begin, end in zip(bounds[:-1] - bounds[0], bounds[1:] - bounds[0], strict=True):
            yield " ".join(filter(None, found[begin:end]))


def _read_tsv(path: Path) -> Iterator[tuple[str, str]]:
    for _, (name, terms) in read_fields(path, 2, "two are needed: an id and its terms", "\t"):
        yield name, _clean(terms)


def _read_jsonl(path: Path) -> Iterator[tuple[str, str]]:
    for number, row in read_objects(path):
        where = f"{path.name} line {number}"
        name = identifier(need(row, where, "id", "_id"), where, "id")
        value = need(row, where, "terms", "predicted_queries", "text")
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) for one in parts):
            raise UserError(f"{where}: the terms must be a string or a list of strings, got {value!r:.60}.")
        yield _clean(name, where), _clean(" ".join(parts), where)


def _read_txt(path: Path) -> Iterator[tuple[str, str]]:
    for _, line in read_lines(path, blank=True):
        yield "", _clean(line)


def _clean(terms: str, where: str = "") -> str:
    """Return terms, or an id, on one line.

    Raises:
        UserError: They hold half a character, which JSON may.
    """
    try:
        terms.encode()
    except UnicodeEncodeError:
        raise UserError(f"{where} holds half a character (a lone surrogate such as \\ud800); mend it.") from None
    return " ".join(terms.split())


_READERS = {".tsv": _read_tsv, ".jsonl": _read_jsonl, ".txt": _read_txt}
