"""The merge of a trained model with its start, in sentences, in a table, in a figure, and in the model card."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ance_tele.console.numbers import percent, score, words
from ance_tele.paper.curves import Reference
from ance_tele.report.axes import Line, run_line
from ance_tele.report.conditions import recorded
from ance_tele.report.drawing import Drawing, Panel
from ance_tele.report.figures_learning import draw_quality
from ance_tele.report.load import RunData
from ance_tele.report.renderers import markdown
from ance_tele.report.sentences import capital, tested
from ance_tele.report.style import QUIET, plain
from ance_tele.report.tables import Cell, Table
from ance_tele.runs.merged import MergedOn, MergeSummary
from ance_tele.runs.summary import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENDS = {"base": "its base", "trained": "the trained model"}


def rule(of: MergeSummary) -> str:
    """Return the rule by which the weight was chosen."""
    where = words([f"{one.collection} ({one.split})" for one in of.on])
    if of.rule == "retain" and of.own is not None:
        others = words([f"{one.collection} ({one.split})" for one in of.on if not one.own])
        lost = f"{percent(of.within)}%"
        return f"the highest mean over {others}, of those that lose at most {lost} on {of.own.collection}"
    return f"the highest mean over {where}" if len(of.on) > 1 else f"the highest score on {where}"


def choice(of: MergeSummary) -> str:
    """Return a sentence on the weight that was chosen, from which, and how."""
    weights = words(list(of.on[0].scores)) if of.on else "-"
    sentence = (
        f"Of the {of.method} merges of the model of episode {of.episode} with {recorded(of.base, 'base')}, at the "
        f"weights {weights} of the former, {of.weight:g} was chosen: {rule(of)}."
    )
    same = [one.collection for one in of.on if one.split == one.final_split]
    return sentence + (f" On {words(same)} it was chosen by the very queries of its score." if same else "")


def outcome(of: MergeSummary) -> list[str]:
    """Return a sentence for each collection: the scores of the merge and of both ends, and their tests."""
    found = []
    for one in of.on:
        parts = [f"{name} {score(one.final.get(end))}" for end, name in ENDS.items()]
        sentence = f"On {one.collection} ({one.final_split}) the merge reaches {score(one.final.get('merged'))} "
        found.append(f"{sentence}{one.metric}, {words(parts)}; {_tests(one)}")
    return found


def _tests(one: MergedOn) -> str:
    """Return the tests of the merge against both ends."""
    tests = [
        tested(
            Comparison(
                system="the merge", baseline=name, metric=one.metric, difference=one.differences[end], p=one.p.get(end)
            )
        ).rstrip(".")
        for end, name in ENDS.items()
        if one.differences.get(end)
    ]
    return f"{words(tests)}." if tests else "it is one of them."


def sentences(run: RunData) -> str:
    """Return choice and outcome of the merge of a run; "" without one."""
    of = run.analysis.merge
    return "" if of is None else " ".join([choice(of), *map(capital, outcome(of))])


def along(of: MergeSummary) -> Table:
    """Lay out the scores along the weight."""
    heading = ["weight", *(f"{one.collection}, {one.split}: {one.metric}" for one in of.on)]
    weights = list(dict.fromkeys(weight for one in of.on for weight in one.scores))
    rows: list[list[str | Cell]] = []
    for weight in weights:
        chosen = float(weight) == of.weight
        shown = [weight, *(score(one.scores.get(weight)) for one in of.on)]
        rows.append([Cell(text, strong=chosen) for text in shown])
    return Table(heading, rows)


def figure(runs: Sequence[RunData], reference: Reference | None = None) -> Drawing | None:
    """Draw the main metric of each collection along the weight of the trained model, and the chosen weight."""
    panels, rows = [], list[list[Any]]()
    for run in runs:
        if (of := run.analysis.merge) is None:
            continue
        lines = []
        for place, one in enumerate(of.on):
            points = [(float(weight), value) for weight, value in one.scores.items()]
            lines.append(run_line(f"{one.collection}, {one.split}", points, place))
            chosen = [(x, y, x == of.weight) for x, y in points]
            rows += [[run.name, one.collection, one.split, one.metric, x, y, int(took)] for x, y, took in chosen]
        suffix = f", {plain(run.name)}" if len(runs) > 1 else ""
        title = f"{plain(of.on[0].metric) if of.on else ''} along the weight{suffix}"
        panels.append(Panel(f"Scores by the weight of the trained model{suffix}.", partial(_draw, lines, of, title)))
    header = ("run", "collection", "split", "metric", "weight", "score", "chosen")
    title = "Between the base and the trained model"
    return Drawing("merge", title, panels, header, rows, columns=2) if panels else None


def _draw(lines: Sequence[Line], of: MergeSummary, title: str, axes: Axes) -> None:
    draw_quality(axes, lines, title, by="weight of the trained model (0: its base)", from_zero=False)
    axes.axvline(of.weight, color=QUIET, linestyle=(0, (2, 2)), linewidth=0.9)


def card(trained: str, of: MergeSummary, weights: str) -> str:
    """Return the card of a merged model: that of the trained model, and how it was merged.

    Args:
        trained: The card of the trained model; "" without.
        of: The merge.
        weights: Fingerprint of the merged weights.
    """
    head = trained.partition("Weights (sha-256 of all tensors):")[0]
    section = "\n\n".join(
        ["## Merged", "This model lies between two: " + choice(of), *outcome(of), markdown(along(of))]
    )
    return f"{head.rstrip()}\n\n{section}\n\nWeights (sha-256 of all tensors): `{weights}`\n".lstrip()
