"""Dot products of single pairs, each summed in the same order, so that duplicates get equal scores."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from ance_tele.data.ragged import offsets_of


def pair_products(left: np.ndarray, right: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the dot products of rows (ascending) of one float32 matrix with rows of another, float32 [n].

    Each is summed in the same order, so that equal vectors give equal products.
    """
    starts = offsets_of(np.bincount(rows, minlength=len(left)))
    pattern = torch.sparse_csr_tensor(
        torch.from_numpy(starts.astype(np.int32)),
        torch.from_numpy(columns.astype(np.int32)),
        torch.zeros(len(rows)),
        (len(left), len(right)),
    )
    products = torch.sparse.sampled_addmm(pattern, torch.from_numpy(left), torch.from_numpy(right).T, beta=0.0)
    return products.values().numpy()


def rescored(queries: np.ndarray, block: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return scores of queries, float32 [q, d], and rows of a block, int64 [q, n], pair by pair: float32 [q, n].

    A matrix product sums in another order at its edges, which would give duplicates different last digits.
    """
    width = len(queries)
    pair = (rows * width + np.arange(width)[:, None]).reshape(-1)
    order = np.argsort(pair)  # by passage, so that each is read once
    row, query = np.divmod(pair[order], width)
    scores = np.empty(rows.size, dtype=np.float32)
    scores[order] = pair_products(block, queries, row, query)
    return scores.reshape(rows.shape)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence torch's warnings on read-only vectors and sparse matrices; entered once outside of all threads.

    Warning filters are global, so that threads could restore them in any order.
    """
    with warnings.catch_warnings():
        for message in ("The given NumPy array is not writ", "Sparse CSR tensor support", "Sparse invariant checks"):
            warnings.filterwarnings("ignore", message)
        yield
