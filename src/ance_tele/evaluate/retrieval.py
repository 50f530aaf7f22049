"""From search results to a run, and to its metrics by query."""

from collections.abc import Sequence

import numpy as np

from ance_tele.data.collection import Collection, Qrels
from ance_tele.evaluate.answers import measure_answers
from ance_tele.evaluate.config import ANSWER_METRICS, METRICS
from ance_tele.evaluate.metrics import Scores, measure
from ance_tele.evaluate.run import Run
from ance_tele.search.topk import TopK


def run_of(found: TopK, queries: np.ndarray, collection: Collection) -> Run:
    """Return the run of search results for queries, given by row."""
    query_ids = collection.queries.take_ids(queries).to_pylist()
    ids, scores = [], []
    for rows, values in zip(found.rows, found.scores, strict=True):
        valid = rows >= 0
        ids.append(collection.corpus.take_ids(rows[valid]).to_pylist())
        scores.append(values[valid])
    return Run(query_ids, ids, scores)


def qrels_dict(qrels: Qrels, collection: Collection) -> dict[str, dict[str, int]]:
    """Return judgements as ``{query id: {passage id: grade}}``; queries without any are left out."""
    query_ids = collection.queries.take_ids(qrels.queries).to_pylist()
    passage_ids = collection.corpus.take_ids(qrels.passages).to_pylist()
    grades, offsets = qrels.grades.tolist(), qrels.offsets
    return {
        query: dict(zip(passage_ids[offsets[i] : offsets[i + 1]], grades[offsets[i] : offsets[i + 1]], strict=True))
        for i, query in enumerate(query_ids)
        if offsets[i] < offsets[i + 1]
    }


def score(
    run: Run,
    qrels: Qrels,
    collection: Collection,
    metrics: Sequence[str] = (*METRICS, *ANSWER_METRICS),
    level: int = 1,
) -> Scores:
    """Score a run by the judgements of a split and, where its queries have answer strings, by answer match.

    Args:
        run: Ranked passages.
        qrels: Queries and judgements of the split.
        collection: For the ids and the answers.
        metrics: Of :func:`measure` and of :func:`measure_answers`.
        level: Grade from which on a passage is relevant, where a metric knows no grades.

    Returns:
        One value per query of the split; NaN where a query has no judgement, or no answer string.
    """
    by_answer = [name for name in metrics if name.startswith("Answer@")]
    parts = [measure(run, qrels_dict(qrels, collection), [name for name in metrics if name not in by_answer], level)]
    if by_answer and np.isin(qrels.queries, collection.answers.queries).any():
        parts.append(measure_answers(run, collection, metrics=by_answer))
    query_ids = collection.queries.take_ids(qrels.queries).to_pylist()
    place = {query: number for number, query in enumerate(query_ids)}
    values = {}
    for part in parts:
        rows = np.array([place[query] for query in part.query_ids], dtype=np.int64)
        for name, column in part.values.items():
            values[name] = np.full(len(query_ids), np.nan)
            values[name][rows] = column
    return Scores(query_ids, values, parts[0].missing)
