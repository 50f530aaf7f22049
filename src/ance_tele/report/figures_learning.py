"""Learning curves of a run, of several runs, or of a comparison; and the overview of a run (curves.png)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ance_tele.console.numbers import score
from ance_tele.paper.curves import Reference
from ance_tele.report.axes import (
    Bar,
    Line,
    draw_bars,
    draw_key,
    draw_lines,
    draw_nothing,
    draw_stacks,
    label_episodes,
    reference_lines,
    run_line,
)
from ance_tele.report.drawing import Drawing, Panel
from ance_tele.report.load import RunData
from ance_tele.report.run_tables import short, shown_metrics
from ance_tele.report.style import (
    BM25,
    FORGOTTEN,
    INK,
    LEARNED,
    QUIET,
    UNCHANGED,
    plain,
    run_look,
    source_colour,
    source_title,
    sources_in_order,
)
from ance_tele.runs.summary import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RATES = {
    "forgotten": ("did worse (forgetting)", FORGOTTEN),
    "learned": ("did better", LEARNED),
    "unchanged": ("did the same", QUIET),
}
"""What an episode does to a training query, and the colour of it where one run is alone."""


def rates(runs: Sequence[RunData], reference: Reference | None = None) -> Drawing | None:
    """Draw the shares of training queries that each episode made worse and better (Figures 4 and 8c, Table 9)."""
    rows: list[list[Any]] = []
    panels = []
    for rate, (words, colour) in RATES.items():
        lines = []
        for place, run in enumerate(runs):
            points = [(one.episode, share) for one in run.learning if (share := getattr(one, rate)) is not None]
            rows += [[run.name, episode, rate, value] for episode, value in points]
            line = run_line(run.name, points, place) if len(runs) > 1 else Line("", points, colour)
            lines += [line] if points else []
        if lines and reference and rate == "forgotten":
            lines += reference_lines(reference.forgetting)
            rows += [[f"paper: {name}", x, rate, y] for name, points in reference.forgetting for x, y in points]
        if lines:
            alt = f"Share of the training queries that {words} after each episode."
            panels.append(Panel(alt, partial(draw_rate, lines=lines, title=f"Training queries that {words}")))
    title = "What each episode forgot and learned"
    return Drawing("forgetting", title, panels, ("run", "episode", "rate", "share"), rows) if panels else None


def curves(runs: Sequence[RunData], reference: Reference | None = None) -> Drawing | None:
    """Draw loss and quality over the training steps, and quality by episode (Figures 2, 8a and 8b)."""
    metric = runs[0].summary.main_metric
    rows: list[list[Any]] = []
    losses, steps, by_episode = [], [], []
    for place, run in enumerate(runs):
        name, ends = run.name if len(runs) > 1 else "", _ends(run)
        for first, (episode, points) in enumerate(_losses(run, ends)):
            rows += [[run.name, "training loss", episode, step, value] for step, value in points]
            losses.append(run_line("" if first else name, points, place, thin=True))
        quality = run.summary.quality(metric)
        rows += [[run.name, metric, episode, ends.get(episode), value] for episode, value in quality]
        if max(ends.values()) > 0:
            steps.append(run_line(name, [(ends[episode], value) for episode, value in quality], place))
        by_episode.append(run_line(name, quality, place))
    level = next((value for run in runs if (value := run.summary.untrained.get("bm25", {}).get(metric))), None)
    levels = [] if level is None else [_level("BM25", level)]
    rows += [["BM25", metric, None, None, level]] if levels else []
    given = {name: value for run in runs for name, value in _given(run.summary, metric)}
    levels += [given_level(name, value, place) for place, (name, value) in enumerate(given.items(), len(runs))]
    rows += [[name, metric, None, None, value] for name, value in given.items()]
    split = plain(runs[0].summary.split or "")[:16]
    of = f"{metric}, {split} queries" if split else metric
    panels = []
    if losses:
        ends = _ends(runs[0]) if len(runs) == 1 else {}
        alt = "Training loss by training step, all episodes in a row."
        panels.append(Panel(alt, partial(draw_loss, lines=losses, ends=ends)))
    if any(len(line.points) > 1 for line in steps):
        draw = partial(draw_quality, lines=steps, title=f"{of}, by step", levels=levels, by="training step")
        panels.append(Panel(f"{of}, at the training step where each episode ends.", draw))
    if any(line.points for line in by_episode):
        known = reference.quality if reference and metric == "MRR@10" else ()
        rows += [[f"paper: {name}", metric, x, None, y] for name, points in known for x, y in points]
        lines = [line for line in by_episode if line.points] + reference_lines(known)
        draw = partial(draw_quality, lines=lines, title=f"{of}, by episode", levels=levels)
        panels.append(Panel(f"{of}, after each episode; 0 is the model before training.", draw))
    header = ("run", "quantity", "episode", "step", "value")
    return Drawing("learning-curves", "Learning curves", panels, header, rows) if panels else None


def overview(run: RunData) -> Drawing:
    """Draw an overview of a run: quality, learning and forgetting, sources of negatives, loss."""
    summary = run.summary
    if not summary.episodes:
        alone = Panel("Scores of the systems that were measured.", partial(_draw_untrained, summary=summary))
        return Drawing("curves", "", [alone], (), [], size=(6.8, 4.8))
    panels = [
        Panel("Scores by episode.", partial(_draw_overall, summary=summary)),
        Panel("Training queries that did better or worse.", _changes(summary)),
        Panel("Sources of negatives.", _pools(summary)),
        Panel("Training loss.", partial(_draw_losses, run=run)),
    ]
    return Drawing("curves", "", panels, (), [], size=(6.0, 4.4), columns=2)


def _changes(summary: Summary) -> Callable[[Axes], None]:
    bars = []
    for one in summary.episodes:
        shares = {"did worse": one.forgetting_rate, "unchanged": one.unchanged_rate, "did better": one.learned_rate}
        known = {name: share for name, share in shares.items() if share is not None}
        bars.append((one.number, known if len(known) == len(shares) else {}))
    colours = {"did worse": FORGOTTEN, "unchanged": UNCHANGED, "did better": LEARNED}
    layers = {name: (name, colour) for name, colour in colours.items()}
    title, of = "Training queries after each episode", "share of training queries (%)"
    if not any(shares for _, shares in bars):
        return partial(draw_nothing, title=title, sentence="Not measured in this run.")
    return partial(draw_stacks, bars=bars, layers=layers, title=title, of=of)


def _pools(summary: Summary) -> Callable[[Axes], None]:
    bars = [(one.number, one.pool.shares()) for one in summary.episodes]
    names = sources_in_order(name for _, shares in bars for name in shares)
    own, title = summary.sources, "Where the negatives come from"
    layers = {name: (source_title(name, own), source_colour(name, own)) for name in names}
    if not names:
        return partial(draw_nothing, title=title, sentence="Not recorded in this run.")
    return partial(draw_stacks, bars=bars, layers=layers, title=title, of="share of the pool (%)")


def draw_rate(
    axes: Axes, lines: Sequence[Line], title: str, of: str = "% of training queries", by: str = "episode"
) -> None:
    """Draw shares in percent, by episode or by round of mining."""
    axes.set(title=title, xlabel=by, ylabel=of)
    label_episodes(axes, [x for line in lines for x, _ in line.points])
    draw_lines(axes, [line.scaled(100) for line in lines])
    axes.set_ylim(0, 1.04 * max(axes.get_ylim()[1], 1.0))  # room for the highest mark


def draw_quality(
    axes: Axes,
    lines: Sequence[Line],
    title: str,
    levels: Sequence[Line] = (),
    by: str = "episode",
    from_zero: bool = True,
) -> None:
    """Draw scores by episode or by training step; ``levels`` are horizontal."""
    axes.set(title=title, ylabel="score (0 to 1)")
    places = [x for line in lines for x, _ in line.points]
    ends: tuple[float, float] = (0.0, max(places))
    if by == "episode":
        label_episodes(axes, places)
        ends = axes.get_xlim()
    axes.set_xlabel("episode (0: before training)" if by == "episode" and 0 in places else by)
    across = [replace(level, points=[(x, level.points[0][1]) for x in ends]) for level in levels]
    draw_lines(axes, [*lines, *across])
    if from_zero:
        axes.set_ylim(bottom=0)


def _level(name: str, value: float, dashes: Any = "--") -> Line:
    return Line(name, [(0, value)], BM25, None, dashes)


def _given(summary: Summary, metric: str) -> list[tuple[str, float]]:
    """Return a metric of the given runs of other systems, as far as measured."""
    return [(name, values[metric]) for name, values in summary.given.items() if metric in values]


def given_level(name: str, value: float, place: int) -> Line:
    """Return the horizontal line of a system that others have run."""
    return replace(_level(name, value, (0, (5, 1.5, 1, 1.5))), colour=run_look(place)[0], thin=True)


def draw_loss(axes: Axes, lines: Sequence[Line], ends: Mapping[int, float]) -> None:
    """Draw the loss over all episodes, named where there is room; ``ends`` as of :func:`_ends`."""
    few = all(len(line.points) <= 12 for line in lines)
    axes.set_title("Training loss, all episodes", pad=22 if ends else None)
    axes.set(xlabel="training step", ylabel="loss")
    # Few values are marked, since a single one has no line.
    draw_lines(axes, [replace(line, mark="." if few else None) for line in lines])
    axes.set_ylim(bottom=0)
    whole = max(ends.values(), default=0.0)
    spans = [(one, ends.get(one - 1, 0.0), end) for one, end in ends.items() if one]
    if not spans or not whole:
        return
    axes.set_xlim(0, whole)
    wide = min((end - begin) / whole for _, begin, end in spans) >= 0.2
    for one, begin, end in spans:
        if end < whole:
            axes.axvline(end, color=QUIET, linestyle=(0, (2, 2)), linewidth=0.9)
        if wide or (end - begin) / whole >= 0.035:
            at, name = ((begin + end) / 2, 1.02), f"episode {one}" if wide else str(one)
            axes.text(*at, name, transform=axes.get_xaxis_transform(), ha="center", va="bottom", color=QUIET)


def _ends(run: RunData) -> dict[int, float]:
    """Return the last training step of each episode, over all episodes; 0 for checkpoint 0."""
    ends = {0: 0.0}
    for one in run.summary.episodes:
        logged = [step for step, _ in run.losses.get(one.number, ())]
        ends[one.number] = ends.get(one.number - 1, 0.0) + max([float(one.steps or 0), *logged])
    return ends


def _losses(run: RunData, ends: Mapping[int, float]) -> Iterator[tuple[int, list[tuple[float, float]]]]:
    """Yield the loss curve of each episode that logged one, over the steps of all episodes."""
    for episode, points in run.losses.items():
        if points:
            yield episode, [(ends.get(episode - 1, 0.0) + step, value) for step, value in points]


def _draw_overall(axes: Axes, summary: Summary) -> None:
    title = f"Retrieval quality of the model, {plain(summary.split or '')} queries"
    styles: list[dict[str, Any]] = [{}, {"mark": "s", "dashes": (0, (4, 1.2)), "hollow": True, "thin": True}]
    lines, levels = [], []
    for metric, style, dashes in zip(shown_metrics(summary)[:2], styles, ("--", ":"), strict=True):
        if points := summary.quality(metric):
            lines.append(Line(metric, points, INK, **style))
        if (level := summary.untrained.get("bm25", {}).get(metric)) is not None:
            levels.append(_level(f"BM25 {metric}", level, dashes))
    first = shown_metrics(summary)[0]
    given = enumerate(_given(summary, first), 1)
    levels += [given_level(f"{name} {first}", value, place) for place, (name, value) in given]
    if lines:
        draw_quality(axes, lines, title, levels)
    else:
        draw_nothing(axes, title, "No scores in this run.")


def _draw_losses(axes: Axes, run: RunData) -> None:
    ends = _ends(run)
    lines = [Line("", points, INK, thin=True) for _, points in _losses(run, ends)]
    if not lines:
        return draw_nothing(axes, "Training loss, all episodes", "No training log in this run.")
    draw_loss(axes, lines, ends)


def _draw_untrained(axes: Axes, summary: Summary) -> None:
    title = f"Retrieval quality without training, {plain(summary.split or '')} queries"
    systems, metrics = summary.systems, shown_metrics(summary)
    bars = [
        Bar(group, place, values[metric], score(values[metric]), BM25 if name == "bm25" else INK)
        for place, (name, values) in enumerate(systems.items())
        for group, metric in enumerate(metrics)
        if metric in values
    ]
    if not bars:
        return draw_nothing(axes, title, "No scores in this run.")
    draw_bars(axes, bars, list(map(short, metrics)), len(systems), title, "score (0 to 1)")
    for name in systems:
        axes.plot([], [], color=BM25 if name == "bm25" else INK, label=source_title(name), linewidth=5)
    draw_key(axes, list(systems))
