"""Figures of single training queries by checkpoint (Figures 3 and 8d)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from ance_tele.paper.curves import Reference
from ance_tele.report.drawing import Drawing, Panel
from ance_tele.report.load import RunData
from ance_tele.report.style import ink_on, plain
from ance_tele.runs.analysed import Trajectories

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

SAMPLE = 150
"""Queries of the sample; more would be thinner than a line of the picture."""

SEED = 42
MOST_LOST = 10


def queries(runs: Sequence[RunData], reference: Reference | None = None) -> Drawing | None:
    """Draw the MRR of a fixed sample of the training queries that changed, and of those that lost most.

    Runs over the same queries show the same sample in the same order.
    """
    known = [(run, run.analysis.trajectories) for run in runs if run.analysis.trajectories is not None]
    chosen = sample([of for _, of in known])
    panels, rows = [], []
    for (run, of), ids in zip(known, chosen, strict=True):
        suffix = f"\n{plain(run.name)}" if len(runs) > 1 else ""
        whose, metric = suffix.replace("\n", ", "), run.training_metric
        lost = most_lost(of) if ids else []
        if ids:
            title = f"{len(ids)} sampled queries that changed{suffix}"
            alt = f"{metric} by episode of {len(ids)} sampled training queries{whose}; dark is low."
            panels.append(Panel(alt, partial(_heat, mrr=of.mrr[ids], title=title, metric=metric)))
            rows += _rows(run.name, "sample", of, ids)
        if lost:
            title = f"{metric} of those that lost most{suffix}"
            draw = partial(_heat, mrr=of.mrr[lost], title=title, metric=metric, names=[of.ids[row] for row in lost])
            panels.append(Panel(f"{metric} by episode of the training queries that lost most{whose}.", draw))
            rows += _rows(run.name, "most lost", of, lost)
    if not panels:
        return None
    header = ("run", "chosen as", "query", "episode", known[0][0].training_metric)
    return Drawing("queries", "How single training queries fared", panels, header, rows, columns=2)


def sample(found: Sequence[Trajectories]) -> list[list[int]]:
    """Return rows of each run: a fixed-seed sample of the queries that changed in the first, ordered by their changes.

    A run without all of these queries has its own sample.
    """
    import numpy as np

    chosen: list[list[int]] = []
    wanted: list[str] = []
    for of in found:
        places = {name: row for row, name in enumerate(of.ids)} if wanted else {}
        if wanted and all(name in places for name in wanted):
            chosen.append([places[name] for name in wanted])
            continue
        changed = np.flatnonzero((np.diff(of.mrr[:, 1:], axis=1) != 0).any(axis=1))
        if not len(changed):
            changed = np.flatnonzero((np.diff(of.mrr, axis=1) != 0).any(axis=1))
        drawn = np.random.default_rng(SEED).permutation(changed)[:SAMPLE]
        order = np.lexsort((drawn, -of.mrr[drawn].mean(axis=1)))
        rows = [int(row) for row in drawn[order]]
        chosen.append(rows)
        wanted = wanted or [of.ids[row] for row in rows]
    return chosen


def most_lost(of: Trajectories) -> list[int]:
    """Return the rows of the queries with the largest sums of decreases."""
    import numpy as np

    order = np.argsort(-of.lost, kind="stable")[:MOST_LOST]
    return [int(row) for row in order if of.lost[row] > 0]


def _rows(name: str, chosen: str, of: Trajectories, rows: Sequence[int]) -> list[list[Any]]:
    return [[name, chosen, of.ids[row], episode, float(x)] for row in rows for episode, x in enumerate(of.mrr[row])]


def _heat(axes: Axes, mrr: np.ndarray, title: str, metric: str, names: Sequence[str] = ()) -> None:
    """Draw queries as rows and checkpoints as columns; with names, also the numbers themselves."""
    from matplotlib import colormaps
    from matplotlib.colors import PowerNorm, to_hex

    # MRR is the reciprocal of a rank: the root separates low values.
    scale, shades = PowerNorm(0.5, 0, 1), colormaps["viridis"]
    image = axes.imshow(mrr, aspect="auto", cmap=shades, norm=scale, interpolation="nearest")
    axes.set(title=title, xticks=range(mrr.shape[1]), xlabel="episode (0: before training)")
    axes.grid(visible=False)
    axes.set_yticks(range(len(names)), [plain(name)[:24] for name in names], fontsize=8)
    if names:
        for (row, column), value in ((place, float(mrr[place])) for place in product(*map(range, mrr.shape))):
            text = "1" if value == 1 else f"{value:.2f}".lstrip("0") if value else "0"
            ink = ink_on(to_hex(shades(scale(value))))
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=ink)
        return
    axes.set_ylabel("training queries, best first")
    bar = axes.figure.colorbar(image, ax=axes, ticks=[0, 0.1, 0.25, 0.5, 1], pad=0.02)
    bar.ax.set_yticklabels(["0", "0.1", "0.25", "0.5", "1"])
    bar.set_label(metric)
    bar.outline.set_visible(False)
