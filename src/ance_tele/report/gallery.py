"""All figures of the report in order: section, drawing function, reading, caveat."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ance_tele.console.numbers import percent, words
from ance_tele.paper.curves import Reference
from ance_tele.report import merging, sentences
from ance_tele.report.drawing import Drawing
from ance_tele.report.figures_learning import curves, rates
from ance_tele.report.figures_negatives import composition, new_negatives, swing
from ance_tele.report.figures_outcome import out_of_domain, projection, suspects
from ance_tele.report.figures_queries import queries
from ance_tele.report.load import RunData

LEARNING, NEGATIVES, SUSPECTS, OTHERS = SECTIONS = (
    "Learning and forgetting",
    "Negatives",
    "Probable false negatives",
    "Other collections",
)


@dataclass(frozen=True)
class Figure:
    """A figure of the report; ``draw`` returns None without data."""

    name: str
    section: str
    draw: Callable[[Sequence[RunData], Reference | None], Drawing | None]
    reading: Callable[[RunData], str]


FIGURES = (
    Figure("forgetting", LEARNING, rates, sentences.forgetting),
    Figure("learning-curves", LEARNING, curves, sentences.curves),
    Figure("queries", LEARNING, queries, sentences.queries),
    Figure("composition", NEGATIVES, composition, sentences.composition),
    Figure("new-negatives", NEGATIVES, new_negatives, sentences.new),
    Figure("swing", NEGATIVES, swing, sentences.swing),
    Figure("projection", NEGATIVES, projection, sentences.projection),
    Figure("suspects", SUSPECTS, suspects, sentences.suspects),
    Figure("elsewhere", OTHERS, out_of_domain, sentences.out_of_domain),
    Figure("merge", OTHERS, merging.figure, merging.sentences),
)

NOTES = {
    "forgetting": "Worse, better and the same: the rank of a query's first positive after the episode and before it.",
    "queries": "The sample is drawn with a fixed seed; lost most: the sum of all its falls.",
    "composition": "Mined lists: what a round found for the queries, less positives. Pools: what training drew from.",
    "new-negatives": "Near a positive: among its nearest passages a round before. All of the first round is new.",
    "projection": "An illustration, not a measurement: distances of t-SNE mean little, and this is one query.",
    "suspects": "Suspect: nearly a copy of a positive, scored well above it, or persistently at the very top.",
}
"""How to take a figure, by its name."""


def gallery(runs: Sequence[RunData], shown: Reference | None = None) -> dict[str, Drawing]:
    """Return the figures for which the runs have data, by name."""
    drawings = {figure.name: figure.draw(runs, shown) for figure in FIGURES}
    return {name: drawing for name, drawing in drawings.items() if drawing is not None}


def readings(figure: Figure, runs: Sequence[RunData], shown: Reference | None) -> list[str]:
    """Return the readings of a figure: a sentence per run in it."""
    found = [(run.name, sentence) for run in runs if (sentence := figure.reading(run))]
    lines = [f"{name}: {sentence}" if len(runs) > 1 else sentence for name, sentence in found]
    if lines and shown is not None and figure.name == "forgetting":
        values = [(name, [y for _, y in points]) for name, points in shown.forgetting]
        parts = [f"{name} {percent(min(found))} to {percent(max(found))}%" for name, found in values]
        lines.append(f"In the paper, on MS MARCO: {words(parts)}.")
    return lines
