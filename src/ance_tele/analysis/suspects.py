"""Suspects: pairs of the pools that are probably relevant, and so were false negatives of the training.

Three signs, each of which is a reason:

- ``near_duplicate``: the passage shares most of its words with a positive of the query;
- ``above_positive``: the final model scores it above the query's best positive, by a margin, and knows the query: it
  ranks a positive among the first;
- ``persistently_top``: several rounds of mining had it at rank 1 to 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ance_tele.data.reasons import REASONS
from ance_tele.mining.candidates import in_sorted
from ance_tele.runs.membership import Membership

# Ranks at which a negative is among the first that a user would see.
TOP_RANK = 3
# How near to a positive a passage must be for its words to be compared: reading every pair would take hours.
NEAR_RANK = 10


@dataclass(frozen=True)
class SuspectConfig:
    """What makes a negative suspect.

    Attributes:
        overlap: ``near_duplicate``: words shared with a positive, as a share of the words of both (Jaccard).
        margin: ``above_positive``: how far above the best positive, in standard deviations of the scores in the query's
            own list, so that it means the same for every model.
        trust: ``above_positive`` only counts where the final model ranks a positive among so many first: what a model
            prefers for a query that it does not understand is no evidence.
        rounds: ``persistently_top``: in how many rounds at rank 1 to 3; all of them where there are fewer.
    """

    overlap: float = 0.6
    margin: float = 0.5
    trust: int = 10
    rounds: int = 3


@dataclass(frozen=True)
class Pairs:
    """The pairs of the pools, with the evidence that each is a false negative; parallel arrays.

    Attributes:
        query_positions: The query, counted from the block's first, int64.
        passages: Codes, int64.
        origins: Bit j: source j has mined it into a pool, uint64.
        near: At most at rank 10 around a positive, bool.
        margin: Final score above the best positive's, in standard deviations; NaN where the final lists lack it.
        top_rounds: Rounds that had it at rank 1 to 3, int64.
        reciprocal: Reciprocal rank of the query's first positive under the final model, float64.
    """

    query_positions: np.ndarray
    passages: np.ndarray
    origins: np.ndarray
    near: np.ndarray
    margin: np.ndarray
    top_rounds: np.ndarray
    reciprocal: np.ndarray

    def __len__(self) -> int:
        return len(self.query_positions)

    def select(self, keep: np.ndarray) -> "Pairs":
        """Return some of the pairs: bool [n], or their indices."""
        return Pairs(*(getattr(self, column.name)[keep] for column in fields(self)))


def pooled(pairs: Membership, sources: int, rounds: int, margin: np.ndarray, reciprocal: np.ndarray) -> Pairs:
    """Take the pairs of the pools, positives left out, out of all pairs of a block.

    Args:
        pairs: Of these lists, in order: one for each source, the positives, what is near them, and the best ranks of
            each round.
        sources: How many sources there are.
        rounds: How many rounds there were.
        margin: Of each pair, float64; NaN where unknown.
        reciprocal: Reciprocal rank of each query's first positive under the final model, float64 [queries].
    """
    positives, near_positives, first_top = range(sources, sources + 3)
    origins = pairs.bits & np.uint64((1 << sources) - 1)
    keep = np.flatnonzero((origins != 0) & ~pairs.has(positives))
    top = np.stack([pairs.has(first_top + number)[keep] for number in range(rounds)]).sum(axis=0)
    queries, near = pairs.query_positions[keep], pairs.has(near_positives)[keep]
    return Pairs(queries, pairs.passages[keep], origins[keep], near, margin[keep], top, reciprocal[queries])


def margins(
    pairs: Membership, positions: np.ndarray, passages: np.ndarray, scores: np.ndarray, positive: np.ndarray
) -> np.ndarray:
    """Return how far each pair's final score lies above that of the query's best positive, float64 [pairs].

    In standard deviations of the scores of the query's list; NaN for pairs that the final lists do not hold, and where
    all scores are equal.

    Args:
        pairs: Of the block.
        positions: The query of each entry of the final lists, int64 [n].
        passages: Their codes, int64 [n].
        scores: Their scores, float [n].
        positive: Score of the best positive of each query, float64 [queries]; NaN where unknown.
    """
    queries, scores = len(positive), scores.astype(np.float64)
    count = np.maximum(np.bincount(positions, minlength=queries), 1)
    mean = np.bincount(positions, scores, minlength=queries) / count
    spread = np.sqrt(np.bincount(positions, (scores - mean[positions]) ** 2, minlength=queries) / count)
    with np.errstate(divide="ignore", invalid="ignore"):
        above = np.where(spread[positions] > 0, (scores - positive[positions]) / spread[positions], np.nan)
    width = 1 + max(int(passages.max(initial=0)), int(pairs.passages.max(initial=0)))
    keys, list_keys = pairs.query_positions * width + pairs.passages, positions * width + passages
    found, out = in_sorted(list_keys, keys), np.full(len(pairs), np.nan)
    out[np.searchsorted(keys, list_keys[found])] = above[found]
    return out


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    """Return the words that two texts share, as a share of the words of both; 0 where neither has any."""
    both = len(left | right)
    return len(left & right) / both if both else 0.0


def judge(pairs: Pairs, overlap: np.ndarray, rounds: int, config: SuspectConfig) -> np.ndarray:
    """Return for each pair which of the three reasons hold, bool [pairs, 3], in the order of ``REASONS``.

    ``overlap`` are the words shared with a positive (Jaccard), float64 [pairs]; NaN where not compared.
    """
    known = pairs.reciprocal * config.trust >= 1 - 1e-9
    top = pairs.top_rounds >= min(config.rounds, rounds)
    with np.errstate(invalid="ignore"):
        return np.stack([overlap >= config.overlap, (pairs.margin >= config.margin) & known, top], axis=1)


def suspicion(reasons: np.ndarray, margin: np.ndarray, overlap: np.ndarray) -> np.ndarray:
    """Return a score to sort by: the number of reasons, then how far above the positive, then how many shared words.

    Args:
        reasons: bool [pairs, 3].
        margin: float64 [pairs], NaN where unknown.
        overlap: float64 [pairs], NaN where unknown.
    """
    above = np.clip(np.nan_to_num(margin, nan=0.0), 0, 5) / 10
    return reasons.sum(axis=1) + above + np.nan_to_num(overlap, nan=0.0) / 10


def suspect_counts(
    pairs: np.ndarray, origins: np.ndarray, reasons: np.ndarray, sources: Sequence[str]
) -> dict[str, Any]:
    """Count pairs and suspects by source and by reason; a pair that two sources mined counts for both.

    Args:
        pairs: Pairs of all pools by the source that mined them, int64 [sources]; then all of them.
        origins: Of each suspect, the sources that mined it (bits), uint64 [suspects].
        reasons: Of each suspect, bool [suspects, 3].
        sources: Their names.
    """
    *of_sources, every = pairs.tolist()
    suspects = bits_of(origins, len(sources)).sum(axis=0).tolist()
    by_source = {
        name: {"pairs": count, "suspects": found, "share": found / count}
        for name, count, found in zip(sources, of_sources, suspects, strict=True)
        if count
    }
    by_reason = dict(zip(REASONS, reasons.sum(axis=0).tolist(), strict=True))
    return {"pairs": every, "suspects": len(origins), "by_source": by_source, "by_reason": by_reason}


def bits_of(origins: np.ndarray, sources: int) -> np.ndarray:
    """Return which sources mined each pair, bool [n, sources]."""
    return (origins[:, None] >> np.arange(sources, dtype=np.uint64)) & np.uint64(1) != 0


def named(holds: np.ndarray, names: Sequence[str]) -> list[str]:
    """Write a row of truths as the names of those that hold, such as "query,lookahead"."""
    return [",".join(name for name, true in zip(names, row, strict=True) if true) for row in holds.tolist()]
