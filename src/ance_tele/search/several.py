"""Search where passages have several vectors: the score is the largest of the dot products; exact, ties included."""

from collections.abc import Callable

import numpy as np

from ance_tele.encode.vectors import Vectors
from ance_tele.search.topk import TopK

# Returns the k best of single vectors: queries, vectors, k, ranks of the vectors' ids.
Find = Callable[[np.ndarray, Vectors, int, np.ndarray], TopK]


def several_topk(find: Find, queries: np.ndarray, vectors: Vectors, k: int, id_rank: np.ndarray, each: int) -> TopK:
    """Return the k passages with the largest product of any vector of the query and any of the passage.

    Whatever stands before the best vector of a passage belongs to a passage that stands before it, so that the
    k * each best vectors hold the best one of the k best passages.

    Args:
        find: An exact search of single vectors.
        queries: float32 [n, d] of queries; [n, each * d] of passages that are searched around.
        vectors: Rows of ``each`` vectors.
        k: How many passages.
        id_rank: Rank of each passage's id, int64 [passages].
        each: Vectors of a passage.
    """
    dimension = vectors.dimension // each
    single = apart(vectors, dimension)
    found = find(queries.reshape(-1, dimension), single, k * each, ranks_apart(id_rank, each))
    return by_passage(found, k, id_rank, each, queries.shape[1] // dimension)


def apart(vectors: Vectors, dimension: int) -> Vectors:
    """View rows of several vectors as single ones."""
    shards = tuple(shard.reshape(-1, dimension) for shard in vectors.shards)
    return Vectors(shards, vectors.key, vectors.seconds)


def ranks_apart(id_rank: np.ndarray, each: int) -> np.ndarray:
    """Return the ranks of single vectors: by the passage's id, then by their place in the passage.

    Example:
        >>> ranks_apart(np.array([1, 0]), 2).tolist()
        [2, 3, 0, 1]
    """
    return (id_rank[:, None] * each + np.arange(each)).reshape(-1)


def by_passage(found: TopK, k: int, id_rank: np.ndarray, each: int, asked: int = 1) -> TopK:
    """Return the k best passages by their best vector: score descending, then id ascending.

    Args:
        found: The best single vectors of each vector that was asked for, [n * asked, width].
        k: How many passages.
        id_rank: Rank of each passage's id, int64 [passages].
        each: Vectors of a passage.
        asked: Vectors of a query.

    Example:
        >>> found = TopK(np.array([[3, 0, 2]]), np.array([[0.9, 0.8, 0.8]], dtype=np.float32))
        >>> by_passage(found, 2, np.arange(2), each=2).rows.tolist()
        [[1, 0]]
    """
    k, count = min(k, len(id_rank)), len(found.rows) // asked
    rows, scores = (one.reshape(count, -1) for one in (found.rows // each, found.scores))
    best = TopK(np.empty((count, k), np.int64), np.empty((count, k), np.float32), found.engine)
    for start in range(0, count, 4096):
        part = slice(start, start + 4096)
        # The best of each passage first, so that the others are those that repeat the one before.
        order = np.lexsort((-scores[part], id_rank[rows[part]]), axis=1)
        row, score = (np.take_along_axis(one[part], order, 1) for one in (rows, scores))
        again = np.zeros(row.shape, dtype=bool)
        again[:, 1:] = row[:, 1:] == row[:, :-1]
        order = np.lexsort((id_rank[row], -score, again), axis=1)[:, :k]
        best.rows[part], best.scores[part] = (np.take_along_axis(one, order, 1) for one in (row, score))
    return best
