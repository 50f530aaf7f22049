"""Answer strings in mining: passages that hold one are no negatives, and may be the positive that was never judged."""

import numpy as np

from ance_tele.data.answers import match_answers
from ance_tele.data.collection import Answers, Texts
from ance_tele.mining.candidates import Lists


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
    offsets = np.concatenate([[0], np.cumsum(keep)])[lists.offsets]
    left = Lists(offsets, lists.passages[keep], lists.scores[keep], lists.ranks[keep])
    return left, len(keep) - int(keep.sum())


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
