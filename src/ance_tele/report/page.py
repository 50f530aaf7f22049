"""The report as one self-contained HTML page without scripts."""

import base64
import re
from collections.abc import Callable, Collection, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup, escape

from ance_tele.console.numbers import DASH, count, score
from ance_tele.paper.curves import Reference
from ance_tele.report import run_tables
from ance_tele.report.conditions import description, recorded
from ance_tele.report.drawing import SMALL, Drawing, panel_svg
from ance_tele.report.gallery import FIGURES, NEGATIVES, NOTES, OTHERS, SECTIONS, readings
from ance_tele.report.load import RunData
from ance_tele.report.run_tables import cut, headline, short, shown_metrics
from ance_tele.report.sentences import significance
from ance_tele.report.style import the_style
from ance_tele.report.tables import Table, cell, in_columns, joined
from ance_tele.report.verdict import verdict
from ance_tele.runs.summary import Summary

MOST_ROWS = 130
"""Rows of a figure's data that the page itself holds; the CSV has them all."""

TEMPLATES = files("ance_tele.report") / "templates"

_SIGNS = {"*": "★", "^": "▲", "o": "●", "s": "■"}


def page(
    runs: Sequence[RunData],
    drawings: dict[str, Drawing],
    reference: Reference | None = None,
    compared: Sequence[str] = (),
) -> str:
    """Return the report of one run, or of several side by side with the sentences that compare them."""
    with the_style():
        figures = {
            one.name: {**_figure(drawings[one.name]), "reading": readings(one, runs, reference)}
            for one in FIGURES
            if one.name in drawings
        }
    trained = [run for run in runs if run.summary.episodes]
    return _template().render(
        style=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
        title=title_of(runs),
        runs=[_of(run) for run in runs],
        several=len(runs) > 1,
        side_by_side=compared,
        tables=tables_of(runs, trained),
        trained=bool(trained),
        sections=[(title, [figures[one.name] for one in FIGURES if one.section == title and one.name in figures])
                  for title in SECTIONS],
        missing=_missing(runs, trained),
        paper=reference is not None,
    )  # fmt: skip


@cache
def _template() -> Template:
    """Return the page's template; compiling it takes longer than filling it in."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=True)
    environment.filters |= {"cell": cell, "cut": cut, "marked": marked, "score": score, "count": count}
    return environment.from_string((TEMPLATES / "report.html.jinja").read_text(encoding="utf-8"))


def title_of(runs: Sequence[RunData]) -> str:
    """Return the title of the report of one run or several."""
    where = ", ".join(dict.fromkeys(recorded(run.summary.collection, "collection") for run in runs))
    what = f"{len(runs)} runs" if len(runs) > 1 else recorded(runs[0].summary.recipe, "recipe")
    return f"{what} on {where}"


def _of(run: RunData) -> dict[str, Any]:
    """Return the values of the page for a single run."""
    return {
        "name": run.name,
        "summary": run.summary,
        "description": description(run.summary),
        "headline": headline(run),
        "verdict": verdict(run),
        "significance": significance(run.summary),
        "suspects": run_tables.suspects(run.analysis.suspect_rows) if run.analysis.suspect_rows else None,
        "cases": run.analysis.cases,
        "metric": run.training_metric,
    }


def tables_of(runs: Sequence[RunData], trained: Sequence[RunData]) -> dict[str, Table]:
    """Return the tables: of a single run, or of several combined."""

    def of(make: Callable[[Summary], Table], some: Sequence[RunData] = runs) -> list[tuple[str, Table]]:
        return [(run.name, make(run.summary)) for run in some]

    metrics = {short(name) for run in runs for name in shown_metrics(run.summary)}
    tables = {
        "headlines": in_columns([(run.name, run_tables.headlines(run)) for run in runs]),
        "results": joined(of(run_tables.results), metrics),
        "settings": in_columns(of(run_tables.settings), differing_first=True),
        "collection": in_columns(of(run_tables.collection)),
        "machine": in_columns(of(run_tables.machine)),
    }
    if trained:
        tables["episodes"] = joined(of(run_tables.episodes, trained))
        tables["pools"] = joined(of(run_tables.pools, trained))
    return tables


def _figure(drawing: Drawing) -> dict[str, Any]:
    panels = []
    for panel in drawing.panels:
        svg = base64.b64encode(panel_svg(panel, drawing.size).encode("utf-8", "replace")).decode("ascii")
        panels.append({"src": f"data:image/svg+xml;base64,{svg}", "alt": panel.alt})
    rows = [[_shown(value) for value in row] for row in drawing.rows]
    return {
        "name": drawing.name,
        "title": drawing.title,
        "note": NOTES.get(drawing.name, ""),
        "panels": panels,
        "layout": " small" if drawing.size == SMALL else " pairs" if drawing.columns == 2 else "",
        "key": [{"mark": _SIGNS[mark], "colour": colour, "name": name} for mark, colour, name in drawing.key],
        "rows": len(rows),
        "table": Table(drawing.header, rows, text_columns=2) if len(rows) <= MOST_ROWS else None,
    }


def _shown(value: Any) -> str:
    return DASH if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _missing(runs: Sequence[RunData], trained: Sequence[RunData]) -> dict[str, str]:
    """Return, by section, what is missing and how to get it."""
    missing: dict[str, str] = {}

    def lacking(has: Callable[[RunData], object]) -> str:
        names = [run.name for run in trained if not has(run)]
        return "" if not names else "This run" if len(runs) == 1 else ", ".join(names)

    if who := lacking(lambda run: run.analysis.done):
        missing[NEGATIVES] = f"{who}: not analysed yet; ance-tele report does that."
    elif who := lacking(lambda run: run.analysis.cases):
        missing["Cases"] = f"{who}: no cases; run ance-tele report with the collection at hand (--data DATA)."
    if trained and not any(run.analysis.out_of_domain for run in runs):
        missing[OTHERS] = "Not measured on other collections; ance-tele evaluate RUN --on DATA does that."
    return missing


def marked(text: str | None, words: Collection[str]) -> Markup:
    """Escape a text and highlight the given words (lower case) in it."""
    wanted = {word.lower() for word in words}
    pieces = re.split(r"(\w+)", cut(text or ""))
    return Markup("").join(
        Markup("<mark>{}</mark>").format(piece) if piece.lower() in wanted else escape(piece) for piece in pieces
    )
