"""What retrieves passages for queries: an encoder over a corpus (:mod:`ance_tele.search.dense`), or BM25."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from ance_tele.search.topk import TopK


class Retriever(Protocol):
    """Something that ranks the passages of one collection for its queries."""

    @property
    def key(self) -> Mapping[str, Any]:
        """What decides its results, besides the queries and the depth: an input of every manifest made of them."""

    def search(self, queries: np.ndarray, depth: int, what: str = "searching") -> TopK:
        """Return the best passages of each query, score descending, then id ascending.

        Args:
            queries: Rows of queries of the collection, int64 [q].
            depth: How many passages of each.
            what: For the progress bar.
        """
