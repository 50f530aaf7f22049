"""One training query: its positives, and its negatives through the rounds of mining."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ance_tele.analysis.lookup import pools_of, positives_of, ranks_of
from ance_tele.console.errors import UserError
from ance_tele.data.reasons import current_reasons
from ance_tele.explorer.asking import shortened
from ance_tele.explorer.training import Training
from ance_tele.store.tables import read_parquet

ENTERED, LEFT, BACK = "entered", "left", "back"


class UnknownError(UserError):
    """An id that the run does not hold."""


def marks(ranks: Sequence[int | None]) -> list[str]:
    """Return what a passage did in each round: it entered, left, came back, or (empty) neither.

    Args:
        ranks: Its rank in the list of each round; None where it is not in it. Nothing enters in the first round.

    >>> marks([None, 3, None, None, 8])
    ['', 'entered', 'left', '', 'back']
    """
    found, met = [], bool(ranks) and ranks[0] is not None
    for before, rank in zip([*ranks[:1], *ranks], ranks, strict=False):
        changed = (rank is None) != (before is None)
        found.append("" if not changed else LEFT if rank is None else BACK if met else ENTERED)
        met = met or rank is not None
    return found


def case(training: Training, query: str) -> dict[str, Any]:
    """Return all there is to know of one training query.

    Returns:
        What :meth:`Training.row` holds; ``positives`` and ``negatives``, each with id, title, text, ranks and marks by
        round. Negatives also have ``best`` (rank; None for one that no list of the query held), ``sources`` (by which
        they came into which episodes' pools), ``reasons`` and ``suspicion`` where they are suspect. Best ranks first.

    Raises:
        UnknownError: The run has no such training query.
    """
    rounds = training.rounds
    position = rounds.order.position(query)
    if position < 0:
        raise UnknownError(f"This run has no training query '{query[:80]}'; choose one of the list.")
    ranks, sources, positives = ranks_of(rounds, query), pools_of(rounds, query), positives_of(rounds, query)
    suspects = _suspects(training.suspects_path, query)
    nowhere: list[int | None] = [None] * len(rounds.rounds)
    negatives = dict.fromkeys(passage for passage in (*ranks, *sources) if passage not in positives)
    best = {
        passage: min((rank for rank in ranks.get(passage, nowhere) if rank is not None), default=None)
        for passage in negatives
    }
    order = sorted(negatives, key=lambda passage: (best[passage] is None, best[passage], passage))
    texts = _texts(training, [*positives, *order])

    def shown(passage: str) -> dict[str, Any]:
        by_round = ranks.get(passage, nowhere)
        return {**texts[passage], "ranks": by_round, "marks": marks(by_round)}

    return {
        **training.row(position),
        "positives": [shown(passage) for passage in positives],
        "negatives": [
            {
                **shown(passage),
                "best": best[passage],
                "sources": [{"source": name, "episodes": held} for name, held in sources.get(passage, {}).items()],
                **suspects.get(passage, {"reasons": [], "suspicion": None}),
            }
            for passage in order
        ],
    }


def _suspects(path: Path, query: str) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    table = read_parquet(path, columns=["passage_id", "reasons", "score"], filters=[("query_id", "==", query)])
    return {
        row["passage_id"]: {"reasons": current_reasons(row["reasons"]).split(","), "suspicion": row["score"]}
        for row in table.to_pylist()
    }


def _texts(training: Training, passages: Sequence[str]) -> dict[str, dict[str, str]]:
    corpus = training.collection.corpus
    found = corpus.table.take(corpus.rows(passages)).to_pylist() if passages else []
    return {row["id"]: {"id": row["id"], "title": row["title"], "text": shortened(row["text"])} for row in found}
