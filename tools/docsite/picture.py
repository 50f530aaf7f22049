"""Draw the picture of the idea: ``python -m docsite.picture`` writes docs/images/idea-light.svg and idea-dark.svg."""

from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from docsite.pages import ROOT


class Look(NamedTuple):
    """Colours of a theme."""

    text: str
    faint: str
    query: str
    momentum: str
    lookahead: str
    positive: str


LOOKS = {
    "light": Look("#24292f", "#c4c9cf", "#0072B2", "#8a5a00", "#a6457e", "#00755c"),
    "dark": Look("#e6e6e6", "#565c66", "#5ab4f0", "#e69f00", "#e58cc3", "#2fc9a4"),
}
QUERY, PAST, POSITIVE = np.array([4.05, 2.75]), np.array([1.45, 3.75]), np.array([7.75, 3.3])
KINDS = (  # centre, radius, colour, marker, passages, seed, name, meaning
    (QUERY, 1.2, "query", "o", 9, 3, "query negatives", "what the model ranks high now"),
    (PAST, 0.95, "momentum", "s", 6, 5, "momentum negatives", "what past episodes trained on"),
    (POSITIVE, 1.1, "lookahead", "^", 8, 8, "lookahead negatives", "what lies around the positive"),
)
# What is written about a point, and where: the line to it starts below the words.
WORDS = (
    (QUERY, "text", "the query now", np.array([4.6, 4.3])),
    (PAST, "text", "the query an episode ago", np.array([1.45, 5.0])),
    (POSITIVE, "positive", "its relevant passage", np.array([7.75, 4.75])),
)
LINES = [(place, at) for at, _, _, place in WORDS] + [(PAST, QUERY), (QUERY, POSITIVE)]


def _away(at: np.ndarray, start: np.ndarray, end: np.ndarray) -> float:
    """Return the distance of a point from a line between two points."""
    share = np.clip((at - start) @ (end - start) / ((end - start) @ (end - start)), 0, 1)
    return float(np.hypot(*(at - start - share * (end - start))))


def _around(centre: np.ndarray, radius: float, count: int, seed: int) -> np.ndarray:
    """Return points within a circle, apart from each other, from its centre and from all lines: [count, 2]."""
    draw, found = np.random.default_rng(seed), []
    while len(found) < count:
        angle = draw.random() * 2 * np.pi
        at = centre + radius * np.sqrt(draw.random()) * np.array([np.cos(angle), np.sin(angle)])
        apart = np.hypot(*(at - centre)) > 0.34 and all(np.hypot(*(at - one)) > 0.3 for one in found)
        if apart and all(_away(at, *line) > 0.17 for line in LINES):
            found.append(at)
    return np.array(found)


def picture(look: Look) -> Figure:
    """Return the figure: passages as points, the query now and before, its positive, three kinds of negatives."""
    figure = Figure(figsize=(8.6, 4.6))
    FigureCanvasSVG(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 9.6), ylim=(0.3, 5.43), aspect="equal")
    axes.axis("off")
    grid = np.random.default_rng(4).uniform((0.1, 0.4), (9.5, 5.1), (150, 2))
    written = [(place, 1.5, 0.3) for *_, place in WORDS] + [(one[0] - (0, one[1] + 0.4), 1.6, 0.45) for one in KINDS]
    for at in grid:
        inside = any(np.hypot(*(at - centre)) < radius + 0.2 for centre, radius, *_ in KINDS)
        under = any(abs(at[0] - x) < wide and abs(at[1] - y) < high for (x, y), wide, high in written)
        if not inside and not under:
            axes.scatter(*at, s=9, color=look.faint, linewidths=0)
    for centre, radius, kind, marker, count, seed, name, meaning in KINDS:
        colour = getattr(look, kind)
        axes.add_patch(Circle(centre, radius, facecolor=colour, alpha=0.13, linewidth=0))
        axes.add_patch(Circle(centre, radius, fill=False, edgecolor=colour, linewidth=1.2, linestyle=(0, (4, 3))))
        axes.scatter(*_around(centre, radius - 0.16, count, seed).T, s=46, color=colour, marker=marker, linewidths=0)
        below = centre - (0, radius + 0.27)
        axes.text(*below, name, ha="center", va="center", color=colour, fontsize=11.5, fontweight="bold")
        axes.text(*(below - (0, 0.3)), meaning, ha="center", va="center", color=look.text, fontsize=9.5)
    for start, end, colour in ((PAST, QUERY, look.text), (QUERY, POSITIVE, look.positive)):
        step = (end - start) / np.hypot(*(end - start))
        style = {"arrowstyle": "->", "color": colour, "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", end - 0.22 * step, start + 0.12 * step, arrowprops=style)
    for at, kind, words, place in WORDS:
        axes.text(*place, words, ha="center", va="bottom", color=getattr(look, kind), fontsize=10.5)
        axes.plot(*np.array([place - (0, 0.03), at + 0.16 * (place - at) / np.hypot(*(place - at))]).T,
                  color=getattr(look, kind), linewidth=0.8)  # fmt: skip
    axes.scatter(*PAST, s=70, facecolor="none", edgecolor=look.text, linewidths=1.4)
    axes.scatter(*QUERY, s=90, color=look.text)
    axes.scatter(*POSITIVE, s=230, color=look.positive, marker="*", linewidths=0)
    return figure


def write(folder: Path) -> list[Path]:
    """Write the picture for light and dark pages; the same bytes each time."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"idea-{name}.svg" for name in LOOKS]
    with matplotlib.rc_context({"svg.hashsalt": "ance-tele", "svg.fonttype": "path"}):
        for look, path in zip(LOOKS.values(), paths, strict=True):
            picture(look).savefig(path, transparent=True, metadata={"Date": None})
    return paths


if __name__ == "__main__":
    print(*write(ROOT / "docs" / "images"), sep="\n")
