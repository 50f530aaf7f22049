"""A figure of the report: panels to draw, the data in it as rows, and the files of both."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ance_tele.report.style import GRID, INK, QUIET, STYLE
from ance_tele.store.files import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".csv")
"""What a figure is written as."""

# Inches. On a page a panel stands alone, wide enough for a phone and no wider, so that its type stays legible there.
WIDE = (4.7, 3.5)
SMALL = (2.3, 2.3)

# Colours that follow the page into the dark; everything else reads on both grounds.
_IN_THE_DARK = {INK: "#e8eaed", QUIET: "#a3abb5", GRID: "#39404a", "#404040": "#0d1117"}


@dataclass(frozen=True)
class Panel:
    """One pair of axes: what draws on them, and what it shows, for those who do not see it."""

    alt: str
    draw: Callable[[Axes], None]


@dataclass(frozen=True)
class Drawing:
    """A figure.

    Attributes:
        name: Of its files.
        title: Above it.
        panels: Drawn beside each other.
        header: Of its data.
        rows: Its data: every number that is drawn.
        small: The panels are small multiples, without axes.
        columns: How many panels stand beside each other in a file.
        key: What the marks mean, where the panels do not say: (mark, colour, what it is).
    """

    name: str
    title: str
    panels: Sequence[Panel]
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    small: bool = False
    columns: int = 3
    key: Sequence[tuple[str, str, str]] = ()


@contextmanager
def the_style() -> Iterator[None]:
    """Draw in the report's style; whatever style the caller has set stays the caller's."""
    from matplotlib import style

    own = {"font.size": 10, "axes.titlesize": 11, "axes.titlepad": 8, "axes.labelsize": 10, "legend.fontsize": 8.5}
    colours = {f"{name}color": INK for name in ("text.", "axes.label", "xtick.", "ytick.", "axes.title")}
    with style.context(["default", STYLE, own, colours, {"text.parse_math": False}]):
        yield


def panel_svg(panel: Panel, small: bool = False) -> str:
    """Draw one panel as an SVG for a page, transparent, in the page's own type, light or dark as the page is."""
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure = _sheet([panel], 1, SMALL if small else WIDE)
        file = StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None})
    text = file.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    return text[text.index("<svg") :].replace("<defs>", f"<style>{_dark()}</style><defs>", 1)


def _dark() -> str:
    rules = "".join(
        f'[style*="{kind}: {light.lower()}"]{{{kind}:{dark}!important}}'
        for light, dark in _IN_THE_DARK.items()
        for kind in ("fill", "stroke")
    )
    return f"@media (prefers-color-scheme:dark){{{rules}}}"


def save(drawing: Drawing, folder: Path) -> list[Path]:
    """Write a figure into a folder as PNG, SVG and CSV (UTF-8), and return the files."""
    width, height = SMALL if drawing.small else WIDE
    columns = min(drawing.columns, len(drawing.panels))
    figure = _sheet(drawing.panels, columns, (width, height))
    if drawing.key:
        _key(figure, drawing)
    for suffix in (".png", ".svg"):
        content = BytesIO()
        # A date in the file would make every drawing of the same run a different file.
        figure.savefig(content, format=suffix[1:], metadata={"Date": None} if suffix == ".svg" else None)
        with atomic(folder / f"{drawing.name}{suffix}") as temporary:
            temporary.write_bytes(content.getvalue())
    write_rows(drawing, folder)
    return [folder / f"{drawing.name}{suffix}" for suffix in SUFFIXES]


def write_rows(drawing: Drawing, folder: Path) -> None:
    """Write the data of a figure into a folder as CSV (UTF-8); numbers with all their digits."""
    with (
        atomic(folder / f"{drawing.name}.csv") as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(drawing.header)
        writer.writerows(["" if cell is None else cell for cell in row] for row in drawing.rows)


def _sheet(panels: Sequence[Panel], columns: int, size: tuple[float, float]) -> Figure:
    """Draw panels in rows of so many; what is left of the last row stays empty."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    rows = -(-len(panels) // columns)
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), dpi=150, layout=layout)
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for panel, axes in zip(panels, grid, strict=False):
        panel.draw(axes)
    for empty in list(figure.axes)[len(panels) : rows * columns]:
        empty.set_axis_off()
    return figure


def _key(figure: Figure, drawing: Drawing) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], marker=mark, color=colour, linestyle="", markersize=7) for mark, colour, _ in drawing.key]
    figure.legend(handles, [name for *_, name in drawing.key], loc="outside lower left", ncols=len(handles))
