"""Learned and forgotten: what a refresh did to each training query (paper, Section 3; Figures 4 and 8c)."""

from dataclasses import dataclass

import numpy as np

from ance_tele.data.collection import Qrels
from ance_tele.mining.candidates import Lists


def reciprocal_ranks(lists: Lists, positives: Qrels, cutoff: int = 100) -> np.ndarray:
    """Return the reciprocal rank of the first positive within ``cutoff``, 0 where there is none, float64 [q].

    Args:
        lists: Ranked passages of each query, positives included.
        positives: Relevant passages of the same queries, in the same order.
        cutoff: MRR@cutoff.
    """
    owner = np.repeat(np.arange(len(lists)), np.diff(lists.offsets))
    width = 1 + max(int(lists.passages.max(initial=0)), int(positives.passages.max(initial=0)))
    known = np.repeat(np.arange(len(positives)), np.diff(positives.offsets)) * width + positives.passages
    hit = np.isin(owner * width + lists.passages, known) & (lists.ranks <= cutoff)
    best = np.full(len(lists), np.inf)
    np.minimum.at(best, owner[hit], lists.ranks[hit])
    return 1.0 / best


@dataclass(frozen=True)
class Change:
    """Shares of the training queries that an episode made worse, better, or left as they were."""

    forgotten: float
    learned: float
    unchanged: float


def change(before: np.ndarray, after: np.ndarray) -> Change:
    """Compare the reciprocal ranks of the same queries under two checkpoints, float [q] each.

    ``forgotten`` is the forgetting rate F_i; the denominator is all training queries.
    """
    count = max(1, len(before))
    forgotten, learned = int((after < before).sum()), int((after > before).sum())
    return Change(forgotten / count, learned / count, (len(before) - forgotten - learned) / count)


def new_share(current: Lists, earlier: list[Lists]) -> float:
    """Return the share of T_i that no earlier T_j held: sum |New_i| / sum |T_i|.

    Args:
        current: T_i, the query lists of this episode.
        earlier: T_j of all earlier episodes, for the same queries.
    """
    if not len(current.passages):
        return 0.0
    width = 1 + max(int(lists.passages.max(initial=0)) for lists in [current, *earlier])
    new = np.ones(len(current.passages), dtype=bool)
    pairs = _pairs(current, width)
    for lists in earlier:
        new &= ~np.isin(pairs, _pairs(lists, width))
    return float(new.mean())


def _pairs(lists: Lists, width: int) -> np.ndarray:
    return np.repeat(np.arange(len(lists)), np.diff(lists.offsets)) * width + lists.passages
