"""How figures look: colours, type, and the few pieces that they share.

matplotlib is imported where something is drawn: reading a run needs none of it. Only its object API is used,
so no figure of the caller's is touched and no display is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ance_tele.console.numbers import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which stay apart for colour-blind eyes. One colour is one thing in every panel:
# black the model (scores and loss), orange BM25 (as a baseline and as a source of negatives).
MODEL = "#000000"
BM25 = "#E69F00"
LEARNED = "#009E73"
FORGOTTEN = "#D55E00"
UNCHANGED = "#C8C8C8"
SOURCE_COLOURS = {
    "query": "#0072B2",
    "lookahead": "#56B4E9",
    "momentum": "#CC79A7",
    "bm25": BM25,
    "random": "#F0E442",
    "given": "#8F7D5E",
}
OTHER_SOURCE = "#FFFFFF"
QUIET = "#6E6E6E"

# What is drawn in these follows the page into the dark (svg.py); text on a bar stays as it is.
INK = "#1A1A1A"
GRID = "#E4E4E4"
ON_LIGHT = "#101010"

# Above this many bars the figures inside them would not fit.
LABELLED_BARS = 6

STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 28,
    "axes.labelsize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    # Fixed, so that the same run gives the same SVG.
    "svg.hashsalt": "ance-tele",
}


def points_of(logged: Any) -> list[tuple[float, float]]:
    """Read [[step, value], …], leaving out what is no number: a loss can be NaN."""
    points = []
    for pair in logged if isinstance(logged, Sequence) else []:
        if isinstance(pair, Sequence) and len(pair) == 2:
            step, value = number(pair[0]), number(pair[1])
            if step is not None and value is not None:
                points.append((step, value))
    return sorted(points)


def stack(
    axes: Axes,
    at: Sequence[int],
    heights: Sequence[float],
    bottoms: list[float],
    colour: str,
    name: str,
    hatch: str | None = None,
) -> None:
    """Put one more layer on the bars, with its number inside where there is room."""
    axes.bar(
        at,
        heights,
        bottom=bottoms,
        width=0.62,
        color=colour,
        # An outline keeps the light colours from running into the paper.
        edgecolor="#404040",
        linewidth=0.6,
        hatch=hatch,
        label=name,
    )
    for index, (x, height) in enumerate(zip(at, heights, strict=True)):
        if height >= 4.5 and len(at) <= LABELLED_BARS and hatch is None:
            ink = on(colour)
            middle = bottoms[index] + height / 2
            axes.text(x, middle, f"{height:.1f}", ha="center", va="center_baseline", color=ink, fontsize=9)
        bottoms[index] += height


def on(colour: str) -> str:
    """Choose the ink for a number on a coloured ground: white on dark, black on light."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return "#FFFFFF" if 0.299 * red + 0.587 * green + 0.114 * blue < 118 else ON_LIGHT


def episode_axis(axes: Axes, at: Sequence[int]) -> None:
    """Label whole episodes only, every so many of them where they are many."""
    shown = list(at)[:: max(1, -(-len(at) // 12))]
    axes.set_xticks(shown, [str(x) for x in shown])
    # A single bar would otherwise be as wide as the panel.
    middle, half = (at[0] + at[-1]) / 2, max((at[-1] - at[0]) / 2 + 0.5, 1.0)
    axes.set_xlim(middle - half, middle + half)
    axes.set_xlabel("episode")


def legend(axes: Axes, columns: int, handle: float = 1.3) -> None:
    """Put the key in one line between title and panel, where no data can be."""
    made = axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=columns,
        borderaxespad=0.2,
        columnspacing=1.1,
        handlelength=handle,
        handletextpad=0.5,
    )
    # The title above has left room for it; counted again it would push the panels apart.
    made.set_in_layout(False)


def say_instead(axes: Axes, sentence: str) -> None:
    """Say why a panel is empty, in place of an empty frame."""
    axes.text(0.5, 0.5, sentence, transform=axes.transAxes, ha="center", va="center", color=QUIET)
    axes.set(xticks=[], yticks=[], xlabel="", ylabel="")
    axes.spines[:].set_visible(False)


def plain(name: str) -> str:
    """Keep a name to what the figure's font can draw, and to one line."""
    # DejaVu Sans, which matplotlib brings, has Latin, Greek and Cyrillic, and boxes for most of the rest.
    drawable = "".join(char if char.isprintable() and ord(char) < 0x0500 else "?" for char in name)
    # A name that begins so would be left out of the key.
    drawable = f" {drawable}" if drawable.startswith("_") else drawable
    return drawable if len(drawable) <= 40 else drawable[:39] + "…"


RUN_COLOURS = (INK, "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6F6F6F")
"""Runs beside each other, by their order; the mark says the same once more."""

RUN_MARKS = "osD^vPX*"

REFERENCE_LINES = ((0, (5, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)), (0, (1, 1.5)))
"""How the paper's curves are dashed, which are all of one quiet colour."""


@dataclass(frozen=True)
class Line:
    """A line of a panel: its points, and how it is drawn."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str
    mark: str | None = "o"
    dashes: Any = "-"
    hollow: bool = False
    thin: bool = False


def run_line(name: str, points: Sequence[tuple[float, float]], place: int, **how: Any) -> Line:
    """Draw a run's points in the colour of its place among the runs."""
    return Line(name, points, RUN_COLOURS[place], **{"mark": RUN_MARKS[place], **how})


def reference_lines(curves: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> list[Line]:
    """Draw the paper's curves: thin, quiet, dashed."""
    return [
        Line(f"paper: {name}", points, QUIET, None, REFERENCE_LINES[place % len(REFERENCE_LINES)], thin=True)
        for place, (name, points) in enumerate(curves)
    ]


def draw_lines(axes: Axes, lines: Sequence[Line]) -> None:
    """Draw lines and their key; a line without a name is not in the key."""
    for line in lines:
        axes.plot(
            [x for x, _ in line.points],
            [y for _, y in line.points],
            color=line.colour,
            linestyle=line.dashes,
            linewidth=1.3 if line.thin else 2.0,
            marker=line.mark,
            markersize=6,
            markerfacecolor="none" if line.hollow else line.colour,
            label=plain(line.name) if line.name else None,
            zorder=2 if line.thin else 3,
        )
    named = [line for line in lines if line.name]
    key(axes, len(named), max((len(line.name) for line in named), default=0), handle=1.8)


def key(axes: Axes, entries: int, longest: int, handle: float = 1.1) -> None:
    """Put the key between title and panel, in as many rows as its names need, and move the title out of its way."""
    columns = max(1, min(entries, 6, 60 // (min(longest, 40) + 5)))
    rows = -(-entries // columns)
    if entries < 1:
        return
    legend(axes, columns, handle)
    axes.set_title(axes.get_title(loc="left"), loc="left", pad=9 + 14.5 * rows)


def percent_axis(axes: Axes, label: str, whole: bool = False) -> None:
    """Let an axis of percentages begin at 0, and end at 100 where it is of the whole."""
    axes.set_ylabel(label)
    axes.set_ylim(0, 100 if whole else max(axes.get_ylim()[1], 1.0))


def note_reference(axes: Axes, lines: Sequence[Line]) -> None:
    """Say whose the dashed curves are, where there are some."""
    if any(line.name.startswith("paper: ") for line in lines):
        axes.set_xlabel(f"{axes.get_xlabel()}\ngrey, dashed: the paper's, on MS MARCO")
