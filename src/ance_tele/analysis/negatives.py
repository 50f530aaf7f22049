"""Negatives by round: which are new, in which round the others were first mined, which came back (paper, Section 3).

T_r is the list that mining round r retrieved for a query, L_r that for its positives, both without the positives.
Round E + 1 is what a further episode would mine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ance_tele.runs.membership import Membership


@dataclass(frozen=True)
class NegativeCounts:
    """Sums over the queries of a block.

    Attributes:
        size: |T_r|, int64 [R].
        first: Entry [r, j]: how many of T_r were first mined in round j, int64 [R, R].
        near: |New_r ∩ L_{r-1}|, int64 [R]; the first is 0.
        random: Its expected value for random passages, float64 [R].
        swing: |(T_r ∩ T_{r+2}) minus T_{r+1}|, int64 [R].
        swings: ``swing`` by query, over all rounds, int64 [queries].
    """

    size: np.ndarray
    first: np.ndarray
    near: np.ndarray
    random: np.ndarray
    swing: np.ndarray
    swings: np.ndarray


def total(blocks: Sequence[NegativeCounts]) -> NegativeCounts:
    """Add up the counts of consecutive blocks."""
    names = ("size", "first", "near", "random", "swing")
    sums = {name: np.sum([getattr(one, name) for one in blocks], axis=0) for name in names}
    return NegativeCounts(**sums, swings=np.concatenate([one.swings for one in blocks]))


def count_negatives(
    pairs: Membership, rounds: int, lookahead: Sequence[int | None], queries: int, corpus: int | None
) -> NegativeCounts:
    """Count the negatives of a block of queries.

    Args:
        pairs: Lists 0 to ``rounds - 1`` are T_1 to T_R; positives are left out.
        rounds: R.
        lookahead: The number of the list that is L_r, by round; None where there is none.
        queries: Queries of the block.
        corpus: Passages of the corpus; None if unknown, and then there is no random baseline.
    """
    met = pairs.bits & np.uint64((1 << rounds) - 1)
    known = met != 0
    # The lowest bit: the round in which a pair was first mined.
    lowest = met & (~met + np.uint64(1))
    first_met = np.zeros(len(met), dtype=np.int64)
    first_met[known] = np.log2(lowest[known].astype(np.float64)).astype(np.int64)
    held = [pairs.has(number) for number in range(rounds)]
    near, swing, swings = (np.zeros(count, dtype=np.int64) for count in (rounds, rounds, queries))
    random = np.zeros(rounds)
    for number in range(1, rounds):
        list_number = lookahead[number - 1]
        if list_number is None:
            continue
        nearby, new = pairs.has(list_number), held[number] & (first_met == number)
        near[number] = (nearby & new).sum()
        if corpus:
            of_new, of_near = (np.bincount(pairs.query_positions[which], minlength=queries) for which in (new, nearby))
            random[number] = (of_new * of_near).sum() / corpus
    for number in range(rounds - 2):
        back = held[number] & ~held[number + 1] & held[number + 2]
        swing[number] = back.sum()
        swings += np.bincount(pairs.query_positions[back], minlength=queries)
    first = np.stack([np.bincount(first_met[inside], minlength=rounds) for inside in held])
    return NegativeCounts(np.array([inside.sum() for inside in held]), first, near, random, swing, swings)


def shares(counts: NegativeCounts, searched: Sequence[bool], corpus: int | None) -> dict[str, list[dict[str, Any]]]:
    """Turn counts into the shares of the report: "mined", "new" and "swing" (design, Section 6).

    Args:
        counts: Over all queries.
        searched: Whether there is L_r, by round.
        corpus: As :func:`count_negatives` takes it.
    """
    rounds = len(counts.size)
    mined, new, swing = [], [], []
    for number in range(rounds):
        size, fresh = int(counts.size[number]), int(counts.first[number, number])
        of_first = {str(j + 1): _share(counts.first[number, j], size) for j in range(number + 1)}
        mined.append({"round": number + 1, "size": size, "first": of_first})
        seen = number > 0 and searched[number - 1] and fresh > 0
        new.append(
            {
                "round": number + 1,
                "new": _share(fresh, size),
                "near_positive": counts.near[number] / fresh if seen else None,
                "random": counts.random[number] / fresh if seen and corpus else None,
            }
        )
        if number < rounds - 2:
            count = int(counts.swing[number])
            swing.append({"round": number + 1, "share": _share(count, size), "count": count})
    return {"mined": mined, "new": new, "swing": swing}


def _share(count: int | float, size: int) -> float:
    return float(count / size) if size else 0.0
