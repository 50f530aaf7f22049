"""The report as one HTML page that needs nothing but itself: no network, no scripts."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from ance_tele.console.numbers import DASH
from ance_tele.report import run_tables
from ance_tele.report.drawing import Drawing, panel_svg, the_style
from ance_tele.report.page_tables import beside, cases, headline, headlines, joined, suspects
from ance_tele.report.paper_curves import Reference
from ance_tele.report.readings import readings
from ance_tele.report.runs import RunData
from ance_tele.report.summary import Summary, episodes, part, text
from ance_tele.report.tables import significance_lines
from ance_tele.report.verdict import side_by_side, verdict

MOST_ROWS = 130
"""Rows of a figure's data that the page itself holds; the CSV has them all."""

GROUPS = (
    ("Learning and forgetting", ("forgetting", "learning-curves", "queries")),
    ("Negatives", ("composition", "new-negatives", "swing", "projection")),
    ("Probable false negatives", ("suspects",)),
    ("Other collections", ("elsewhere",)),
)
"""The figures by section."""

NOTES = {
    "forgetting": "Worse, better and the same: the rank of a query's first positive after the episode and before it.",
    "queries": "The sample is drawn with a fixed seed; lost most: the sum of all its falls.",
    "composition": "Mined lists: what a round found for the queries, less positives. Pools: what training drew from.",
    "new-negatives": "Near a positive: among its nearest passages a round before. All of the first round is new.",
    "projection": "An illustration, not a measurement: distances of t-SNE mean little, and this is one query.",
    "suspects": "Suspect: nearly a copy of a positive, scored well above it, or kept at the very top.",
}
"""How to take a figure."""


def page(runs: Sequence[RunData], drawings: dict[str, Drawing], reference: Reference | None = None) -> str:
    """Write the report of one run or of several beside each other.

    Args:
        runs: The runs, with names that differ.
        drawings: Their figures.
        reference: The paper's curves, if they are shown.
    """
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=True)
    folder = files("ance_tele.report") / "templates"
    template = (folder / "report.html.jinja").read_text(encoding="utf-8")
    style = (folder / "report.css").read_text(encoding="utf-8")
    said = readings(runs, reference)
    with the_style():
        figures = {name: _figure(drawing, said[name]) for name, drawing in drawings.items()}
    trained = [run for run in runs if episodes(run.summary)]
    return environment.from_string(template).render(
        style=style,
        title=_title(runs),
        runs=[_of(run) for run in runs],
        several=len(runs) > 1,
        headlines=headlines(runs),
        together=side_by_side(runs) if len(runs) > 1 else [],
        results=joined(runs, run_tables.results),
        trained=bool(trained),
        groups=[(title, [figures[name] for name in names if name in figures]) for title, names in GROUPS],
        missing=_missing(runs),
        dynamics=joined(trained, run_tables.dynamics) if trained else None,
        pools=joined(trained, run_tables.pools) if trained else None,
        settings=beside(runs, run_tables.settings, differing_first=True),
        data=beside(runs, run_tables.collection),
        machine=beside(runs, run_tables.machine),
        paper=reference is not None,
    )


def _title(runs: Sequence[RunData]) -> str:
    if len(runs) == 1:
        return f"{text(runs[0].summary, 'recipe')} on {text(runs[0].summary, 'collection')}"
    where = dict.fromkeys(text(run.summary, "collection") for run in runs)
    return f"{len(runs)} runs on {', '.join(where)}"


def _of(run: RunData) -> dict[str, Any]:
    """Gather what the page says of a run by itself."""
    summary: Summary = run.summary
    return {
        "name": run.name,
        "description": run_tables.description(summary),
        "headline": headline(run),
        "verdict": verdict(run),
        "significance": significance_lines(summary),
        "suspects": suspects(run) if run.suspect_rows else None,
        "cases": cases(run),
        "metric": run.training_metric,
        "model": summary.get("model"),
        "review": part(part(summary, "data"), "review").get("as"),
    }


def _figure(drawing: Drawing, reading: str) -> dict[str, Any]:
    panels = []
    for panel in drawing.panels:
        svg = base64.b64encode(panel_svg(panel, drawing.small).encode("utf-8", "replace")).decode("ascii")
        panels.append({"src": f"data:image/svg+xml;base64,{svg}", "alt": panel.alt})
    body = [[_cell(cell) for cell in row] for row in drawing.rows] if len(drawing.rows) <= MOST_ROWS else []
    return {
        "name": drawing.name,
        "title": drawing.title,
        "reading": reading,
        "note": NOTES.get(drawing.name, ""),
        "panels": panels,
        "small": drawing.small,
        "pairs": drawing.columns == 2,
        "key": [{"mark": {"*": "★", "^": "▲", "o": "●", "s": "■"}[mark], "colour": colour, "name": name}
                for mark, colour, name in drawing.key],
        "rows": len(drawing.rows),
        "cells": run_tables.Cells(drawing.header, body, left=2),
    }  # fmt: skip


def _cell(value: Any) -> str:
    if value is None:
        return DASH
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _missing(runs: Sequence[RunData]) -> dict[str, str]:
    """Say, by section, what is not there and how to have it, where a reader would wonder."""
    said: dict[str, str] = {}
    trained = [run for run in runs if episodes(run.summary)]

    def lacking(has: Any) -> str:
        names = [run.name for run in trained if not has(run)]
        return "" if not names else "This run" if len(runs) == 1 else ", ".join(names)

    if who := lacking(lambda run: run.dynamics):
        said["Negatives"] = f"{who}: not analysed yet; ance-tele report does that."
    elif who := lacking(lambda run: run.cases):
        said["Cases"] = f"{who}: no cases; run ance-tele report with the collection at hand (--data DATA)."
    if trained and not any(run.elsewhere for run in runs):
        said["Other collections"] = "Not measured on other collections; ance-tele evaluate RUN --on DATA does that."
    return said
