"""Elements of figures: lines with a key, stacked bars, axes of episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ance_tele.report.style import OUTLINE, QUIET, ink_on, plain, run_look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = Sequence[tuple[float, float]]

LABELLED_BARS = 6
"""Above this many bars the figures inside them would not fit."""

REFERENCE_DASHES = ((0, (5, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)), (0, (1, 1.5)))
"""How the paper's curves are dashed, which are all of one quiet colour."""


@dataclass(frozen=True)
class Line:
    """A line of a panel; without a name it is not in the key. ``spread`` gives error bars."""

    name: str
    points: Points
    colour: str
    mark: str | None = "o"
    dashes: Any = "-"
    hollow: bool = False
    thin: bool = False
    spread: Sequence[float] = ()

    def scaled(self, factor: float) -> Line:
        """Return the line with its values multiplied."""
        points = [(x, factor * y) for x, y in self.points]
        return replace(self, points=points, spread=[factor * one for one in self.spread])


def run_line(name: str, points: Points, place: int, **how: Any) -> Line:
    """Return the line of a run in the colour and with the mark of its place."""
    colour, mark = run_look(place)
    return Line(name, points, colour, **{"mark": mark, **how})


def reference_lines(curves: Sequence[tuple[str, Points]]) -> list[Line]:
    """Return the paper's curves, thin and dashed."""
    return [
        Line(f"paper: {name}", points, QUIET, None, REFERENCE_DASHES[place % len(REFERENCE_DASHES)], thin=True)
        for place, (name, points) in enumerate(curves)
    ]


def draw_lines(axes: Axes, lines: Sequence[Line]) -> None:
    """Draw lines and their key, with a note on those of the paper."""
    for line in lines:
        axes.errorbar(
            [x for x, _ in line.points],
            [y for _, y in line.points],
            yerr=line.spread if any(line.spread) else None,
            capsize=2,
            color=line.colour,
            linestyle=line.dashes,
            linewidth=1.3 if line.thin else 2.0,
            marker=line.mark,
            markersize=6,
            markerfacecolor="white" if line.hollow else line.colour,
            label=plain(line.name) if line.name else None,
            zorder=2 if line.thin else 3,
        )
    draw_key(axes, [line.name for line in lines if line.name], handle=1.8)
    if any(line.name.startswith("paper: ") for line in lines):
        axes.set_xlabel(f"{axes.get_xlabel()}\ngrey, dashed: the paper's, on MS MARCO")


def draw_key(axes: Axes, names: Sequence[str], handle: float = 1.1) -> None:
    """Draw the key between title and panel, in as many rows as needed, and move the title up."""
    if not names:
        return
    columns = max(1, min(len(names), 6, 60 // (min(max(map(len, names)), 40) + 5)))
    key = axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=columns,
        borderaxespad=0.2,
        columnspacing=1.1,
        handlelength=handle,
        handletextpad=0.5,
    )
    # The title leaves room for it, so that the layout must not count it again.
    key.set_in_layout(False)
    axes.set_title(axes.get_title(loc="left"), loc="left", pad=9 + 14.5 * -(-len(names) // columns))


def draw_stacks(
    axes: Axes,
    bars: Sequence[tuple[int, Mapping[str, float]]],
    layers: Mapping[str, tuple[str, str]],
    title: str,
    of: str = "%",
    by: str = "episode",
) -> None:
    """Draw stacked bars in percent, with numbers where there is room, and the key.

    Layers have title and colour, from the bottom up; a bar without shares is marked as not measured.
    """
    axes.set(title=title, xlabel=by, ylabel=of)
    known = [(place, shares) for place, shares in bars if shares]
    bottoms = [0.0] * len(known)
    places = [place for place, _ in known]
    for layer, (name, colour) in layers.items():
        heights = [100 * shares.get(layer, 0.0) for _, shares in known]
        # Outlines separate light colours from the background.
        axes.bar(places, heights, 0.62, bottoms, color=colour, edgecolor=OUTLINE, linewidth=0.6, label=plain(name))
        for index, height in enumerate(heights):
            if height >= 4.5 and len(known) <= LABELLED_BARS:
                at = (places[index], bottoms[index] + height / 2)
                ink = ink_on(colour)
                axes.text(*at, f"{height:.1f}", ha="center", va="center_baseline", color=ink, fontsize=9)
            bottoms[index] += height
    for place, shares in bars:
        if not shares:
            axes.text(place, 3, "not measured", rotation=90, ha="center", va="bottom", color=QUIET)
    label_episodes(axes, [place for place, _ in bars])
    draw_key(axes, [title for title, _ in layers.values()])
    axes.set_ylim(0, 100)


def label_episodes(axes: Axes, places: Sequence[float]) -> None:
    """Label whole episodes (or rounds), not all of them if they are many."""
    at = sorted({round(place) for place in places})
    shown = at[:: max(1, -(-len(at) // 12))]
    axes.set_xticks(shown, [str(x) for x in shown])
    # A single bar would otherwise be as wide as the panel.
    middle, half = (at[0] + at[-1]) / 2, max((at[-1] - at[0]) / 2 + 0.5, 1.0)
    axes.set_xlim(middle - half, middle + half)


def draw_nothing(axes: Axes, title: str, sentence: str) -> None:
    """Write why a panel is empty."""
    axes.set_title(title)
    axes.text(0.5, 0.5, sentence, transform=axes.transAxes, ha="center", va="center", color=QUIET)
    axes.set(xticks=[], yticks=[], xlabel="", ylabel="")
    axes.spines[:].set_visible(False)


class Bar(NamedTuple):
    """A horizontal bar: group, place in the group, length, text at its end."""

    group: int
    place: int
    value: float
    text: str
    colour: str


def draw_bars(axes: Axes, bars: Sequence[Bar], groups: Sequence[str], size: int, title: str, of: str) -> None:
    """Draw groups of horizontal bars, ``size`` in each, the first on top."""
    axes.set_title(title)
    draw_groups(axes, groups, of)
    for group, place, value, text, colour in bars:
        y = place_in_group(group, place, size)
        axes.barh(y, value, 0.72 / size, color=colour, edgecolor=OUTLINE, linewidth=0.6)
        axes.annotate(text, (value, y), (4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_xlim(0, 1.18 * max(max(bar.value for bar in bars), 1e-9))
    axes.locator_params(axis="x", nbins=4)
    axes.xaxis.set_major_formatter("{x:,g}")


def draw_groups(axes: Axes, names: Sequence[str], of: str) -> None:
    """Prepare an axis for horizontal groups, one per name from the top, with a grid for values."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.6)
    axes.set_xlabel(of)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")


def place_in_group(group: int, place: int, size: int) -> float:
    """Return the position of a run's bar in a group of ``size``."""
    return group - 0.36 + 0.72 * (place + 0.5) / size


def draw_key_of_runs(axes: Axes, runs: Sequence[str]) -> None:
    """Draw the key of several runs whose bars or marks are in groups."""
    if len(runs) > 1:
        for place, run in enumerate(runs):
            colour, mark = run_look(place)
            axes.plot([], [], color=colour, marker=mark, label=plain(run))
        draw_key(axes, runs)
