"""All figures of the report, in its order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ance_tele.report.drawing import Drawing, save, the_style
from ance_tele.report.figures_learning import curves, rates
from ance_tele.report.figures_negatives import composition, new_negatives, swing
from ance_tele.report.figures_outcome import elsewhere, projection, suspects
from ance_tele.report.figures_queries import queries
from ance_tele.report.paper_curves import Reference, paper_runs
from ance_tele.report.runs import RunData

NAMES = (
    "forgetting",
    "learning-curves",
    "queries",
    "composition",
    "new-negatives",
    "swing",
    "projection",
    "suspects",
    "elsewhere",
)
"""What the figures' files are called."""


def gallery(runs: Sequence[RunData], reference: Reference | None = None) -> dict[str, Drawing]:
    """Return the figures that the runs have something to show in, by name."""
    made = (
        rates(runs, reference),
        curves(runs, reference),
        queries(runs),
        composition(runs, reference),
        new_negatives(runs),
        swing(runs),
        projection(runs),
        suspects(runs),
        elsewhere(runs),
    )
    return {drawing.name: drawing for drawing in made if drawing is not None}


def paper_figures(folder: Path) -> list[Path]:
    """Draw the paper's own curves (MS MARCO) as a report draws a run's; returns the files, PNG, SVG and CSV."""
    shown = paper_runs()
    drawings = (rates(shown), curves(shown), composition(shown))
    files = []
    with the_style():
        for drawing in drawings:
            assert drawing is not None
            files += save(drawing, Path(folder))
    return files
