"""Which lists contain a (query, passage) pair, as a bit mask per pair."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ance_tele.console.errors import UserError

# A key holds query, passage and list in 63 bits.
LIST_BITS = 6
MOST_LISTS = 1 << LIST_BITS


@dataclass(frozen=True)
class Membership:
    """The distinct (query, passage) pairs of a block.

    Attributes:
        query_positions: Position of each pair's query within the block, int64 [n], ascending.
        passages: Codes, int64 [n].
        bits: Bit j is set where list j holds the pair, uint64 [n].
    """

    query_positions: np.ndarray
    passages: np.ndarray
    bits: np.ndarray

    def __len__(self) -> int:
        return len(self.bits)

    def has(self, number: int) -> np.ndarray:
        """Return which pairs a list holds, bool [n]."""
        return (self.bits >> np.uint64(number)) & np.uint64(1) != 0

    def without(self, number: int) -> "Membership":
        """Return the pairs that a list does not hold (that of the positives)."""
        keep = ~self.has(number)
        return Membership(self.query_positions[keep], self.passages[keep], self.bits[keep])


def membership(lists: Sequence[tuple[np.ndarray, np.ndarray]], queries: int) -> Membership:
    """Return the distinct pairs of all lists.

    Args:
        lists: Query position and passage code of each entry, two int64 arrays per list; at most 64 lists.
        queries: How many queries the block has.
    """
    if len(lists) > MOST_LISTS:
        raise UserError(f"{len(lists)} lists are to be compared; at most {MOST_LISTS} can be: analyse fewer episodes.")
    width = 1 + max((int(passages.max(initial=0)) for _, passages in lists), default=0)
    assert queries * width < 1 << (63 - LIST_BITS), "a block of queries does not fit the key; take a smaller one"
    keys = np.concatenate(
        [((positions * width + passages) << LIST_BITS) | number for number, (positions, passages) in enumerate(lists)]
        or [np.empty(0, dtype=np.int64)]
    )
    keys.sort()
    pairs = keys >> LIST_BITS
    first = np.flatnonzero(np.concatenate([[True], pairs[1:] != pairs[:-1]])[: len(pairs)])
    flags = np.uint64(1) << (keys & (MOST_LISTS - 1)).astype(np.uint64)
    bits = np.bitwise_or.reduceat(flags, first) if len(first) else flags
    pairs = pairs[first]
    positions = pairs // width
    return Membership(positions, pairs - positions * width, bits)
