"""Figures of the report: panels, their data as rows, and files of both."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ance_tele.report.renderers import csv_text
from ance_tele.report.style import DARK
from ance_tele.store.files import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".csv")
"""What a figure is written as."""

# Inches. Panels are as wide as a phone, so that text stays legible there.
WIDE = (4.7, 3.5)
SMALL = (2.3, 2.3)


@dataclass(frozen=True)
class Panel:
    """A pair of axes: a function that draws on them, and a description for screen readers."""

    alt: str
    draw: Callable[[Axes], None]


@dataclass(frozen=True)
class Drawing:
    """A figure.

    Attributes:
        name: Of its files.
        title: Above it on the page.
        panels: Drawn next to each other.
        header: Of its data.
        rows: Its data: every number that is drawn.
        size: Of a panel, inches; a SMALL one has no axes.
        columns: Panels in a row of a file.
        key: What the marks mean, where the panels do not name them: (mark, colour, what it is).
    """

    name: str
    title: str
    panels: Sequence[Panel]
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    size: tuple[float, float] = WIDE
    columns: int = 3
    key: Sequence[tuple[str, str, str]] = ()


def panel_svg(panel: Panel, size: tuple[float, float]) -> str:
    """Return one panel as a transparent SVG in the page's font, for light and dark mode."""
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure = _sheet([panel], 1, size)
        file = StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None})
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", file.getvalue(), flags=re.DOTALL)
    return text[text.index("<svg") :].replace("<defs>", f"<style>{_dark()}</style><defs>", 1)


def _dark() -> str:
    rules = "".join(
        f'[style*="{kind}: {light.lower()}"]{{{kind}:{dark}!important}}'
        for light, dark in DARK.items()
        for kind in ("fill", "stroke")
    )
    return f"@media (prefers-color-scheme:dark){{{rules}}}"


def save(drawing: Drawing, folder: Path) -> list[Path]:
    """Write a figure into a folder as PNG, SVG and CSV (UTF-8), and return the files."""
    for suffix in (".png", ".svg"):
        with atomic(folder / f"{drawing.name}{suffix}") as temporary:
            temporary.write_bytes(image(drawing, suffix[1:]))
    write_rows(drawing, folder)
    return [folder / f"{drawing.name}{suffix}" for suffix in SUFFIXES]


def image(drawing: Drawing, kind: str, title: str = "") -> bytes:
    """Return a figure, all panels in one picture."""
    figure = _sheet(drawing.panels, min(drawing.columns, len(drawing.panels)), drawing.size)
    if title:
        figure.suptitle(title, fontsize=14, x=0.015, ha="left", parse_math=False)
    if drawing.key:
        _key(figure, drawing.key)
    content = BytesIO()
    # Without a date, the same run gives the same file.
    figure.savefig(content, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return content.getvalue()


def write_rows(drawing: Drawing, folder: Path) -> None:
    """Write the data of a figure into a folder as CSV (UTF-8), with all digits."""
    with atomic(folder / f"{drawing.name}.csv") as temporary:
        temporary.write_bytes(csv_text(drawing.header, drawing.rows).encode("utf-8", "replace"))


def _sheet(panels: Sequence[Panel], columns: int, size: tuple[float, float]) -> Figure:
    """Return a figure with panels in rows of ``columns``."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    rows = -(-len(panels) // columns)
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), dpi=150, layout=layout)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel, axes in zip(panels, grid, strict=False):
        panel.draw(axes)
    for empty in grid[len(panels) :]:
        empty.set_axis_off()
    return figure


def _key(figure: Figure, key: Sequence[tuple[str, str, str]]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], marker=mark, color=colour, linestyle="", markersize=7) for mark, colour, _ in key]
    figure.legend(handles, [name for *_, name in key], loc="outside lower left", ncols=len(handles))
