"""The pool: the negatives that training draws from, with their provenance."""

from dataclasses import dataclass, field

import numpy as np

from ance_tele.mining.seeding import hashed
from ance_tele.mining.sources import SOURCES

COLUMNS: dict[str, type] = {
    "passages": np.int32,
    "source": np.uint8,
    "origin": np.uint8,
    "first": np.uint8,
    "ranks": np.int16,
    "scores": np.float32,
}


@dataclass(frozen=True)
class Pool:
    """Negatives per query, a multiset: a passage may come from several sources.

    Attributes:
        queries: Rows of the training queries, int64 [q].
        offsets: int64 [q + 1]; the negatives of query i are ``offsets[i]:offsets[i + 1]``.
        passages: Rows of the corpus, int32 [n].
        source: Source in this episode, uint8 [n], an index into ``names``.
        origin: Source that mined it (differs from ``source`` for momentum), uint8 [n].
        first: The episode whose pool first held it for this query, uint8 [n].
        ranks: Its rank in the list it was mined from, int16 [n].
        scores: Its score there, float32 [n].
        shortage: "wanted", "missing" and "short_queries": how far the pool fell short of its target size.
        names: Of the sources: the built-in ones, then the user's own.
    """

    queries: np.ndarray
    offsets: np.ndarray
    passages: np.ndarray
    source: np.ndarray
    origin: np.ndarray
    first: np.ndarray
    ranks: np.ndarray
    scores: np.ndarray
    shortage: dict[str, int] = field(default_factory=dict)
    names: tuple[str, ...] = tuple(SOURCES)

    def __repr__(self) -> str:
        return f"Pool({len(self.queries):,} queries, {len(self):,} negatives: {self.by_source()})"

    def __len__(self) -> int:
        return len(self.passages)

    @property
    def sizes(self) -> np.ndarray:
        """Number of negatives of each query, int64 [q]."""
        return np.diff(self.offsets)

    def negatives(self, position: int) -> np.ndarray:
        """Return the negatives of the query at a position, as rows of the corpus."""
        return self.passages[self.offsets[position] : self.offsets[position + 1]]

    def shuffled(self, position: int, seed: int) -> np.ndarray:
        """Return the negatives of the query at a position in the order in which training draws them, int64."""
        pool = self.negatives(position)
        rows = np.full(len(pool), self.queries[position])
        order = np.argsort(hashed(seed, 0, "draw", rows, np.arange(len(pool))), kind="stable")
        return pool[order].astype(np.int64)

    def by_source(self) -> dict[str, int]:
        """Count the negatives of each source that has any."""
        counts = np.bincount(self.source, minlength=len(self.names))
        return {name: int(count) for name, count in zip(self.names, counts, strict=True) if count}
