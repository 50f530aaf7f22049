"""Metrics per query and their means, computed by trec_eval through ir_measures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ance_tele.evaluate.config import METRICS
from ance_tele.evaluate.run import Run


@dataclass(frozen=True)
class Scores:
    """Values of every metric for every judged query.

    Attributes:
        query_ids: Judged queries, in the order of the qrels.
        values: By metric, float64 [queries]; NaN for queries without judgements, or without answers.
        missing: Number of judged queries without a passage in the run; they score zero.
    """

    query_ids: list[str]
    values: dict[str, np.ndarray]
    missing: int

    def means(self) -> dict[str, float]:
        """Return the mean of each metric over its queries; metrics without queries are left out."""
        measured = {name: values[~np.isnan(values)] for name, values in self.values.items()}
        return {name: float(values.mean()) for name, values in measured.items() if len(values)}


def measure(
    run: Run, qrels: Mapping[str, Mapping[str, int]], metrics: Sequence[str] = METRICS, level: int = 1
) -> Scores:
    """Score a run.

    Args:
        run: Ranked passages; only the order counts, since engines break ties differently.
        qrels: ``{query id: {passage id: grade}}``.
        metrics: Names such as "MRR@10", "nDCG@10", "Recall@100", "Success@10".
        level: Grade from which on a passage is relevant; nDCG takes every grade above zero for the gain that it is.

    Example:
        >>> run = Run.from_dict({"q1": {"p1": 0.9, "p2": 0.8}, "q2": {"p1": 0.5}})
        >>> scores = measure(run, {"q1": {"p2": 1}, "q2": {"p3": 1}}, ["MRR@10", "Recall@5"])
        >>> scores.values["MRR@10"].tolist(), scores.means()["Recall@5"]
        ([0.5, 0.0], 0.5)
    """
    import ir_measures
    from ir_measures import RR, R, Success, nDCG

    kinds = {"MRR": RR(rel=level), "nDCG": nDCG, "Recall": R(rel=level), "Success": Success(rel=level)}
    measures: dict[Any, list[tuple[str, int]]] = {}
    for name in metrics:
        kind, _, cutoff = name.partition("@")
        if kind not in kinds or not cutoff.isdigit():
            raise ValueError(f"'{name}' is no metric; take MRR@k, nDCG@k, Recall@k or Success@k.")
        # trec_eval has no cut-off for the reciprocal rank, and ir_measures' own is slow: cut here, where it is exact.
        of_all = kind == "MRR"
        metric = kinds[kind] if of_all else kinds[kind] @ int(cutoff)
        measures.setdefault(metric, []).append((name, int(cutoff) if of_all else 0))
    ranked = {query: {passage: -rank for rank, passage in enumerate(ids)} for query, ids in run.rankings()}
    judged = list(qrels)
    if not measures:
        return Scores(judged, {}, sum(not ranked.get(query) for query in judged))
    place = {query: index for index, query in enumerate(judged)}
    values = {name: np.zeros(len(judged)) for name in metrics}
    known = {query: dict(grades) for query, grades in qrels.items()}
    for row in ir_measures.iter_calc(list(measures), known, ranked):
        for name, most in measures[row.measure] if row.query_id in place else ():
            beyond = most > 0 and row.value > 0 and round(1 / row.value) > most
            values[name][place[row.query_id]] = 0.0 if beyond else row.value
    return Scores(judged, values, sum(not ranked.get(query) for query in judged))
