"""Comparison of what an engine finds with what is found here, and why they differ."""

from dataclasses import dataclass

import numpy as np

from ance_tele.search.topk import TopK

# Scores of one passage by two programs differ by rounding, in float32, by at most so much of the largest product.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Agreement:
    """How many of the best passages of all queries an engine finds.

    Attributes:
        places: Of all queries' lists together.
        same: Of these, filled with a passage that is in our list too.
        ties: Filled with another one of the same score, to rounding.
        worse: Filled with one that scores lower, or with none.
    """

    places: int
    same: int
    ties: int
    worse: int

    @property
    def share(self) -> float:
        """The share of ``same``."""
        return self.same / max(1, self.places)


def agreement(ours: TopK, found: np.ndarray, scores: np.ndarray) -> Agreement:
    """Compare the best passages of queries, as sets.

    Args:
        ours: The exact result.
        found: Rows that an engine found, int64 [q, k]; -1 where it found fewer.
        scores: Of these rows as computed here, float32 [q, k].

    Example:
        >>> ours = TopK(np.array([[4, 2], [1, 3]]), np.array([[0.9, 0.5], [0.8, 0.7]], np.float32))
        >>> found = np.array([[4, 7], [1, 5]])
        >>> agreement(ours, found, np.array([[0.9, 0.5], [0.8, 0.2]], np.float32))
        Agreement(places=4, same=2, ties=1, worse=1)
    """
    same = np.stack([np.isin(rows, own[own >= 0]) for rows, own in zip(found, ours.rows, strict=True)])
    wanted = ours.rows >= 0
    last = np.where(wanted, ours.scores, np.inf).min(axis=1, keepdims=True)
    room = ROUNDING * np.maximum(1.0, np.abs(ours.scores[:, :1]))
    ties = ~same & (found >= 0) & (scores >= last - room)
    places = int(wanted.sum())
    return Agreement(places, int(same.sum()), int(ties.sum()), places - int(same.sum()) - int(ties.sum()))


def explained(one: Agreement, index: str | None) -> list[str]:
    """Return a line for each reason why places differ; ``index`` names it where the search went by one."""
    lines = []
    if one.ties:
        by = " by the index" if index else ""
        lines.append(f"{one.ties:,} of {one.places:,} places{by}: another passage with the same score, as copies have")
    if one.worse and index:
        lines.append(f"{one.worse:,} of {one.places:,} places: passed over by the approximate index ({index})")
    elif one.worse:
        lines.append(
            f"{one.worse:,} of {one.places:,} places: a passage with a lower score, in an exact search: the engine "
            "holds other vectors than those written, or computes in a lower precision"
        )
    return lines
