"""Suspects: negatives of the pools that are probably relevant, for one of three reasons.

- ``near_duplicate``: the passage shares most of its words with a positive of the query;
- ``above_positive``: the final model, which ranks a positive among the first, scores it above the query's best positive
  by a margin;
- ``persistently_top``: it was at rank 1 to 3 in several rounds of mining.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ance_tele.data.reasons import REASONS
from ance_tele.mining.candidates import in_sorted
from ance_tele.runs.membership import Membership

# Lowest rank that counts for ``persistently_top``.
TOP_RANK = 3
# Lowest rank in L at which words are compared with the positive: comparing every pair would take hours.
NEAR_RANK = 10


@dataclass(frozen=True)
class SuspectConfig:
    """What makes a negative suspect.

    Attributes:
        overlap: ``near_duplicate``: least word overlap with a positive (Jaccard).
        margin: ``above_positive``: least difference to the best positive, in standard deviations of the scores in the
            query's list, so that it does not depend on the scale of a model's scores.
        trust: ``above_positive``: the lowest rank that the final model may give the query's best positive.
        rounds: ``persistently_top``: least number of rounds at rank 1 to 3; all of them where there are fewer.
    """

    overlap: float = 0.6
    margin: float = 0.5
    trust: int = 10
    rounds: int = 3


@dataclass(frozen=True)
class Pairs:
    """The pairs of the pools, with the evidence that each is a false negative; parallel arrays.

    Attributes:
        query_positions: Position of the query within the block, int64.
        passages: Passage codes, int64.
        origins: Bit j: source j has mined it into a pool, uint64.
        near: At rank 10 or better in L, bool.
        margin: Final score minus the best positive's, in standard deviations; NaN where the final lists lack it.
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
        """Return the pairs of a boolean mask, or at indices."""
        return Pairs(*(getattr(self, column.name)[keep] for column in fields(self)))


def pooled(pairs: Membership, sources: int, rounds: int, margin: np.ndarray, reciprocal: np.ndarray) -> Pairs:
    """Return the pairs of the pools, without positives, from all pairs of a block.

    Args:
        pairs: Of these lists, in order: one per source, the positives, passages near them, the top ranks of each
            round.
        sources: Number of sources.
        rounds: Number of rounds.
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
    """Return each pair's final score minus that of the query's best positive, float64 [pairs].

    In standard deviations of the scores of the query's list; NaN for pairs that the final lists lack, and where all
    scores are equal.

    Args:
        pairs: Of the block.
        positions: Query position of each entry of the final lists, int64 [n].
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
    """Return the Jaccard similarity of two sets of words; 0 for two empty sets."""
    both = len(left | right)
    return len(left & right) / both if both else 0.0


def judge(pairs: Pairs, overlap: np.ndarray, rounds: int, config: SuspectConfig) -> np.ndarray:
    """Return which of the three ``REASONS`` hold for each pair, bool [pairs, 3].

    ``overlap`` is the word overlap with a positive (Jaccard), float64 [pairs]; NaN where not compared.
    """
    known = pairs.reciprocal * config.trust >= 1 - 1e-9
    top = pairs.top_rounds >= min(config.rounds, rounds)
    with np.errstate(invalid="ignore"):
        return np.stack([overlap >= config.overlap, (pairs.margin >= config.margin) & known, top], axis=1)


def suspicion(reasons: np.ndarray, margin: np.ndarray, overlap: np.ndarray) -> np.ndarray:
    """Return a score to sort suspects by: the number of reasons, plus a little for margin and word overlap.

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
    """Return for each row the comma-separated names of its true columns, such as "query,lookahead"."""
    return [",".join(name for name, true in zip(names, row, strict=True) if true) for row in holds.tolist()]
