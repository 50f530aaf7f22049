"""Figures of the negatives: what lists and pools consist of, what is new in them, what leaves and comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ance_tele.report.drawing import Drawing, Panel
from ance_tele.report.paper_curves import Reference
from ance_tele.report.runs import RunData, composed, listed, series, sources_of
from ance_tele.report.style import (
    BM25,
    OTHER_SOURCE,
    SOURCE_COLOURS,
    Line,
    draw_lines,
    episode_axis,
    key,
    percent_axis,
    plain,
    run_line,
    stack,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Bars = Sequence[tuple[int, Mapping[str, float]]]

PARTS = (
    ("mined", "round", "Mined lists, by round first met"),
    ("pools", "episode", "Pools, by episode first met"),
    ("sources", "episode", "Pools, by source"),
    ("origins", "episode", "Pools, by what once mined them"),
)
"""The compositions: name in dynamics.json, what is counted, title (Figures 5, 9, 10a-d)."""


@dataclass(frozen=True)
class Stacks:
    """Stacked bars by round or episode; ``rounds`` share out the colours, ``lexical``: BM25 mined the first."""

    bars: Bars
    title: str
    by: str
    rounds: int
    lexical: bool


def composition(runs: Sequence[RunData], reference: Reference | None = None) -> Drawing | None:
    """Draw what mined lists and pools consist of, each run in panels of its own, all from 0 to 100%."""
    shown: list[Stacks] = []
    rows: list[list[Any]] = []
    rounds = max((place for run in runs for place, _ in composed(run, "mined", "round")), default=0)
    for name, by, title in PARTS:
        for run in runs:
            bars = composed(run, name, by)
            if not bars or (name == "origins" and bars == composed(run, "sources", "episode")):
                continue
            rows += [[run.name, title, place, what, share] for place, bar in bars for what, share in bar.items()]
            whole = f"{title}\n{plain(run.name)}" if len(runs) > 1 else title
            shown.append(Stacks(bars, whole, by, rounds, lexical(run)))
        if name == "mined" and reference and reference.mined:
            theirs = "paper, MS MARCO: ANCE, BERT"
            rows += [[theirs, title, place, what, x] for place, bar in reference.mined for what, x in bar.items()]
            shown.append(Stacks(reference.mined, f"{title}\n{theirs}", by, rounds, lexical=True))
    if not shown:
        return None
    header = ("run", "of", "round or episode", "met in or source", "share")
    panels = [
        Panel(f"Stacked bars by {one.by}, in percent: {one.title}.".replace("\n", ", "), partial(_stacked, one=one))
        for one in shown
    ]
    return Drawing("composition", "What the negatives consist of", panels, header, rows, columns=2)


def lexical(run: RunData) -> bool:
    """Say whether BM25 mined the first round of a run."""
    return any(one.get("source") == "bm25" for one in listed(run.dynamics, "rounds")[:1])


def _stacked(axes: Axes, one: Stacks) -> None:
    axes.set_title(one.title)
    places, bottoms = [place for place, _ in one.bars], [0.0] * len(one.bars)
    known = sources_of(one.bars)
    if all(name.isdigit() for name in known):
        known = sorted(known, key=int)
        layers = {name: _shade(int(name), one) for name in known}
    else:
        layers = {name: SOURCE_COLOURS.get(name, OTHER_SOURCE) for name in known}
    words = {name: "BM25" if layers[name] == BM25 else plain(name) for name in known}
    for name, colour in layers.items():
        hatch = "///" if colour == OTHER_SOURCE else None
        stack(axes, places, [100 * bar.get(name, 0.0) for _, bar in one.bars], bottoms, colour, words[name], hatch)
    episode_axis(axes, places)
    axes.set_xlabel("round of mining" if one.by == "round" else one.by)
    key(axes, len(layers), max(map(len, words.values())))
    percent_axis(axes, "%", whole=True)


def _shade(number: int, one: Stacks) -> str:
    """Choose the colour of a round: from dark to light with time, the same in every panel; BM25's own for its round."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    last = max(one.rounds, *(int(name) for _, bar in one.bars for name in bar), 2)
    return (
        BM25 if one.lexical and number == 1 else to_hex(colormaps["viridis"](0.05 + 0.93 * (number - 1) / (last - 1)))
    )


def new_negatives(runs: Sequence[RunData]) -> Drawing | None:
    """Draw how much of each round is new, and how much of that lay around the positives (Figures 7, 10e-h)."""
    new: list[Line] = []
    near: list[Line] = []
    baseline: list[Line] = []
    rows: list[list[Any]] = []
    for place, run in enumerate(runs):
        found = [one for one in listed(run.dynamics, "new") if one.get("round") != 1]  # all of the first is new
        name = run.name if len(runs) > 1 else ""
        for quantity in ("new", "near_positive", "random"):
            rows += [[run.name, round_, quantity, value] for round_, value in series(found, "round", quantity)]
        shares = {quantity: [(x, 100 * y) for x, y in series(found, "round", quantity)]
                  for quantity in ("new", "near_positive", "random")}  # fmt: skip
        if shares["new"]:
            new.append(run_line(name, shares["new"], place))
        if shares["near_positive"]:
            near.append(run_line(name or "near a positive", shares["near_positive"], place))
            random = "" if baseline else "random passages"
            baseline.append(run_line(random, shares["random"], place, mark=None, dashes=(0, (2, 2)), thin=True))
    panels = []
    if new:
        alt = "Share of each round's lists that no earlier round had met."
        draw = partial(_by_round, lines=new, title="New in each round of mining", of="% of the list")
        panels.append(Panel(alt, draw))
    if near:
        alt = "Share of the new negatives that the positives' neighbours held a round before, beside random passages."
        draw = partial(
            _by_round, lines=near + baseline, title="New ones that lay near a positive", of="% of the new negatives"
        )
        panels.append(Panel(alt, draw))
    header = ("run", "round", "quantity", "share")
    return Drawing("new-negatives", "New negatives", panels, header, rows, columns=2) if panels else None


def swing(runs: Sequence[RunData]) -> Drawing | None:
    """Draw how much of a round's lists left in the next one and was back in the one after (Section 3)."""
    lines, rows = [], []
    for place, run in enumerate(runs):
        found = listed(run.dynamics, "swing")
        counts = {round_: int(value) for round_, value in series(found, "round", "count")}
        points = series(found, "round", "share")
        rows += [[run.name, round_, value, counts.get(round_)] for round_, value in points]
        if points:
            name = run.name if len(runs) > 1 else ""
            lines.append(run_line(name, [(round_, 100 * value) for round_, value in points], place))
    if not lines:
        return None
    draw = partial(_by_round, lines=lines, title="In, out a round later, back in the next", of="% of the list")
    alt = "Share of a round's lists that left in the next round and came back in the one after."
    header = ("run", "round", "share", "count")
    return Drawing("swing", "Negatives that swing", [Panel(alt, draw)], header, rows, columns=2)


def _by_round(axes: Axes, lines: Any, title: str, of: str) -> None:
    axes.set_title(title)
    episode_axis(axes, sorted({int(x) for line in lines for x, _ in line.points}))
    axes.set_xlabel("round of mining")
    draw_lines(axes, lines)
    percent_axis(axes, of)
    axes.set_ylim(bottom=0)
