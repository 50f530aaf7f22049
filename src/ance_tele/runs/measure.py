"""Evaluations of a run as artefacts: of every checkpoint, of BM25, and the final one."""

import time
from pathlib import Path

from ance_tele.evaluate.evaluation import Evaluation
from ance_tele.evaluate.given import measure_splits
from ance_tele.runs.inputs import RunInputs
from ance_tele.runs.log import evaluated, log_phase
from ance_tele.search.dense import DenseRetriever
from ance_tele.search.retriever import Retriever
from ance_tele.store.artefacts import cached, writing
from ance_tele.store.manifests import Manifest


def evaluate(inputs: RunInputs, retriever: DenseRetriever, number: int) -> Manifest:
    """Evaluate a checkpoint, given its number, on the split of the episodes."""
    on, folder = inputs.evaluations[inputs.recipe.evaluation.split], inputs.folder.checkpoint(number)
    found = measure(retriever, on, folder, inputs.tag(retriever, number))
    log_phase(f"episode {number}" if number else "zero-shot", "evaluate", evaluated(found), found)
    return found


def evaluate_bm25(inputs: RunInputs) -> None:
    """Evaluate BM25 on the split of the episodes."""
    on = inputs.evaluations[inputs.recipe.evaluation.split]
    found = measure(inputs.bm25, on, inputs.folder.path / "bm25", "bm25")
    log_phase("bm25", "evaluate", evaluated(found), found)


def evaluate_final(inputs: RunInputs, retriever: Retriever, checkpoint: int | None = None) -> dict[str, float]:
    """Return the metrics of the last retriever on the final split."""
    number = inputs.recipe.episode.episodes if checkpoint is None else checkpoint
    on = inputs.evaluations[inputs.final_split]
    folder = inputs.folder.checkpoint(number) if isinstance(retriever, DenseRetriever) else inputs.folder.path / "bm25"
    if inputs.final_split != inputs.recipe.evaluation.split:
        folder = inputs.folder.path / "final"
    return dict(measure(retriever, on, folder, inputs.tag(retriever, number)).facts["metrics"])


def evaluate_given(inputs: RunInputs) -> None:
    """Evaluate the given runs of other systems on the split of the episodes and on the final one.

    Raises:
        UserError: A file is no run of this collection, or has no line for any of these queries.
    """
    for given in inputs.given:
        measure_splits(given, inputs.evaluations, inputs.folder.given(given.name))


def measure(retriever: Retriever, on: Evaluation, folder: Path, tag: str) -> Manifest:
    """Evaluate a retriever on a split, and write run, metrics and per-query values into a folder.

    The facts of the manifest hold the metrics and, for BM25, the number of queries without results. ``tag`` names the
    system in the run.
    """
    path, inputs = folder / "evaluation", {**retriever.key, **on.inputs}
    if found := cached(path, inputs):
        return found
    with writing(path, "evaluation", inputs, spread=True) as made:
        encoded = retriever.vectors.seconds if isinstance(retriever, DenseRetriever) else 0.0
        start = time.perf_counter()
        best = retriever.search(on.qrels.queries, on.search_depth, f"searching for {on.split} queries")
        made.facts["metrics"] = on.write(best, made.target, tag).means()
        if isinstance(retriever, DenseRetriever):
            spent = round(time.perf_counter() - start, 3)
            made.facts |= {"encode_seconds": encoded, "search_seconds": spent, "search_engine": best.engine}
        else:
            # Another system cannot be tested against one that finds nothing for most queries.
            count, without = len(best.rows), int((best.rows < 0).all(axis=1).sum())
            made.facts |= {"queries": count, "found_nothing": without, "usable": 2 * without <= count}
    return made.manifest
