"""Filters by score and rank: candidates that score close to the positive, and the top ranks of a list."""

from collections.abc import Callable, Mapping

import numpy as np

from ance_tele.console.progress import progress
from ance_tele.data.collection import Qrels
from ance_tele.data.ragged import offsets_of, owners, pair_keys, spans
from ance_tele.mining.candidates import CandidateLists, Candidates, concatenate, in_sorted
from ance_tele.search.retriever import PairScores

# Queries filtered at a time: bounds the memory, without effect on the result.
_QUERIES_PER_BLOCK = 64

# Which candidates to drop, given their scores, those of the positives, and the value of the setting; as in
# sentence-transformers' ``mine_hard_negatives``, in the order in which they act.
TOO_NEAR: Mapping[str, Callable[[np.ndarray, np.ndarray, np.float32], np.ndarray]] = {
    "absolute_margin": lambda scores, positive, margin: scores + margin > positive,
    # A factor (1 - margin) would be wrong for negative scores.
    "relative_margin": lambda scores, positive, margin: scores > positive - np.abs(positive) * margin,
    "max_score": lambda scores, positive, highest: scores > highest,
}


def keep_negatives(
    offsets: np.ndarray,
    scores: np.ndarray | None,
    positive_scores: np.ndarray | None,
    known: np.ndarray,
    thresholds: Mapping[str, float],
) -> tuple[np.ndarray, dict[str, int]]:
    """Return which candidates are far enough from the positives to be negatives.

    First :data:`TOO_NEAR` acts, then the first ``range_min`` remaining candidates of each query are dropped. Passages
    known to be relevant are kept: mixing removes them.

    Args:
        offsets: int64 [q + 1]; the candidates of query i, in the order of their list, are
            ``offsets[i]:offsets[i + 1]``.
        scores: Of query and candidate, float32 [n]; None where only ``range_min`` acts.
        positive_scores: Of query and positive, one for each query, float32 [q]; None likewise.
        known: Which candidates are known to be relevant, bool [n].
        thresholds: Those of :attr:`MiningConfig.thresholds`.

    Returns:
        Which candidates are kept, bool [n]; how many each filter dropped, counted for the first that does.
    """
    position = owners(offsets)
    keep, dropped = np.ones(len(position), dtype=bool), {}

    def drop(name: str, near: np.ndarray) -> None:
        near = near & keep & ~known
        keep[near] = False
        dropped[name] = int(near.sum())

    if scores is not None and positive_scores is not None:
        for name, too_near in TOO_NEAR.items():
            if name in thresholds:
                drop(name, too_near(scores, positive_scores[position], np.float32(thresholds[name])))
    if "range_min" in thresholds:
        left = offsets_of(keep & ~known)
        drop("range_min", left[1:] - left[offsets[:-1]][position] <= thresholds["range_min"])
    return keep, dropped


def without_false_negatives(
    found: Candidates, positives: Qrels, known: Qrels, thresholds: Mapping[str, float], score: PairScores | None
) -> tuple[Candidates, dict[str, dict[str, int]]]:
    """Drop candidates that score close to the positives of their query; see :func:`keep_negatives`.

    For all sources, scores of query and passage are compared with the lowest of query and positives. The others keep
    rank and score. ``range_min`` does not apply to random lists.

    Args:
        found: By source, one list per query of ``positives``.
        positives: Relevant passages, at least one for every query.
        known: All passages that will not be drawn, of the same queries.
        thresholds: Those of :attr:`MiningConfig.thresholds`.
        score: Called once for all distinct pairs; None where only ``range_min`` acts.

    Returns:
        The candidates; and the number of dropped ones by filter and source.
    """
    parts: dict[str, list[CandidateLists]] = {source: [] for source in found.lists}
    dropped = {name: dict.fromkeys(found.lists, 0) for name in thresholds}
    rows = [lists.passages for lists in found.lists.values()] + [positives.passages, known.passages]
    width = 1 + max(int(one.max(initial=0)) for one in rows)
    with progress("filtering candidates", len(positives), "queries") as advance:
        for start, stop in spans(len(positives), _QUERIES_PER_BLOCK):
            blocks = {source: lists.block(start, stop) for source, lists in found.lists.items()}
            pairs = {source: pair_keys(block.offsets, block.passages, width) for source, block in blocks.items()}
            relevant, excluded = (
                pair_keys(qrels.offsets[start : stop + 1], qrels.passages, width) for qrels in (positives, known)
            )
            excluded.sort()
            distinct = np.unique(np.concatenate([*pairs.values(), relevant]))
            scores = lowest = None
            if score is not None:
                scores = score(start + distinct // width, distinct % width)
                first = positives.offsets[start:stop] - positives.offsets[start]
                lowest = np.minimum.reduceat(scores[np.searchsorted(distinct, relevant)], first)
            for source, block in blocks.items():
                own = None if scores is None else scores[np.searchsorted(distinct, pairs[source])]
                is_known = in_sorted(pairs[source], excluded)
                acting = {name: at for name, at in thresholds.items() if (name, source) != ("range_min", "random")}
                keep, counts = keep_negatives(block.offsets, own, lowest, is_known, acting)
                parts[source].append(block.where(keep))
                for name, count in counts.items():
                    dropped[name][source] += count
            advance(stop - start)
    return Candidates(found.queries, {source: concatenate(part) for source, part in parts.items()}), dropped
