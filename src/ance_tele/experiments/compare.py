"""Comparison of recipes, models and seeds on one collection: a grid of runs, resumed cell by cell, and one table.

The first mining of a model (vectors, lists for training queries and positives, zero-shot evaluation) is done once and
adopted by all cells; so is a first episode that several recipes have in common.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection
from ance_tele.data.load import cache_folder, load_collection
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.cross_encoder import load_cross_encoder
from ance_tele.engine.executor import IN_PROCESS, Executor
from ance_tele.evaluate.config import ANSWER_METRICS
from ance_tele.evaluate.evaluation import Evaluation
from ance_tele.evaluate.given import given_runs, measure_splits
from ance_tele.experiments.cells import CellsJob, run_cells
from ance_tele.experiments.grid import Cell, Expansions, Suit, expansions, grid, model_name, shared_folder
from ance_tele.experiments.tables import write_comparison
from ance_tele.experiments.tabulate import Entry, Measured, measured_columns, tabulate
from ance_tele.mining.plugins import load_all
from ance_tele.paper.figures import benchmark_of
from ance_tele.runs.folder import Episode, RunFolder
from ance_tele.runs.identity import agreeing
from ance_tele.runs.inputs import RunInputs, teacher_of
from ance_tele.runs.lists import anchor_lists, bm25_lists
from ance_tele.runs.measure import evaluate, evaluate_bm25, evaluate_final
from ance_tele.runs.mine import search
from ance_tele.settings import Recipe
from ance_tele.store.lock import lock
from ance_tele.store.manifests import adopt

log = logging.getLogger(__name__)


def compare_systems(
    systems: Sequence[Recipe],
    models: Sequence[str],
    seeds: Sequence[int],
    data: str | Path,
    out: str | Path,
    cache: Path | None = None,
    executor: Executor = IN_PROCESS,
    table: str | None = None,
    suit: Suit | None = None,
    beside: Mapping[str, str | Path] | None = None,
) -> dict[str, Any]:
    """Run every system from every model with every seed, and compare their metrics with significance tests.

    Args:
        systems: Different recipes; see :func:`ance_tele.system`.
        models: Different folders or hub names.
        seeds: One run each; their spread is reported.
        data: A collection, as :func:`ance_tele.load_collection` takes it.
        out: Folder of the comparison; the same call resumes.
        cache: Folder for collections and token stores.
        executor: Where cells run, each by one of its workers (:func:`ance_tele.executor_for`).
        table: Name of the paper's table whose figures are added, e.g. "table3".
        suit: Returns a system with defaults for a model, as :func:`ance_tele.plan.suited.suited` does; gets both and
            the cell's run folder. Without it all cells of a system have the same settings.
        beside: TREC runs of other systems by name, for rows of their own.

    Returns:
        The content of ``comparison.json``: rows by system and model, tests by pair of systems, cost.

    Raises:
        UserError: Something cannot be used; or cells failed, after all others have been done.

    Example::

        systems = [at.system("zero-shot"), at.system("q-neg"), at.system("ance-tele alpha=0.3")]
        found = at.compare_systems(systems, ["path/to/model"], seeds=[1, 2, 3], data="my-collection", out="comparison")
        found["rows"][0]["values"]["test"]["MRR@10"]["mean"]
    """
    out, cache = Path(out), cache or cache_folder()
    cells = grid(systems, models, seeds, suit and (lambda one, model, folder: suit(one, model, out / folder)))
    if len(held := {one.episode.hold_out for one in systems}) > 1:
        raise UserError(f"hold_out differs between the systems ({', '.join(map(str, held))}); give all the same.")
    for one in systems:
        teacher_of(one)
    load_named(systems)
    plain = load_collection(data, cache, systems[0].episode.strict).held_out(systems[0].episode.hold_out)
    collections = {expansions(one): agreeing(one, plain, cache)[1] for one in systems}
    with acquire_comparison_folder(out):
        given = measure_others(beside or {}, systems[0], plain, RunFolder(out), seeds[0])
        for model in models:
            share_first_minings([cell for cell in cells if cell.model == model], collections, out, cache)
        failed = run_cells(CellsJob.of(cells, out, data, cache, executor.workers), executor)
        order = [one.name for one in systems]
        done = sorted((cell for cell in cells if cell.folder not in failed), key=lambda c: order.index(c.recipe.name))
        entries = [
            Entry(one.recipe.name, model_name(one.model), one.recipe.episode.seed, out / one.folder) for one in done
        ]
        result = tabulate(entries, plain.name, headline(plain), table, given) if entries else None
        if result is not None:
            write_comparison(out, result)
    check_all_done("cells", len(cells), failed, out if result is not None else None)
    assert result is not None
    return result.content()


def load_named(recipes: Sequence[Recipe]) -> None:
    """Load the functions and cross-encoders that recipes name, so that errors show before anything is computed.

    Raises:
        UserError: One of them is missing or cannot be used.
    """
    judges: dict[str, EncoderConfig] = {}
    for one in recipes:
        load_all(one.mining)
        if one.episode.episodes:
            names = one.mining.cross_encoder, one.teaching.teacher if one.teaching.asks else None
            judges |= {name: one.encoder for name in names if name is not None}
    for name, encoder in judges.items():
        load_cross_encoder(name, encoder)


def check_all_done(what: str, all_of_them: int, failed: Mapping[str, str], tables: Path | None) -> None:
    """Raise an error with the reasons if some cells or rows failed; ``tables`` holds those of the others, if any."""
    if failed:
        others = f"; the tables of the others are in {tables}" if tables is not None else ""
        raise UserError(
            f"{len(failed)} of {all_of_them} {what} failed ({_reasons(failed)}){others}; the same command tries them "
            "again."
        )


def _reasons(failed: Mapping[str, str]) -> str:
    """Return why cells failed, common reasons once."""
    folders: dict[str, list[str]] = {}
    for folder, why in failed.items():
        folders.setdefault(why, []).append(folder)
    return "; ".join(f"{', '.join(of)}: {why.rstrip('.')}" for why, of in folders.items())


def measure_others(
    beside: Mapping[str, str | Path], recipe: Recipe, collection: Collection, folder: RunFolder, seed: int
) -> list[Measured]:
    """Measure the runs of other systems as a recipe's evaluation does, on its split and on test.

    Raises:
        UserError: A file cannot be read, is of other data, or has no line for any of the queries.
    """
    runs = given_runs(beside, collection)
    splits = dict.fromkeys((recipe.evaluation.split, *(["test"] if "test" in collection.qrels else []))) if runs else {}
    on = {split: Evaluation.of(recipe.evaluation, collection, split) for split in splits}
    measured = []
    for given in runs:
        place = folder.given(given.name)
        made = measure_splits(given, on, place)
        values = {split: measured_columns(place / split) for split in made}
        little = not all(one.facts["usable"] for one in made.values())
        measured.append(Measured(Entry(given.name, "", seed, place), None, values, little, given.path.name))
    return measured


def headline(collection: Collection) -> tuple[str, ...]:
    """Return the metrics of the table: the paper's on its benchmarks."""
    usual = {"msmarco": ("MRR@10", "Recall@1000"), "nq": ANSWER_METRICS, "triviaqa": ANSWER_METRICS}
    openqa = ("MRR@10", "Recall@100", "Answer@20") if len(collection.answers) else ("MRR@10", "Recall@100")
    return usual.get(benchmark_of(collection.name) or "", openqa)


@contextmanager
def acquire_comparison_folder(out: Path) -> Iterator[None]:
    """Lock the folder of a comparison while the block runs.

    Raises:
        UserError: It is the folder of something else, or another process holds it.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not any(out.glob(".lock*"))):
        raise UserError(f"{out} is not the folder of a comparison; give --out a new folder.")

    with lock(out / ".lock"):
        yield


def share_first_minings(
    cells: Sequence[Cell], collections: Mapping[Expansions, Collection], out: Path, cache: Path
) -> None:
    """Do :func:`share_first_mining` for cells of a model, by the collection with the terms that they add.

    Raises:
        UserError: None of them can load the model.
    """
    for added, collection in collections.items():
        alike = [cell for cell in cells if expansions(cell.recipe) == added]
        if alike and (added == (None, None) or not all(cell.recipe.lexical for cell in alike)):
            share_first_mining(alike, collection, out, cache)


def share_first_mining(cells: Sequence[Cell], collection: Collection, out: Path, cache: Path) -> None:
    """Compute once for all cells of a model what needs no training: zero-shot evaluation, BM25, the first mining."""
    model, recipes = cells[0].model, [cell.recipe for cell in cells]
    folder, bm25 = out / cells[0].shared, out / shared_folder(recipes[0], "bm25")
    if bm25.is_dir():
        adopt(bm25, folder / "bm25")
    trained = [one for one in recipes if one.episode.episodes]
    by_encoder = {one.encoder: one for one in reversed(trained or recipes)}
    for chosen in reversed(by_encoder.values()):
        inputs = RunInputs.of(chosen, collection, model, folder, cache, announce=False)
        assert inputs.start is not None
        try:
            inputs.start.weights  # noqa: B018 (loads it)
            break
        except UserError as error:  # a setting of one system does not suit the model, or no system can load it
            refused = error
    else:
        raise refused
    try:
        _begin(inputs, recipes)
    except UserError as error:
        log.info(f"not shared: {error}")  # settings of one system cannot work: only its own cells will fail
    if (folder / "bm25").is_dir():
        adopt(folder / "bm25", bm25)


def _begin(inputs: RunInputs, recipes: Sequence[Recipe]) -> None:
    """Evaluate the initial model, and search for the first mining."""
    assert inputs.start is not None
    trained = [one for one in recipes if one.episode.episodes]
    if any("bm25" in one.evaluation.baselines for one in recipes):
        evaluate_bm25(inputs)
    retriever = inputs.retriever(inputs.start, 0)
    evaluate(inputs, retriever, 0)
    if any(not one.episode.episodes and not one.lexical for one in recipes):
        evaluate_final(inputs, retriever, 0)
    if trained:
        training, first = inputs.training_set(), Episode(1, inputs.recipe, inputs.folder)
        search(training, retriever, first)
        sources = {source for one in trained for source in one.mining.sources_at(1)}
        if "lookahead" in sources:
            anchor_lists(training, retriever, inputs.recipe.mining, first.before)
        if "bm25" in sources | {source for one in trained for source in one.mining.sources}:
            bm25_lists(training, inputs.bm25, inputs.recipe.mining.depth, inputs.folder.path)
    retriever.close(inputs.recipe.episode.keep_vectors)
