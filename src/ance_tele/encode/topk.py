"""Exact top-k by dot product over vectors of any number, in bounded memory; ties go to the lower id."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from ance_tele.data.progress import Advance, progress

if TYPE_CHECKING:
    from ance_tele.encode.vectors import Vectors

# Candidates kept beyond k, so that equal scores at the cut can be settled by id. Where more than these
# are equal (a corpus with many copies of one text), those queries are searched again with 16 times as many,
# by the same engine: another one would round differently, and copies would no longer be equal.
MARGIN = 16

# Scores held at a time for the queries that are searched again.
TIED_ENTRIES = 1 << 22

# Queries and vectors of a product within faiss: its own 4,096 x 1,024 leaves up to a tenth of the time in between.
FAISS_TILE = (1024, 4096)

# With fewer queries, rounding the vectors to bf16 costs more than it saves.
FEW_QUERIES = 32

Precision = Literal["auto", "float32", "bf16"]

# Returns scores and rows of the k best in one block of vectors.
Engine = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class TopK:
    """The best rows per query, best first.

    Attributes:
        rows: int64 [queries, k], k at most the size of the corpus; -1 where fewer were found.
        scores: float32 [queries, k]; -inf where fewer were found.
        engine: What found them: "faiss", "torch" or "bf16 scan"; empty where no vectors were searched.
    """

    rows: np.ndarray
    scores: np.ndarray
    engine: str = ""


def exact_topk(
    queries: np.ndarray,
    vectors: "Vectors",
    k: int,
    id_rank: np.ndarray | None = None,
    device: str = "cpu",
    block_rows: int = 131072,
    query_rows: int = 4096,
    what: str = "searching",
    precision: Precision = "auto",
) -> TopK:
    """Return the k best rows for each query: score descending, then id ascending.

    Scores are float32, whatever the precision; engines differ in the order in which they sum up, so in the last digit.

    Args:
        queries: float32 [queries, dimension].
        vectors: What to search, streamed block by block.
        k: How many.
        id_rank: Rank of each row's id, int64 [rows]; the row number itself by default.
        device: "cpu" or a torch device.
        block_rows: Rows of vectors in memory at a time.
        query_rows: Queries searched at a time against a block.
        what: For the progress bar.
        precision: Of the first look at every vector. "bf16" (CPU only) scores again in float32 what may be among the
            best (:mod:`ance_tele.encode.scan`); "float32" is faiss's blocked search on a CPU, products and torch's
            top-k elsewhere; "auto" is bf16 where that pays.

    Raises:
        ValueError: The vectors hold NaN, or bf16 is asked for on another device than a CPU.
    """
    if not np.isfinite(queries).all():
        raise diverged("Query vectors")
    count = len(vectors)
    k = min(k, count)
    if coarse(precision, device, len(queries), count, k):
        return _scan(queries, vectors, k, id_rank, block_rows, what)
    keep = min(k + MARGIN, count)
    search = partial(_search, vectors=vectors, id_rank=id_rank, device=device, block_rows=block_rows)
    with progress(what, len(queries) * count, "scores") as advance:
        scores, rows = search(queries, keep=keep, query_rows=query_rows, advance=advance)
    engine = "faiss" if device == "cpu" else "torch"
    best, tied = TopK(rows[:, :k], scores[:, :k], engine), np.flatnonzero(scores[:, k - 1] == scores[:, -1])
    while keep < count and len(tied):
        keep = min(k + 16 * (keep - k), count)
        size = max(1, TIED_ENTRIES // keep)
        still = []
        for part in (tied[start : start + size] for start in range(0, len(tied), size)):
            scores, rows = search(queries[part], keep=keep, query_rows=query_rows)
            best.rows[part], best.scores[part] = rows[:, :k], scores[:, :k]
            still.append(part[scores[:, k - 1] == scores[:, -1]])
        tied = np.concatenate(still)
    return best


def diverged(what: str) -> ValueError:
    """Return the refusal of vectors that are no numbers."""
    return ValueError(f"{what} hold NaN or infinite values: the model has diverged; lower the learning rate.")


def coarse(precision: Precision, device: str, queries: int, count: int, k: int) -> bool:
    """Say whether a search looks at the vectors in bf16 first."""
    if precision != "auto":
        if precision == "bf16" and device != "cpu":
            raise ValueError(f"A search in bf16 is made for CPUs, and the device is {device}; choose float32.")
        return precision == "bf16" and min(queries, count) > 0
    if device != "cpu" or queries < FEW_QUERIES:
        return False
    import torch

    from ance_tele.encode.encoder import has_fast_bf16
    from ance_tele.encode.scan import TILE

    return 8 * k <= min(count, TILE) and has_fast_bf16(torch.device("cpu"))


def _scan(
    queries: np.ndarray, vectors: "Vectors", k: int, id_rank: np.ndarray | None, block_rows: int, what: str
) -> TopK:
    from ance_tele.encode.keys import unkeyed
    from ance_tele.encode.scan import scanned
    from ance_tele.encode.vectors import ahead

    rank = np.arange(len(vectors)) if id_rank is None else id_rank
    row_of = np.empty(len(rank), dtype=np.int64)
    row_of[rank] = np.arange(len(rank))
    with progress(what, len(queries) * len(vectors), "scores") as advance:
        keys = scanned(queries, ahead(vectors.blocks(block_rows)), k, rank, advance)
    best = TopK(np.empty(keys.shape, np.int64), np.empty(keys.shape, np.float32), "bf16 scan")
    for start in range(0, len(keys), 4096):
        part = slice(start, start + 4096)
        best.scores[part], ranks = unkeyed(keys[part])
        best.rows[part] = row_of[ranks]
    return best


def _search(
    queries: np.ndarray,
    vectors: "Vectors",
    keep: int,
    id_rank: np.ndarray | None,
    device: str,
    block_rows: int,
    query_rows: int,
    advance: Advance = lambda units: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and rows of the ``keep`` best, [queries, keep]; which of those equal to the last is open."""
    best_scores = np.full((len(queries), keep), -np.inf, dtype=np.float32)
    best_rows = np.full((len(queries), keep), -1, dtype=np.int64)
    parts = [slice(start, start + query_rows) for start in range(0, len(queries), query_rows)]
    from ance_tele.encode.keys import keyed
    from ance_tele.encode.vectors import ahead

    for first, block in ahead(vectors.blocks(block_rows)):
        engine = _faiss(block) if device == "cpu" else _torch(block, device)
        for part in parts:
            scores, rows = engine(queries[part], min(keep, len(block)))
            if np.isnan(scores).any() or (rows < 0).any():
                raise diverged(f"Vectors {first} to {first + len(block) - 1}")
            advance(len(scores) * len(block))
            if first == 0 and scores.shape[1] == keep:  # nothing to merge with yet
                best_scores[part], best_rows[part] = scores, rows
                continue
            scores = np.concatenate([best_scores[part], scores], axis=1)
            rows = np.concatenate([best_rows[part], rows + first], axis=1)
            top = np.argpartition(-scores, keep - 1, axis=1)[:, :keep]
            best_scores[part], best_rows[part] = np.take_along_axis(scores, top, 1), np.take_along_axis(rows, top, 1)
    for part in parts:
        rank = best_rows[part] if id_rank is None else id_rank[best_rows[part]]
        order = np.argsort(keyed(best_scores[part], rank.astype(np.uint64)), axis=1)
        best_scores[part] = np.take_along_axis(best_scores[part], order, 1)
        best_rows[part] = np.take_along_axis(best_rows[part], order, 1)
    return best_scores, best_rows


def _faiss(block: np.ndarray) -> Engine:
    import faiss

    held = np.ascontiguousarray(block)

    def search(queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        sizes = faiss.cvar.distance_compute_blas_query_bs, faiss.cvar.distance_compute_blas_database_bs
        _set_tile(FAISS_TILE)
        try:
            return faiss.knn(np.ascontiguousarray(queries), held, k, metric=faiss.METRIC_INNER_PRODUCT)
        finally:
            _set_tile(sizes)

    return search


def _set_tile(sizes: tuple[int, int]) -> None:
    import faiss

    faiss.cvar.distance_compute_blas_query_bs, faiss.cvar.distance_compute_blas_database_bs = sizes


def _torch(block: np.ndarray, device: str) -> Engine:
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        held = torch.from_numpy(block).to(device)

    def search(queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        scores, rows = torch.topk(torch.from_numpy(queries).to(device) @ held.T, k, dim=1)
        return scores.cpu().numpy(), rows.cpu().numpy()

    return search
