"""The mining context: the argument of sources and filters."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ance_tele.data.collection import Collection, Qrels
from ance_tele.mining.candidates import CandidateLists
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.never import NeverNegative
from ance_tele.search.retriever import PairScores


def _missing(*_: Any) -> Any:
    raise ValueError(
        "A source or filter asks this MiningContext for what it was not given; make it with search_queries, "
        "search_passages, bm25 and score, as far as they are needed."
    )


@dataclass(frozen=True)
class MiningContext:
    """The training queries of an episode, their positives, and searches; sources and filters are functions of it.

    Attributes:
        collection: Corpus and queries, with texts and ids; also the negatives that its files give.
        positives: Relevant passages of the training queries; ``positives.queries`` are the queries' rows, int64 [q],
            ascending. A query's position, 0 to q - 1, is its place among these.
        config: The settings of mining.
        episode: Counted from 1.
        seed: Of the run.
        named: Passages of these queries that judgements or a review exclude from negatives; None means the positives.
        never: All passages that are never negatives of these queries, by text too; None means ``named``.
        search_queries: Returns the ``config.depth`` nearest passages of every training query under the mining model.
        search_passages: Gets rows of the corpus, int64 [n], ascending; returns the nearest passages of each.
        bm25: Returns the best passages of every training query by BM25.
        score: Gets positions of training queries, int64 [n], ascending, and rows of the corpus, int64 [n]; returns the
            score of each pair, float32 [n], by the mining model or by a cross-encoder.

    Raises:
        ValueError: A source or filter asks for a search or for scores that it was not given.

    Example:
        A source is tried without a run:

        >>> import ance_tele as at
        >>> corpus, qrels = {"p1": "first", "p2": "second"}, {"train": {"q1": {"p2": 1}}}
        >>> collection = at.collection_from_dicts(corpus, {"q1": "which is second?"}, qrels)
        >>> context = MiningContext(collection, collection.split("train").relevant())
        >>> context.queries.tolist(), context.positives.passages.tolist()
        ([0], [1])
        >>> def reversed_corpus(context):
        ...     return at.CandidateLists.of([range(len(context.collection.corpus))[::-1] for query in context.queries])
        >>> reversed_corpus(context)[0].tolist()
        [1, 0]
    """

    collection: Collection
    positives: Qrels
    config: MiningConfig = field(default_factory=MiningConfig)
    episode: int = 1
    seed: int = 42
    named: Qrels | None = field(default=None, repr=False)
    never: NeverNegative | None = field(default=None, repr=False)
    search_queries: Callable[[], CandidateLists] = _missing
    search_passages: Callable[[np.ndarray], CandidateLists] = _missing
    bm25: Callable[[], CandidateLists] = _missing
    score: PairScores = _missing

    @property
    def queries(self) -> np.ndarray:
        """Rows of the training queries among all queries, int64 [q], ascending."""
        return self.positives.queries

    @property
    def known(self) -> Qrels:
        """Passages that judgements or a review exclude from negatives."""
        return self.positives if self.named is None else self.named

    @cached_property
    def excluded(self) -> NeverNegative:
        """All passages that are never negatives of the training queries."""
        return NeverNegative.rows(self.known) if self.never is None else self.never
