"""The tables of a comparison next to the paper's figures, its curves, and their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ance_tele.console.numbers import DASH, SIGNIFICANT, duration, percent, words
from ance_tele.evaluate.comparison import ComparisonResult, EpisodeScores, Spread, System
from ance_tele.paper.figures import Row, forgetting, of_system, table1
from ance_tele.report.axes import Line, run_line
from ance_tele.report.drawing import Drawing, Panel, image
from ance_tele.report.figures_learning import draw_quality, draw_rate, given_level
from ance_tele.report.renderers import csv_text, escape, latex, markdown, terminal
from ance_tele.report.run_tables import short
from ance_tele.report.style import plain, the_style
from ance_tele.report.tables import Cell, Table
from ance_tele.store.files import atomic, write_json

if TYPE_CHECKING:
    import rich.table

WIDTH = 80
"""Columns of text that every terminal shows."""

NOTE = (
    "In %: mean and standard deviation over seeds. Letters: significantly better than that system (paired permutation "
    f"test over queries, values averaged over seeds; p < {SIGNIFICANT}, Holm over all pairs of a column). "
    "Bold: highest."
)

PHASES = ("pretraining", "DPR before", "teacher", "mining", "scoring", "training")
"""What takes the seconds of a row of Table 1: its start, the row DPR that it starts from or whose negatives teach its
teacher, the teacher; its own mining, the teacher's scores, and training."""

Column = tuple[str, str]
"""Split and metric."""


def stem(result: ComparisonResult) -> str:
    """Return the stem of a comparison's file names: the paper's table, or "comparison"."""
    return result.table or "comparison"


def seeds(result: ComparisonResult) -> str:
    """Return the number of seeds in words."""
    return f"{len(result.seeds)} seeds" if len(result.seeds) > 1 else f"seed {result.seeds[0]}"


def cost(result: ComparisonResult) -> str:
    """Return the cost of a comparison in words."""
    spent = result.cost
    return (
        f"{duration(sum(spent.seconds.values()))} of work in the cells, {spent.training_share:.0%} of it training; "
        f"at most {spent.peak_bytes / 2**30:.1f} GiB a process"
    )


def columns(result: ComparisonResult) -> list[Column]:
    """Return the columns of scores."""
    return [(split, metric) for split in result.splits for metric in result.metrics]


def scores(result: ComparisonResult, model: str, shown: Sequence[Column], with_paper: bool = True) -> Table:
    """Lay out the scores of a model's systems in %, and the paper's."""
    rows = result.of_model(model)
    known = [_paper(result, row) if with_paper else {} for row in rows]
    paper = list(dict.fromkeys(name for name in _paper_columns(result) if any(name in one for one in known)))
    started = result.table == "table1"
    best = {column: _highest([_mean(row, column) for row in rows]) for column in shown}
    body = []
    for row, theirs in zip(rows, known, strict=True):
        cells: list[str | Cell] = [row.letter, row.system, *([row.start or DASH] if started else [])]
        cells += [_cell(row, column, best[column]) for column in shown]
        cells += [_whole_cost(row)] if started else []
        body.append([*cells, *(Cell(percent(theirs[one]), quiet=started) if one in theirs else DASH for one in paper)])
    heads = [f"{split} {short(metric)}" for split, metric in shown] + ["seconds"] * started
    heads += [f"paper {short(metric)}" for metric in paper]
    title = f"{result.collection}, from {model}, {seeds(result)}; in %"
    note = f"± standard deviation over seeds; letters: significantly better than (p < {SIGNIFICANT}, Holm)"
    apart = range(2 + started + len(shown))
    names = ["", "system", *(["start"] if started else [])]
    return Table([*names, *heads], body, text_columns=len(apart), title=title, note=note, groups=apart)


def _paper(result: ComparisonResult, row: System) -> Mapping[str, float]:
    """Return the published figures of a row by the names of their columns."""
    return row.paper if result.table == "table1" else of_system(result.collection, row.system, row.model, row.shares)


def _paper_columns(result: ComparisonResult) -> Sequence[str]:
    """Return the possible columns of published figures, in their order."""
    return [name for row in result.rows for name in row.paper] if result.table == "table1" else result.metrics


def _whole_cost(row: System) -> str:
    return f"{sum(row.seconds.values()):,.0f}" if row.seconds else DASH


def costs(result: ComparisonResult) -> Table | None:
    """Lay out what the rows of Table 1 took, in seconds; None for other tables."""
    names = list(dict.fromkeys(name for row in result.rows for name in row.seconds))
    if not names:
        return None
    names.sort(key=PHASES.index)
    body = [
        [
            row.system,
            *(f"{row.seconds[name]:,.0f}" if name in row.seconds else DASH for name in names),
            _whole_cost(row),
        ]
        for row in result.rows
        if row.seconds
    ]
    return Table(
        ["system", *names, "in all"], body, title="Cost in seconds, means over seeds; what rows share counts in each"
    )


def _mean(row: System, column: Column) -> str:
    score = row.score(*column)
    return DASH if score is None else percent(score.mean)


def _highest(means: Sequence[str]) -> str | None:
    """Return the highest mean of a column; None for fewer than two."""
    known = [mean for mean in means if mean != DASH]
    return max(known, key=float) if len(known) > 1 else None


def _cell(row: System, column: Column, best: str | None) -> str | Cell:
    score, mean = row.score(*column), _mean(row, column)
    if score is None:
        return mean
    spread = "" if score.spread is None else percent(score.spread)
    return Cell(mean, spread, "".join(score.better_than), strong=mean == best)


def by_episode(result: ComparisonResult, models: Sequence[str]) -> Table | None:
    """Lay out main metric and forgetting rate by episode."""
    rows = [row for row in result.rows if row.episodes and row.model in models]
    if not rows:
        return None
    longest = max(len(row.episodes) for row in rows)
    body = []
    for row in rows:
        paper = forgetting(result.collection, row.system) or {}
        cells = [_episode(one, result.metrics[0], paper.get(one.number)) for one in row.episodes]
        body.append([row.model, row.system, *cells, *[""] * (longest - len(cells))])
    title = f"By episode: {short(result.metrics[0])} on {result.splits[0]}, and forgetting in % of training queries"
    heading = ["model", "system", *(f"episode {number}" for number in range(1, longest + 1))]
    return Table(heading, body, text_columns=2, title=title)


def _episode(one: EpisodeScores, metric: str, paper: float | None) -> str:
    reached, forgotten = one.metrics.get(metric), one.forgetting_rate
    shown = [percent(found.mean) if found else DASH for found in (reached, forgotten)]
    return f"{shown[0]}, {shown[1]}%" + (f" (paper {percent(paper)}%)" if paper is not None else "")


def standings(result: ComparisonResult) -> Table | None:
    """Lay out the paper's Table 1 with the systems of a comparison, larger models last; None for other data."""
    published = table1(result.collection)
    if result.table != "table1" or not published:
        return None
    ours = []
    for one in result.rows:
        final = {metric: score.mean for metric, score in one.values.get(result.splits[0], {}).items()}
        ours.append(Row(f"{one.system} ({one.file or f'this run, {one.model}'})", final))
    body: list[list[str | Cell]] = [
        [
            Cell(row.system, strong=row in ours, quiet=row.reference),
            row.params or DASH,
            row.negatives or DASH,
            *(percent(row.metrics[metric]) if metric in row.metrics else DASH for metric in result.metrics),
        ]
        for row in sorted([*published, *ours], key=lambda row: row.reference)
    ]
    title = "Among the systems of the paper's Table 1; dim or in italics: larger models or taught ones, for reference"
    heading = ["system", "parameters", "negatives", *map(short, result.metrics)]
    return Table(heading, body, text_columns=3, title=title)


def terminal_tables(result: ComparisonResult) -> list[rich.table.Table]:
    """Return the tables for the terminal: scores of each model (by split if wide), then episodes."""
    from rich.console import Console

    tables: list[Table | None] = []
    for model in result.models:
        whole = scores(result, model, columns(result))
        if Console(width=10 * WIDTH).measure(terminal(whole)).maximum <= WIDTH:
            tables.append(whole)
        else:
            for split in result.splits:
                own = [column for column in columns(result) if column[0] == split]
                tables.append(scores(result, model, own, with_paper=split == result.splits[-1]))
        tables.append(by_episode(result, [model]))
    return [terminal(table) for table in [*tables, costs(result), standings(result)] if table is not None]


def as_markdown(result: ComparisonResult) -> str:
    """Return the tables as Markdown."""
    tables = [scores(result, model, columns(result)) for model in result.models]
    others = by_episode(result, result.models), costs(result), standings(result)
    shown = [table for table in (*tables, *others) if table is not None]
    untested = f" Not tested, since it finds nothing for most queries: {', '.join(map(escape, result.untested))}."
    parts = [f"# {escape(result.collection)}: {len(result.rows)} systems, {seeds(result)}"]
    parts += [part for table in shown for part in (escape(table.title), markdown(table))]
    files = {row.system: row.file for row in result.rows if row.file}
    foreign = [f"Run by others: {words([f'{escape(name)} ({escape(file)})' for name, file in files.items()])}."]
    told = ["\n".join(f"- {escape(note)}" for note in result.notes)]
    notes = [
        *told * bool(result.notes),
        *foreign * bool(files),
        f"{cost(result)}.",
        NOTE + untested * bool(result.untested),
    ]
    return "\n\n".join([*parts, *notes]) + "\n"


def as_latex(result: ComparisonResult) -> str:
    """Return the scores as LaTeX (needs the package booktabs)."""
    return "\n".join([r"% \usepackage{booktabs}", *(latex(scores(result, m, columns(result))) for m in result.models)])


def as_csv(result: ComparisonResult) -> str:
    """Return all figures as CSV: one line per model, system, split, metric and seed.

    Of Table 1 also seconds and, as model "paper", the published figures, without split and seed.
    """
    rows = [
        (row.model, row.system, split, metric, str(seed), f"{value:.6f}")
        for row in result.rows
        for split, metrics in row.values.items()
        for metric, score in metrics.items()
        for seed, value in zip(row.seeds, score.by_seed, strict=True)
    ]
    rows += [
        (model, row.system, "", name, "", f"{value:.6f}")
        for row in result.rows
        for model, known in (
            (row.model, {f"seconds {name}": spent for name, spent in row.seconds.items()}),
            ("paper", row.paper),
        )
        for name, value in known.items()
    ]
    return csv_text(["model", "system", "split", "metric", "seed", "value"], rows)


def curves(result: ComparisonResult) -> Drawing | None:
    """Draw main metric and forgetting rate of each model by episode (paper, Figures 4 and 8)."""
    panels = []
    for model in result.models:
        rows = [row for row in result.of_model(model) if row.episodes]
        metric, split = result.metrics[0], result.splits[0]
        quality = _lines(rows, [[(one.number, one.metrics.get(metric)) for one in row.episodes] for row in rows])
        rates = _lines(rows, [[(one.number, one.forgetting_rate) for one in row.episodes] for row in rows])
        title = f"{short(metric)} on {plain(split)}, from {plain(model)}"
        if quality:
            others = [(row.system, row.score(split, metric)) for row in result.of_model(model) if row.file]
            means = [(name, found.mean) for name, found in others if found is not None]
            levels = [given_level(*one, place) for place, one in enumerate(means, len(rows))]
            draw = partial(draw_quality, lines=quality, title=title, levels=levels, from_zero=False)
            panels.append(Panel(title, draw))
        if rates:
            panels.append(Panel("Forgetting", partial(draw_rate, lines=rates, title="Training queries that did worse")))
    return Drawing(stem(result), "", panels, (), [], size=(5.5, 3.9), columns=2) if panels else None


def _lines(rows: Sequence[System], found: Sequence[Sequence[tuple[int, Spread | None]]]) -> list[Line]:
    lines = []
    for place, (row, points) in enumerate(zip(rows, found, strict=True)):
        # Shifted, so that error bars of the same episode do not overlap.
        shift = 0.03 * (place - (len(rows) - 1) / 2)
        known = [(number + shift, one.mean, one.spread or 0.0) for number, one in points if one]
        if known:
            spreads = [spread for *_, spread in known]
            lines.append(run_line(row.system, [(x, y) for x, y, _ in known], place, spread=spreads))
    return lines


def write_comparison(out: Path, result: ComparisonResult) -> None:
    """Write ``comparison.json``, ``.md``, ``.tex``, ``.csv`` and, with episodes, ``.png``.

    Files of a reproduced table have its name: ``table3.json`` and so on.
    """
    name = stem(result)
    write_json(out / f"{name}.json", result.content())
    for suffix, content in (("md", as_markdown(result)), ("tex", as_latex(result)), ("csv", as_csv(result))):
        with atomic(out / f"{name}.{suffix}") as temporary:
            temporary.write_text(content, "utf-8")
    if drawing := curves(result):
        with the_style(), atomic(out / f"{name}.png") as temporary:
            temporary.write_bytes(image(drawing, "png"))
