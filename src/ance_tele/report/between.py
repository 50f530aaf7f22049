"""Several runs tested against each other, query by query, on the queries of their final split."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from ance_tele.evaluate.statistics import holm, pairwise_tests
from ance_tele.report.load import RunData
from ance_tele.report.sentences import capital, tested
from ance_tele.runs.summary import Comparison

_CONDITIONS = ("relevance_level", "exclude_self")


def of_pairs(runs: Sequence[RunData]) -> list[str]:
    """Return a sentence on each pair of runs that measured the same queries of the same data, or why none is tested.

    The test is that of :func:`ance_tele.evaluate.statistics.pairwise_tests` on the main metric; p-values are
    Holm-adjusted for the number of pairs.
    """
    if why := untested(runs):
        return [f"The runs were not tested against each other: {why}."]
    metric = runs[0].summary.main_metric
    values = np.stack([run.per_query[metric] for run in runs])
    values = values[:, ~np.isnan(values).any(axis=0)]
    p, pairs = pairwise_tests(values), list(combinations(range(len(runs)), 2))
    found = []
    for (a, b), adjusted in zip(pairs, holm([float(p[pair]) for pair in pairs]), strict=True):
        difference = float((values[a] - values[b]).mean())
        if difference < 0:
            a, b, difference = b, a, -difference
        one = Comparison(system=runs[a].name, baseline=runs[b].name, metric=metric, difference=difference, p=adjusted)
        sentence = tested(one)
        found.append(sentence if sentence.startswith(one.system or "") else capital(sentence))  # names stay as they are
    if len(found) > 1:
        found.append(f"The p-values are adjusted for there being {len(found)} pairs (Holm).")
    return found


def untested(runs: Sequence[RunData]) -> str:
    """Return why runs cannot be tested against each other, as the end of a sentence; "" where they can."""
    first, split = runs[0].summary, runs[0].summary.final_split
    for run in runs:
        summary = run.summary
        if summary.data.fingerprint is None:
            return f"{run.name} does not record the fingerprint of its data"
        if summary.data.fingerprint != first.data.fingerprint:
            return f"the data of {run.name} are not those of {runs[0].name} (their fingerprints differ)"
        if summary.final_split != split:
            return f"{run.name} was measured on {summary.final_split}, {runs[0].name} on {split}"
        here, there = (of.evaluation.get(str(split), {}) for of in (summary, first))
        for name in _CONDITIONS:
            if here.get(name) != there.get(name):
                return f"{name} is {here.get(name)} in {run.name} and {there.get(name)} in {runs[0].name}"
        if summary.model is None and summary.bm25 is not None and summary.bm25.usable is False:
            return f"BM25 ({run.name}) found nothing for most queries"
        if first.main_metric not in run.per_query:
            return f"{run.name} has no {first.main_metric} by query (per_query.parquet)"
        if run.queries != runs[0].queries:
            return f"{run.name} and {runs[0].name} measured other {split} queries"
    return ""
