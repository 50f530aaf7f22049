"""Running the cells of a comparison, sequentially or in several processes."""

import logging
import multiprocessing
import os
import resource
import sys
import threading
import traceback
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ance_tele.console.errors import UserError
from ance_tele.console.log import log_to
from ance_tele.console.numbers import duration
from ance_tele.data.load import load_collection
from ance_tele.episode import run
from ance_tele.evaluate.config import headline
from ance_tele.experiments.grid import Cell, model_name, slug
from ance_tele.store.files import write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A cell with its inputs, picklable; ``out`` is the folder of the comparison."""

    cell: Cell
    out: Path
    data: str | Path
    cache: Path
    parallel: int


def run_cell(job: Job) -> dict[str, Any]:
    """Run one cell, adopting shared artefacts; return its summary."""
    cell, recipe = job.cell, job.cell.recipe
    folder, shared = job.out / cell.folder, job.out / "shared" / slug(model_name(cell.model))
    adopted = {"episode-0": shared / "episode-0", "bm25": shared / "bm25"}
    if not recipe.episode.episodes and not recipe.lexical:
        adopted["final"] = shared / "final"
    if cell.donor is not None and not (folder / "episode-1").exists():
        adopted["episode-1"] = job.out / cell.donor / "episode-1"
    collection = load_collection(job.data, job.cache, recipe.episode.strict).held_out(recipe.episode.hold_out)
    model = None if recipe.lexical else cell.model
    summary = run(recipe, collection, model, folder, job.data, job.cache, adopted)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if not (folder / "cost.json").exists():
        write_json(folder / "cost.json", {"peak_bytes": peak, "parallel": job.parallel})
    return summary


def run_sequentially(jobs: Sequence[Job]) -> dict[str, str]:
    """Run cells in this process; return the reasons of failures by folder."""
    failed: dict[str, str] = {}
    for number, job in enumerate(jobs, 1):
        log.info(f"cell {number} of {len(jobs)}: {job.cell.label}")
        try:
            run_cell(job)
        except Exception as error:
            failed[job.cell.folder] = _reason(error, job)
            log.info(f"failed: {failed[job.cell.folder]}")
    return failed


def run_parallel(jobs: Sequence[Job], parallel: int) -> dict[str, str]:
    """Run cells in ``parallel`` processes, each after its donor; return the reasons of failures by folder."""
    import torch

    context = multiprocessing.get_context("spawn")
    counter = context.Value("i", 0)
    threads = max(1, torch.get_num_threads() // parallel)
    failed: dict[str, str] = {}
    waiting = {job.cell.folder: job for job in jobs}
    done: set[str] = set()
    running: dict[Future[dict[str, Any]], Job] = {}
    with ProcessPoolExecutor(parallel, context, _prepare_worker, (counter, threads)) as pool:
        try:
            while waiting or running:
                for folder, job in list(waiting.items()):
                    if job.cell.donor is None or job.cell.donor in done:
                        running[pool.submit(_run_logged, job)] = waiting.pop(folder)
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    job = running.pop(future)
                    done.add(job.cell.folder)
                    try:
                        outcome = _outcome(future.result())
                    except BrokenProcessPool:
                        raise
                    except Exception as error:
                        failed[job.cell.folder] = _reason(error, job)
                        outcome = f"failed: {failed[job.cell.folder]}"
                    log.info(f"cell {len(done)} of {len(jobs)}: {job.cell.label}: {outcome}")
        except BrokenProcessPool:
            raise UserError(
                "A process that ran a cell was killed, perhaps for want of memory; the same command goes on where it "
                "was, with a smaller --parallel if need be."
            ) from None
        except BaseException:  # such as Ctrl-C: start no further cells
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failed


def _outcome(summary: dict[str, Any]) -> str:
    name = headline(summary["final"])
    seconds = sum(sum(one["seconds"].values()) for one in summary["episodes"])
    return f"{name} {summary['final'][name]:.3f} ({duration(seconds)})"


def _reason(error: Exception, job: Job) -> str:
    """Return in one line why a cell failed; the traceback of an unexpected error goes to its log file."""
    if isinstance(error, UserError):
        return str(error)
    with _log_file(job) as file:
        traceback.print_exception(error, file=file)
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first} (see {file.name})"


def _log_file(job: Job) -> TextIO:
    path = job.out / f"{job.cell.folder}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a", encoding="utf-8")


def _prepare_worker(counter: Any, threads: int) -> None:
    """Set the threads of a worker, and its GPU if there are several."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with counter.get_lock():
        number = counter.value
        counter.value += 1
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())


def _end_with_parent() -> None:
    """Exit when the parent process ends, however it ends, so that the cells are free for the next command."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_logged(job: Job) -> dict[str, Any]:
    """Run a cell with all output redirected to a log file next to its run folder."""
    with _log_file(job) as file:
        before, sys.stderr = sys.stderr, file
        try:
            with log_to(lambda line: print(line, file=file, flush=True)):
                return run_cell(job)
        finally:
            sys.stderr = before
