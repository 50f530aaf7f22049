"""Annotations other than judgements: answer strings, negatives, scores of a teacher, added terms."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa

from ance_tele.data.arrow import read_arrow
from ance_tele.store.fingerprints import fingerprint


@dataclass(frozen=True)
class Answers:
    """Answer strings by query row, in memory-mapped Arrow.

    Attributes:
        queries: Rows of the queries that have answers, int64 [n], ascending.
        texts: The answers of each.
    """

    queries: np.ndarray
    texts: pa.ChunkedArray

    @classmethod
    def none(cls) -> "Answers":
        """Return the answers of a collection that has none."""
        return cls(np.empty(0, dtype=np.int64), pa.chunked_array([], pa.list_(pa.large_string())))

    @classmethod
    def open(cls, path: Path) -> "Answers":
        """Open a file of query rows and answer lists; no answers without the file."""
        if not path.is_file():
            return cls.none()
        table = read_arrow(path)
        return cls(table["query"].to_numpy(), table["answers"])

    def of(self, query_row: int) -> list[str]:
        """Return the answer strings of a query, in the order of the source."""
        place = _place(self.queries, query_row)
        return [] if place is None else self.texts[place].as_py()

    def __len__(self) -> int:
        return len(self.queries)

    def __contains__(self, query_row: int) -> bool:
        return _place(self.queries, query_row) is not None


@dataclass(frozen=True)
class ScoredPassages:
    """Passages by query (ragged), with scores of a teacher: the given negatives, or all passages that have a score.

    Attributes:
        queries: Rows of the queries, int64 [q], ascending.
        offsets: int64 [q + 1]; the passages of ``queries[i]`` are ``offsets[i]:offsets[i + 1]``.
        passages: Rows of the passages, int64 [n], in the order of the source.
        scores: Of a teacher, float32 [n]; NaN where the source gives none.
    """

    queries: np.ndarray
    offsets: np.ndarray
    passages: np.ndarray
    scores: np.ndarray

    @classmethod
    def none(cls) -> "ScoredPassages":
        """Return an empty instance."""
        empty = np.empty(0, dtype=np.int64)
        return cls(empty, np.zeros(1, dtype=np.int64), empty, np.empty(0, dtype=np.float32))

    @classmethod
    def open(cls, path: Path) -> "ScoredPassages":
        """Open a file of query rows (ascending), passages and scores; empty without the file."""
        if not path.is_file():
            return cls.none()
        table = read_arrow(path)
        rows = table["query"].to_numpy()
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        passages, scores = table["passage"].to_numpy(), table["score"].to_numpy()
        return cls(rows[starts], np.append(starts, len(rows)), passages, scores)

    def of(self, query_row: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the passages of a query and their scores."""
        place = _place(self.queries, query_row)
        part = slice(0) if place is None else slice(self.offsets[place], self.offsets[place + 1])
        return self.passages[part], self.scores[part]

    def __len__(self) -> int:
        return len(self.queries)


Part: TypeAlias = Literal["passages", "queries"]


@dataclass(frozen=True)
class Expansion:
    """Terms that a file adds to passages or queries, for retrievers to read after the texts.

    Attributes:
        path: The file.
        filled: Number of texts that get terms.
        texts: Number of texts.
        unknown: Number of ids in the file that the collection lacks.
        fingerprint: sha-256 of the terms by row.
    """

    path: str
    filled: int
    texts: int
    unknown: int
    fingerprint: str

    def line(self, part: Part) -> str:
        """Return a log line."""
        without, name = self.texts - self.filled, Path(self.path).name
        rest = f"; {without:,} have none" if without else ""
        strange = f"; {self.unknown:,} ids of the file are not in the collection" if self.unknown else ""
        return f"{name} adds terms to {self.filled:,} of {self.texts:,} {part}{rest}{strange}"


def derived(texts: str, hold_out: float | None, expansions: Mapping[Part, Expansion]) -> str:
    """Return the fingerprint of a collection of some texts with queries held out and terms added, in any order."""
    found = texts if hold_out is None else fingerprint([texts, "hold_out", hold_out])
    for part, added in sorted(expansions.items()):
        found = fingerprint([found, "expanded", part, added.fingerprint])
    return found


def _place(queries: np.ndarray, query_row: int) -> int | None:
    place = int(np.searchsorted(queries, query_row))
    return place if place < len(queries) and queries[place] == query_row else None
