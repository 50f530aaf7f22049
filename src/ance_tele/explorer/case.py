"""One training query: its positives, and its negatives through the rounds of mining."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ance_tele.analysis.lookup import rows_of_query
from ance_tele.console.errors import UserError
from ance_tele.explorer.asking import shortened
from ance_tele.explorer.training import Training

ENTERED, LEFT, BACK = "entered", "left", "back"


class UnknownError(UserError):
    """An id that the run does not hold."""


def marks(ranks: Sequence[int | None]) -> list[str]:
    """Say what became of a passage in each round: it entered, left, came back, or (empty) nothing changed.

    Args:
        ranks: Its rank in the list of each round; None where it is not in it. Nothing enters in the first round.
    """
    said, met = [], False
    for number, rank in enumerate(ranks):
        inside, before = rank is not None, number > 0 and ranks[number - 1] is not None
        if number == 0 or inside == before:
            said.append("")
        else:
            said.append(LEFT if not inside else BACK if met else ENTERED)
        met = met or inside
    return said


def case(training: Training, query: str) -> dict[str, Any]:
    """Return all there is to know of one training query.

    Returns:
        What :meth:`Training.row` says of it; ``positives`` and ``negatives``, each with id, title, text, ranks and
        marks by round. Negatives also have ``best`` (rank; None for one that no list of the query held), ``sources``
        (under which they stood in which episodes' pools), ``reasons`` and ``suspicion`` where they are suspect. Best
        ranks first.

    Raises:
        UnknownError: The run has no such training query.
    """
    place = training.position(query)
    if place < 0:
        raise UnknownError(f"This run has no training query '{query[:80]}'; choose one of the list.")
    ranks: dict[str, list[int | None]] = {}
    for number, one in enumerate(training.rounds):
        table = rows_of_query(one.lists, query, training.position, ["passage_id", "rank"])
        for passage, rank in zip(table["passage_id"].to_pylist(), table["rank"].to_pylist(), strict=True):
            ranks.setdefault(passage, [None] * len(training.rounds))[number] = rank
    sources = _sources(training, query)
    nowhere: list[int | None] = [None] * len(training.rounds)
    relevant = rows_of_query(training.run / "positives.parquet", query, training.position, ["passage_id"])
    positives = relevant["passage_id"].to_pylist()
    suspects = _suspects(training.suspects_path, query)
    negatives = {passage: ranks.get(passage, nowhere) for passage in [*ranks, *sources]}
    for passage in positives:
        negatives.pop(passage, None)
    best = {
        passage: min((rank for rank in row if rank is not None), default=None) for passage, row in negatives.items()
    }
    order = sorted(negatives, key=lambda passage: (best[passage] is None, best[passage], passage))
    texts = _texts(training, [*positives, *order])
    return {
        **training.row(place),
        "positives": [
            {**texts[passage], "ranks": ranks.get(passage, nowhere), "marks": marks(ranks.get(passage, nowhere))}
            for passage in positives
        ],
        "negatives": [
            {
                **texts[passage],
                "ranks": negatives[passage],
                "marks": marks(negatives[passage]),
                "best": best[passage],
                "sources": [{"source": name, "episodes": held} for name, held in sources.get(passage, {}).items()],
                **suspects.get(passage, {"reasons": [], "suspicion": None}),
            }
            for passage in order
        ],
    }


def _sources(training: Training, query: str) -> dict[str, dict[str, list[int]]]:
    """Return in which episodes' pools each passage stood, by source."""
    found: dict[str, dict[str, list[int]]] = {}
    for one in training.rounds:
        episode, path = one.number, one.pool
        if path is None:  # the last round was mined, and not trained with
            continue
        table = rows_of_query(path, query, training.position, ["passage_id", "source"])
        for passage, source in zip(table["passage_id"].to_pylist(), table["source"].to_pylist(), strict=True):
            episodes = found.setdefault(passage, {}).setdefault(source, [])
            if episode not in episodes:  # a pool may hold a passage several times
                episodes.append(episode)
    return found


def _suspects(path: Path, query: str) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    table = pq.read_table(path, columns=["passage_id", "reasons", "score"], filters=[("query_id", "==", query)])
    return {
        row["passage_id"]: {"reasons": row["reasons"].split(","), "suspicion": row["score"]}
        for row in table.to_pylist()
    }


def _texts(training: Training, passages: Sequence[str]) -> dict[str, dict[str, str]]:
    corpus = training.collection.corpus
    found = corpus.table.take(corpus.rows(passages)).to_pylist() if passages else []
    return {row["id"]: {"id": row["id"], "title": row["title"], "text": shortened(row["text"])} for row in found}
