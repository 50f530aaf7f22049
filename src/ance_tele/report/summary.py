"""What a run's summary holds, read leniently: a part that is absent is empty, an unknown one is ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ance_tele.console.numbers import count, counted, number, words
from ance_tele.evaluate.config import headline

Summary: TypeAlias = Mapping[str, Any]
"""The contents of summary.json."""

SOURCES = ("query", "lookahead", "momentum", "bm25", "random", "given")
"""Where negatives can come from, in the order the report shows them."""

BASELINES = ("bm25", "zero-shot")
"""The systems measured beside the trained model, in the order the report shows them."""

_JUDGED = {"MRR@10": "MRR@10", "nDCG@10": "nDCG@10", "R@100": "Recall@100"}
_BOTH = {"MRR@10": "MRR@10", "R@100": "Recall@100", "A@20": "Answer@20"}
_ANSWERED = {"A@5": "Answer@5", "A@20": "Answer@20", "A@100": "Answer@100"}


@dataclass(frozen=True)
class Row:
    """One system of the results table; times are in seconds, and None where there is nothing to show."""

    name: str
    metrics: Mapping[str, Any]
    forgetting: float | None = None
    new_negatives: float | None = None
    mine: float | None = None
    train: float | None = None
    evaluate: float | None = None


@dataclass(frozen=True)
class Comparison:
    """One system held against another by one metric; p is None where no test was made."""

    system: str
    baseline: str
    metric: str
    difference: float
    p: float | None


def part(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Read a named part that should be a mapping; without one it is empty."""
    found = of.get(name)
    return found if isinstance(found, Mapping) else {}


def text(of: Mapping[str, Any], name: str) -> str:
    """Read a named text; without one it says so."""
    found = of.get(name)
    return str(found) if found not in (None, "") else f"(no {name} recorded)"


def episodes(summary: Summary) -> list[Mapping[str, Any]]:
    """List the episodes in their order."""
    found = summary.get("episodes")
    if not isinstance(found, Sequence):
        return []
    return [one for one in found if isinstance(one, Mapping) and number(one.get("number")) is not None]


def baselines(summary: Summary) -> dict[str, Mapping[str, Any]]:
    """List the metrics of the baselines that were measured.

    A run without training has no other results: where they were not asked for as a baseline, the final
    metrics are the ones to show, if they are of the split that is shown.
    """
    measured = {name: part(part(summary, "baselines"), name) for name in BASELINES}
    lexical = str(summary.get("recipe")).partition(" ")[0].rpartition("/")[2] == "bm25"
    only = "bm25" if lexical else "zero-shot"
    if not episodes(summary) and not measured[only] and final_split(summary) == summary.get("split"):
        measured[only] = part(summary, "final")
    return {name: metrics for name, metrics in measured.items() if metrics}


def metric_columns(summary: Summary) -> dict[str, str]:
    """Return the metric columns: their headings and the names the summary has for them.

    Which they are depends on what was measured: by judgements, by answer strings, or by both.
    """
    measured = _measured(summary)
    answered = any(name.startswith("Answer@") for name in measured)
    columns = _JUDGED if not answered else _BOTH if "MRR@10" in measured else _ANSWERED
    deepest = next((f"@{k}" for k in (100, 20, 5) if f"Recall@{k}" in measured), "@100")  # of lists shorter than 100
    return {
        heading.replace("R@100", f"R{deepest}"): name.replace("Recall@100", f"Recall{deepest}")
        for heading, name in columns.items()
    }


def main_metric(summary: Summary) -> str:
    """Name the metric that the sentences are about."""
    return headline(_measured(summary))


def _measured(summary: Summary) -> set[str]:
    return {name for row in rows(summary) for name in row.metrics}


def training_metric(summary: Summary) -> str:
    """Name the metric of the training queries that forgetting is read from: of lists of 50 it is MRR@50."""
    return str(summary.get("training_metric") or "MRR@100")


def conditions(summary: Summary) -> list[str]:
    """Return a sentence for each condition of measurement that is not the usual one."""
    said = []
    for split, of in part(summary, "evaluation").items():
        on = of if isinstance(of, Mapping) else {}
        level, own = number(on.get("relevance_level")), number(on.get("queries_excluded"))
        deeper = on.get("not_measured")
        if level not in (None, 1):
            said.append(
                f"On {split}, MRR, recall and success count a passage as relevant from grade {count(level)} on."
            )
        if own:
            same = {"id": "by id", "text": "by text"}.get(str(on.get("exclude_self")), "by id and text")
            said.append(f"On {split}, {counted(own, 'query is a passage itself', 'queries are passages themselves')} "
                        f"({same}), and such a passage is left out of its query's ranking.")  # fmt: skip
        if isinstance(deeper, Sequence) and deeper:
            depth = count(on.get("eval_depth"))
            said.append(f"On {split}, {words(list(deeper))} were not measured: {depth} passages were retrieved.")
    if episodes(summary) and (metric := training_metric(summary)) != "MRR@100":
        said.append(f"Forgetting is read from {metric} of the training queries: no more passages were mined.")
    return said


def final_split(summary: Summary) -> Any:
    """Name the split of the final metrics: the test split, where there is one."""
    return "test" if "test" in part(part(summary, "data"), "queries") else summary.get("split")


def comparisons(summary: Summary) -> list[Comparison]:
    """List the comparisons that were made."""
    found = summary.get("comparisons")
    made = []
    for one in found if isinstance(found, Sequence) else []:
        difference = number(one.get("difference")) if isinstance(one, Mapping) else None
        if difference is not None:
            system, baseline, metric = (str(one.get(key, "?")) for key in ("system", "baseline", "metric"))
            made.append(Comparison(system, baseline, metric, difference, number(one.get("p"))))
    return made


def shares(pool: Mapping[str, Any]) -> dict[str, float]:
    """List the sources of a pool's negatives by their share of it, known sources first.

    Shares are of the sum over the sources, so that they add up whatever the pool's size counts.
    """
    amounts = {str(name): number(amount) or 0.0 for name, amount in part(pool, "by_source").items()}
    total = sum(amounts.values())
    ordered = [name for name in SOURCES if name in amounts] + [name for name in amounts if name not in SOURCES]
    return {name: amounts[name] / total for name in ordered if amounts[name] > 0}


def rows(summary: Summary) -> list[Row]:
    """List the systems of the results table: the baselines, then the episodes."""
    listed = [Row(name, metrics) for name, metrics in baselines(summary).items()]
    for one in episodes(summary):
        seconds = part(one, "seconds")
        listed.append(
            Row(
                name=f"episode {one['number']}",
                metrics=part(one, "metrics"),
                forgetting=number(one.get("forgetting_rate")),
                new_negatives=number(one.get("new_negatives")),
                mine=_sum(seconds, "search", "mix"),
                train=_sum(seconds, "train"),
                # The corpus is encoded once per checkpoint, for its evaluation; the next episode mines
                # with the same vectors, so mining has no encoding of its own.
                evaluate=_sum(seconds, "encode", "evaluate"),
            )
        )
    return listed


def _sum(seconds: Mapping[str, Any], *names: str) -> float | None:
    """Add up the times that were taken; None if none was."""
    taken = [value for value in (number(seconds.get(name)) for name in names) if value is not None]
    return sum(taken) if taken else None
