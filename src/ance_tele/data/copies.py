"""Passages of the same text, and queries that are passages themselves.

Two texts are the same where title and text, read on, agree but for white space. Every passage is hashed once for a
collection, next to its Arrow files; where hashes meet, the texts themselves are compared.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ance_tele.console.progress import progress
from ance_tele.data.arrow import gather
from ance_tele.data.collection import Collection, Texts
from ance_tele.data.ragged import ranges
from ance_tele.store.artefacts import build
from ance_tele.store.tables import open_npy

# Texts in memory at a time.
_TEXTS_PER_BLOCK = 16384
# What ``str.split`` splits at among the characters of ASCII.
_SPACES = b" \t\n\v\f\r\x1c\x1d\x1e\x1f"


def plain(title: str, text: str) -> str:
    """Return title and text as they are compared: one after the other, each white space a single blank."""
    return " ".join(f"{title} {text}".split())


@dataclass(frozen=True)
class Copies:
    """Which passages of a corpus have the same text.

    Attributes:
        corpus: The passages.
        whole: Hash of each passage's title and text, uint64 [passages]; the same text has the same hash.
        body: Hash of its text alone, uint64 [passages].
    """

    corpus: Texts
    whole: np.ndarray
    body: np.ndarray

    @classmethod
    def of(cls, collection: Collection) -> "Copies":
        """Open the hashes of a collection; made once, in one pass over the texts, and kept in its folder."""
        corpus = collection.corpus

        def make(target: Path) -> None:
            hashes, row = np.lib.format.open_memmap(target, "w+", np.uint64, (2, len(corpus))), 0
            with progress("hashing passages", len(corpus), "passages") as advance:
                for titles, texts in corpus.batches():
                    bodies = [_hash(text) for text in texts]
                    wholes = [
                        _hash(f"{title} {text}") if title else body
                        for title, text, body in zip(titles, texts, bodies, strict=True)
                    ]
                    hashes[:, row : row + len(texts)] = wholes, bodies
                    row += len(texts)
                    advance(len(texts))
            hashes.flush()

        path = collection.folder / "text_hashes.npy"
        build(path, "hashes of texts", {"data": collection.texts}, make, shared=True)
        whole, body = open_npy(path)
        return cls(corpus, whole, body)

    @cached_property
    def first(self) -> np.ndarray:
        """For each passage the first row that has the same text, its own where no earlier one has, int64 [passages]."""
        return _first(self.corpus, np.arange(len(self.corpus)), self.whole)

    @cached_property
    def count(self) -> int:
        """How many passages have the text of an earlier one."""
        return int((self.first != np.arange(len(self.first))).sum())

    def of_rows(self, rows: np.ndarray) -> np.ndarray:
        """Return the passages that have the text of one of these and are none of them: rows, int64, ascending."""
        among = np.zeros(len(self.first), dtype=bool)
        among[self.first[rows]] = True
        copies = among[self.first]
        copies[rows] = False
        return np.flatnonzero(copies)

    def of_queries(self, texts: Texts, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which queries are passages themselves: their text is that of a passage, with its title or without.

        Returns:
            Positions in ``queries``, int64 [n], ascending; and, of the passages with that text, the rows that are the
            first of theirs (:attr:`first`), int64 [n]. Where titles differ, that is several for a query.
        """
        asked = _hashes(texts, queries)
        every = np.arange(len(self.corpus))
        titled = np.flatnonzero(pc.binary_length(self.corpus.table["title"]).to_numpy())
        pairs = []
        for hashes, rows, titles in ((self.whole, every, True), (self.body[titled], titled, False)):
            asking, place = meeting(asked, hashes)
            row = rows[place]
            same = _same(texts, queries[asking], self.corpus, row, titles)
            pairs.append(np.stack([asking[same], self.first[row[same]]], axis=1))
        return tuple(np.unique(np.concatenate(pairs), axis=0).T)


def queries_by_id(collection: Collection, queries: np.ndarray) -> np.ndarray:
    """Return for each query the passage that has its id and its text (with its title or without), -1 where none has.

    An id alone is no evidence: in many collections queries and passages are both counted from 1. Queries are given as
    rows, int64 [q]; rows of the corpus are returned, int64 [q].
    """
    texts, corpus = collection.queries, collection.corpus
    rows = corpus.rows(pa.chunked_array([texts.take_ids(queries)]))
    there = np.flatnonzero(rows >= 0)
    same = [_same(texts, queries[there], corpus, rows[there], titles=titles) for titles in (True, False)]
    rows[there[~(same[0] | same[1])]] = -1
    return rows


def first_queries(texts: Texts, queries: np.ndarray) -> np.ndarray:
    """Return for each of some rows, int64 [q], the position of the first query that has the same text, int64 [q]."""
    return _first(texts, queries, _hashes(texts, queries))


def _hash(text: str) -> int:
    """Hash a text without its white space: texts that differ in nothing else have the same hash."""
    bare = text.encode().translate(None, _SPACES) if text.isascii() else "".join(text.split()).encode()
    return int.from_bytes(hashlib.blake2b(bare, digest_size=8).digest(), "little")


def _hashes(texts: Texts, rows: np.ndarray) -> np.ndarray:
    """Hash title and text of some rows, uint64 [rows]."""
    hashes = np.empty(len(rows), dtype=np.uint64)
    for start in range(0, len(rows), _TEXTS_PER_BLOCK):
        part = slice(start, start + _TEXTS_PER_BLOCK)
        hashes[part] = [_hash(text) for text in _plain(texts, rows[part])]
    return hashes


def meeting(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs of positions at which two arrays hold the same, int64 [n] each; those of ``right`` ascending."""
    order = np.argsort(left, kind="stable")
    start, stop = (np.searchsorted(left[order], right, side) for side in ("left", "right"))
    found = np.flatnonzero(stop > start)
    counts = (stop - start)[found]
    return order[ranges(start[found], counts)], np.repeat(found, counts)


def _first(texts: Texts, rows: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Return for each of some rows the position of the first with the same text, int64 [rows]."""
    first = np.arange(len(rows))
    order = np.argsort(hashes, kind="stable")
    begins = np.ones(len(rows), dtype=bool)
    begins[1:] = hashes[order[1:]] != hashes[order[:-1]]
    leader = order[np.maximum.accumulate(np.where(begins, first, 0))]
    again, leader = order[~begins], leader[~begins]
    same = _same(texts, rows[leader], texts, rows[again])
    first[again[same]] = leader[same]
    others: dict[str, int] = {}  # two texts of one hash: next to never
    rest = np.sort(again[~same])
    for position, text in zip(rest.tolist(), _plain(texts, rows[rest]), strict=True):
        first[position] = others.setdefault(text, position)
    return first


def _same(left: Texts, left_rows: np.ndarray, right: Texts, right_rows: np.ndarray, titles: bool = True) -> np.ndarray:
    """Compare texts pair by pair, those on the right with their titles or without, bool [pairs]."""
    same = np.zeros(len(left_rows), dtype=bool)
    for start in range(0, len(same), _TEXTS_PER_BLOCK):
        part = slice(start, start + _TEXTS_PER_BLOCK)
        one, other = _plain(left, left_rows[part]), _plain(right, right_rows[part], titles)
        same[part] = [text == also for text, also in zip(one, other, strict=True)]
    return same


def _plain(texts: Texts, rows: np.ndarray, titles: bool = True) -> list[str]:
    """Return texts as they are compared."""
    distinct, place = np.unique(rows, return_inverse=True)
    bodies = gather(texts.table["text"], distinct)
    heads = gather(texts.table["title"], distinct) if titles else [""] * len(bodies)
    found = list(map(plain, heads, bodies))
    return [found[number] for number in place.tolist()]
