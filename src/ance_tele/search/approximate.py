"""Approximate top-k by inner product, where exact search takes too long: faiss's inverted lists.

They are searched on the CPU, whatever the device, and hold a copy of all vectors in memory (4 bytes x rows x
dimension), fed block by block. What they miss is measured, not promised: :func:`recall_of_exact`.
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

# Smaller corpora are searched exactly: the products of an exact search are blocked, these come one by one.
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
    """Return rows that are probably the k best for each query: of those found, score descending, then id ascending.

    The same call gives the same rows on the same machine: k-means is seeded. Fewer than :data:`FEW` vectors are
    searched exactly, which ``engine`` then says.

    Args:
        queries: float32 [queries, dimension].
        vectors: What to search.
        k: How many.
        id_rank: Rank of each row's id, int64 [rows]; the row number itself by default.
        probes: How many lists are searched, those whose centres are nearest to the query; by default
            :func:`default_probes`.
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
    """Return recall@k against an exact search, the mean over a sample of :data:`SAMPLE` queries.

    What scores at least as much as the k-th best counts as found, so that copies of a text may stand for each other.
    All scores are formed by the same sums here.

    Args:
        found: What a search found; 1.0 if that was exact itself, without searching again.
        query_vectors: Returns the vectors of queries, given their positions: float32 [n, dimension].
        vectors: What was searched.
        id_rank: Rank of each row's id.
        device: Of the exact search.
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
    """Return into how many lists a corpus is cut: four times the square root of its size."""
    return max(1, min(round(4 * math.sqrt(count)), count // TRAINED))


def default_probes(count: int, k: int) -> int:
    """Return how many lists are looked into: those with 1/64 of the corpus, or 32 times k vectors if that is more."""
    return math.ceil(number_of_lists(count) * min(1.0, max(1 / 64, 32 * k / count)))


def _index(vectors: "Vectors", block_rows: int) -> Any:
    """Return all vectors in lists around centres that k-means finds in a sample, added block by block."""
    import faiss

    from ance_tele.encode.vectors import prefetched

    count, dimension = len(vectors), vectors.dimension
    lists = number_of_lists(count)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimension), dimension, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = SEED
    rows = np.random.default_rng(SEED).choice(count, min(count, TRAINED * lists), replace=False)
    # What is not finite is refused when it is added, with its place.
    index.train(np.nan_to_num(vectors.take(np.sort(rows)), posinf=0.0, neginf=0.0))
    with progress("building the index", count, "vectors") as advance:
        for first, block in prefetched(vectors.blocks(block_rows)):
            if not np.isfinite(block).all():
                raise NotFiniteError(f"Vectors {first} to {first + len(block) - 1}")
            index.add(np.ascontiguousarray(block))
            advance(len(block))
    return index
