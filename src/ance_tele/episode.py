"""A run: mine, mix, train, evaluate; every value is an artefact of the run folder, made now or cached."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ance_tele.analysis.analyse import analyse
from ance_tele.console.events import Finished, announce
from ance_tele.data.collection import Collection
from ance_tele.data.grades import ReviewAs, ReviewUse
from ance_tele.engine.executor import IN_PROCESS, Executor
from ance_tele.report.write import write_report
from ance_tele.runs.acquire import acquire_run_folder
from ance_tele.runs.inputs import RunInputs
from ance_tele.runs.judging import augmented
from ance_tele.runs.measure import evaluate, evaluate_bm25, evaluate_final, evaluate_given
from ance_tele.runs.mine import mine, search
from ance_tele.runs.mix import Pools, mix
from ance_tele.runs.phases import announced
from ance_tele.runs.summarise import summarise
from ance_tele.runs.teacher import Lessons, teach
from ance_tele.runs.tracked import track_figures
from ance_tele.runs.train import train
from ance_tele.runs.training_set import TrainingSet
from ance_tele.runs.unlabelled import with_unlabelled
from ance_tele.search.retriever import Retriever
from ance_tele.settings import Recipe


def run(
    recipe: Recipe,
    collection: Collection,
    model: str | Path | None,
    out: str | Path,
    data: str | Path | None = None,
    cache: Path | None = None,
    adopted: dict[str, Path] | None = None,
    review: str | Path | None = None,
    review_as: ReviewAs | ReviewUse = "exclude",
    executor: Executor = IN_PROCESS,
    beside: Mapping[str, str | Path] | None = None,
) -> dict[str, Any]:
    """Carry out a recipe and return the content of ``summary.json``; the same call resumes.

    Args:
        recipe: Settings of all phases.
        collection: Corpus, queries, judgements.
        model: Folder or hub name of the model to start from; None for the recipe ``bm25``.
        out: The run folder, new or begun by the same call.
        data: Where the collection was loaded from, so that ``ance-tele search`` finds it again.
        cache: Folder for the token stores.
        adopted: Parts of other run folders to begin with, by their name here, e.g. ``{"bm25": folder}``.
        review: Verdicts or grades; relevant passages are no negatives, or (``review_as``) become positives.
        executor: Where models encode, search and train (:mod:`ance_tele.engine`); it changes no result.
        beside: TREC runs of other systems by name, measured and tested next to ours.

    Raises:
        UserError: The folder belongs to another run, or the data, the model or the review cannot be used.
    """
    inputs = RunInputs.of(recipe, collection, model, out, cache, review, review_as, executor=executor, beside=beside)
    with acquire_run_folder(inputs, data, adopted), announced(recipe):
        evaluate_given(inputs)
        if "bm25" in recipe.evaluation.baselines:
            evaluate_bm25(inputs)
        if inputs.start is None:
            return finish(inputs, None, inputs.bm25)
        retriever = inputs.retriever(inputs.start, 0)
        evaluate(inputs, retriever, 0)
        training, pools, lessons = inputs.training_set(), Pools(), Lessons()
        track_figures(inputs, training, 0)
        for episode in inputs.episodes():
            candidates = mine(training, retriever, inputs.bm25, episode, inputs.cross_encoder, inputs.teacher)
            learned = augmented(training, episode)
            pool = mix(candidates, learned, pools, episode)
            del candidates  # memory that training needs
            taught, learned = with_unlabelled(pool, learned, retriever, inputs.teacher, episode)
            lesson = teach(taught, learned, retriever, inputs, episode, lessons)
            retriever.close(recipe.episode.keep_vectors)
            start = episode.start(inputs.start, retriever.checkpoint)
            trained = train(start, taught, learned, inputs, episode, lesson, training.queries)
            pools.append(pool.on_disk())
            lessons.append(lesson and lesson.on_disk())
            retriever = inputs.retriever(trained, episode.number)
            evaluate(inputs, retriever, episode.number)
            if episode.last:
                search(training, retriever, episode.after)  # for learned and forgotten queries
            summarise(inputs, training, episode.number)
            track_figures(inputs, training, episode.number)
        return finish(inputs, training, retriever)


def finish(inputs: RunInputs, training: TrainingSet | None, retriever: Retriever) -> dict[str, Any]:
    """Evaluate the last retriever on the final split, analyse, write the report; return the summary's content."""
    final, last = evaluate_final(inputs, retriever), inputs.recipe.episode.episodes
    summary = summarise(inputs, training, last, final)
    if training is not None:
        track_figures(inputs, training, last, final)
    analyse(inputs.folder.path, opened=inputs.opened())
    announce("analyse", finished=Finished("run", "analyse", None))
    write_report(inputs.folder.path)
    return summary.content()
