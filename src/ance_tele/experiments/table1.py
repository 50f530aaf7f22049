"""The paper's Table 1 on a collection: every family trained from its own start, beside the published figures.

Starts and teacher are artefacts of the comparison's folder, made once; cells are resumed one by one.
"""

import logging
from collections.abc import Collection as Names
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ance_tele.console.errors import UserError
from ance_tele.console.numbers import duration
from ance_tele.data.collection import Collection
from ance_tele.data.load import cache_folder, load_collection
from ance_tele.encode.files import resolve
from ance_tele.engine.executor import IN_PROCESS, Executor
from ance_tele.evaluate.comparison import ComparisonResult, System
from ance_tele.evaluate.statistics import rank_agreement
from ance_tele.experiments.cells import CellsJob, run_cells
from ance_tele.experiments.compare import (
    acquire_comparison_folder,
    check_all_done,
    headline,
    load_named,
    measure_others,
    share_first_minings,
)
from ance_tele.experiments.grid import Cell, Expansions, Suit, cells_of, expansions, model_name
from ance_tele.experiments.rows import Row, figures
from ance_tele.experiments.starts import Starts, make_starts, seconds_of, seconds_of_run, teacher_config
from ance_tele.experiments.tables import write_comparison
from ance_tele.experiments.tabulate import Entry, Measured, tabulate
from ance_tele.plan.facts import AtHand
from ance_tele.pretraining.config import Objective
from ance_tele.runs.folder import RunFolder
from ance_tele.runs.identity import agreeing
from ance_tele.runs.reranking import Reranked
from ance_tele.runs.teach import train_teacher
from ance_tele.settings import Recipe

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Table1:
    """What is measured, and where it starts.

    Attributes:
        rows: With the recipe of each.
        model: Folder or hub name of a BERT, of which the starts are made.
        starts: Pretrainings, in the order in which they are made.
        left_out: A sentence on each row of the paper that is not among them.
        pretraining: Settings of the pretrainings, instead of those by what is at hand.
        teaching: The same of the teacher.
        t5: Folder or hub name of a T5, for GTR.
    """

    rows: Sequence[tuple[Row, Recipe]]
    model: str
    starts: Sequence[Objective] = ()
    left_out: Sequence[str] = ()
    pretraining: Mapping[str, Any] = field(default_factory=dict)
    teaching: Mapping[str, Any] = field(default_factory=dict)
    t5: str | None = None


def reproduce_table1(
    asked: Table1,
    seeds: Sequence[int],
    data: str | Path,
    out: str | Path,
    cache: Path | None = None,
    executor: Executor = IN_PROCESS,
    suit: Suit | None = None,
    beside: Mapping[str, str | Path] | None = None,
) -> dict[str, Any]:
    """Make starts, train and measure all rows, and write ``table1.md`` and its other files; the same call resumes.

    A teacher is made once, from the negatives of the row DPR with the first seed, unless the recipes have one already.

    Args:
        asked: Rows and starts.
        seeds: One run of each row for each; starts and teacher are made once.
        data: A collection, as :func:`ance_tele.load_collection` takes it.
        out: Folder of the comparison.
        cache: Folder for collections and token stores.
        executor: Where cells run.
        suit: As for :func:`ance_tele.experiments.compare.compare_systems`.
        beside: TREC runs of other systems by name; DeepCT, docT5query and GAR get their published figures.

    Returns:
        The content of ``table1.json``.

    Raises:
        UserError: Something cannot be used; or rows failed, after all others have been done.
    """
    out, cache = Path(out), cache or cache_folder()
    recipes = [recipe for _, recipe in asked.rows]
    for row, one in asked.rows:
        if row.label == "DPR" and _lacks_teacher(one):
            raise UserError(
                "The settings make every row learn from a teacher, also DPR, on whose negatives the teacher is "
                "trained; give one with --teacher, or leave these settings out."
            )
    load_named(recipes)
    for name in filter(None, (asked.model, asked.t5)):
        resolve(name)
    plain = load_collection(data, cache, recipes[0].episode.strict).held_out(recipes[0].episode.hold_out)
    collections = {expansions(one): agreeing(one, plain, cache)[1] for one in recipes}
    placed = suit and (lambda one, model, folder: suit(one, model, out / folder))
    with acquire_comparison_folder(out):
        given = measure_others(beside or {}, recipes[0], plain, RunFolder(out), seeds[0])
        length = _read_of_a_passage(asked, placed)
        made = make_starts(asked.starts, asked.model, plain, out / "starts", length, asked.pretraining, cache)
        if asked.t5:
            made.folders["t5"] = asked.t5
        work = _Work(made, plain, collections, list(seeds), data, out, cache, executor, placed)
        work.run([one for one in asked.rows if not _waits(*one)])
        later = [one for one in asked.rows if _waits(*one)]
        if any(_lacks_teacher(recipe) for _, recipe in later):
            work.teach(asked.teaching)
        work.run(later)
        result = _result(asked, work, given) if work.done else None
        if result is not None:
            write_comparison(out, result)
    check_all_done("rows", len(asked.rows), work.failed, out if result is not None else None)
    assert result is not None
    return result.content()


def order_kept(result: ComparisonResult, of: Names[str]) -> list[str]:
    """Return a sentence for each published column: how far our order of the trained systems is the paper's.

    Args:
        result: The comparison, with published figures.
        of: The systems that count.
    """
    split, metric = result.splits[-1], result.metrics[0]
    rows = [(row, score.mean) for row in result.rows if (score := row.score(split, metric)) and row.system in of]
    found = []
    for column in dict.fromkeys(name for row, _ in rows for name in row.paper):
        pairs = [(mean, row.paper[column]) for row, mean in rows if column in row.paper]
        if len(pairs) > 1:
            tau, rho = rank_agreement(*zip(*pairs, strict=True))
            found.append(
                f"Order of the {len(pairs)} trained systems by {split} {metric} against the paper's {column}: "
                f"Kendall's tau {tau:.2f}, Spearman's rho {rho:.2f}."
            )
    return found


def _read_of_a_passage(asked: Table1, suit: Suit | None) -> int:
    """Return how many tokens the rows read of a passage."""
    untrained = next(recipe for row, recipe in asked.rows if row.trains).with_settings(episodes=0)
    chosen = suit(untrained, asked.model, Path("starts")) if suit else untrained
    return chosen.encoder.passage_max_len or 128


def _waits(row: Row, recipe: Recipe) -> bool:
    """Return whether a row can only begin after DPR."""
    return row.start == "dpr" or _lacks_teacher(recipe)


def _lacks_teacher(recipe: Recipe) -> bool:
    return recipe.teaching.asks and recipe.teaching.teacher is None


@dataclass
class _Work:
    """The cells of the table, by row and seed, as they are done; why rows failed, by label."""

    made: Starts
    plain: Collection
    collections: Mapping[Expansions, Collection]
    seeds: list[int]
    data: str | Path
    out: Path
    cache: Path
    executor: Executor
    suit: Suit | None
    done: dict[tuple[str, int], Cell] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    teacher: Path | None = None
    shared: set[str] = field(default_factory=set)

    def run(self, rows: Sequence[tuple[Row, Recipe]]) -> None:
        """Run the cells of rows: those from pretrainings together, then those from DPR's models, seed by seed."""
        ready: list[tuple[Row, Recipe]] = []
        for row, recipe in rows:
            if _lacks_teacher(recipe) and self.teacher is None:
                self.failed.setdefault(row.label, "there is no teacher")
            elif row.start != "dpr" and row.start not in self.made.folders:
                self.failed[row.label] = self.made.failed[row.start]
            else:
                given = {"teacher": str(self.teacher)} if _lacks_teacher(recipe) else {}
                ready.append((row, recipe.with_settings(**given)))
        own = [(row, one) for row, one in ready if row.start != "dpr"]
        named = [(one, self.made.folders[row.start], str(row.start)) for row, one in own]
        self._run({(one.name, row.start): row.label for row, one in own}, cells_of(named, self.seeds, self.suit))
        cells, labels = [], {}
        for seed in self.seeds:
            for row, recipe in ready:
                if row.start != "dpr":
                    continue
                before, name = self.done.get(("DPR", seed)), f"dpr-seed-{seed}"
                if before is None:
                    self.failed[row.label] = "it starts from DPR, which failed"
                    continue
                model = str(self.out / before.folder / "episode-1" / "model")
                cells += cells_of([(recipe, model, name)], [seed], self.suit)
                labels[recipe.name, name] = row.label
        self._run(labels, cells)

    def _run(self, labels: Mapping[tuple[str, str], str], cells: Sequence[Cell]) -> None:
        """Run cells; ``labels`` are of their rows, by name of recipe and start."""
        for model in dict.fromkeys(cell.model for cell in cells if cell.model not in self.shared):
            self.shared.add(model)
            alike = [cell for cell in cells if cell.model == model]
            try:
                share_first_minings(alike, self.collections, self.out, self.cache)
            except UserError as error:
                log.info(f"not shared: {error}")  # its cells will fail
        job = CellsJob.of(cells, self.out, self.data, self.cache, self.executor.workers)
        why = run_cells(job, self.executor) if cells else {}
        for cell in cells:
            label = labels[cell.recipe.name, cell.start]
            if cell.folder in why:
                self.failed[label] = why[cell.folder]
            else:
                self.done[label, cell.recipe.episode.seed] = cell

    def teach(self, settings: Mapping[str, Any]) -> None:
        """Train the teacher on the negatives of DPR with the first seed."""
        run, folder = self.done.get(("DPR", self.seeds[0])), self.out / "teacher"
        if run is None:
            self.notes.append("There is no teacher: it learns from the negatives of DPR, which failed.")
            return
        try:
            config = teacher_config(run.recipe, AtHand(self.plain, run.model), settings)
            found = train_teacher(self.out / run.folder, run.model, folder, config, data=self.data)
        except UserError as error:
            self.notes.append(f"There is no teacher: {error}")
            return
        self.teacher, of = folder, f"{found.facts['steps']:,} steps, {duration(found.seconds)}"
        log.info(f"teacher {'cached' if found.reused else of}")
        shown = f"; {Reranked(**ranked).line()}" if (ranked := found.facts.get("reranked")) else ""
        whose = f"one for all rows and seeds, of DPR's negatives with seed {self.seeds[0]}"
        self.notes.append(f"Teacher: {whose}; {of}{shown}.")

    def described(self, row: System, of: Row) -> System:
        """Return a row of the result with its start, its mean seconds and its published figures."""
        cells = [self.done[of.label, seed] for seed in row.seeds]
        spent = [self.seconds(of, cell) for cell in cells]
        mean = {name: round(float(np.mean([one[name] for one in spent])), 1) for name in spent[0]}
        return replace(row, start=of.start if of.trains else None, seconds=mean, paper=figures(of.label, of))

    def seconds(self, row: Row, cell: Cell) -> dict[str, float]:
        """Return the seconds of a cell by what took them, with its share of start, DPR and teacher."""
        if not row.trains:
            return {}
        used = "bert" if row.start == "dpr" else row.start
        chain = ["condenser", "cocondenser"] if used == "cocondenser" else [used]
        spent = {"pretraining": seconds_of(*(Path(self.made.folders[name]) for name in chain))}
        taught = cell.recipe.teaching.asks and self.teacher is not None
        if row.start == "dpr" or taught:
            first = self.done["DPR", cell.recipe.episode.seed if row.start == "dpr" else self.seeds[0]]
            spent["DPR before"] = sum(seconds_of_run(self.out / first.folder, first.recipe).values())
        if taught and self.teacher is not None:
            spent["teacher"] = seconds_of(self.teacher)
        return {**spent, **seconds_of_run(self.out / cell.folder, cell.recipe)}


def _result(asked: Table1, work: _Work, given: Sequence[Measured]) -> ComparisonResult:
    """Return the comparison of all rows that are done, in the paper's order."""
    rows = {row.label: row for row, _ in asked.rows}
    entries = [
        Entry(label, model_name(asked.model), seed, work.out / work.done[label, seed].folder)
        for label in rows
        for seed in work.seeds
        if (label, seed) in work.done
    ]
    result = tabulate(entries, work.plain.name, headline(work.plain), "table1", given)
    described = tuple(
        work.described(row, rows[row.system]) if row.system in rows else replace(row, paper=figures(row.system))
        for row in result.rows
    )
    failed = [f"{label} failed: {why.rstrip('.')}." for label, why in work.failed.items()]
    trained = [label for label, row in rows.items() if row.trains and not row.further]
    notes = [
        *order_kept(replace(result, rows=described), trained),
        *work.made.notes,
        *work.notes,
        *asked.left_out,
        *failed,
    ]
    return replace(result, rows=described, notes=tuple(notes))
