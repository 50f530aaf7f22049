"""A teacher's judgement of what an episode has mined: false negatives dropped, further positives taken (RocketQA)."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ance_tele.mining.candidates import Candidates
from ance_tele.mining.filters import Dropped
from ance_tele.mining.never import NeverNegative
from ance_tele.mining.teacher_scores import TeacherScores, confident_pairs, without_relevant
from ance_tele.runs.folder import Episode
from ance_tele.runs.log import log_phase
from ance_tele.runs.teacher import scores
from ance_tele.runs.training_set import TrainingSet, hash_of, read_pairs, write_pairs
from ance_tele.search.dense import DenseRetriever
from ance_tele.search.scorer import CrossEncoderScorer
from ance_tele.store.artefacts import cached, writing
from ance_tele.store.fingerprints import fingerprint


def judge_inputs(teacher: CrossEncoderScorer, episode: Episode) -> dict[str, Any]:
    """Return the inputs of an episode's candidates that a teacher judges."""
    return {**teacher.reads, "teacher_negatives": episode.recipe.teaching.teacher_negatives}


def judged(
    kept: Candidates,
    mined: Candidates,
    teacher: CrossEncoderScorer,
    retriever: DenseRetriever,
    training: TrainingSet,
    episode: Episode,
    inputs: Mapping[str, Any],
) -> tuple[Candidates, Dropped]:
    """Drop the candidates that the teacher finds relevant, and write those that become positives.

    Args:
        kept: After all filters.
        mined: Before them: all are scored.
        teacher: The cross-encoder.
        retriever: That has mined.
        training: Training queries.
        episode: Of the candidates.
        inputs: Of the candidates.

    Returns:
        The candidates; how many were dropped, by source.
    """
    teaching = episode.recipe.teaching

    def pairs() -> TeacherScores:
        return TeacherScores.unscored(training.queries, training.positives, *mined.lists.values())

    lists = {name: value for name, value in inputs.items() if name not in ("teacher_negatives", *teacher.reads)}
    path, config = episode.path / "mined_scores.parquet", episode.recipe.encoder
    executor = retriever.executor
    scored = scores(teacher, path, pairs, training, {"lists": lists}, config, (), retriever, executor)
    values, dropped = scored.load(), Dropped()
    if teaching.teacher_positives is not None:
        path = found_positives(episode)
        with writing(path, "positives found by the teacher", _found_inputs(inputs, episode)) as made:
            queries, passages = confident_pairs(values, teaching.teacher_positives, training.never)
            write_pairs(made.target, training.collection, queries, passages)
            made.facts = {"found": len(queries)}
        log_phase(f"episode {episode.number}", "augment", f"{len(queries):,} further positives", made.manifest)
    if teaching.teacher_negatives is not None:
        known = NeverNegative.rows(training.known)
        kept, counts = without_relevant(kept, values, teaching.teacher_negatives, known)
        dropped["teacher_negatives"] = counts
    return kept, dropped


def positives_are_found(episode: Episode, inputs: Mapping[str, Any]) -> bool:
    """Return whether the positives of an episode with these inputs of its candidates are there, or none are wanted."""
    if episode.recipe.teaching.teacher_positives is None:
        return True
    return cached(found_positives(episode), _found_inputs(inputs, episode)) is not None


def augmented(training: TrainingSet, episode: Episode) -> TrainingSet:
    """Return the training set of an episode, with the positives that the teacher has found among what was mined."""
    if episode.recipe.teaching.teacher_positives is None:
        return training
    queries, passages = read_pairs(found_positives(episode), training.collection)
    if not len(queries):
        return training
    positives, known = (of.extended(queries, passages) for of in (training.positives, training.known))
    found = fingerprint([hash_of(queries), hash_of(passages)])
    return replace(training, positives=positives, known=known, found=found)


def found_positives(episode: Episode) -> Path:
    """Return the file of the positives that the teacher has found in an episode."""
    return episode.path / "found_positives.parquet"


def _found_inputs(inputs: Mapping[str, Any], episode: Episode) -> dict[str, Any]:
    return {"candidates": dict(inputs), "teacher_positives": episode.recipe.teaching.teacher_positives}
