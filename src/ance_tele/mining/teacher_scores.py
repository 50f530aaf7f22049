"""A teacher's scores of the positives and pool negatives of training queries."""

from dataclasses import dataclass, replace

import numpy as np

from ance_tele.data.collection import Qrels
from ance_tele.data.ragged import offsets_of, owners, pair_keys, ranges
from ance_tele.mining.candidates import CandidateLists, Candidates, in_sorted
from ance_tele.mining.never import NeverNegative
from ance_tele.mining.pool import Pool

COLUMNS: dict[str, type] = {"passages": np.int32, "scores": np.float32}


@dataclass(frozen=True)
class TeacherScores:
    """Each distinct pair of a training query and a passage, with its score (ragged).

    Attributes:
        queries: Rows of the training queries, int64 [q].
        offsets: int64 [q + 1]; the passages of query i are ``offsets[i]:offsets[i + 1]``.
        passages: Rows of the corpus, int32 [n], ascending within a query.
        scores: Logits, float32 [n]; NaN where there is none yet.

    Example:
        >>> scores = TeacherScores(np.array([4]), np.array([0, 3]), np.array([2, 5, 9]), np.array([0.5, -1.0, 3.0]))
        >>> scores.of(0, np.array([9, 2, 9])).tolist()
        [3.0, 0.5, 3.0]
    """

    queries: np.ndarray
    offsets: np.ndarray
    passages: np.ndarray
    scores: np.ndarray

    @classmethod
    def unscored(cls, queries: np.ndarray, *lists: "Qrels | Pool | CandidateLists") -> "TeacherScores":
        """Return all pairs that lists of the same queries, rows, int64 [q], hold: each once, without a score."""
        width = 1 + max(int(of.passages.max(initial=0)) for of in lists)
        keys = [pair_keys(of.offsets, of.passages.astype(np.int64), width) for of in lists]
        pairs = np.unique(np.concatenate(keys))
        offsets = np.searchsorted(pairs, np.arange(len(queries) + 1) * width)
        unknown = np.full(len(pairs), np.nan, np.float32)
        return cls(queries, offsets, (pairs % width).astype(np.int32), unknown)

    @property
    def positions(self) -> np.ndarray:
        """Position of each pair's query, int64 [n], ascending."""
        return owners(self.offsets)

    def of(self, position: int, passages: np.ndarray) -> np.ndarray:
        """Return the scores of passages, rows that it has, with the query at a position: float32 [passages]."""
        part = slice(self.offsets[position], self.offsets[position + 1])
        return self.scores[part][np.searchsorted(self.passages[part], passages)]

    def at(self, positions: np.ndarray) -> "TeacherScores":
        """Return the pairs of the queries at some positions, int64, ascending."""
        sizes = np.diff(self.offsets)[positions]
        place = ranges(self.offsets[positions], sizes)
        return TeacherScores(self.queries[positions], offsets_of(sizes), self.passages[place], self.scores[place])

    def filled(self, known: "TeacherScores") -> "TeacherScores":
        """Return these pairs with the scores that ``known``, of the same queries, has of some of them."""
        width = 1 + max(int(self.passages.max(initial=0)), int(known.passages.max(initial=0)))
        ours, theirs = (pair_keys(of.offsets, of.passages.astype(np.int64), width) for of in (self, known))
        found = np.flatnonzero(in_sorted(ours, theirs))
        scores = self.scores.copy()
        scores[found] = known.scores[np.searchsorted(theirs, ours[found])]
        return replace(self, scores=scores)

    @property
    def probabilities(self) -> np.ndarray:
        """How probably each passage is relevant by its logit, float32 [n]."""
        return (0.5 * (1 + np.tanh(0.5 * self.scores))).astype(np.float32)  # the sigmoid, which overflows as exp does

    def positive_first(self, positives: Qrels) -> float:
        """Return the share of the queries with a positive that scores above all other passages; 0 without queries.

        Example:
            >>> scores = TeacherScores(np.array([4]), np.array([0, 2]), np.array([2, 5]), np.array([0.5, -1.0]))
            >>> scores.positive_first(Qrels(np.array([4]), np.array([0, 1]), np.array([2]), np.array([1])))
            1.0
        """
        if not len(self.scores):
            return 0.0
        width = 1 + int(self.passages.max())
        ours = pair_keys(self.offsets, self.passages.astype(np.int64), width)
        known = positives.passages < width
        theirs = owners(positives.offsets)[known] * width + positives.passages[known]
        relevant = in_sorted(ours, np.sort(theirs))
        best = np.maximum.reduceat(np.where(relevant, self.scores, -np.inf), self.offsets[:-1])
        others = np.maximum.reduceat(np.where(relevant, -np.inf, self.scores), self.offsets[:-1])
        return float((best > others).mean())


def without_relevant(
    candidates: Candidates, scored: TeacherScores, most: float, known: NeverNegative
) -> tuple[Candidates, dict[str, int]]:
    """Drop the candidates that a teacher finds relevant with more than a probability, as RocketQA does.

    Every one of them has been scored, so none is ever drawn that the teacher has not seen. What is known to be relevant
    is kept: mixing removes it.

    Args:
        candidates: By source.
        scored: Of all candidates.
        most: The probability.
        known: Passages that are known to be relevant.

    Returns:
        The candidates; and how many were dropped, by source.
    """
    lists, dropped = {}, {}
    judged = replace(scored, scores=scored.probabilities)
    for source, one in candidates.lists.items():
        owner = one.query_positions
        parts = [judged.of(query, one[query]) for query in range(len(one))]
        keep = (np.concatenate([*parts, np.empty(0)]) <= most) | known.among(owner, one.passages.astype(np.int64))
        lists[source], dropped[source] = one.where(keep), int((~keep).sum())
    return Candidates(candidates.queries, lists), dropped


def confident_pairs(scored: TeacherScores, least: float, never: NeverNegative) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs that a teacher finds relevant with at least a probability, and that nobody has judged.

    Args:
        scored: Of all candidates.
        least: The probability.
        never: Passages that are relevant, their copies, and the query's own text: they are left out.

    Returns:
        Rows of queries, int64 [n]; rows of passages, int64 [n].
    """
    found = np.flatnonzero(scored.probabilities >= least)
    positions, passages = scored.positions[found], scored.passages[found].astype(np.int64)
    new = ~never.among(positions, passages)
    return scored.queries[positions[new]], passages[new]
