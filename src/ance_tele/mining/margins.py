"""Filters by score and rank: candidates that score too near to the positive, and the best places of a list."""

from collections.abc import Callable, Mapping

import numpy as np

from ance_tele.console.progress import progress
from ance_tele.data.collection import Qrels
from ance_tele.data.ragged import offsets_of, owners, pair_keys, spans
from ance_tele.mining.candidates import CandidateLists, Candidates, concatenate, in_sorted
from ance_tele.search.retriever import PairScores

# Queries filtered at a time: bounds the memory. The result does not depend on it.
_QUERIES_PER_BLOCK = 64

# Which candidates are too near, by the score of each, that of its query's positive, and the setting's value. As
# sentence-transformers' ``mine_hard_negatives``; in the order in which they act.
TOO_NEAR: Mapping[str, Callable[[np.ndarray, np.ndarray, np.float32], np.ndarray]] = {
    "absolute_margin": lambda scores, positive, margin: scores + margin > positive,
    # Times (1 - margin) would raise the bar where the positive's score is below zero.
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

    What :data:`TOO_NEAR` finds is dropped, and then the first ``range_min`` of what is left of each query's list. The
    passages known to be relevant are left alone: mixing takes them out.

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
    """Drop the candidates that are too near to the positives of their query; see :func:`keep_negatives`.

    Whatever the source, it is the score of query and passage that decides, against the lowest of query and
    positives. What is left keeps rank and score of its list. A random list has no best places to skip.

    Args:
        found: By source, one list per query of ``positives``.
        positives: Relevant passages, at least one for every query.
        known: All passages that will not be drawn, of the same queries.
        thresholds: Those of :attr:`MiningConfig.thresholds`.
        score: Gets every distinct pair once; None where only ``range_min`` acts.

    Returns:
        The candidates; and by filter and source how many were dropped.
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
