"""Figures of what a run learned and forgot: rates by episode, learning curves, single queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ance_tele.console.numbers import number
from ance_tele.report.drawing import Drawing, Panel
from ance_tele.report.paper_curves import Reference
from ance_tele.report.runs import RunData, learning, series
from ance_tele.report.style import (
    BM25,
    FORGOTTEN,
    LEARNED,
    QUIET,
    Line,
    draw_lines,
    episode_axis,
    note_reference,
    percent_axis,
    plain,
    points_of,
    reference_lines,
    run_line,
)
from ance_tele.report.summary import baselines, episodes, main_metric, part

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = Sequence[tuple[float, float]]

RATES = {
    "forgotten": ("did worse (forgetting)", FORGOTTEN),
    "learned": ("did better", LEARNED),
    "unchanged": ("did the same", QUIET),
}
"""What an episode does to a training query, and the colour of it where one run stands alone."""


def rates(runs: Sequence[RunData], reference: Reference | None = None) -> Drawing | None:
    """Draw the shares of training queries that each episode made worse and better (Figures 4 and 8c, Table 9)."""
    rows: list[list[Any]] = []
    panels = []
    for rate, (words, colour) in RATES.items():
        lines = []
        for place, run in enumerate(runs):
            points = series(learning(run), "episode", rate)
            rows += [[run.name, episode, rate, value] for episode, value in points]
            percent = [(episode, 100 * value) for episode, value in points]
            alone = Line("", percent, colour)
            lines.append(run_line(run.name, percent, place) if len(runs) > 1 else alone)
        lines = [line for line in lines if line.points]
        if not lines:
            continue
        if reference and rate == "forgotten":
            known = [(name, [(x, 100 * y) for x, y in points]) for name, points in reference.forgetting]
            lines += reference_lines(known)
            rows += [[f"paper: {name}", x, rate, y] for name, points in reference.forgetting for x, y in points]
        alt = f"Share of the training queries that {words} after each episode."
        panels.append(Panel(alt, partial(_by_episode, lines=lines, title=f"Training queries that {words}")))
    if not panels:
        return None
    title = "What each episode forgot and learned"
    return Drawing("forgetting", title, panels, ("run", "episode", "rate", "share"), rows)


def _by_episode(axes: Axes, lines: Sequence[Line], title: str) -> None:
    axes.set_title(title)
    episode_axis(axes, sorted({int(x) for line in lines for x, _ in line.points}))
    draw_lines(axes, lines)
    percent_axis(axes, "% of training queries")
    note_reference(axes, lines)


def curves(runs: Sequence[RunData], reference: Reference | None = None) -> Drawing | None:
    """Draw loss and quality over the training steps, and quality by episode (Figures 2, 8a and 8b)."""
    metric = main_metric(runs[0].summary)
    header = ("run", "quantity", "episode", "step", "value")
    rows: list[list[Any]] = []
    losses, steps, by_episode = [], [], []
    for place, run in enumerate(runs):
        name = run.name if len(runs) > 1 else ""
        ends = {0: 0.0, **_ends(run)}
        loss = _losses(run, ends)
        for first, (episode, points) in enumerate(loss):
            rows += [[run.name, "training loss", episode, step, value] for step, value in points]
            losses.append(run_line("" if first else name, points, place, mark=None, thin=True))
        found = _quality(run, metric)
        rows += [[run.name, metric, episode, ends.get(episode), value] for episode, value in found]
        if len(ends) == 1 + len(episodes(run.summary)) and max(ends.values()) > 0:
            steps.append(run_line(name, [(ends[episode], value) for episode, value in found], place))
        by_episode.append(run_line(name, found, place))
    panels = []
    if losses:
        marks = sorted(_ends(runs[0]).values())[:-1] if len(runs) == 1 else []
        alt = "Training loss by training step, all episodes in a row."
        panels.append(Panel(alt, partial(_loss, lines=losses, marks=marks)))
    level = next((value for run in runs if (value := number(part(baselines(run.summary), "bm25").get(metric)))), None)
    if level is not None:
        rows.append(["BM25", metric, None, None, level])
    split = plain(str(runs[0].summary.get("split") or ""))[:16]
    of = f"{metric}, {split} queries" if split else metric
    if any(len(line.points) > 1 for line in steps):
        draw = partial(_scores, lines=steps, title=f"{of}, by step", level=level, episodes=False)
        panels.append(Panel(f"{of}, at the training step where each episode ends.", draw))
    if any(line.points for line in by_episode):
        known = reference.quality if reference and metric == "MRR@10" else ()
        rows += [[f"paper: {name}", metric, x, None, y] for name, points in known for x, y in points]
        lines = [line for line in by_episode if line.points] + reference_lines(known)
        draw = partial(_scores, lines=lines, title=f"{of}, by episode", level=level, episodes=True)
        panels.append(Panel(f"{of}, after each episode; 0 is the model before training.", draw))
    return Drawing("learning-curves", "Learning curves", panels, header, rows) if panels else None


def _ends(run: RunData) -> dict[int, float]:
    """At which step of all steps each episode ends, by its number."""
    ends, step = {}, 0.0
    for one in episodes(run.summary):
        logged = points_of(run.logs.get(int(one["number"]), {}).get("loss"))
        step += max(number(one.get("steps")) or 0.0, logged[-1][0] if logged else 0.0)
        ends[int(one["number"])] = step
    return ends


def _losses(run: RunData, ends: dict[int, float]) -> list[tuple[int, list[tuple[float, float]]]]:
    found = []
    for episode in ends:
        start = max((end for number_, end in ends.items() if number_ < episode), default=0.0)
        points = points_of(run.logs.get(episode, {}).get("loss"))
        if points:
            found.append((episode, [(start + step, value) for step, value in points]))
    return found


def _quality(run: RunData, metric: str) -> list[tuple[int, float]]:
    systems = [(0, part(baselines(run.summary), "zero-shot"))]
    systems += [(int(one["number"]), part(one, "metrics")) for one in episodes(run.summary)]
    points = [(episode, number(of.get(metric))) for episode, of in systems]
    return [(episode, value) for episode, value in points if value is not None]


def _loss(axes: Axes, lines: Sequence[Line], marks: Sequence[float]) -> None:
    axes.set_title("Training loss, all episodes")
    few = all(len(line.points) <= 12 for line in lines)
    # An episode of one logged value has no line, so every value is marked where they are few.
    draw_lines(axes, [replace(line, mark="." if few else None) for line in lines])
    for end in marks:
        axes.axvline(end, color=QUIET, linestyle=(0, (2, 2)), linewidth=0.9)
    axes.set_ylabel("loss")
    axes.set_xlabel("training step" + (" (dashed: an episode ends)" if marks else ""))
    axes.set_ylim(bottom=0)


def _scores(axes: Axes, lines: Sequence[Line], title: str, level: float | None, episodes: bool) -> None:
    axes.set_title(title)
    if episodes:
        episode_axis(axes, sorted({int(x) for line in lines for x, _ in line.points}))
        axes.set_xlabel("episode (0: before training)")
    else:
        axes.set_xlabel("training step")
    extra = []
    if level is not None:
        ends = axes.get_xlim() if episodes else (0.0, max(x for line in lines for x, _ in line.points))
        extra = [Line("BM25", [(ends[0], level), (ends[1], level)], BM25, None, "--")]
    draw_lines(axes, [*lines, *extra])
    axes.set_ylabel("score (0 to 1)")
    axes.set_ylim(bottom=0)
    note_reference(axes, lines)
