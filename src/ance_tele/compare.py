"""Several recipes, models and seeds on one collection: a grid of runs, resumed cell by cell, and one table.

The first mining of a model (its vectors, its lists for training queries and positives, its zero-shot evaluation)
is done once and adopted by all cells; so is a first episode that several recipes have in common.
"""

import multiprocessing
import os
import re
import resource
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ance_tele.data.artefacts import Say, adopt, fingerprint, lock, silent, write_json
from ance_tele.data.collection import Collection
from ance_tele.data.errors import UserError
from ance_tele.data.load import cache_folder, load_collection
from ance_tele.episode import run
from ance_tele.evaluate.answers import ANSWER_METRICS
from ance_tele.evaluate.comparison import Entry, tabulate
from ance_tele.phases import Phases
from ance_tele.recipes import SCALES, at_scale, recipe
from ance_tele.report.comparison import write_comparison
from ance_tele.report.formats import duration
from ance_tele.report.paper import benchmark_of
from ance_tele.settings import Recipe, unknown


def system(text: str, scale: str | None = None, **settings: Any) -> Recipe:
    """Return a recipe as a comparison names it: a recipe's name and, after spaces, settings of its own.

    Args:
        text: E.g. "ance-tele" or "ance-tele alpha=0.3 negatives_per_query=5".
        scale: Begin with the paper's settings for "marco", "nq" or "triviaqa".
        settings: Of the whole comparison; the system's own win.

    Raises:
        UserError: There is no such recipe or setting, or a value cannot be read.
    """
    import yaml

    name, *own = text.split()
    changed = dict(settings)
    for word in own:
        key, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"'{word}' in '{text}' is no setting; write name=value, such as alpha=0.3.")
        try:
            changed[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(f"'{value}' in '{text}' is no value that can be read.") from None
    if scale is not None and scale not in SCALES:
        raise UserError(unknown("scale", scale, SCALES))
    made = (at_scale(recipe(name), scale) if scale else recipe(name)).with_settings(**changed)
    return replace(made, name=" ".join([name, *own]))


@dataclass(frozen=True)
class Cell:
    """One run of a comparison.

    Attributes:
        recipe: The system, with its seed.
        model: Where it starts.
        folder: Its run folder, relative to that of the comparison.
        donor: The folder of a cell whose first episode is the same and comes first; None if there is none.
    """

    recipe: Recipe
    model: str
    folder: str
    donor: str | None

    @property
    def label(self) -> str:
        """Name of the cell, for a line."""
        return f"{self.recipe.name}, {model_name(self.model)}, seed {self.recipe.episode.seed}"


def model_name(model: str) -> str:
    """Return the short name of a model: the last part of its folder or hub name."""
    return Path(model).name or model


def slug(text: str) -> str:
    """Turn a name into one of a folder."""
    return re.sub(r"[^\w.+-]+", "_", text).strip("_")


def grid(systems: Sequence[Recipe], models: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """Return the cells of a comparison, those that others begin with first.

    Raises:
        UserError: A system, model or seed is named twice, or there is none.
    """
    for what, names in (("system", [one.name for one in systems]), ("model", [model_name(one) for one in models])):
        twice = [name for name in names if names.count(name) > 1]
        if twice or not names:
            found = f"the {what} '{twice[0]}' is named twice" if twice else f"no {what} is named"
            raise UserError(f"A comparison needs different {what}s, but {found}.")
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"A comparison needs different seeds, got {', '.join(map(str, seeds)) or 'none'}.")
    cells: list[Cell] = []
    first: dict[str, str] = {}
    for model in models:
        for seed in seeds:
            for one in systems:
                if not one.episode.episodes and seed != seeds[0]:
                    continue  # nothing is drawn where nothing is trained
                seeded = one.with_settings(seed=seed)
                folder = f"cells/{slug(model_name(model))}/{slug(one.name)}/seed-{seed}"
                key = fingerprint([model, beginning(seeded)])
                cells.append(Cell(seeded, model, folder, first.get(key)))
                first.setdefault(key, folder)
    return sorted(cells, key=lambda cell: cell.donor is not None)


def beginning(recipe: Recipe) -> dict[str, Any]:
    """Return what decides the first episode of a recipe: recipes that agree in it share that episode."""
    if not recipe.episode.episodes:
        return {"recipe": recipe.name}
    mining = recipe.mining
    return {
        "sources": mining.sources_at(1),
        "beta": mining.beta if {"query", "lookahead"} <= set(mining.sources_at(1)) else None,
        **{
            name: value
            for name, value in asdict(mining).items()
            if name not in ("sources", "first_sources", "alpha", "beta", "momentum")
        },
        "schedule": asdict(recipe.schedule(1, 1_000_000)),
        "episode": [recipe.episode.seed, recipe.episode.max_train_queries, recipe.episode.strict],
        "parts": [asdict(recipe.training), asdict(recipe.encoder), asdict(recipe.evaluation)],
    }


def compare(
    systems: Sequence[Recipe],
    models: Sequence[str],
    seeds: Sequence[int],
    data: str | Path,
    out: str | Path,
    cache: Path | None = None,
    parallel: int = 1,
    table: str | None = None,
    say: Say = silent,
) -> dict[str, Any]:
    """Run every system from every model with every seed, and set them side by side.

    Args:
        systems: What to compare; see :func:`system`.
        models: Folders or hub names.
        seeds: One run each; their spread is reported.
        data: A collection, as :func:`load_collection` takes it.
        out: Folder of the comparison; called again, it goes on where it was.
        cache: Folder for collections and token stores.
        parallel: Cells at a time, each in a process of its own, spread over the GPUs there are.
        table: Name of the paper's table whose figures belong beside, e.g. "table3".
        say: Gets one line per phase, or per cell where several run at a time.

    Returns:
        The content of ``comparison.json``.

    Raises:
        UserError: Something cannot be used; or cells failed, after all others have been done.
    """
    out, cache = Path(out), cache or cache_folder()
    cells = grid(systems, models, seeds)
    collection = load_collection(data, cache, systems[0].episode.strict, say)
    with claim(out):
        for model in models:
            wanted = [cell.recipe for cell in cells if cell.model == model]
            share(wanted, collection, model, out, cache, say)
        jobs = [Job(cell, str(out), str(data), str(cache), parallel) for cell in cells]
        failed = _one_by_one(jobs, say) if parallel == 1 else _beside(jobs, parallel, say)
        order = {one.name: place for place, one in enumerate(systems)}
        done = sorted((cell for cell in cells if cell.folder not in failed), key=lambda cell: order[cell.recipe.name])
        entries = [
            Entry(cell.recipe.name, model_name(cell.model), cell.recipe.episode.seed, out / cell.folder)
            for cell in done
        ]
        result = {**tabulate(entries, collection.name, headline(collection)), "table": table} if entries else {}
        if result:
            write_comparison(out, result)
    if failed:
        lines = "; ".join(f"{folder}: {why}" for folder, why in failed.items())
        raise UserError(f"{len(failed)} of {len(cells)} cells failed ({lines}); the same command tries them again.")
    return result


def headline(collection: Collection) -> tuple[str, ...]:
    """Return the metrics of a table: the paper's where the data is one of its benchmarks."""
    usual = {"msmarco": ("MRR@10", "Recall@1000"), "nq": ANSWER_METRICS, "triviaqa": ANSWER_METRICS}
    openqa = ("MRR@10", "Recall@100", "Answer@20") if len(collection.answers) else ("MRR@10", "Recall@100")
    return usual.get(benchmark_of(collection.name) or "", openqa)


@contextmanager
def claim(out: Path) -> Iterator[None]:
    """Hold the folder of a comparison."""
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / ".lock").exists()):
        raise UserError(f"{out} is not the folder of a comparison; give --out a new folder.")

    def busy() -> None:
        raise UserError(f"Another process is at work in {out}; wait for it, or give another --out.")

    with lock(out / ".lock", busy):
        yield


def share(recipes: Sequence[Recipe], collection: Collection, model: str, out: Path, cache: Path, say: Say) -> None:
    """Do once, for all cells of a model, what needs no training: zero-shot evaluation, BM25, the first mining."""
    folder = out / "shared" / slug(model_name(model))
    trained = [one for one in recipes if one.episode.episodes]
    chosen = trained[0] if trained else recipes[0]
    if (out / "shared" / "bm25").is_dir():
        adopt(out / "shared" / "bm25", folder / "bm25")
    phases = Phases(chosen, collection, model, folder, cache, say)
    if any("bm25" in one.evaluation.baselines for one in recipes):
        phases.evaluate_bm25()
    phases.evaluate(0)
    if any(not one.episode.episodes for one in recipes):
        phases.evaluate_final(0)
    if trained:
        phases.training_lists(0)
        sources = {source for one in trained for source in one.mining.sources_at(1)}
        if "lookahead" in sources:
            phases.around_positives(0, phases.lookahead_rows)
        if "bm25" in sources | {source for one in trained for source in one.mining.sources}:
            phases.bm25_lists()
    phases.drop(0)
    if (folder / "bm25").is_dir():
        adopt(folder / "bm25", out / "shared" / "bm25")


@dataclass(frozen=True)
class Job:
    """A cell and where it finds its things; travels to another process."""

    cell: Cell
    out: str
    data: str
    cache: str
    parallel: int


def carry_out(job: Job, say: Say = silent) -> dict[str, Any]:
    """Run one cell; returns its summary."""
    out, cell = Path(job.out), job.cell
    folder, shared = out / cell.folder, out / "shared" / slug(model_name(cell.model))
    adopted = {"episode-0": shared / "episode-0", "bm25": shared / "bm25"}
    if not cell.recipe.episode.episodes:
        adopted["final"] = shared / "final"
    if cell.donor is not None and not (folder / "episode-1").exists():
        adopted["episode-1"] = out / cell.donor / "episode-1"
    model = None if cell.recipe.name == "bm25" else cell.model
    collection = load_collection(job.data, Path(job.cache), cell.recipe.episode.strict)
    summary = run(cell.recipe, collection, model, folder, job.data, Path(job.cache), say, adopted)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if not (folder / "cost.json").exists():
        write_json(folder / "cost.json", {"peak_bytes": peak, "parallel": job.parallel})
    return summary


def _one_by_one(jobs: Sequence[Job], say: Say) -> dict[str, str]:
    """Run cells in this process; returns those that failed, with the reason."""
    failed: dict[str, str] = {}
    for number, job in enumerate(jobs, 1):
        say(f"cell {number} of {len(jobs)}: {job.cell.label}")
        try:
            carry_out(job, say)
        except UserError as error:
            failed[job.cell.folder] = str(error)
            say(f"failed: {error}")
    return failed


def _beside(jobs: Sequence[Job], parallel: int, say: Say) -> dict[str, str]:
    """Run cells in ``parallel`` processes; a cell waits for the one whose first episode it shares."""
    context = multiprocessing.get_context("spawn")
    counter = context.Value("i", 0)
    threads = max(1, (os.cpu_count() or 1) // parallel)
    failed: dict[str, str] = {}
    waiting = {job.cell.folder: job for job in jobs}
    done: set[str] = set()
    running: dict[Future[dict[str, Any]], Job] = {}
    with ProcessPoolExecutor(parallel, context, _settle, (counter, threads)) as pool:
        while waiting or running:
            for folder, job in list(waiting.items()):
                if job.cell.donor is None or job.cell.donor in done:
                    running[pool.submit(_quietly, job)] = waiting.pop(folder)
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                job = running.pop(future)
                done.add(job.cell.folder)
                said = f"cell {len(done)} of {len(jobs)}: {job.cell.label}: "
                try:
                    say(said + _outcome(future.result()))
                except UserError as error:
                    failed[job.cell.folder] = str(error)
                    say(f"{said}failed: {error}")
    return failed


def _outcome(summary: dict[str, Any]) -> str:
    name = next(name for name in ("MRR@10", "Answer@20") if name in summary["final"])
    seconds = sum(sum(one["seconds"].values()) for one in summary["episodes"])
    return f"{name} {summary['final'][name]:.3f} ({duration(seconds)})"


def _settle(counter: Any, threads: int) -> None:
    """Prepare a worker: its share of the cores, and a GPU of its own where there are several."""
    with counter.get_lock():
        number = counter.value
        counter.value += 1
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())


def _quietly(job: Job) -> dict[str, Any]:
    """Run a cell with its lines, and all that libraries write, in a file beside its run folder."""
    log = Path(job.out) / f"{job.cell.folder}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        before, sys.stderr = sys.stderr, file
        try:
            return carry_out(job, lambda line: print(line, file=file, flush=True))
        finally:
            sys.stderr = before
