"""Scores as integers of the same order: bf16 bits, and keys of a score and the rank of an id."""

import numpy as np
import torch

EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)


def bits_of(scores: np.ndarray) -> np.ndarray:
    """Return float32 rounded to bf16, as int16."""
    return torch.from_numpy(scores).bfloat16().view(torch.int16).numpy()


def numbers(bits: np.ndarray) -> np.ndarray:
    """Return the float32 of bf16 bits, int16."""
    return (bits.astype(np.int32) << 16).view(np.float32)


def ordered(bits: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Map bf16 bits to int16 of the same order, or back."""
    return np.bitwise_xor(bits, (bits >> 15) & 0x7FFF, out=out)


def keyed(scores: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Return uint64 keys, ascending by descending score (float32), then by ascending rank (uint64)."""
    return (_descending((scores + np.float32(0)).view(np.uint32)).astype(np.uint64) << np.uint64(32)) | rank


def unkeyed(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return scores (-inf for empty keys) and ranks of keys."""
    scores = _descending((keys >> np.uint64(32)).astype(np.uint32)).view(np.float32)
    return np.where(keys == EMPTY, np.float32(-np.inf), scores), (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)


def same_score(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return elementwise whether two keys have the same score, bool."""
    return (one ^ other) >> np.uint64(32) == 0


def _descending(bits: np.ndarray) -> np.ndarray:
    return np.where(bits >> 31, bits, ~bits & np.uint32(0x7FFFFFFF))
