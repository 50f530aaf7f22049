"""Answer recall: is there a passage with an answer among the best k? (Karpukhin et al. 2020, Table 2.)"""

from collections.abc import Sequence

import numpy as np

from ance_tele.console.errors import UserError
from ance_tele.data.answers import match_answers
from ance_tele.data.collection import Collection, Texts
from ance_tele.data.ragged import offsets_of
from ance_tele.evaluate.config import ANSWER_METRICS
from ance_tele.evaluate.metrics import Scores
from ance_tele.evaluate.run import Run


def answer_ranks(rows: np.ndarray, answers: Sequence[Sequence[str]], corpus: Texts) -> np.ndarray:
    """Return the rank (from 1) of the first passage whose text contains an answer, int64 [queries]; 0 without one.

    ``rows`` of the corpus, int [queries, k], are ranked best first; -1 where fewer were found (``TopK.rows``).
    """
    valid = rows >= 0
    matched = np.zeros(rows.shape, dtype=bool)
    offsets = offsets_of(valid.sum(axis=1))
    matched[valid] = match_answers(offsets, rows[valid], answers, corpus)
    return np.where(matched.any(axis=1), matched.argmax(axis=1) + 1, 0) if matched.size else np.zeros(len(rows), int)


def answer_recall(ranks: np.ndarray, metrics: Sequence[str] = ANSWER_METRICS) -> dict[str, np.ndarray]:
    """Return by metric 1.0 for each query whose first answer is among the best k, else 0.0: float64 [queries].

    ``ranks`` are those of the first answers, from 1, 0 without; metrics are "Answer@k", for any k.
    """
    return {name: ((ranks > 0) & (ranks <= _cutoff(name))).astype(np.float64) for name in metrics}


def _cutoff(metric: str) -> int:
    kind, _, cutoff = metric.partition("@")
    if kind != "Answer" or not cutoff.isdecimal() or not int(cutoff):
        raise UserError(f"'{metric}' is no answer metric; take Answer@k, such as Answer@20.")
    return int(cutoff)


def measure_answers(
    run: Run, collection: Collection, query_ids: Sequence[str] | None = None, metrics: Sequence[str] = ANSWER_METRICS
) -> Scores:
    """Score a run by answer match, over the queries that have answers.

    Titles are not searched. Evaluated are the given queries, with zero for those that the run lacks, or by default
    those of the run; metrics are "Answer@k", for any k.

    Raises:
        UserError: The collection has no answers, or the run holds an id that is not of this collection.
    """
    answers = collection.answers
    if not len(answers):
        raise UserError(f"Collection '{collection.name}' has no answers; {', '.join(metrics)} cannot be measured.")
    ids = list(run.query_ids if query_ids is None else query_ids)
    queries = known_rows(collection.queries, ids, "query", collection.name)
    has = np.isin(queries, answers.queries)
    ids, queries = [name for name, one in zip(ids, has.tolist(), strict=True) if one], queries[has]
    ranked = dict(run.rankings())
    best = [ranked.get(name, [])[: max(map(_cutoff, metrics), default=0)] for name in ids]
    lengths = np.array([len(names) for names in best], dtype=np.int64)
    rows = np.full((len(ids), int(lengths.max(initial=0))), -1, dtype=np.int64)
    rows[np.arange(rows.shape[1]) < lengths[:, None]] = known_rows(
        collection.corpus, [name for names in best for name in names], "passage", collection.name
    )
    ranks = answer_ranks(rows, [answers.of(query) for query in queries.tolist()], collection.corpus)
    return Scores(ids, answer_recall(ranks, metrics), int((lengths == 0).sum()))


def known_rows(texts: Texts, ids: Sequence[str], what: str, collection: str) -> np.ndarray:
    """Return the row of each id of a run, int64; refuse unknown ones."""
    rows = texts.rows(ids)
    unknown = np.flatnonzero(rows < 0)
    if len(unknown):
        raise UserError(
            f"The run holds the {what} '{ids[unknown[0]]}' and {len(unknown) - 1:,} more that collection "
            f"'{collection}' lacks; give the collection that the run was made on."
        )
    return rows
