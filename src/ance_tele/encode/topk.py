"""Exact top-k by dot product over vectors of any number, in bounded memory; ties go to the lower id."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ance_tele.data.progress import Advance, progress
from ance_tele.encode.vectors import Vectors

# Candidates kept beyond k, so that equal scores at the cut can be settled by id. Where more than these
# are equal (a corpus with many copies of one text), those queries are searched again with 16 times as many,
# by the same engine: another one would round differently, and copies would no longer be equal.
MARGIN = 16

# Scores held at a time for the queries that are searched again.
TIED_ENTRIES = 1 << 22

Search = Callable[[np.ndarray, np.ndarray, int, str], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class TopK:
    """The best rows per query, best first.

    Attributes:
        rows: int64 [queries, k], k at most the size of the corpus; -1 where fewer were found.
        scores: float32 [queries, k]; -inf where fewer were found.
    """

    rows: np.ndarray
    scores: np.ndarray


def exact_topk(
    queries: np.ndarray,
    vectors: Vectors,
    k: int,
    id_rank: np.ndarray | None = None,
    device: str = "cpu",
    block_rows: int = 131072,
    query_rows: int = 4096,
    what: str = "searching",
) -> TopK:
    """Return the k best rows for each query: score descending, then id ascending.

    Args:
        queries: float32 [queries, dimension].
        vectors: What to search, streamed block by block.
        k: How many.
        id_rank: Rank of each row's id, int64 [rows]; the row number itself by default.
        device: "cpu" (faiss's blocked search) or a torch device.
        block_rows: Rows of vectors in memory at a time.
        query_rows: Queries searched at a time against a block.
        what: For the progress bar.

    Raises:
        ValueError: The vectors hold NaN.
    """
    if not np.isfinite(queries).all():
        raise ValueError("Query vectors hold NaN or infinite values: the model has diverged; lower the learning rate.")
    count = len(vectors)
    k = min(k, count)
    keep = min(k + MARGIN, count)
    search = _faiss if device == "cpu" else _torch
    engine = partial(_running, search=search, id_rank=id_rank, device=device, block_rows=block_rows)
    with progress(what, len(queries) * count, "scores") as advance:
        scores, rows = engine(queries, vectors, keep, query_rows=query_rows, advance=advance)
    best, tied = TopK(rows[:, :k], scores[:, :k]), np.flatnonzero(scores[:, k - 1] == scores[:, -1])
    while keep < count and len(tied):
        keep = min(k + 16 * (keep - k), count)
        open_ends = []
        for start in range(0, len(tied), max(1, TIED_ENTRIES // keep)):
            part = tied[start : start + max(1, TIED_ENTRIES // keep)]
            scores, rows = engine(queries[part], vectors, keep, query_rows=query_rows)
            best.rows[part], best.scores[part] = rows[:, :k], scores[:, :k]
            open_ends.append(part[scores[:, k - 1] == scores[:, -1]])
        tied = np.concatenate(open_ends)
    return best


def _running(
    queries: np.ndarray,
    vectors: Vectors,
    keep: int,
    search: Search,
    id_rank: np.ndarray | None,
    device: str,
    block_rows: int,
    query_rows: int,
    advance: Advance = lambda units: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and rows of the ``keep`` best, [queries, keep]; ties at the very end may be any of their equals."""
    best_scores = np.full((len(queries), keep), -np.inf, dtype=np.float32)
    best_rows = np.full((len(queries), keep), -1, dtype=np.int64)
    for first, block in vectors.blocks(block_rows):
        for start in range(0, len(queries), query_rows):
            part = slice(start, start + query_rows)
            scores, rows = search(queries[part], block, min(keep, len(block)), device)
            if np.isnan(scores).any() or (rows < 0).any():
                raise ValueError(
                    f"Vectors {first} to {first + len(block) - 1} hold NaN or infinite values: the model has diverged; "
                    "lower the learning rate."
                )
            scores = np.concatenate([best_scores[part], scores], axis=1)
            rows = np.concatenate([best_rows[part], rows + first], axis=1)
            best_scores[part], best_rows[part] = _best(scores, rows, keep, id_rank)
            advance(len(scores) * len(block))
    return best_scores, best_rows


def _best(scores: np.ndarray, rows: np.ndarray, keep: int, id_rank: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``keep`` best of each line: score descending, then id ascending."""
    rank = rows if id_rank is None else np.where(rows < 0, len(id_rank), id_rank[rows])
    order = np.lexsort((rank, -scores), axis=1)[:, :keep]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)


def _faiss(queries: np.ndarray, block: np.ndarray, k: int, device: str) -> tuple[np.ndarray, np.ndarray]:
    import faiss

    return faiss.knn(np.ascontiguousarray(queries), np.ascontiguousarray(block), k, metric=faiss.METRIC_INNER_PRODUCT)


def _torch(queries: np.ndarray, block: np.ndarray, k: int, device: str) -> tuple[np.ndarray, np.ndarray]:
    import torch

    left, right = torch.from_numpy(queries).to(device), torch.from_numpy(block).to(device)
    scores, rows = torch.topk(left @ right.T, k, dim=1)
    return scores.cpu().numpy(), rows.cpu().numpy()
