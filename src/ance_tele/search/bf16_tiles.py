"""Tiles of vectors rounded to bf16, with bounds of the rounding error."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

TILE = 16384  # Passages per tile.
STEP = 2048  # Passages per product: their scores are still in the cache when the groups' best are found.
GROUP = 8  # Passages per group; divides STEP, and STEP divides TILE.


@dataclass(frozen=True)
class Tile:
    """Rounded vectors of a part of a block.

    Attributes:
        start: Their first row within the block.
        bf16: The vectors rounded, bf16 [n, d].
        norm: The largest norm.
        residual: The largest norm of the rounding errors.
    """

    start: int
    bf16: torch.Tensor
    norm: float
    residual: float


def tiles(block: np.ndarray, room: torch.Tensor, pool: ThreadPoolExecutor) -> Iterator[Tile]:
    """Yield the tiles of a block, float32 [n, d], rounded to bf16 in the buffer ``room``, bf16 [TILE, d]."""
    for start in range(0, len(block), TILE):
        tile = block[start : start + TILE]

        def round_step(at: int, tile: np.ndarray = tile) -> tuple[float, float]:
            some, rounded = tile[at : at + STEP], room[at : at + STEP]
            rounded = rounded[: len(some)].copy_(torch.from_numpy(some))
            with np.errstate(invalid="ignore"):
                return float(lengths(some).max()), float(lengths(some - rounded.float().numpy()).max())

        norm, residual = np.max(list(pool.map(round_step, range(0, len(tile), STEP))), axis=0)  # NaN if any is
        yield Tile(start, room[: len(tile)], float(norm), float(residual))


def lengths(vectors: np.ndarray) -> np.ndarray:
    """Return Euclidean norms [n]; not finite only where the vectors are not."""
    with np.errstate(over="ignore"):
        squares = np.einsum("nd,nd->n", vectors, vectors, optimize=False)
    if not (np.isfinite(squares).all() and (squares > 1e-30).all()):
        return np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64, optimize=False))
    return np.sqrt(squares) * np.float32(1 + vectors.shape[1] * 2.0**-24)  # bound of the rounding of the sum
