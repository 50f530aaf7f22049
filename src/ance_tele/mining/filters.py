"""Filters of candidates that may be relevant: by text, by answer, user-defined, by score."""

from typing import Any

import numpy as np

from ance_tele.console.errors import UserError
from ance_tele.data.annotations import Answers
from ance_tele.data.answers import match_answers
from ance_tele.data.collection import Texts
from ance_tele.mining.candidates import CandidateLists, Candidates
from ance_tele.mining.context import MiningContext
from ance_tele.mining.margins import without_false_negatives
from ance_tele.mining.never import same_text
from ance_tele.mining.plugins import Filter, resolve_filter
from ance_tele.store.plugins import failing_as, plain_name

# How many candidates were dropped, by filter and source.
Dropped = dict[str, dict[str, int]]


def filter_candidates(context: MiningContext, candidates: Candidates) -> tuple[Candidates, Dropped]:
    """Drop the candidates that are probably relevant.

    Filters act in this order: text of a relevant passage or of the query, answer string (``filter_answers``),
    user-defined (``filters``), score and rank (``thresholds``). A candidate counts for the first that drops it; the
    others keep rank and score.

    Args:
        context: Of the episode.
        candidates: Of its sources.

    Returns:
        The candidates; and how many each filter dropped, by filter and source.

    Raises:
        UserError: There is no such filter, or it does not return one boolean per candidate.

    Example:
        The query's positive, row 0, scores 0.9; row 1 scores 0.88, less than 5% below it:

        >>> import ance_tele as at
        >>> qrels = {"train": {"q1": {"a": 1}}}
        >>> collection = at.collection_from_dicts({name: f"passage {name}" for name in "abc"}, {"q1": "first"}, qrels)
        >>> scores, config = np.array([0.9, 0.88, 0.4], dtype=np.float32), at.MiningConfig(relative_margin=0.05)
        >>> positives = collection.split("train").relevant()
        >>> context = at.MiningContext(collection, positives, config, score=lambda positions, rows: scores[rows])
        >>> found = at.Candidates(context.queries, {"query": at.CandidateLists.of([[0, 1, 2]])})
        >>> kept, dropped = filter_candidates(context, found)
        >>> kept.lists["query"][0].tolist(), dropped
        ([0, 2], {'relative_margin': {'query': 1}})
    """
    config, dropped = context.config, Dropped()
    for name, keeps in _filters(context).items():
        kept = {source: checked(name, keeps(context, source, one), one) for source, one in candidates.lists.items()}
        dropped[name] = {source: len(keep) - int(keep.sum()) for source, keep in kept.items()}
        lists = {
            source: one.where(kept[source]) if dropped[name][source] else one
            for source, one in candidates.lists.items()
        }
        candidates = Candidates(candidates.queries, lists)
    if config.thresholds:
        score = context.score if config.needs_scores else None
        candidates, counts = without_false_negatives(
            candidates, context.positives, context.known, config.thresholds, score
        )
        dropped |= counts
    return candidates, dropped


def _filters(context: MiningContext) -> dict[str, Filter]:
    """Return the active filters other than those by score and rank, in the order in which they act."""
    filters: dict[str, Filter] = {}
    if context.excluded.by_text:
        filters["same_text"] = without_same_text
    if context.config.filter_answers:
        filters["answer_bearing"] = without_answer
    return filters | {plain_name(name): _of_user(name) for name in context.config.filters}


def _of_user(name: str) -> Filter:
    keeps = resolve_filter(name)

    def reported(context: MiningContext, source: str, lists: CandidateLists) -> np.ndarray:
        with failing_as("filter", name):
            return keeps(context, source, lists)

    return reported


def without_same_text(context: MiningContext, source: str, lists: CandidateLists) -> np.ndarray:
    """Drop duplicates of relevant passages and of the query, bool [n]; judged passages are removed by mixing."""
    return ~same_text(lists, context.known, context.excluded)


def without_answer(context: MiningContext, source: str, lists: CandidateLists) -> np.ndarray:
    """Drop passages with an answer of their query, bool [n], which count as relevant in open-domain QA."""
    collection = context.collection
    return ~answer_bearing(lists, context.queries, collection.answers, collection.corpus)


def checked(name: str, keep: np.ndarray, lists: CandidateLists) -> np.ndarray:
    """Return the mask of a filter, bool [n].

    Raises:
        UserError: It is no such mask; names the filter.
    """
    count = len(lists.passages)
    if not isinstance(keep, np.ndarray) or keep.dtype != bool or keep.shape != (count,):
        got = f"{keep.dtype} {list(keep.shape)}" if isinstance(keep, np.ndarray) else type(keep).__name__
        raise UserError(
            f"The filter '{name}' returned {got}; it must return bool [{count}]: for each candidate whether it is kept."
        )
    return keep


def mined_facts(candidates: Candidates, dropped: Dropped) -> dict[str, Any]:
    """Return counts for the manifest: candidates by source, dropped ones by filter and source."""
    own = ("same_text", "answer_bearing")
    facts: dict[str, Any] = {source: len(lists.passages) for source, lists in candidates.lists.items()}
    facts |= {name: dropped[name] for name in own if name in dropped}
    others = {name: counts for name, counts in dropped.items() if name not in own}
    return {**facts, "filtered": others} if others else facts


# ---- answers -------------------------------------------------------------------------------------


def answer_bearing(lists: CandidateLists, queries: np.ndarray, answers: Answers, corpus: Texts) -> np.ndarray:
    """Return which candidates contain an answer of their query, bool [candidates].

    Queries are given by row, int64 [q], with one list each; queries without answers match nothing.
    """
    strings = [answers.of(query) for query in queries.tolist()]
    return match_answers(lists.offsets, lists.passages, strings, corpus)


def answer_bearing_positives(
    lists: CandidateLists, queries: np.ndarray, answers: Answers, corpus: Texts
) -> tuple[np.ndarray, np.ndarray, int]:
    """Find a positive for queries without a judged one: their best-ranked passage that holds an answer.

    Queries without such a passage are left out (Karpukhin et al. 2020, Section 4.2).

    Returns:
        Rows of the other queries, int64 [n], in the order of ``queries``; the passage of each, int64 [n]; and the
        number of queries left out.
    """
    found = np.flatnonzero(answer_bearing(lists, queries, answers, corpus))
    position = lists.query_positions[found]
    order = np.lexsort((lists.ranks[found], position))
    positions, first = np.unique(position[order], return_index=True)
    return queries[positions], lists.passages[found[order][first]].astype(np.int64), len(queries) - len(positions)
