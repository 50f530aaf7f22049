"""Ragged arrays: lists of different lengths, one after the other in a flat array, with the place where each begins.

Judgements, candidate lists, pools and token stores are ragged: list ``i`` is ``flat[offsets[i]:offsets[i + 1]]``.
Part of the offsets (``offsets[start:stop + 1]``) serves for part of the lists.
"""

from collections.abc import Iterator, Sequence

import numpy as np


def offsets_of(sizes: np.ndarray | Sequence[int]) -> np.ndarray:
    """Return the offsets of lists of the given sizes, int64 [lists + 1].

    >>> offsets_of([2, 0, 3]).tolist()
    [0, 2, 2, 5]
    """
    offsets = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(np.asarray(sizes, dtype=np.int64), out=offsets[1:])
    return offsets


def owners(offsets: np.ndarray) -> np.ndarray:
    """Return the list that each value is in, counted from the first, int64 [values].

    >>> owners(np.array([0, 2, 2, 5])).tolist()
    [0, 0, 2, 2, 2]
    """
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def within(offsets: np.ndarray) -> np.ndarray:
    """Return the place of each value within its list, from 0, int64 [values].

    >>> within(np.array([0, 2, 2, 5])).tolist()
    [0, 1, 0, 1, 2]
    """
    return ranges(np.zeros(len(offsets) - 1, dtype=np.int64), np.diff(offsets))


def ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return ``start, start + 1, ...`` of each size, one range after the other, int64 [sum of sizes].

    With the starts and sizes of some lists, these are the indices of their values in the flat array.

    >>> ranges(np.array([7, 0]), np.array([2, 3])).tolist()
    [7, 8, 0, 1, 2]
    """
    offsets = offsets_of(sizes)
    return np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], sizes)


def blocks(offsets: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Yield runs of whole lists, ``start`` and ``stop``, with at most ``most`` values each; a longer list is one alone.

    >>> list(blocks(np.array([0, 2, 3, 9, 10]), most=4))
    [(0, 2), (2, 3), (3, 4)]
    """
    start, count = 0, len(offsets) - 1
    while start < count:
        stop = int(np.searchsorted(offsets, offsets[start] + most, side="right")) - 1
        stop = min(max(stop, start + 1), count)
        yield start, stop
        start = stop


def spans(count: int, most: int) -> Iterator[tuple[int, int]]:
    """Yield ``start`` and ``stop`` of blocks of at most ``most`` lists, of so many lists.

    >>> list(spans(5, 2))
    [(0, 2), (2, 4), (4, 5)]
    """
    for start in range(0, count, most):
        yield start, min(start + most, count)


def pair_keys(offsets: np.ndarray, values: np.ndarray, width: int) -> np.ndarray:
    """Return each pair of a list, counted from the first, and a value of it as one number, int64 [values].

    Args:
        offsets: Of the lists.
        values: The flat array, of integers from 0 to ``width - 1``.
        width: What the list's number is multiplied by.

    >>> pair_keys(np.array([0, 1, 3]), np.array([5, 0, 2]), width=10).tolist()
    [5, 10, 12]
    """
    return owners(offsets) * width + values[offsets[0] : offsets[-1]]
