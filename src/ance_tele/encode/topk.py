"""Exact top-k by dot product over vectors of any number, in bounded memory; ties go to the lower id."""

from dataclasses import dataclass

import numpy as np

from ance_tele.data.progress import progress
from ance_tele.encode.vectors import Vectors

# Candidates kept beyond k, so that equal scores at the cut can be settled by id. Where more than these
# are equal (a corpus with many copies of one text), the search of that query is repeated in full.
MARGIN = 16


@dataclass(frozen=True)
class TopK:
    """The best rows per query, best first.

    Attributes:
        rows: int64 [queries, k]; -1 where there are fewer than k.
        scores: float32 [queries, k]; -inf where there are fewer than k.
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
    """
    count = len(vectors)
    k = min(k, count)
    keep = min(k + MARGIN, count)
    search = _faiss if device == "cpu" else _torch
    best_scores = np.full((len(queries), keep), -np.inf, dtype=np.float32)
    best_rows = np.full((len(queries), keep), -1, dtype=np.int64)
    with progress(what, len(queries) * count, "scores") as advance:
        for first, block in vectors.blocks(block_rows):
            for start in range(0, len(queries), query_rows):
                part = slice(start, start + query_rows)
                scores, rows = search(queries[part], block, min(keep, len(block)), device)
                scores = np.concatenate([best_scores[part], scores], axis=1)
                rows = np.concatenate([best_rows[part], rows + first], axis=1)
                best_scores[part], best_rows[part] = _best(scores, rows, keep, id_rank)
                advance(len(scores) * len(block))
    if keep < count:
        tied = np.flatnonzero(best_scores[:, k - 1] == best_scores[:, -1])
        for query in tied:
            best_scores[query], best_rows[query] = _full(queries[query], vectors, keep, id_rank, block_rows)
    return TopK(best_rows[:, :k], best_scores[:, :k])


def _best(scores: np.ndarray, rows: np.ndarray, keep: int, id_rank: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``keep`` best of each line: score descending, then id ascending."""
    if scores.shape[1] > 2 * keep:
        part = np.argpartition(-scores, keep - 1, axis=1)[:, :keep]
        scores, rows = np.take_along_axis(scores, part, 1), np.take_along_axis(rows, part, 1)
    rank = rows if id_rank is None else np.where(rows < 0, len(id_rank), id_rank[rows])
    order = np.lexsort((rank, -scores), axis=1)[:, :keep]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)


def _full(
    query: np.ndarray, vectors: Vectors, keep: int, id_rank: np.ndarray | None, block_rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Search one query over all rows, with every tie settled."""
    scores = np.concatenate([block @ query for _, block in vectors.blocks(block_rows)])
    order = np.lexsort((np.arange(len(scores)) if id_rank is None else id_rank, -scores))[:keep]
    return scores[order], order


def _faiss(queries: np.ndarray, block: np.ndarray, k: int, device: str) -> tuple[np.ndarray, np.ndarray]:
    import faiss

    return faiss.knn(np.ascontiguousarray(queries), np.ascontiguousarray(block), k, metric=faiss.METRIC_INNER_PRODUCT)


def _torch(queries: np.ndarray, block: np.ndarray, k: int, device: str) -> tuple[np.ndarray, np.ndarray]:
    import torch

    left, right = torch.from_numpy(queries).to(device), torch.from_numpy(block).to(device)
    scores, rows = torch.topk(left @ right.T, k, dim=1)
    return scores.cpu().numpy(), rows.cpu().numpy()
