"""Approximate top-k by inner product with faiss's inverted lists (IVF), where exact search takes too long.

The index is on the CPU, whatever the device, and holds a copy of all vectors in memory (4 bytes x rows x dimension).
Its recall is measured: :func:`recall_of_exact`.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ance_tele.console.errors import NotFiniteError
from ance_tele.console.progress import progress
from ance_tele.search.topk import BLOCK_ROWS, MARGIN, TopK, exact_topk

if TYPE_CHECKING:
    from ance_tele.encode.vectors import Vectors

ENGINE = "faiss ivf"

# Smaller corpora are searched exactly, in efficient blocked products.
FEW = 100_000

SEED = 42  # Of k-means and of the samples.
TRAINED = 64  # Vectors per list that k-means sees; faiss wants 39 or more.
SAMPLE = 256  # Queries that recall is measured with.


def approximate_topk(
    queries: np.ndarray,
    vectors: "Vectors",
    k: int,
    id_rank: np.ndarray | None = None,
    probes: int | None = None,
    device: str = "cpu",
    block_rows: int = BLOCK_ROWS,
    query_rows: int = 4096,
    what: str = "searching",
) -> TopK:
    """Return approximately the k best rows of each query: score descending, then id ascending.

    Deterministic on the same machine: k-means is seeded. Fewer than :data:`FEW` vectors are searched exactly, as
    ``engine`` tells.

    Args:
        queries: float32 [queries, dimension].
        vectors: What to search.
        k: How many.
        id_rank: Rank of each row's id, int64 [rows]; the row number itself by default.
        probes: Number of lists searched per query; by default :func:`default_probes`.
        device: Of an exact search.
        block_rows: Rows of vectors that are added at a time.
        query_rows: Queries searched at a time.
        what: For the progress bar.

    Returns:
        As of an exact search; where fewer than k were found, rows of -1 come last.

    Raises:
        ValueError: Queries or vectors hold NaN or infinite values.
    """
    count = len(vectors)
    if count < FEW:
        return exact_topk(queries, vectors, k, id_rank, device, block_rows, query_rows, what)
    if not np.isfinite(queries).all():
        raise NotFiniteError("Query vectors")
    k, keep = min(k, count), min(k + MARGIN, count)
    index = _index(vectors, block_rows)
    index.nprobe = min(probes or default_probes(count, k), index.nlist)
    best = TopK(np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32), ENGINE)
    with progress(what, len(queries), "queries") as advance:
        for start in range(0, len(queries), query_rows):
            part = slice(start, start + query_rows)
            scores, rows = index.search(np.ascontiguousarray(queries[part]), keep)
            scores[rows < 0] = -np.inf
            rank = rows if id_rank is None else id_rank[rows]
            order = np.lexsort((rank, rows < 0, -scores), axis=1)[:, :k]
            best.scores[part], best.rows[part] = (np.take_along_axis(each, order, 1) for each in (scores, rows))
            advance(len(scores))
    return best


def recall_of_exact(
    found: TopK,
    query_vectors: Callable[[np.ndarray], np.ndarray],
    vectors: "Vectors",
    id_rank: np.ndarray | None = None,
    device: str = "cpu",
) -> float:
    """Return recall@k against exact search, the mean over a sample of :data:`SAMPLE` queries.

    A result counts if it scores at least as much as the k-th best, so that duplicates are interchangeable. All scores
    are computed alike.

    Args:
        found: Results of a search; those of an exact one have recall 1.0.
        query_vectors: Returns the vectors of queries, given their positions: float32 [n, dimension].
    """
    from ance_tele.encode.vectors import pair_scores

    if found.engine != ENGINE or not found.rows.size:
        return 1.0
    count, k = found.rows.shape
    sample = np.sort(np.random.default_rng(SEED).choice(count, min(SAMPLE, count), replace=False))
    queries, rows = query_vectors(sample), found.rows[sample]
    exact = exact_topk(queries, vectors, k, id_rank, device, what="measuring recall")
    passages = np.concatenate([exact.rows, np.maximum(rows, 0)], axis=1)
    offsets = np.arange(len(sample) + 1) * (2 * k)
    scores = pair_scores(queries, vectors, offsets, passages.reshape(-1), query_rows=64).reshape(-1, 2 * k)
    return float(((scores[:, k:] >= scores[:, :k].min(axis=1, keepdims=True)) & (rows >= 0)).mean())


def number_of_lists(count: int) -> int:
    """Return the number of lists: four times the square root of the corpus size."""
    return max(1, min(round(4 * math.sqrt(count)), count // TRAINED))


def default_probes(count: int, k: int) -> int:
    """Return the number of lists searched: 1/64 of them, or enough for 32 times k vectors."""
    return math.ceil(number_of_lists(count) * min(1.0, max(1 / 64, 32 * k / count)))


def _index(vectors: "Vectors", block_rows: int) -> Any:
    """Return the index of all vectors, with centroids by k-means on a sample."""
    import faiss

    from ance_tele.encode.vectors import prefetched

    count, dimension = len(vectors), vectors.dimension
    lists = number_of_lists(count)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimension), dimension, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = SEED
    rows = np.random.default_rng(SEED).choice(count, min(count, TRAINED * lists), replace=False)
    # Values that are not finite are refused below, with their place.
    index.train(np.nan_to_num(vectors.take(np.sort(rows)), posinf=0.0, neginf=0.0))
    with progress("building the index", count, "vectors") as advance:
        for first, block in prefetched(vectors.blocks(block_rows)):
            if not np.isfinite(block).all():
                raise NotFiniteError(f"Vectors {first} to {first + len(block) - 1}")
            index.add(np.ascontiguousarray(block))
            advance(len(block))
    return index
