"""The curves of a run: quality, dynamics, negatives and loss, in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ance_tele.console.numbers import number
from ance_tele.report.style import (
    BM25,
    FORGOTTEN,
    LEARNED,
    MODEL,
    OTHER_SOURCE,
    QUIET,
    SOURCE_COLOURS,
    STYLE,
    UNCHANGED,
    episode_axis,
    legend,
    plain,
    points_of,
    say_instead,
    stack,
)
from ance_tele.report.summary import Summary, baselines, episodes, metric_columns, part, shares, text

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def curves(summary: Summary, logs: Mapping[int, Mapping[str, Any]], path: Path) -> None:
    """Draw a run into one picture; the suffix of the path chooses the format (.png, .svg).

    Args:
        summary: the contents of summary.json.
        logs: the contents of training_log.json by episode number; absent ones leave the loss out.
        path: where the picture is written.
    """
    from matplotlib import style
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    trained = episodes(summary)
    # Whatever style the caller has set stays the caller's, and the picture looks the same everywhere.
    with style.context(["default", STYLE]):
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
        # Without training there is one thing to show, and three empty panels would only say so three times.
        figure = Figure(figsize=(12, 8.8) if trained else (6.8, 4.8), dpi=150, layout=layout)
        title = f"{plain(text(summary, 'recipe'))} on {plain(text(summary, 'collection'))}"
        if trained or "zero-shot" in baselines(summary):
            title += f", {plain(text(summary, 'model'))}"
        figure.suptitle(title, fontsize=14, x=0.015, ha="left", parse_math=False)
        if trained:
            panels = figure.subplots(2, 2).flat
            _scores(next(panels), summary)
            _dynamics(next(panels), trained)
            _sources(next(panels), trained)
            _loss(next(panels), trained, logs)
        else:
            _baselines(figure.subplots(), summary)
        # A date in the file would make every drawing of the same run a different file.
        figure.savefig(path, metadata={"Date": None} if Path(path).suffix.lower() == ".svg" else None)


def _scores(axes: Axes, summary: Summary) -> None:
    trained, measured = episodes(summary), baselines(summary)
    axes.set_title(f"Retrieval quality of the model, {plain(text(summary, 'split'))} queries", parse_math=False)
    axes.set_ylabel("score (0 to 1)")
    systems = [(int(one["number"]), part(one, "metrics")) for one in trained]
    zero_shot = "zero-shot" in measured
    if zero_shot:
        systems.insert(0, (0, measured["zero-shot"]))
    drawn, shown = False, list(metric_columns(summary).values())
    # Colour says which system, the line which metric.
    for metric, line, width, marker, face, baseline_line in (
        (shown[0], "-", 2.0, "o", MODEL, "--"),
        (shown[1], (0, (4, 1.2)), 1.4, "s", "white", ":"),
    ):
        points = [(at, value) for at, of in systems if (value := number(of.get(metric))) is not None]
        if points:
            axes.plot(
                *zip(*points, strict=True),
                color=MODEL,
                linestyle=line,
                linewidth=width,
                marker=marker,
                markersize=6.5,
                markerfacecolor=face,
                label=metric,
                zorder=3,
            )
        level = number(measured.get("bm25", {}).get(metric))
        if level is not None:
            axes.axhline(level, color=BM25, linestyle=baseline_line, linewidth=2.2, label=f"BM25 {metric}", zorder=2)
        drawn = drawn or bool(points) or level is not None
    if not drawn:
        say_instead(axes, "No scores in this run.")
        return
    axes.margins(y=0.12)
    episode_axis(axes, [at for at, _ in systems])
    if zero_shot:
        axes.set_xlabel("episode (0: zero-shot)")
    legend(axes, columns=4, handle=1.8)


def _baselines(axes: Axes, summary: Summary) -> None:
    """Draw the systems of a run without training side by side."""
    measured = baselines(summary)
    axes.set_title(f"Retrieval quality without training, {plain(text(summary, 'split'))} queries", parse_math=False)
    if not measured:
        say_instead(axes, "No scores in this run.")
        return
    width, names = 0.36, metric_columns(summary)
    for index, (name, metrics) in enumerate(measured.items()):
        shift = (index - (len(measured) - 1) / 2) * width
        for group, metric in enumerate(names.values()):
            value = number(metrics.get(metric))
            if value is not None:
                axes.bar(group + shift, value, width, color=BM25 if name == "bm25" else MODEL)
                axes.text(group + shift, value + 0.01, f"{value:.3f}", ha="center", va="bottom", fontsize=9.5)
        # The key has every system, also one that lacks the first metric.
        axes.bar(0, 0, color=BM25 if name == "bm25" else MODEL, label="BM25" if name == "bm25" else name)
    axes.set_xticks(range(len(names)), list(names))
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylim(0, 1.08)
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.set_xlabel("metric")
    axes.set_ylabel("score (0 to 1)")
    legend(axes, columns=2)


def _dynamics(axes: Axes, trained: Sequence[Mapping[str, Any]]) -> None:
    axes.set_title("Training queries after each episode")
    axes.set_ylabel("share of training queries (%)")
    numbers = [int(one["number"]) for one in trained]
    rates = [
        (number(one.get("forgetting_rate")), number(one.get("unchanged_rate")), number(one.get("learned_rate")))
        for one in trained
    ]
    known = [(which, [rate for rate in three if rate is not None]) for which, three in zip(numbers, rates, strict=True)]
    bars = [(which, three) for which, three in known if len(three) == 3]
    if not bars:
        say_instead(axes, "Not measured in this run.")
        return
    at = [which for which, _ in bars]
    bottoms = [0.0] * len(bars)
    for layer, (name, colour) in enumerate(
        (("did worse", FORGOTTEN), ("unchanged", UNCHANGED), ("did better", LEARNED))
    ):
        stack(axes, at, [100 * three[layer] for _, three in bars], bottoms, colour, name)
    for missing in sorted(set(numbers) - set(at)):
        axes.text(missing, 3, "not measured", rotation=90, ha="center", va="bottom", color=QUIET)
    axes.set_ylim(0, 100)
    episode_axis(axes, numbers)
    legend(axes, columns=3)


def _sources(axes: Axes, trained: Sequence[Mapping[str, Any]]) -> None:
    axes.set_title("Where the negatives come from")
    axes.set_ylabel("share of the pool (%)")
    numbers = [int(one["number"]) for one in trained]
    pools = [shares(part(one, "pool")) for one in trained]
    names = [name for name in SOURCE_COLOURS if any(name in pool for pool in pools)]
    # Sources this version does not know have no colour of their own and stand together.
    others = [sum(share for name, share in pool.items() if name not in SOURCE_COLOURS) for pool in pools]
    if not any(pools):
        say_instead(axes, "Not recorded in this run.")
        return
    bottoms = [0.0] * len(pools)
    for name in names:
        heights = [100 * pool.get(name, 0.0) for pool in pools]
        stack(axes, numbers, heights, bottoms, SOURCE_COLOURS[name], "BM25" if name == "bm25" else name)
    if any(others):
        stack(axes, numbers, [100 * share for share in others], bottoms, OTHER_SOURCE, "other", hatch="///")
    axes.set_ylim(0, 100)
    episode_axis(axes, numbers)
    legend(axes, columns=6)


def _loss(axes: Axes, trained: Sequence[Mapping[str, Any]], logs: Mapping[int, Mapping[str, Any]]) -> None:
    axes.set_title("Training loss")
    axes.set_ylabel("loss")
    axes.set_xlabel("training steps, all episodes")
    spans: list[tuple[int, float, float]] = []
    start = 0.0
    drawn = False
    for one in trained:
        points = points_of(logs.get(int(one["number"]), {}).get("loss"))
        end = start + max(number(one.get("steps")) or 0.0, points[-1][0] if points else 0.0)
        if points:
            # An episode of one logged value has no line, so every value is marked where they are few.
            axes.plot(
                [start + step for step, _ in points],
                [value for _, value in points],
                color=MODEL,
                linewidth=1.3,
                marker="o" if len(points) <= 12 else None,
                markersize=3.5,
            )
            drawn = True
        spans.append((int(one["number"]), start, end))
        start = end
    if not drawn:
        say_instead(axes, "No training log in this run.")
        return
    axes.set_xlim(0, start)
    for _, _, end in spans[:-1]:
        axes.axvline(end, color=QUIET, linestyle=(0, (2, 2)), linewidth=1)
    # Names that would touch each other are shortened, and then left out.
    wide = min((end - begin) / start for _, begin, end in spans) >= 0.16
    for which, begin, end in spans:
        if wide or (end - begin) / start >= 0.035:
            axes.text(
                (begin + end) / 2,
                1.02,
                f"episode {which}" if wide else str(which),
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="bottom",
                color=QUIET,
            )
