"""Cases as in the paper's Table 10: a query whose negatives went and came back, with texts and ranks by round."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ance_tele.analysis.lookup import rows_of_query
from ance_tele.analysis.rounds import Rounds
from ance_tele.data.answers import words
from ance_tele.data.collection import Collection

CLASSES = ("A", "B")
# Shorter words are mostly those that every text has.
SHORTEST_WORD = 4


def start_of(rounds: int) -> int | None:
    """Return the round at which class A stands before it leaves; None where too few rounds follow.

    Class A is in at round s, out at s + 1, back at s + 2; class B the same one round later. The paper has s = 2
    (its first round is BM25's); with fewer rounds than that takes, s = 1.
    """
    return 2 if rounds >= 5 else 1 if rounds >= 3 else None


def swinging(ranks: Mapping[str, Sequence[int | None]], start: int) -> dict[str, list[str]]:
    """Sort passages that went and came back into the classes A and B, best average rank first.

    Args:
        ranks: Rank of each passage by round, None where it is not in the list.
        start: s, counted from 1.
    """
    found: dict[str, list[tuple[float, str]]] = {name: [] for name in CLASSES}
    for passage, by_round in ranks.items():
        for shift, name in enumerate(CLASSES):
            seen = by_round[start - 1 + shift : start + 2 + shift]
            if len(seen) == 3 and seen[0] is not None and seen[1] is None and seen[2] is not None:
                found[name].append(((seen[0] + seen[2]) / 2, passage))
    return {name: [passage for _, passage in sorted(members)] for name, members in found.items()}


def ranks_by_round(rounds: Rounds, places: Sequence[int]) -> dict[int, dict[str, list[int | None]]]:
    """Return the rank of every passage that any round mined for some queries, by place, passage and round."""
    found: dict[int, dict[str, list[int | None]]] = {place: {} for place in places}
    order = rounds.order
    for place in places:
        for number, one in enumerate(rounds.rounds):
            table = rows_of_query(one.lists, order.ids[place].as_py(), order.position, ["passage_id", "rank"])
            for passage, rank in zip(table["passage_id"].to_pylist(), table["rank"].to_pylist(), strict=True):
                found[place].setdefault(passage, [None] * len(rounds.rounds))[number] = rank
    return found


def choose(swings: np.ndarray, lost: np.ndarray, count: int) -> list[int]:
    """Choose the queries of the cases: most swinging negatives, then most forgotten; places, best first."""
    order = np.lexsort((np.arange(len(swings)), -lost, -swings))
    return [int(place) for place in order[:count] if swings[place]]


def case(
    place: int,
    rounds: Rounds,
    ranks: Mapping[str, list[int | None]],
    positives: Sequence[str],
    mrr: np.ndarray,
    collection: Collection,
    most: int,
) -> dict[str, Any]:
    """Describe one query: its positives, and at most ``most`` negatives of each class, with the words they share."""
    query = rounds.order.ids[place].as_py()
    text = collection.queries[int(collection.queries.rows([query])[0])]["text"]
    asked = {word for word in words(text) if len(word) >= SHORTEST_WORD}
    start = start_of(len(rounds.rounds))
    assert start is not None
    negatives = {passage: seen for passage, seen in ranks.items() if passage not in positives}
    chosen = [(name, passage) for name, members in swinging(negatives, start).items() for passage in members[:most]]

    def passage_of(key: str) -> dict[str, str]:
        return collection.corpus[int(collection.corpus.rows([key])[0])]

    described = []
    for name, key in chosen:
        passage = passage_of(key)
        shared = sorted(asked & set(words(f"{passage['title']} {passage['text']}")))
        by_round = {str(number): rank for number, rank in enumerate(ranks[key], 1)}
        described.append({**passage, "class": name, "ranks": by_round, "words": shared})
    return {
        "query_id": query,
        "query": text,
        "mrr": {str(number): float(value) for number, value in enumerate(mrr)},
        "positives": [passage_of(key) for key in positives],
        "negatives": described,
    }
