"""Palette and fonts of all figures, for screen, print and dark mode.

matplotlib is imported on drawing only, and used by its object API, without effect on figures of the caller.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from zlib import crc32

from ance_tele.mining.sources import SOURCES

# Okabe and Ito's colours, which are colour-blind safe; each has one meaning in all panels.
BM25 = "#E69F00"
LEARNED = "#009E73"
FORGOTTEN = "#D55E00"
UNCHANGED = "#C8C8C8"
QUIET = "#6E6E6E"
OUTLINE = "#404040"
INK = "#1A1A1A"
GRID = "#E4E4E4"

Own = Mapping[str, Mapping[str, str]]
"""Title and colour of each source that is a user's own, as a summary keeps them."""

_FIRST = ("query", "lookahead", "momentum")
_OTHERS = ("#117733", "#882255", "#999933", "#44AA99")  # Paul Tol's, for unknown sources

RUNS = (
    (INK, "o"),
    ("#D55E00", "s"),
    ("#0072B2", "D"),
    ("#009E73", "^"),
    ("#CC79A7", "v"),
    ("#E69F00", "P"),
    ("#56B4E9", "X"),
    ("#6F6F6F", "*"),
)
"""Colour and mark of runs that are drawn together, by their place."""

DARK = {INK: "#e8eaed", QUIET: "#a3abb5", GRID: "#39404a", OUTLINE: "#0d1117"}
"""Colours that follow the page into the dark; everything else reads on both grounds."""

STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "svg.hashsalt": "ance-tele",  # fixed, so that the same run gives the same SVG
    "text.parse_math": False,
    **{f"{name}color": INK for name in ("text.", "axes.label", "xtick.", "ytick.", "axes.title")},
}


@contextmanager
def the_style() -> Iterator[None]:
    """Draw in the report's style; the caller's style is restored."""
    from matplotlib import style

    with style.context(["default", STYLE]):
        yield


def source_title(name: str, own: Own | None = None) -> str:
    """Return the title of a source of negatives, as declared or recorded."""
    return SOURCES[name].title if name in SOURCES else (own or {}).get(name, {}).get("title", name)


def source_colour(name: str, own: Own | None = None) -> str:
    """Return the colour of a source of negatives."""
    if name in SOURCES:
        return SOURCES[name].colour or QUIET
    other = _OTHERS[crc32(name.encode("utf-8", "replace")) % len(_OTHERS)]
    return (own or {}).get(name, {}).get("colour", other)


def sources_in_order(names: Iterable[str]) -> list[str]:
    """Return sources in the order of tables and figures, user-defined ones last."""
    found = set(names)
    return [name for name in dict.fromkeys((*_FIRST, *SOURCES)) if name in found] + sorted(found - SOURCES.keys())


def run_look(place: int) -> tuple[str, str]:
    """Return colour and mark of a run by its place; no two of the first 64 have both in common.

    Example:
        >>> run_look(0), run_look(8)
        (('#1A1A1A', 'o'), ('#1A1A1A', 's'))
    """
    again, place = divmod(place, len(RUNS))
    return RUNS[place][0], RUNS[(place + again) % len(RUNS)][1]


def ink_on(colour: str) -> str:
    """Return white for dark backgrounds, black for light ones."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return "#FFFFFF" if 0.299 * red + 0.587 * green + 0.114 * blue < 118 else "#101010"


def plain(name: str) -> str:
    """Return a name as the figures' font can draw it, in one line of at most 40 characters."""
    # DejaVu Sans, which matplotlib brings, has Latin, Greek and Cyrillic, and boxes for most of the rest.
    drawable = "".join(char if char.isprintable() and ord(char) < 0x0500 else "?" for char in name)
    # A name that begins so would be left out of the key.
    drawable = f" {drawable}" if drawable.startswith("_") else drawable
    return drawable if len(drawable) <= 40 else drawable[:39] + "…"
