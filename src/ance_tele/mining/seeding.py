"""Stateless randomness: a hash of (seed, episode, purpose, query, item), the same on every machine."""

import hashlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(value: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele et al. 2014), in place, on uint64."""
    value ^= value >> np.uint64(30)
    value *= np.uint64(0xBF58476D1CE4E5B9)
    value ^= value >> np.uint64(27)
    value *= np.uint64(0x94D049BB133111EB)
    value ^= value >> np.uint64(31)
    return value


def hashed(seed: int, episode: int, purpose: str, queries: np.ndarray, items: np.ndarray | None = None) -> np.ndarray:
    """Return a uniform uint64 for each (query, item), independent of how the arrays are cut into blocks.

    Args:
        seed: The run's seed.
        episode: Or any other counter.
        purpose: Separates independent uses.
        queries: Integers [n].
        items: Integers [n]; None for one number per query.
    """
    key = int.from_bytes(hashlib.sha256(f"{seed}/{episode}/{purpose}".encode()).digest()[:8], "little")
    value = queries.astype(np.uint64)
    value *= _GOLDEN
    value += np.uint64(key)
    value = _mix(value)
    if items is not None:
        value += items.astype(np.uint64) * _GOLDEN + _GOLDEN
        value = _mix(value)
    return value
