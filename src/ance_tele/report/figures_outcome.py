"""Figures of one query's neighbourhood, of probable false negatives, and of other collections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ance_tele.console.numbers import count, number, p_value, score
from ance_tele.report.drawing import Drawing, Panel
from ance_tele.report.runs import RunData, at, listed
from ance_tele.report.style import (
    INK,
    LEARNED,
    OTHER_SOURCE,
    QUIET,
    RUN_COLOURS,
    RUN_MARKS,
    SOURCE_COLOURS,
    key,
    plain,
)
from ance_tele.report.summary import SOURCES, part

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that mean nothing else in the report, apart for colour-blind eyes (Paul Tol's); the mark says it again.
KINDS = {
    "A": ("o", "#BB5566", "class A"),
    "B": ("s", "#44AA99", "class B"),
    "positive": ("^", LEARNED, "positive"),
    "query": ("*", INK, "query"),
}
"""What a projection shows: mark, colour, name; what matters most is drawn last."""

REASONS = {"copy": "nearly a copy of a positive", "outscores": "outscores the positive", "kept": "kept at the very top"}
"""Why a negative is suspect."""


def projection(runs: Sequence[RunData]) -> Drawing | None:
    """Draw one query, its positives and swinging negatives over the episodes (Figure 6): an illustration."""
    panels, rows = [], []
    for run in runs:
        points = [
            (str(one.get("kind")), place, str(one.get("id")), x, y)
            for one in listed(run.projection, "points")
            if (place := at(one, "episode")) is not None
            and (x := number(one.get("x"))) is not None
            and (y := number(one.get("y"))) is not None
        ]
        if not points:
            continue
        rows += [[run.name, kind, name, episode, x, y] for kind, episode, name, x, y in points]
        box = _box([(x, y) for *_, x, y in points])
        suffix = f"\n{run.name}" if len(runs) > 1 else ""
        for episode in sorted({place for _, place, *_ in points}):
            here = [(kind, x, y) for kind, place, _, x, y in points if place == episode]
            title = f"episode {episode}" if episode else "before training"
            alt = f"Projection at episode {episode}{suffix}: ".replace("\n", ", ") + ", ".join(
                f"{sum(kind == one for one, *_ in here)} {name}" for kind, (*_, name) in KINDS.items()
            )
            draw = partial(_scatter, points=here, box=box, title=title + suffix)
            panels.append(Panel(alt + ".", draw))
    if not panels:
        return None
    header = ("run", "kind", "id", "episode", "x", "y")
    key_ = [KINDS[kind] for kind in ("query", "positive", "A", "B")]
    return Drawing("projection", "One query and its swinging negatives", panels, header, rows, True, 3, key_)


def _box(points: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    """Return limits with a margin, of equal extent both ways."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    half = 0.54 * max(max(xs) - min(xs), max(ys) - min(ys), 1e-9)
    x, y = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    return x - half, x + half, y - half, y + half


def _scatter(axes: Axes, points: Any, box: tuple[float, float, float, float], title: str) -> None:
    axes.set_title("\n".join(plain(line) for line in title.split("\n")), fontsize=9.5)
    for kind, (mark, colour, _) in KINDS.items():
        here = [(x, y) for one, x, y in points if one == kind]
        if here:
            size = {"query": 150, "positive": 80}.get(kind, 20)
            xs, ys = zip(*here, strict=True)
            axes.scatter(xs, ys, s=size, marker=mark, color=colour, alpha=0.75 if size == 20 else 1, linewidths=0.5,
                         edgecolors="#FFFFFF")  # fmt: skip
    axes.set(xlim=box[:2], ylim=box[2:], xticks=[], yticks=[], aspect="equal")
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)


def suspects(runs: Sequence[RunData]) -> Drawing | None:
    """Draw how many negatives are probably false, by source and by reason."""
    by_source, by_reason, rows = [], [], []
    for place, run in enumerate(runs):
        sources = part(run.suspects, "by_source")
        ordered = [name for name in SOURCES if name in sources] + sorted(set(sources) - set(SOURCES))
        for name in ordered:
            one = part(sources, name)
            share = number(one.get("share"))
            if share is not None:
                rows.append([run.name, "source", name, at(one, "pairs"), at(one, "suspects"), share])
                by_source.append((place, name, 100 * share, f"{100 * share:.1f}%"))
        for name, value in part(run.suspects, "by_reason").items():
            found = number(value)
            if found is not None:
                rows.append([run.name, "reason", name, None, int(found), None])
                by_reason.append((place, name, found, count(found)))
    panels = []
    names = [run.name for run in runs]
    if by_source:
        colours = {name: SOURCE_COLOURS.get(name, OTHER_SOURCE) for _, name, *_ in by_source}
        draw = partial(_bars, bars=by_source, runs=names, title="Suspects, by source",
                       of="% of the pairs from the source", colours=colours)  # fmt: skip
        panels.append(Panel("Share of suspect negatives by source, in percent.", draw))
    if by_reason:
        draw = partial(_bars, bars=by_reason, runs=names, title="Suspects, by reason", of="pairs", colours={})
        panels.append(Panel("Number of suspect negatives by reason.", draw))
    header = ("run", "by", "name", "pairs", "suspects", "share")
    return Drawing("suspects", "Negatives that are probably false", panels, header, rows, columns=2) if panels else None


def _bars(axes: Axes, bars: Any, runs: Sequence[str], title: str, of: str, colours: Mapping[str, str]) -> None:
    """Draw horizontal bars: a group for each name, a bar for each run; where one run is alone, sources have colours."""
    axes.set_title(title)
    found = list(dict.fromkeys(name for _, name, *_ in bars))
    names = [name for name in (*SOURCES, *REASONS) if name in found]
    names += [name for name in found if name not in names]
    width = 0.72 / len(runs)
    for place, name, value, text in bars:
        y = names.index(name) - 0.36 + (place + 0.5) * width
        colour = colours.get(name, QUIET) if len(runs) == 1 else RUN_COLOURS[place]
        axes.barh(y, value, width, color=colour, edgecolor="#404040", linewidth=0.6)
        axes.annotate(text, (value, y), (4, 0), textcoords="offset points", va="center", fontsize=9)
    words = {
        "bm25": "BM25",
        "copy": "copy of\npositive",
        "outscores": "outscores\npositive",
        "kept": "kept at\ntop",
    }
    axes.set_yticks(range(len(names)), [words.get(name, plain(name)[:20]) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1.18 * max(max(value for *_, value, _ in bars), 1e-9))
    axes.set_xlabel(of)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.locator_params(axis="x", nbins=4)
    axes.xaxis.set_major_formatter("{x:,g}")
    if len(runs) > 1:
        for place, run in enumerate(runs):
            axes.bar(0, 0, color=RUN_COLOURS[place], label=plain(run))
        key(axes, len(runs), max(map(len, runs)))


def elsewhere(runs: Sequence[RunData]) -> Drawing | None:
    """Draw each run on other collections: before training and after, with the p-value of the difference."""
    points, rows = [], []
    for place, run in enumerate(runs):
        for one in run.elsewhere:
            metric = str(one.get("metric", "MRR@10"))
            before, after = (number(part(one, name).get(metric)) for name in ("zero-shot", "trained"))
            if before is None or after is None:
                continue
            name, p = f"{one.get('collection', '?')}, {one.get('split', '?')}", number(one.get("p"))
            points.append((place, name, before, after, "" if p is None else p_value(p)))
            rows.append([run.name, one.get("collection"), one.get("split"), metric, before, after, after - before, p])
    if not points:
        return None
    draw = partial(_dumbbells, points=points, runs=[run.name for run in runs])
    names = list(dict.fromkeys(name for _, name, *_ in points))
    alt = "Before training and after, on " + ", ".join(names) + "."
    header = ("run", "collection", "split", "metric", "zero-shot", "trained", "difference", "p")
    return Drawing("elsewhere", "On other collections", [Panel(alt, draw)], header, rows, columns=2)


def _dumbbells(axes: Axes, points: Any, runs: Sequence[str]) -> None:
    axes.set_title("Before training and after")
    names = list(dict.fromkeys(name for _, name, *_ in points))
    width = 0.7 / len(runs)
    for place, name, before, after, p in points:
        y = names.index(name) - 0.35 + (place + 0.5) * width
        colour, mark = RUN_COLOURS[place], RUN_MARKS[place]
        axes.plot([before, after], [y, y], color=colour, linewidth=1.8, zorder=2)
        axes.plot(before, y, marker=mark, color=colour, markerfacecolor="#FFFFFF", markersize=7, zorder=3)
        axes.plot(after, y, marker=mark, color=colour, markersize=7, zorder=3)
        text = f"{score(before)} → {score(after)}" + (f", {p}" if p else "")
        axes.annotate(text, ((before + after) / 2, y), (0, 9), textcoords="offset points", ha="center", fontsize=8.5)
    axes.set_yticks(
        range(len(names)), ["\n".join(part_[:20] for part_ in plain(name).split(", ")[:2]) for name in names]
    )
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xlabel("score (hollow: before training)")
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    if len(runs) > 1:
        for place, run in enumerate(runs):
            axes.plot([], [], color=RUN_COLOURS[place], marker=RUN_MARKS[place], label=plain(run))
        key(axes, len(runs), max(map(len, runs)))
