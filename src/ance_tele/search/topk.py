"""Exact top-k by dot product in bounded memory; ties are broken by ascending id."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ance_tele.console.errors import NotFiniteError
from ance_tele.console.progress import Advance, progress

if TYPE_CHECKING:
    from ance_tele.encode.vectors import Vectors

# Candidates kept beyond k, to order ties at rank k by id. Queries with more ties (many duplicates) are searched again
# with 16 times as many, by the same engine, since another one would round differently.
MARGIN = 16

# Scores held at a time for the queries that are searched again.
TIED_ENTRIES = 1 << 22

# Settings of faiss from 8 queries on: BLAS (by default it goes pair by pair below 1,000 queries of 128 dimensions,
# which takes up to nine times as long), 1,024 queries by 4,096 vectors at a time.
FAISS_QUERIES = 8
FAISS = {
    "distance_compute_blas_threshold": 0,
    "distance_compute_blas_query_bs": 1024,
    "distance_compute_blas_database_bs": 4096,
}

BLOCK_ROWS = 131072

# Of short vectors shards are joined to blocks of so many bytes, for many queries: faiss collects the best anew in every
# block, which longer vectors do not feel.
JOINED_BYTES, MANY_QUERIES, SHORT = 1 << 28, 512, 256

# With fewer queries, rounding the vectors to bf16 costs more than it saves.
FEW_QUERIES = 32

Precision = Literal["auto", "float32", "bf16"]

# Returns scores and rows of the k best in one block of vectors.
Engine = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class TopK:
    """The best rows per query, best first.

    Attributes:
        rows: int64 [queries, k]; -1 where fewer were found.
        scores: float32 [queries, k]; -inf where fewer were found.
        engine: "faiss", "bf16 scan" or "float32 scan"; empty without vectors.
    """

    rows: np.ndarray
    scores: np.ndarray
    engine: str = ""

    def without(self, positions: np.ndarray, rows: np.ndarray, k: int) -> "TopK":
        """Return the k best of each query without some passages, given by query position and row, int64 [n] each."""
        found, scores = self.rows[:, :k].copy(), self.scores[:, :k].copy()
        width, touched = 2 + int(max(self.rows.max(initial=0), rows.max(initial=0))), np.unique(positions)
        left_out = positions * width + rows + 1
        for part in (touched[start : start + 4096] for start in range(0, len(touched), 4096)):
            gone = np.isin(part[:, None] * width + self.rows[part] + 1, left_out)
            order = np.argsort(gone, axis=1, kind="stable")[:, :k]
            gone = np.take_along_axis(gone, order, 1)
            found[part] = np.where(gone, -1, np.take_along_axis(self.rows[part], order, 1))
            scores[part] = np.where(gone, -np.inf, np.take_along_axis(self.scores[part], order, 1))
        return TopK(found, scores, self.engine)


def exact_topk(
    queries: np.ndarray,
    vectors: "Vectors",
    k: int,
    id_rank: np.ndarray | None = None,
    device: str = "cpu",
    block_rows: int | None = None,
    query_rows: int = 4096,
    what: str = "searching",
    precision: Precision = "auto",
) -> TopK:
    """Return the k best rows for each query: score descending, then id ascending.

    Scores are float32, whatever the precision; engines differ in the last digit by their order of summation.

    Args:
        queries: float32 [queries, dimension].
        vectors: What to search, streamed block by block.
        k: How many.
        id_rank: Rank of each row's id, int64 [rows]; the row number itself by default.
        device: "cpu" or a torch device.
        block_rows: Rows of vectors searched at a time, at most; by default 131,072, or more where vectors are short and
            queries many.
        query_rows: Queries searched at a time against a block.
        what: For the progress bar.
        precision: In which the corpus is pruned. "bf16" re-scores in float32 what may be among the best
            (:mod:`ance_tele.search.scan`; on another device than a CPU :mod:`ance_tele.search.gpu`); "float32" is
            faiss's blocked search on a CPU, and elsewhere the same pruning; "auto" is bf16 where that pays.

    Raises:
        ValueError: The vectors hold NaN.

    Example:
        >>> from ance_tele.encode.vectors import Vectors
        >>> corpus = Vectors((np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32),), key="corpus")
        >>> found = exact_topk(np.array([[0, 1]], dtype=np.float32), corpus, k=2)
        >>> found.rows.tolist(), found.scores.round(1).tolist()
        ([[1, 2]], [[1.0, 0.800000011920929]])
    """
    from ance_tele.search.sort_keys import same_score

    if not np.isfinite(queries).all():
        raise NotFiniteError("Query vectors")
    count = len(vectors)
    k = min(k, count)
    rank = np.arange(count) if id_rank is None else id_rank
    size = block_rows or BLOCK_ROWS
    precision, engine = resolve_engine(precision, device, len(queries), count, k)
    if engine != "faiss":
        return ranked(_scan(queries, vectors, k, rank, device, size, what, precision), rank, engine)
    keep = min(k + MARGIN, count)
    joins = block_rows is None and len(queries) >= MANY_QUERIES and vectors.dimension <= SHORT
    join = JOINED_BYTES // (4 * vectors.dimension) if joins else 0
    blocks = partial(_blocks, vectors, max(size, join), join)
    search = partial(_search, blocks=blocks, rank=rank, query_rows=query_rows)
    with progress(what, len(queries) * count, "scores") as advance:
        keys = search(queries, keep=keep, advance=advance)
    best, tied = keys[:, :k], np.flatnonzero(same_score(keys[:, k - 1], keys[:, -1]))
    while keep < count and len(tied):
        keep = min(k + 16 * (keep - k), count)
        size = max(1, TIED_ENTRIES // keep)
        still = []
        for part in (tied[start : start + size] for start in range(0, len(tied), size)):
            keys = search(queries[part], keep=keep)
            best[part] = keys[:, :k]
            still.append(part[same_score(keys[:, k - 1], keys[:, -1])])
        tied = np.concatenate(still)
    return ranked(best, rank, engine)


def resolve_engine(
    precision: Precision, device: str, queries: int, count: int, k: int
) -> tuple[Literal["float32", "bf16"], str]:
    """Return the precision in which a search of this size prunes, and the name of what searches."""
    if prunes_in_bf16(precision, device, queries, count, k):
        return "bf16", "bf16 scan"
    return "float32", "faiss" if device == "cpu" else "float32 scan"


def prunes_in_bf16(precision: Precision, device: str, queries: int, count: int, k: int) -> bool:
    """Return whether a search prunes in bf16."""
    if precision != "auto":
        return precision == "bf16" and min(queries, count) > 0
    if queries < FEW_QUERIES:
        return False
    import torch

    from ance_tele.encode.precision import has_fast_bf16
    from ance_tele.search.bf16_tiles import TILE

    pays = device != "cpu" or 8 * k <= min(count, TILE)
    return pays and has_fast_bf16(torch.device(device))


def ranked(keys: np.ndarray, rank: np.ndarray, engine: str) -> TopK:
    """Return the rows and scores of keys, uint64 [q, k], ascending."""
    from ance_tele.search.sort_keys import unkeyed

    row_of = np.empty(len(rank), dtype=np.int64)
    row_of[rank] = np.arange(len(rank))
    best = TopK(np.empty(keys.shape, np.int64), np.empty(keys.shape, np.float32), engine)
    for start in range(0, len(keys), 4096):
        part = slice(start, start + 4096)
        best.scores[part], ranks = unkeyed(keys[part])
        best.rows[part] = row_of[ranks]
    return best


def _scan(
    queries: np.ndarray,
    vectors: "Vectors",
    k: int,
    rank: np.ndarray,
    device: str,
    block_rows: int,
    what: str,
    precision: Literal["float32", "bf16"],
) -> np.ndarray:
    from ance_tele.encode.vectors import prefetched
    from ance_tele.search import gpu, scan

    scanned = scan.scanned if device == "cpu" else partial(gpu.scanned, device=device, precision=precision)
    with progress(what, len(queries) * len(vectors), "scores") as advance:
        return scanned(queries, prefetched(vectors.blocks(block_rows)), k, rank, advance=advance)


def _blocks(vectors: "Vectors", rows: int, join: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield blocks of at most ``rows`` rows; small ones joined, to at most ``join`` rows."""
    from ance_tele.encode.vectors import joined, prefetched

    return prefetched(joined(vectors.blocks(rows), join))


def _search(
    queries: np.ndarray,
    blocks: Callable[[], Iterator[tuple[int, np.ndarray]]],
    keep: int,
    rank: np.ndarray,
    query_rows: int,
    advance: Advance = lambda units: None,
) -> np.ndarray:
    """Return keys of the ``keep`` best, uint64 [queries, keep], best first.

    Which of several ties with the last one are included is unspecified.
    """
    from ance_tele.search.sort_keys import EMPTY, keyed

    best = np.full((len(queries), keep), EMPTY)
    parts = [slice(start, start + query_rows) for start in range(0, len(queries), query_rows)]
    for first, block in blocks():
        engine = _faiss(block)
        ranks = rank[first : first + len(block)].astype(np.uint64)
        for part in parts:
            scores, rows = engine(queries[part], min(keep, len(block)))
            if np.isnan(scores).any() or (rows < 0).any():
                raise NotFiniteError(f"Vectors {first} to {first + len(block) - 1}")
            advance(len(scores) * len(block))
            keys = keyed(scores, ranks[rows])
            if first:
                keys = np.partition(np.concatenate([best[part], keys], axis=1), keep - 1, axis=1)[:, :keep]
            best[part, : keys.shape[1]] = keys
    best.sort(axis=1)
    return best


def _faiss(block: np.ndarray) -> Engine:
    import faiss

    from ance_tele.search.pair_products import quiet, rescored

    held = np.ascontiguousarray(block)

    def search(queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        contiguous = np.ascontiguousarray(queries)
        with _tuned(faiss.cvar, FAISS if len(queries) >= FAISS_QUERIES else {}), quiet():
            scores, rows = faiss.knn(contiguous, held, k, metric=faiss.METRIC_INNER_PRODUCT)
            found = (rows >= 0).all() and np.isfinite(scores).all()
            return (rescored(contiguous, held, rows) if found else scores), rows

    return search


@contextmanager
def _tuned(settings: Any, values: Mapping[str, int]) -> Iterator[None]:
    """Change global settings of faiss while the block runs."""
    before = {name: getattr(settings, name) for name in values}
    try:
        for name, value in values.items():
            setattr(settings, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(settings, name, value)
