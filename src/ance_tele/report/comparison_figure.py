"""A comparison drawn: quality and forgetting by episode (paper, Figures 4 and 8)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ance_tele.report.comparison import Result, Row, of_model, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which stay apart for colour-blind eyes; the mark says the same once more.
COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6E6E6E")
MARKS = "osD^vPX*"


def episodes_figure(result: Result, path: Path) -> None:
    """Draw, for each model, the first metric and the forgetting rate over the episodes; means, bars: spread of seeds.

    Args:
        result: The content of a ``comparison.json``.
        path: Where the PNG is written, whatever its suffix.
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    models = [model for model in result["models"] if any(row["episodes"] for row in of_model(result, model))]
    settings = {"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#E4E4E4"}
    with style.context(["default", settings]):
        figure = Figure(figsize=(11, 3.9 * len(models)), dpi=150, layout="constrained")
        panels = figure.subplots(len(models), 2, squeeze=False)
        metric, split = result["metrics"][0], result["splits"][0]
        for model, (left, right) in zip(models, panels, strict=True):
            rows = [row for row in of_model(result, model) if row["episodes"]]
            _panel(left, rows, lambda episode: episode["metrics"].get(metric))
            _panel(right, rows, lambda episode: episode["forgetting_rate"])
            left.set_title(f"{short(metric)} on {split} (%), from {model}", loc="left", parse_math=False)
            right.set_title("Training queries that did worse than before (%)", loc="left")
            right.set_ylim(bottom=0)
            right.legend(frameon=False, fontsize=8, bbox_to_anchor=(1.0, 1.0), loc="upper left")
        figure.savefig(path, format="png")


def _panel(axes: Axes, rows: list[Row], value: Any) -> None:
    longest = max(len(row["episodes"]) for row in rows)
    for place, row in enumerate(rows):
        found = [(episode["number"], value(episode)) for episode in row["episodes"]]
        points = [(number, 100 * one["mean"], 100 * (one["spread"] or 0)) for number, one in found if one]
        if not points:
            continue
        at, mean, spread = zip(*points, strict=True)
        # Side by side, so that bars of the same episode do not hide each other.
        shifted = [number + 0.03 * (place - (len(rows) - 1) / 2) for number in at]
        axes.errorbar(
            shifted,
            mean,
            yerr=spread if any(spread) else None,
            color=COLOURS[place % len(COLOURS)],
            marker=MARKS[place % len(MARKS)],
            markersize=5,
            linewidth=1.5,
            capsize=2,
            label=row["system"].replace("$", r"\$"),
        )
    axes.set_xticks(range(1, longest + 1))
    axes.set_xlabel("episode")
