"""Figures of a projection, of suspects, and of other collections."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ance_tele.console.numbers import count, p_value, score
from ance_tele.paper.curves import Reference
from ance_tele.report.axes import Bar, draw_bars, draw_groups, draw_key_of_runs, place_in_group
from ance_tele.report.drawing import SMALL, Drawing, Panel
from ance_tele.report.load import RunData
from ance_tele.report.style import INK, LEARNED, QUIET, plain, run_look, source_colour, source_title, sources_in_order
from ance_tele.runs.analysed import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours without another meaning in the report, colour-blind safe (Paul Tol's); marks repeat them.
KINDS = {
    "A": ("o", "#BB5566", "class A"),
    "B": ("s", "#44AA99", "class B"),
    "positive": ("^", LEARNED, "positive"),
    "query": ("*", INK, "query"),
}
"""What a projection shows: mark, colour, name; what matters most is drawn last."""

OF_SOURCE = "% of the pairs from the source"
REASONS = {
    "near_duplicate": "near-\nduplicate",
    "above_positive": "above\npositive",
    "persistently_top": "persistently\ntop",
}
"""Why a negative is suspect, as an axis has it."""


def projection(runs: Sequence[RunData], reference: Reference | None = None) -> Drawing | None:
    """Draw the projection of one query, its positives and swinging negatives by episode (Figure 6)."""
    panels, rows = [], []
    for run in runs:
        points = run.analysis.projection.points
        rows += [[run.name, one.kind, one.id, one.episode, one.x, one.y] for one in points]
        suffix = f"\n{plain(run.name)}" if len(runs) > 1 else ""
        for episode in sorted({one.episode for one in points}):
            here = [one for one in points if one.episode == episode]
            title = (f"episode {episode}" if episode else "before training") + suffix
            amounts = [f"{sum(one.kind == kind for one in here)} {name}" for kind, (*_, name) in KINDS.items()]
            alt = f"Projection at episode {episode}{suffix}: {', '.join(amounts)}.".replace("\n", ", ")
            panels.append(Panel(alt, partial(_scatter, points=here, limits=_limits(points), title=title)))
    header = ("run", "kind", "id", "episode", "x", "y")
    key = [KINDS[kind] for kind in ("query", "positive", "A", "B")]
    title = "One query and its swinging negatives"
    return Drawing("projection", title, panels, header, rows, size=SMALL, key=key) if panels else None


def _limits(points: Sequence[Point]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return limits of x and y with a margin, of equal extent."""
    xs, ys = [one.x for one in points], [one.y for one in points]
    half = 0.54 * max(max(xs) - min(xs), max(ys) - min(ys), 1e-9)
    x, y = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    return (x - half, x + half), (y - half, y + half)


def _scatter(axes: Axes, points: Sequence[Point], limits: Any, title: str) -> None:
    axes.set_title(title, fontsize=9.5)
    for kind, (mark, colour, _) in KINDS.items():
        here = [(one.x, one.y) for one in points if one.kind == kind]
        if here:
            size, alpha = {"query": (150, 1.0), "positive": (80, 1.0)}.get(kind, (20, 0.75))
            (xs, ys), edge = zip(*here, strict=True), "#FFFFFF"
            axes.scatter(xs, ys, size, colour, marker=mark, alpha=alpha, linewidths=0.5, edgecolors=edge)
    axes.set(xlim=limits[0], ylim=limits[1], xticks=[], yticks=[], aspect="equal")
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)


def suspects(runs: Sequence[RunData], reference: Reference | None = None) -> Drawing | None:
    """Draw the shares of suspected false negatives by source and by reason."""
    sources = sources_in_order(name for run in runs for name in run.analysis.suspects.by_source)
    found = {name for run in runs for name in run.analysis.suspects.by_reason}
    reasons = [*(name for name in REASONS if name in found), *sorted(found - REASONS.keys())]
    own = {name: look for run in runs for name, look in run.summary.sources.items()}
    by_source: list[Bar] = []
    by_reason: list[Bar] = []
    rows: list[list[Any]] = []
    for place, run in enumerate(runs):
        of, alone = run.analysis.suspects, len(runs) == 1
        for group, name in enumerate(sources):
            one = of.by_source.get(name)
            if one is not None and one.share is not None:
                rows.append([run.name, "source", name, one.pairs, one.suspects, one.share])
                colour = source_colour(name, own) if alone else run_look(place)[0]
                by_source.append(Bar(group, place, 100 * one.share, f"{100 * one.share:.1f}%", colour))
        for name, amount in of.by_reason.items():
            rows.append([run.name, "reason", name, None, amount, None])
            colour = QUIET if alone else run_look(place)[0]
            by_reason.append(Bar(reasons.index(name), place, amount, count(amount), colour))
    names = [run.name for run in runs]
    panels = []
    if by_source:
        groups = [plain(source_title(name, own))[:20] for name in sources]
        draw = partial(_bars, bars=by_source, groups=groups, runs=names, title="Suspects, by source", of=OF_SOURCE)
        panels.append(Panel("Share of suspect negatives by source, in percent.", draw))
    if by_reason:
        groups = [REASONS.get(name, plain(name)[:20]) for name in reasons]
        draw = partial(_bars, bars=by_reason, groups=groups, runs=names, title="Suspects, by reason", of="pairs")
        panels.append(Panel("Number of suspect negatives by reason.", draw))
    header = ("run", "by", "name", "pairs", "suspects", "share")
    return Drawing("suspects", "Negatives that are probably false", panels, header, rows, columns=2) if panels else None


def _bars(axes: Axes, bars: Sequence[Bar], groups: Sequence[str], runs: Sequence[str], title: str, of: str) -> None:
    draw_bars(axes, bars, groups, len(runs), title, of)
    draw_key_of_runs(axes, runs)


def out_of_domain(runs: Sequence[RunData], reference: Reference | None = None) -> Drawing | None:
    """Draw scores on other collections before and after training, with p-values."""
    pairs: list[Pair] = []
    rows: list[list[Any]] = []
    for place, run in enumerate(runs):
        for one in run.analysis.out_of_domain:
            metric = one.metric or "MRR@10"
            before, after = one.before.get(metric), one.after.get(metric)
            if before is not None and after is not None:
                evidence = "" if one.p is None else f", {p_value(one.p)}"
                pairs.append(Pair(place, f"{one.collection or '?'}, {one.split or '?'}", before, after, evidence))
                rows.append([run.name, one.collection, one.split, metric, before, after, after - before, one.p])
    names = list(dict.fromkeys(pair.name for pair in pairs))
    draw = partial(_pairs, pairs=pairs, names=names, runs=[run.name for run in runs])
    panel = Panel(f"Before training and after, on {', '.join(names)}.", draw)
    header = ("run", "collection", "split", "metric", "zero-shot", "trained", "difference", "p")
    return Drawing("elsewhere", "On other collections", [panel], header, rows, columns=2) if pairs else None


class Pair(NamedTuple):
    """Scores before and after training of the run at a place, on a collection."""

    place: int
    name: str
    before: float
    after: float
    evidence: str


def _pairs(axes: Axes, pairs: Sequence[Pair], names: Sequence[str], runs: Sequence[str]) -> None:
    axes.set_title("Before training and after")
    labels = ["\n".join(line[:20] for line in plain(name).split(", ")[:2]) for name in names]
    draw_groups(axes, labels, "score (hollow: before training)")
    for place, name, before, after, evidence in pairs:
        y, (colour, mark) = place_in_group(names.index(name), place, len(runs)), run_look(place)
        axes.plot([before, after], [y, y], color=colour, linewidth=1.8, zorder=2)
        for value, face in ((before, "#FFFFFF"), (after, colour)):
            axes.plot(value, y, marker=mark, color=colour, markerfacecolor=face, markersize=7, zorder=3)
        at, text = ((before + after) / 2, y), f"{score(before)} → {score(after)}{evidence}"
        axes.annotate(text, at, (0, 9), textcoords="offset points", ha="center", fontsize=8.5)
    axes.set_xlim(0, 1)
    draw_key_of_runs(axes, runs)
