"""Figures of negatives: composition of lists and pools, new negatives, swing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ance_tele.paper.curves import Reference
from ance_tele.report.axes import Line, draw_stacks, run_line
from ance_tele.report.drawing import Drawing, Panel
from ance_tele.report.figures_learning import draw_rate
from ance_tele.report.load import RunData
from ance_tele.report.style import BM25, Own, plain, source_colour, source_title, sources_in_order

Bars = Sequence[tuple[int, Mapping[str, float]]]

ROUND = "round of mining"
PARTS = {
    "mined": "Mined lists, by round first met",
    "pools": "Pools, by episode first met",
    "sources": "Pools, by source",
    "origins": "Pools, by what once mined them",
}
"""The compositions (Figures 5, 9, 10a-d) by name in dynamics.json."""


def composition(runs: Sequence[RunData], reference: Reference | None = None) -> Drawing | None:
    """Draw the composition of mined lists and pools, panels per run, all from 0 to 100%."""
    panels: list[Panel] = []
    rows: list[list[Any]] = []
    rounds = max((place for run in runs for place, _ in run.analysis.dynamics.composed("mined")), default=0)

    own = {name: look for run in runs for name, look in run.summary.sources.items()}

    def add(who: str, bars: Bars, part: str, whose: str, lexical: bool) -> None:
        title, by = PARTS[part], "round" if part == "mined" else "episode"
        rows.extend([who, title, place, what, share] for place, bar in bars for what, share in bar.items())
        whole = f"{title}\n{whose}" if whose else title
        layers = _layers(bars, rounds, lexical, own)
        draw = partial(draw_stacks, bars=bars, layers=layers, title=whole, by=ROUND if part == "mined" else by)
        panels.append(Panel(f"Stacked bars by {by}, in percent: {whole}.".replace("\n", ", "), draw))

    for part in PARTS:
        for run in runs:
            bars = run.pools if part == "sources" else run.analysis.dynamics.composed(part)
            if bars and not (part == "origins" and bars == run.pools):
                add(run.name, bars, part, plain(run.name) if len(runs) > 1 else "", run.analysis.dynamics.lexical)
        if part == "mined" and reference and reference.mined:
            theirs = "paper, MS MARCO: ANCE, BERT"
            add(theirs, reference.mined, part, theirs, lexical=True)
    header = ("run", "of", "round or episode", "met in or source", "share")
    title = "What the negatives consist of"
    return Drawing("composition", title, panels, header, rows, columns=2) if panels else None


def _layers(bars: Bars, rounds: int, lexical: bool, own: Own) -> dict[str, tuple[str, str]]:
    """Return title and colour of each layer: of the source, or of the round from dark to light."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    names = {name for _, bar in bars for name in bar}
    if not all(name.isdigit() for name in names):
        return {name: (source_title(name, own), source_colour(name, own)) for name in sources_in_order(names)}
    numbers = sorted(map(int, names))
    last = max(rounds, *numbers, 2)
    shades = {one: to_hex(colormaps["viridis"](0.05 + 0.93 * (one - 1) / (last - 1))) for one in numbers}
    return {str(one): ("BM25", BM25) if lexical and one == 1 else (str(one), shades[one]) for one in numbers}


def new_negatives(runs: Sequence[RunData], reference: Reference | None = None) -> Drawing | None:
    """Draw the share of new negatives by round, and the share of these near positives (Figures 7, 10e-h)."""
    new: list[Line] = []
    near: list[Line] = []
    random: list[Line] = []
    rows: list[list[Any]] = []
    for place, run in enumerate(runs):
        name = run.name if len(runs) > 1 else ""
        shares = {
            quantity: [(one.round, share) for one in run.new if (share := getattr(one, quantity)) is not None]
            for quantity in ("new", "near_positive", "random")
        }
        rows += [[run.name, place_, quantity, value] for quantity in shares for place_, value in shares[quantity]]
        if shares["new"]:
            new.append(run_line(name, shares["new"], place))
        if shares["near_positive"]:
            near.append(run_line(name or "near a positive", shares["near_positive"], place))
            chance = "" if random else "random passages"
            random.append(run_line(chance, shares["random"], place, mark=None, dashes=(0, (2, 2)), thin=True))
    panels = []
    if new:
        draw = partial(draw_rate, lines=new, title="New in each round of mining", of="% of the list", by=ROUND)
        panels.append(Panel("Share of each round's lists that no earlier round had met, in percent.", draw))
    if near:
        title = "New ones that lay near a positive"
        draw = partial(draw_rate, lines=near + random, title=title, of="% of the new negatives", by=ROUND)
        alt = "Share of the new negatives that the positives' neighbours held a round before, and of random passages."
        panels.append(Panel(alt, draw))
    header = ("run", "round", "quantity", "share")
    return Drawing("new-negatives", "New negatives", panels, header, rows, columns=2) if panels else None


def swing(runs: Sequence[RunData], reference: Reference | None = None) -> Drawing | None:
    """Draw the share of a round's negatives that left in the next one and came back in the one after (Section 3)."""
    lines, rows = [], []
    for place, run in enumerate(runs):
        known = [(one.round, one.share, one.count) for one in run.analysis.dynamics.swing]
        rows += [[run.name, *one] for one in known]
        if known:
            name = run.name if len(runs) > 1 else ""
            lines.append(run_line(name, [(round_, share) for round_, share, _ in known], place))
    title = "In, out a round later, back in the next"
    draw = partial(draw_rate, lines=lines, title=title, of="% of the list", by=ROUND)
    panel = Panel("Share of a round's lists that left in the next round and came back in the one after.", draw)
    header = ("run", "round", "share", "count")
    return Drawing("swing", "Negatives that swing", [panel], header, rows, columns=2) if lines else None
