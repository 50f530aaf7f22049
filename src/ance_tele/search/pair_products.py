"""Scores of single pairs, each summed up alone and in one order, so that copies of a text score alike."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from ance_tele.data.ragged import offsets_of


def pair_products(left: np.ndarray, right: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the dot products of rows (ascending) of one float32 matrix with rows of another, float32 [n].

    Each sum is formed alone and in one order, so that equal vectors give equal products.
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

    A product of matrices sums up in another order at its edges than inside: copies of a text get other last digits.
    """
    width = len(queries)
    pair = (rows * width + np.arange(width)[:, None]).reshape(-1)
    order = np.argsort(pair)  # passage by passage: each is read once
    row, query = np.divmod(pair[order], width)
    scores = np.empty(rows.size, dtype=np.float32)
    scores[order] = pair_products(block, queries, row, query)
    return scores.reshape(rows.shape)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence torch on vectors that are read-only and on sparse matrices; once, around all threads that score pairs.

    Within them, filters would be set and put back in any order.
    """
    with warnings.catch_warnings():
        for message in ("The given NumPy array is not writ", "Sparse CSR tensor support", "Sparse invariant checks"):
            warnings.filterwarnings("ignore", message)
        yield
