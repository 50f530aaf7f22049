"""Protocols: a retriever ranks the passages of a corpus for queries, a scorer scores pairs of query and passage."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from ance_tele.search.topk import TopK

# Returns the score of each pair of a query (its position, ascending) and a passage (its row): float32 [n].
PairScores = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Retriever(Protocol):
    """Ranks the passages of one collection for its queries."""

    @property
    def key(self) -> Mapping[str, Any]:
        """Everything that decides its results but queries and depth, for manifests."""

    def search(self, queries: np.ndarray, depth: int, what: str = "searching") -> TopK:
        """Return the best passages of each query, score descending, then id ascending.

        Args:
            queries: Rows of queries of the collection, int64 [q].
            depth: How many passages of each.
            what: For the progress bar.
        """


class Scorer(Protocol):
    """Scores passages of one collection for its queries."""

    @property
    def key(self) -> str | None:
        """What decides its scores besides the mining checkpoint; None if nothing."""

    def of(self, queries: np.ndarray) -> PairScores:
        """Return a function that scores pairs of the given queries, rows of the collection, int64 [q]."""
