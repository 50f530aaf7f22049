"""A comparison as it is shown: what stands in which cell, the paper's figures beside it, and the files written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ance_tele.console.numbers import DASH, duration
from ance_tele.paper.figures import forgetting, published, table1, table2

Row = Mapping[str, Any]
Result = Mapping[str, Any]


def stem(result: Result) -> str:
    """Return the name of a comparison's files: that of the paper's table, or "comparison"."""
    return result.get("table") or "comparison"


def percent(value: float) -> str:
    """Return a fraction in %, as the paper has its figures: 39.1."""
    return f"{100 * value:.1f}"


def short(metric: str) -> str:
    """Return a metric's name as column headings have it."""
    return metric.replace("Recall@1000", "R@1k").replace("Recall", "R").replace("Answer", "A")


def columns(result: Result) -> list[tuple[str, str]]:
    """Return the (split, metric) of each column."""
    return [(split, metric) for split in result["splits"] for metric in result["metrics"]]


def cell(row: Row, split: str, metric: str) -> tuple[str, str, str]:
    """Return mean and spread in % and the letters of the systems that are significantly worse, as text."""
    figures = row["values"].get(split, {}).get(metric)
    if figures is None:
        return DASH, "", ""
    deviation = figures["spread"]
    return percent(figures["mean"]), "" if deviation is None else percent(deviation), "".join(figures["better_than"])


def best(rows: Sequence[Row], split: str, metric: str) -> str | None:
    """Return the highest mean of a column, as text; None where fewer than two systems have one."""
    means = [cell(row, split, metric)[0] for row in rows]
    known = [mean for mean in means if mean != DASH]
    return max(known, key=float) if len(known) > 1 else None


def beside(result: Result, row: Row) -> dict[str, float]:
    """Return the paper's figures for a system, by metric; {} where it has none."""
    collection, system, shares = result["collection"], row["system"], row["shares"]
    name, *own = system.split()
    if own and name == "ance-tele" and {word.partition("=")[0] for word in own} <= shares.keys():
        return table2(collection, shares["alpha"], shares["beta"], shares["negatives_per_query"]) or {}
    for table in () if own else ("table3", "table8", "table1"):
        known = published(collection, table, system, row["model"])
        if known:
            return known
    return {}


@dataclass(frozen=True)
class Figure:
    """What stands in a cell, as text: mean and spread in %, letters, and whether no system has more."""

    mean: str
    spread: str
    letters: str
    best: bool


@dataclass(frozen=True)
class Line:
    """A row as it is shown; ``paper`` holds the paper's figures."""

    letter: str
    system: str
    figures: list[Figure]
    paper: list[str]


def lines_of(result: Result, model: str, shown: Sequence[tuple[str, str]], paper: Sequence[str]) -> list[Line]:
    """Lay out the rows of a model: the given columns (split, metric), and the paper's figures for the given metrics."""
    rows = of_model(result, model)
    winners = [best(rows, *column) for column in shown]
    lines = []
    for row in rows:
        known = beside(result, row)
        cells = [(cell(row, *column), winner) for column, winner in zip(shown, winners, strict=True)]
        figures = [Figure(*texts, best=texts[0] == winner) for texts, winner in cells]
        theirs = [percent(known[metric]) if metric in known else DASH for metric in paper]
        lines.append(Line(row["letter"], row["system"], figures, theirs))
    return lines


def paper_metrics(result: Result, model: str) -> list[str]:
    """Return the metrics of which the paper has a figure for some system of a model."""
    known = [beside(result, row) for row in of_model(result, model)]
    return [metric for metric in result["metrics"] if any(metric in one for one in known)]


def headings(shown: Sequence[tuple[str, str]], paper: Sequence[str]) -> list[str]:
    """Return the headings of the given columns and of the paper's figures, "dev MRR@10" and "paper MRR@10"."""
    return [f"{split} {short(metric)}" for split, metric in [*shown, *(("paper", metric) for metric in paper)]]


def of_model(result: Result, model: str) -> list[Row]:
    """Return the rows of a model."""
    return [row for row in result["rows"] if row["model"] == model]


def seeds(result: Result) -> str:
    """Say how many seeds there are."""
    numbers = result["seeds"]
    return f"{len(numbers)} seeds" if len(numbers) > 1 else f"seed {numbers[0]}"


def cost(result: Result) -> str:
    """Say what a comparison took."""
    spent = result["cost"]
    total = sum(spent["seconds"].values())
    return (
        f"{duration(total)} of work in the cells, {spent['training_share']:.0%} of it training; "
        f"at most {spent['peak_bytes'] / 2**30:.1f} GiB a process"
    )


@dataclass(frozen=True)
class Standing:
    """A row of Table 1: a published system, or one of this comparison (``ours``)."""

    system: str
    params: str
    negatives: str
    values: dict[str, float]
    reference: bool = False
    ours: bool = False


def standings(result: Result) -> list[Standing]:
    """Return all systems of the paper's Table 1 and those of a comparison, larger models last; [] for other data."""
    published_rows = table1(result["collection"])
    if result.get("table") != "table1" or not published_rows:
        return []
    rows = [Standing(one.system, one.params or DASH, one.negatives or DASH, one.metrics, one.reference)
            for one in published_rows]  # fmt: skip
    split = result["splits"][0]
    for row in result["rows"]:
        values = {metric: row["values"][split][metric]["mean"] for metric in result["metrics"]}
        rows.append(Standing(f"{row['system']} (this run, {row['model']})", DASH, DASH, values, ours=True))
    return sorted(rows, key=lambda row: row.reference)


def course(result: Result, row: Row) -> list[tuple[str, str, str]]:
    """Return by episode: the first metric on the chosen split, forgetting in %, and the paper's (Table 9), as text."""
    known = forgetting(result["collection"], row["system"]) or {}
    cells = []
    for episode in row["episodes"]:
        reached, forgotten = episode["metrics"].get(result["metrics"][0]), episode["forgetting_rate"]
        paper = known.get(episode["number"])
        cells.append(
            (
                percent(reached["mean"]) if reached else DASH,
                percent(forgotten["mean"]) if forgotten else DASH,
                percent(paper) if paper is not None else "",
            )
        )
    return cells
