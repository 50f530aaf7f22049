"""The cells of a comparison as work units: each is a run of its own, wherever an executor has it done."""

import logging
import resource
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from ance_tele.console.display import Display
from ance_tele.console.errors import UserError
from ance_tele.console.numbers import duration
from ance_tele.engine.executor import Executor
from ance_tele.engine.work import Facts, Unit, Work
from ance_tele.episode import run
from ance_tele.evaluate.config import headline
from ance_tele.experiments.grid import Cell
from ance_tele.runs.identity import collection_for
from ance_tele.settings import Recipe
from ance_tele.store.files import write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CellsJob:
    """Runs with what they share; a unit is the number of a cell.

    A cell that fails is a fact like any other, so that the others go on.

    Attributes:
        cells: Name and settings of the recipe, model, folder and donor of each (:class:`Cell`).
        out: Folder of the comparison.
        data: The collection.
        cache: Folder for collections and token stores.
        parallel: Cells at a time.
    """

    cells: list[dict[str, Any]]
    out: str
    data: str
    cache: str
    parallel: int
    _here: bool = False

    @classmethod
    def of(cls, cells: Sequence[Cell], out: Path, data: str | Path, cache: Path, parallel: int) -> "CellsJob":
        """Return the job of some cells."""
        plain = [
            {**vars(cell), "recipe": {"name": cell.recipe.name, "settings": cell.recipe.settings()}} for cell in cells
        ]
        return cls(plain, str(out.resolve()), str(data), str(cache.resolve()), parallel)

    def cell(self, unit: Unit) -> Cell:
        """Return the cell of a unit."""
        plain = dict(self.cells[unit[0]])
        found = plain.pop("recipe")
        return Cell(Recipe(found["name"]).with_settings(**found["settings"]), **plain)

    def open(self) -> Work:
        """Return what runs a cell; in a process of its own its lines go to a file next to its run folder."""

        def work(unit: Unit) -> Facts:
            cell = self.cell(unit)
            if self._here:
                log.info(f"cell {unit[0] + 1} of {len(self.cells)}: {cell.label}")
            path = Path(self.out) / f"{cell.folder}.log"
            try:
                with _written_to(path if not self._here else None):
                    return {"outcome": _outcome(self.run(cell))}
            except Exception as error:
                return {"failed": _reason(error, path)}

        return work

    def run(self, cell: Cell) -> dict[str, Any]:
        """Run one cell, adopting shared artefacts; return its summary."""
        recipe, out = cell.recipe, Path(self.out)
        folder, shared = out / cell.folder, out / cell.shared
        adopted = {"episode-0": shared / "episode-0", "bm25": shared / "bm25"}
        if not recipe.episode.episodes and not recipe.lexical:
            adopted["final"] = shared / "final"
        if cell.donor is not None and not (folder / "episode-1").exists():
            adopted["episode-1"] = out / cell.donor / "episode-1"
        cache = Path(self.cache)
        collection = collection_for(recipe, self.data, cache)
        model = None if recipe.lexical else cell.model
        summary = run(recipe, collection, model, folder, self.data, cache, adopted)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        if not (folder / "cost.json").exists():
            write_json(folder / "cost.json", {"peak_bytes": peak, "parallel": self.parallel})
        return summary


def run_cells(job: CellsJob, executor: Executor) -> dict[str, str]:
    """Run cells, donors of a first episode before those that adopt it; return the reasons of failures by folder."""
    failed: dict[str, str] = {}
    job, finished = replace(job, _here=executor.workers == 1), 0

    def done(unit: Unit, facts: Facts) -> None:
        nonlocal finished
        cell, finished = job.cell(unit), finished + 1
        if "failed" in facts:
            failed[cell.folder] = facts["failed"]
        outcome = f"failed: {facts['failed']}" if "failed" in facts else facts["outcome"]
        log.info(outcome if job._here else f"cell {finished} of {len(job.cells)}: {cell.label}: {outcome}")

    for adopts in (False, True):
        units = [(number,) for number, cell in enumerate(job.cells) if (cell["donor"] is not None) == adopts]
        executor.run(job, units, done)
    return failed


def _outcome(summary: dict[str, Any]) -> str:
    name = headline(summary["final"])
    seconds = sum(sum(one["seconds"].values()) for one in summary["episodes"])
    return f"{name} {summary['final'][name]:.3f} ({duration(seconds)})"


def _reason(error: Exception, path: Path) -> str:
    """Return in one line why a cell failed; the traceback of an unexpected error goes to its log file."""
    if isinstance(error, UserError):
        return str(error)
    with _appended(path) as file:
        traceback.print_exception(error, file=file)
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first} (see {path})"


def _appended(path: Path) -> TextIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a", encoding="utf-8")


@contextmanager
def _written_to(path: Path | None) -> Iterator[None]:
    """Write all lines of the block to a file; None leaves them where they go."""
    if path is None:
        yield
        return
    with _appended(path) as file:
        before, sys.stderr = sys.stderr, file
        try:
            with Display(lambda line: print(line, file=file, flush=True), terminal=False).shown():
                yield
        finally:
            sys.stderr = before
