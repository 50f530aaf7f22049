"""Filters of candidates that may be relevant: they hold an answer string, or score too near to the positive."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ance_tele.console.progress import progress
from ance_tele.data.answer_lists import Answers
from ance_tele.data.answers import match_answers
from ance_tele.data.collection import Qrels, Texts
from ance_tele.mining.candidates import Candidates, Lists, concatenate, member

# Scores pairs of queries ``start:stop`` and passages: offsets int64 [queries + 1], rows int64 [n] -> float32 [n].
Score = Callable[[int, int, np.ndarray, np.ndarray], np.ndarray]

# Queries filtered at a time: bounds the memory. The result does not depend on it.
_QUERIES_PER_BLOCK = 64


def answer_bearing(lists: Lists, queries: np.ndarray, answers: Answers, corpus: Texts) -> np.ndarray:
    """Return which candidates hold an answer of their query in their text, bool [candidates].

    Args:
        lists: One list per query.
        queries: Rows of the queries, int64 [q].
        answers: A query that has none matches nothing.
        corpus: The passages.
    """
    strings = [answers.of(query) for query in queries.tolist()]
    return match_answers(lists.offsets, lists.passages, strings, corpus)


def without_answers(lists: Lists, queries: np.ndarray, answers: Answers, corpus: Texts) -> tuple[Lists, int]:
    """Drop the candidates that hold an answer: in open-domain question answering they are relevant.

    What is left keeps the rank it was mined with.

    Args:
        lists: One list per query.
        queries: Rows of the queries, int64 [q].
        answers: Of the collection.
        corpus: The passages.

    Returns:
        The lists, and how many candidates were dropped.
    """
    keep = ~answer_bearing(lists, queries, answers, corpus)
    return lists.where(keep), len(keep) - int(keep.sum())


def answer_bearing_positives(
    lists: Lists, queries: np.ndarray, answers: Answers, corpus: Texts
) -> tuple[np.ndarray, np.ndarray, int]:
    """Find a positive for queries without a judged one: their best-ranked passage that holds an answer.

    A query none of whose candidates does is left out (Karpukhin et al. 2020, Section 4.2).

    Args:
        lists: One list per query, e.g. of BM25.
        queries: Rows of the queries, int64 [q].
        answers: Of the collection.
        corpus: The passages.

    Returns:
        Rows of the queries for which one was found, int64 [n], in the order of ``queries``; the passage of each,
        int64 [n]; and for how many of the queries none was found.
    """
    found = np.flatnonzero(answer_bearing(lists, queries, answers, corpus))
    owner = np.repeat(np.arange(len(lists)), np.diff(lists.offsets))[found]
    order = np.lexsort((lists.ranks[found], owner))
    places, first = np.unique(owner[order], return_index=True)
    return queries[places], lists.passages[found[order][first]].astype(np.int64), len(queries) - len(places)


def keep_negatives(
    offsets: np.ndarray,
    scores: np.ndarray | None,
    positive_scores: np.ndarray | None,
    known: np.ndarray,
    filters: Mapping[str, float],
) -> tuple[np.ndarray, dict[str, int]]:
    """Say which candidates are far enough from the positives to be negatives.

    As sentence-transformers' ``mine_hard_negatives``: what scores above ``positive - absolute_margin``, above
    ``positive - abs(positive) * relative_margin`` or above ``max_score`` is dropped, and then the first ``range_min``
    of what is left of each query's list. The passages known to be relevant are left alone: mixing takes them out.

    Args:
        offsets: int64 [q + 1]; the candidates of query i, in the order of their list, are
            ``offsets[i]:offsets[i + 1]``.
        scores: Of query and candidate, float32 [n]; None where only ``range_min`` acts.
        positive_scores: Of query and positive, one for each query, float32 [q]; None likewise.
        known: Which candidates are known to be relevant, bool [n].
        filters: Those of :attr:`MiningConfig.filters`.

    Returns:
        Which candidates are kept, bool [n]; how many each filter dropped, counted for the first that does.
    """
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    keep, dropped = np.ones(len(owner), dtype=bool), {}

    def drop(name: str, near: np.ndarray) -> None:
        near = near & keep & ~known
        keep[near] = False
        dropped[name] = int(near.sum())

    if scores is not None and positive_scores is not None:
        if "absolute_margin" in filters:
            drop("absolute_margin", scores + np.float32(filters["absolute_margin"]) > positive_scores[owner])
        if "relative_margin" in filters:
            # Times (1 - margin) would raise the bar where the positive's score is below zero.
            bar = positive_scores - np.abs(positive_scores) * np.float32(filters["relative_margin"])
            drop("relative_margin", scores > bar[owner])
        if "max_score" in filters:
            drop("max_score", scores > np.float32(filters["max_score"]))
    if "range_min" in filters:
        place = np.cumsum(keep & ~known)
        before = np.concatenate([[0], place])[offsets[:-1]]
        drop("range_min", place - before[owner] <= filters["range_min"])
    return keep, dropped


def without_false_negatives(
    found: Candidates, positives: Qrels, known: Qrels, filters: Mapping[str, float], score: Score | None
) -> tuple[Candidates, dict[str, dict[str, int]]]:
    """Drop the candidates that are too near to the positives of their query; see :func:`keep_negatives`.

    Whatever the source, it is the score of query and passage that decides, against the lowest of query and
    positives. What is left keeps rank and score of its list. A random list has no best places to skip.

    Args:
        found: By source, one list per query of ``positives``.
        positives: Relevant passages, at least one for every query.
        known: All passages that will not be drawn, of the same queries.
        filters: Those of :attr:`MiningConfig.filters`.
        score: Gets every distinct pair once; None where only ``range_min`` acts.

    Returns:
        The candidates; and by filter and source how many were dropped.
    """
    parts: dict[str, list[Lists]] = {source: [] for source in found.lists}
    dropped = {name: dict.fromkeys(found.lists, 0) for name in filters}
    with progress("filtering candidates", len(positives), "queries") as advance:
        for start in range(0, len(positives), _QUERIES_PER_BLOCK):
            stop = min(start + _QUERIES_PER_BLOCK, len(positives))
            blocks = {source: lists.block(start, stop) for source, lists in found.lists.items()}
            pairs = _Pairs(start, stop, [*blocks.values(), positives, known], score)
            lowest = pairs.lowest(positives)
            for source, block in blocks.items():
                acting = {name: value for name, value in filters.items() if (name, source) != ("range_min", "random")}
                keep, counts = keep_negatives(
                    block.offsets, pairs.scores(block), lowest, pairs.among(block, known), acting
                )
                parts[source].append(block.where(keep))
                for name, count in counts.items():
                    dropped[name][source] += count
            advance(stop - start)
    return Candidates(found.queries, {source: concatenate(part) for source, part in parts.items()}), dropped


class _Pairs:
    """The distinct pairs of the queries ``start:stop`` and passages, ascending, with their scores."""

    def __init__(self, start: int, stop: int, members: list[Any], score: Score | None) -> None:
        self.start, self.stop = start, stop
        self.width = 1 + max(int(one.passages.max(initial=0)) for one in members)
        self.held: np.ndarray | None = None
        if score is not None:
            self.pairs = np.unique(np.concatenate([self.of(one) for one in members[:-1]]))
            offsets = np.searchsorted(self.pairs, np.arange(stop - start + 1) * self.width)
            self.held = score(start, stop, offsets, self.pairs % self.width)

    def of(self, one: Lists | Qrels) -> np.ndarray:
        """Number the pairs of a block of lists, or of these queries' judgements, int64."""
        offsets = one.offsets if isinstance(one, Lists) else one.offsets[self.start : self.stop + 1]
        owner = np.repeat(np.arange(self.stop - self.start, dtype=np.int64), np.diff(offsets))
        part = slice(None) if isinstance(one, Lists) else slice(offsets[0], offsets[-1])
        return owner * self.width + one.passages[part]

    def scores(self, one: Lists | Qrels) -> np.ndarray | None:
        """Return the scores of pairs, float32; None where nothing was scored."""
        return None if self.held is None else self.held[np.searchsorted(self.pairs, self.of(one))]

    def lowest(self, positives: Qrels) -> np.ndarray | None:
        """Return the lowest score that a positive of each query has, float32."""
        scores, offsets = self.scores(positives), positives.offsets[self.start : self.stop]
        return None if scores is None else np.minimum.reduceat(scores, offsets - offsets[0])

    def among(self, block: Lists, known: Qrels) -> np.ndarray:
        """Return which candidates are known to be relevant, bool."""
        return member(self.of(block), np.sort(self.of(known)))
