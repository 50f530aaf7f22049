"""A comparison in the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ance_tele.console.numbers import DASH
from ance_tele.report.comparison import (
    Figure,
    Result,
    columns,
    course,
    headings,
    lines_of,
    of_model,
    paper_metrics,
    percent,
    seeds,
    short,
    standings,
)

_RAISED = str.maketrans("abcdefghijklmnoprstuvwxyz", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ")


# Columns of text that every terminal shows.
WIDTH = 80


def comparison_tables(result: Result) -> list[Table]:
    """Lay out, for each model, the figures (split by split where they are many) and the course of the episodes."""
    tables = []
    for model in result["models"]:
        rows = of_model(result, model)
        paper = paper_metrics(result, model)
        whole = _figures(result, model, columns(result), paper)
        if Console(width=10 * WIDTH).measure(whole).maximum <= WIDTH:
            tables.append(whole)
        else:
            for split in result["splits"]:
                own = [column for column in columns(result) if column[0] == split]
                tables.append(_figures(result, model, own, paper if split == result["splits"][-1] else []))
        if any(row["episodes"] for row in rows):
            tables.append(_by_episode(result, model))
    if standings(result):
        tables.append(_standings(result))
    return tables


def _figures(result: Result, model: str, shown: list[tuple[str, str]], paper: list[str]) -> Table:
    table = Table(
        title=Text(f"{result['collection']}, from {model}, {seeds(result)}; in %"),
        title_justify="left",
        title_style="",
        caption=Text("± standard deviation over seeds; letters: significantly better than (p < 0.05, Holm)"),
        caption_justify="left",
        box=box.SIMPLE,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", no_wrap=True)
    table.add_column("system", no_wrap=True)
    for place, heading in enumerate(headings(shown, paper)):
        heading = "\n".join(heading.rsplit(" ", 1))
        if place < len(shown):
            table.add_column(heading, no_wrap=True)
        else:
            table.add_column(heading, justify="right", style="dim")
    for line in lines_of(result, model, shown, paper):
        table.add_row(Text(line.letter), Text(line.system), *map(_figure, line.figures), *map(Text, line.paper))
    return table


def _figure(figure: Figure) -> Text:
    around = f"±{figure.spread}" if figure.spread else ""
    letters = figure.letters.translate(_RAISED)
    return Text.assemble((figure.mean, "bold" if figure.best else ""), (around, "dim"), " ", letters)


def _by_episode(result: Result, model: str) -> Table:
    """Lay out, by episode, the first metric on the chosen split and the share of training queries that did worse."""
    rows = [row for row in of_model(result, model) if row["episodes"]]
    courses = [course(result, row) for row in rows]
    paper = " (the paper's)" if any(known for cells in courses for *_, known in cells) else ""
    metric, split = short(result["metrics"][0]), result["splits"][0]
    table = Table(
        title=Text(f"By episode, from {model}: {metric} on {split} | forgetting{paper}, % of training queries"),
        title_justify="left",
        title_style="",
        box=box.SIMPLE,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("system", no_wrap=True)
    for number in range(1, max(map(len, courses)) + 1):
        table.add_column(f"episode {number}", no_wrap=True, justify="right")
    for row, cells in zip(rows, courses, strict=True):
        table.add_row(Text(row["system"]), *(Text(_episode(*one)) for one in cells))
    return table


def _episode(reached: str, forgotten: str, paper: str) -> str:
    return f"{reached} | {forgotten:>4}" + (f" ({paper})" if paper else "")


def _standings(result: Result) -> Table:
    table = Table(
        title=Text("Among the systems of the paper's Table 1; dim: larger models or taught ones, for reference"),
        title_justify="left",
        title_style="",
        box=box.SIMPLE,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for heading in ("system", "parameters", "negatives"):
        table.add_column(heading)
    for metric in result["metrics"]:
        table.add_column(short(metric), justify="right")
    for row in standings(result):
        cells = [percent(row.values[metric]) if metric in row.values else DASH for metric in result["metrics"]]
        style = "bold" if row.ours else "dim" if row.reference else ""
        table.add_row(*(Text(one) for one in (row.system, row.params, row.negatives, *cells)), style=style)
    return table
