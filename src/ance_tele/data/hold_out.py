"""Training queries held out as dev, chosen by a hash of their texts, independent of seed and file order."""

import hashlib
from typing import TYPE_CHECKING, Any

from ance_tele.console.errors import UserError

if TYPE_CHECKING:
    import numpy as np


def share_or_count(hold_out: float) -> None:
    """Refuse a value that is neither a share below 1 nor an integer."""
    if not 0 < hold_out < 1 << 53 or (hold_out >= 1 and hold_out != int(hold_out)):
        raise UserError(f"hold_out is {hold_out:g}; it must be a share such as 0.1, or a whole number of queries.")


def target(hold_out: float, count: int) -> int:
    """Return how many of ``count`` training queries ``hold_out`` means; refuse to hold out all."""
    share_or_count(hold_out)
    if hold_out >= count:
        raise UserError(f"hold_out is {hold_out:g}, but there are {count:,} training queries; make it smaller.")
    return int(hold_out) if hold_out >= 1 else max(1, round(hold_out * count))


def chosen(texts: Any, count: int) -> "np.ndarray":
    """Return which queries are held out, bool [n]: those whose texts (an Arrow column) have the smallest hashes.

    Queries with the same (stripped) text are held out together, so there may be a few more than ``count``.
    """
    import numpy as np  # the settings, which --help shows, are checked without it
    import pyarrow.compute as pc

    groups = pc.utf8_trim_whitespace(texts).combine_chunks().dictionary_encode()
    hashes = np.array([_hash(text) for text in groups.dictionary.to_pylist()], dtype=np.uint64)
    owner = groups.indices.to_numpy()
    order = np.argsort(hashes, kind="stable")
    sizes = np.bincount(owner, minlength=len(hashes))[order]
    enough = int(np.searchsorted(np.cumsum(sizes), count)) + 1
    return np.isin(owner, order[:enough])


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
