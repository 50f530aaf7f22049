"""Cases as in the paper's Table 10: queries with swinging negatives, their texts, and their ranks by round."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ance_tele.analysis.lookup import Ranks, positives_of, ranks_of
from ance_tele.analysis.rounds import Rounds
from ance_tele.data.answers import words
from ance_tele.data.collection import Collection

CLASSES = ("A", "B")
NEGATIVES_PER_CLASS = 3
# Shorter words are mostly those that every text has.
SHORTEST_WORD = 4


def start_of(rounds: int) -> int:
    """Return the round, from 1, in which class A is first in the list; 0 if there are too few rounds.

    Class A is in the list at round s, out at s + 1, back at s + 2; class B the same one round later. The paper has
    s = 2 (its first round is BM25's); with too few rounds for that, s = 1.
    """
    return 2 if rounds >= 5 else 1 if rounds >= 3 else 0


def swinging(ranks: Mapping[str, Sequence[int | None]], start: int) -> dict[str, list[str]]:
    """Return the passages of the classes A and B, best average rank first.

    Args:
        ranks: Rank of each passage by round, None where it is not in the list.
        start: s, from 1.
    """
    found: dict[str, list[tuple[float, str]]] = {name: [] for name in CLASSES}
    for passage, by_round in ranks.items():
        for shift, name in enumerate(CLASSES):
            seen = by_round[start - 1 + shift : start + 2 + shift]
            if len(seen) == 3 and seen[0] is not None and seen[1] is None and seen[2] is not None:
                found[name].append(((seen[0] + seen[2]) / 2, passage))
    return {name: [passage for _, passage in sorted(members)] for name, members in found.items()}


def choose(swings: np.ndarray, lost: np.ndarray, count: int) -> list[int]:
    """Return the positions of the queries for cases: most swinging negatives first, then most forgotten."""
    order = np.lexsort((np.arange(len(swings)), -lost, -swings))
    return [int(position) for position in order[:count] if swings[position]]


def negatives_of(rounds: Rounds, query: str, positives: Sequence[str]) -> Ranks:
    """Return the rank of every negative that any round mined for a training query."""
    return {passage: seen for passage, seen in ranks_of(rounds, query).items() if passage not in positives}


def case(rounds: Rounds, position: int, mrr: np.ndarray, start: int, collection: Collection) -> dict[str, Any]:
    """Describe one query: its positives, and some negatives of each class, with the words they share.

    Args:
        position: Of the query.
        mrr: Its reciprocal rank by checkpoint, float64 [E + 1].
        start: Of :func:`swinging`.
    """
    query = rounds.order.ids[position].as_py()
    text = collection.queries[int(collection.queries.rows([query])[0])]["text"]
    query_words = {word for word in words(text) if len(word) >= SHORTEST_WORD}
    positives = positives_of(rounds, query)
    ranks = negatives_of(rounds, query, positives)

    def passage_of(key: str) -> dict[str, str]:
        return collection.corpus[int(collection.corpus.rows([key])[0])]

    negatives = []
    for name, members in swinging(ranks, start).items():
        for key in members[:NEGATIVES_PER_CLASS]:
            passage = passage_of(key)
            shared = sorted(query_words & set(words(f"{passage['title']} {passage['text']}")))
            by_round = {str(number): rank for number, rank in enumerate(ranks[key], 1)}
            negatives.append({**passage, "class": name, "ranks": by_round, "words": shared})
    return {
        "query_id": query,
        "query": text,
        "mrr": {str(number): float(value) for number, value in enumerate(mrr)},
        "positives": [passage_of(key) for key in positives],
        "negatives": negatives,
    }
