"""The results of a run for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from ance_tele.console.numbers import DASH, SIGNIFICANT, duration, number, p_value, percent, score, signed
from ance_tele.report.summary import Comparison, Row, Summary, comparisons, episodes, metric_columns, rows, text

TEST = "paired permutation test"
"""The test behind every p-value of a run."""


def best(listed: Sequence[Row], metric: str) -> set[str]:
    """Name the systems with the highest value as it is shown; nobody is best alone.

    Values that read the same are best together: bold in one of two equal numbers would puzzle.
    """
    shown = {row.name: score(row.metrics.get(metric)) for row in listed}
    values = {name: float(value) for name, value in shown.items() if value != DASH}
    return {name for name, value in values.items() if value == max(values.values())} if len(values) > 1 else set()


def episode_table(summary: Summary) -> Table:
    """Lay out baselines and episodes with their metrics, dynamics and times, in at most 80 columns.

    Mining is search and mixing. Evaluation includes encoding: the corpus is encoded once per checkpoint,
    and the next episode mines with the same vectors.
    """
    table = Table(
        title=Text(f"{text(summary, 'recipe')} on {text(summary, 'collection')}, {text(summary, 'split')} split"),
        title_justify="left",
        title_style="",
        caption=Text("mine: search and mix; evaluate: encode and evaluate") if episodes(summary) else None,
        caption_justify="left",
        box=box.SIMPLE,
        show_edge=False,
        # One column between columns and none beside them: nine of them have to fit in 80.
        padding=0,
    )
    table.add_column("system", no_wrap=True)
    # The wider ones start a group: metrics, dynamics, times.
    metrics = metric_columns(summary)
    first, *others = metrics
    headings = {
        first: 7,
        **{name: max(5, len(name)) for name in others},
        "forgetting\n(%)": 11,
        "new\nnegatives\n(%)": 9,
    }
    for heading, width in {**headings, "mine": 7, "train": 6, "evaluate": 8}.items():
        table.add_column(heading, justify="right", no_wrap=True, min_width=width)
    listed = rows(summary)
    winners = {metric: best(listed, metric) for metric in metrics.values()}
    for row in listed:
        cells = [Text(row.name)]
        for metric in metrics.values():
            style = "bold" if row.name in winners[metric] else ""
            cells.append(Text(score(row.metrics.get(metric)), style=style))
        cells += [Text(percent(row.forgetting)), Text(percent(row.new_negatives))]
        cells += [Text(duration(seconds)) for seconds in (row.mine, row.train, row.evaluate)]
        table.add_row(*cells)
    return table


def significance_lines(summary: Summary) -> list[str]:
    """Say each comparison in a line of plain text (print it with markup=False)."""
    return [_line(one) for one in comparisons(summary)]


def is_significant(comparison: Comparison) -> bool:
    """Tell whether a test was made and found a difference."""
    p = number(comparison.p)
    return p is not None and p < SIGNIFICANT and comparison.difference != 0


def _line(one: Comparison) -> str:
    start = f"{one.system} against {one.baseline}: {one.metric} {signed(one.difference)}"
    if one.p is None:
        return f"{start}, not tested"
    if is_significant(one):
        return f"{start}, {p_value(one.p)} ({TEST})"
    return f"{start}, no significant difference ({p_value(one.p)}) by a {TEST}"
