"""The story: mine, mix, train, evaluate, episode after episode; one command, one run folder, killed and resumed.

Every value below is an artefact of the run folder: made now, or found there, made of the same inputs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ance_tele.analysis.analyse import analyse
from ance_tele.data.collection import Collection
from ance_tele.data.review import ReviewAs, load_review
from ance_tele.mining.pool import Pool
from ance_tele.report.write import write_report
from ance_tele.runs.artefact import Artefact
from ance_tele.runs.folder import held_out, portable
from ance_tele.runs.inputs import RunInputs, claimed
from ance_tele.runs.measure import evaluate, evaluate_bm25, evaluate_final
from ance_tele.runs.mine import mine, search
from ance_tele.runs.mix import mix
from ance_tele.runs.summarise import summarise
from ance_tele.runs.train import train
from ance_tele.runs.training_set import TrainingSet
from ance_tele.search.retriever import Retriever
from ance_tele.settings import Recipe


def run(
    recipe: Recipe,
    collection: Collection,
    model: str | Path | None,
    out: str | Path,
    data: str | Path | None = None,
    cache: Path | None = None,
    adopted: Mapping[str, Path] | None = None,
    review: str | Path | None = None,
    review_as: ReviewAs = "exclude",
) -> dict[str, Any]:
    """Carry out a recipe; called again after an interruption, it goes on where it was.

    Args:
        recipe: What to do.
        collection: On which data.
        model: Folder or hub name of the model to start from; None for the recipe ``bm25``.
        out: The run folder, new or begun by the same call.
        data: Where the collection was loaded from, so that ``ance-tele search`` finds it again.
        cache: Folder for the token stores.
        adopted: Parts of other run folders to begin with, by their name here, e.g. ``{"episode-0": folder}``; what in
            them is made of other inputs is made again.
        review: A CSV file of verdicts on passages (:mod:`ance_tele.data.review`); it belongs to the run as its data do.
        review_as: Passages that it calls relevant are never drawn as negatives of their query ("exclude"), or become
            further positives of it ("positives").

    Returns:
        The content of ``summary.json``.

    Raises:
        UserError: The folder belongs to another run, or the data, the model or the review cannot be used.
    """
    recipe, collection = held_out(portable(recipe), collection)
    verdicts = None if review is None else load_review(review, collection, review_as)
    inputs = RunInputs.of(recipe, collection, model, Path(out), cache, verdicts)
    with claimed(inputs, data, adopted):
        if "bm25" in recipe.evaluation.baselines:
            evaluate_bm25(inputs)
        if inputs.start is None:
            return finish(inputs, None, inputs.bm25)
        retriever = inputs.retriever(inputs.start, 0)
        evaluate(inputs, retriever, 0)
        if not recipe.episode.episodes:
            return finish(inputs, None, retriever)
        training, pools = inputs.training_set(), list[Artefact[Pool]]()
        for episode in inputs.episodes():
            candidates = mine(training, retriever, inputs.bm25, episode, inputs.cross_encoder)
            retriever.close(recipe.episode.keep_vectors)
            pool = mix(candidates, training, pools, episode)
            del candidates  # memory that training needs
            start = episode.start(inputs.start, retriever.checkpoint)
            checkpoint = train(start, pool, training, inputs.tokens, episode)
            pools.append(pool.on_disk())
            retriever = inputs.retriever(checkpoint, episode.number)
            evaluate(inputs, retriever, episode.number)
            summarise(inputs, training, episode.number)
        search(training, retriever, episode.after)
        return finish(inputs, training, retriever)


def finish(inputs: RunInputs, training: TrainingSet | None, retriever: Retriever) -> dict[str, Any]:
    """Measure the last retriever on the final split, look back on the run, and write its report."""
    episodes = inputs.recipe.episode.episodes
    summary = summarise(inputs, training, episodes, evaluate_final(inputs, retriever, episodes))
    analyse(inputs.folder.path, opened=inputs.opened())
    write_report(inputs.folder.path)
    return summary
