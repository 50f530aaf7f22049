"""The teacher of a run: its scores, artefacts beside what they are of, and its own learning from episode to episode."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ance_tele.data.collection import Qrels
from ance_tele.encode.config import EncoderConfig
from ance_tele.engine.executor import IN_PROCESS, Executor
from ance_tele.mining.pool import Pool
from ance_tele.mining.storage import read_teacher_scores, write_teacher_scores
from ance_tele.mining.teacher_scores import TeacherScores
from ance_tele.runs.folder import Episode
from ance_tele.runs.inputs import RunInputs
from ance_tele.runs.log import log_phase
from ance_tele.runs.ranker import train_ranker
from ance_tele.runs.training_set import TrainingSet
from ance_tele.search.dense import DenseRetriever
from ance_tele.search.scorer import CrossEncoderScorer, DenseScorer
from ance_tele.search.scoring import score_pairs
from ance_tele.store.artefacts import Artefact, cached, writing
from ance_tele.store.files import remove
from ance_tele.store.fingerprints import fingerprint
from ance_tele.store.manifests import Manifest, read_manifest
from ance_tele.training.teaching import CrossEncoderConfig
from ance_tele.training.trainer import resolve_temperature

log = logging.getLogger(__name__)

# About how many passages are encoded in the time in which a pair is scored: by so much is a part of the scores, the
# unit of resume, smaller than a shard of vectors.
SLOWER = 8

# Queries on whose lists teacher and retriever are compared.
COMPARED = 2000

Scored = Artefact[TeacherScores]

Lessons = list[Scored | None]
"""What the teacher says of the pools of a run, by episode; None where nothing is learned from it."""


def teach(
    pool: Artefact[Pool],
    training: TrainingSet,
    retriever: DenseRetriever,
    given: RunInputs,
    episode: Episode,
    history: Lessons,
) -> Scored | None:
    """Return the teacher's logits of an episode's positives and pool negatives; None for a recipe that does not distil.

    With ``teacher_updates`` the teacher first learns from that pool. ``retriever`` is that of the previous checkpoint;
    ``history`` holds the scores of all earlier episodes.
    """
    teacher, teaching = given.teacher, episode.recipe.teaching
    if teacher is None or not teaching.distils:
        return None
    if teaching.teacher_updates != "off":
        teacher = updated(teacher, pool, training, retriever, episode)
    path, inputs = episode.path / "teacher_scores.parquet", {"pool": fingerprint(pool.manifest.inputs)}
    pairs = partial(_pairs, training, pool)
    known = [one for one in history if one is not None]
    scored = scores(teacher, path, pairs, training, inputs, episode.recipe.encoder, known, retriever, given.executor)
    log_phase(f"episode {episode.number}", "teach", _told(scored.manifest), scored.manifest)
    return scored


def scores(
    teacher: CrossEncoderScorer,
    path: Path,
    pairs: Callable[[], TeacherScores],
    training: TrainingSet,
    inputs: Mapping[str, Any],
    config: EncoderConfig,
    history: Sequence[Scored] = (),
    retriever: DenseRetriever | None = None,
    executor: Executor = IN_PROCESS,
) -> Scored:
    """Return the teacher's logits of pairs of training queries and passages, the artefact ``path``.

    Parts of them survive an interruption; pairs that ``history`` has by the same teacher are not scored again.

    Args:
        teacher: The cross-encoder; its memory is freed in the end.
        path: The file.
        pairs: Returns the pairs, without scores.
        training: Training queries.
        inputs: What decides the pairs.
        config: ``shard_passages`` decides how large parts are.
        history: Earlier scores.
        retriever: Compared with the teacher on some of the lists; None for no comparison.
        executor: Where pairs are scored.
    """
    collection, parts = training.collection, path.parent / "checkpoints" / path.stem
    inputs = {**inputs, "training": training.key, **teacher.reads}
    read = partial(read_teacher_scores, path, training.queries, collection.queries, collection.corpus)
    found = cached(path, inputs)
    scored = Artefact(found, read) if found else None
    if scored is None:
        with writing(path, "teacher scores", inputs) as made:
            whole = pairs()
            known = [one for one in history if _by(teacher, one.manifest)]
            for one in map(Artefact.load, known):
                if np.array_equal(one.queries, whole.queries):
                    whole = whole.filled(one)
            missing = np.flatnonzero(np.isnan(whole.scores))
            of = {**inputs, "known": [fingerprint(one.manifest.inputs) for one in known]}
            size = max(1, config.shard_passages // SLOWER)
            asked = training.queries[whole.positions[missing]], whole.passages[missing]
            whole.scores[missing] = score_pairs(teacher, *asked, parts, of, size, executor)
            write_teacher_scores(made.target, whole, collection.queries, collection.corpus)
            made.facts = {
                "pairs": len(whole.scores),
                "scored": len(missing),
                **_first(whole, training.positives, retriever),
            }
        scored = made.artefact(read, whole)
    teacher.release()  # memory that training needs
    remove(parts)
    warn_of_weak(scored.manifest)
    return scored


def updated(
    teacher: CrossEncoderScorer,
    pool: Artefact[Pool],
    training: TrainingSet,
    retriever: DenseRetriever,
    episode: Episode,
) -> CrossEncoderScorer:
    """Return the teacher after it has learned from an episode's pool: AR2's ranker, RocketQAv2's cross-encoder.

    It goes on from the previous episode's, or from the one that was given.
    """
    recipe, collection = episode.recipe, training.collection
    teaching, config, mutual = recipe.teaching, recipe.training, recipe.teaching.teacher_updates == "mutual"
    path, work, before = episode.path / "teacher", episode.path / "checkpoints" / "teacher", episode.before / "teacher"
    start = teacher
    if episode.number > 1 and read_manifest(before) is not None:
        start = CrossEncoderScorer(str(before), recipe.encoder, collection)
    inputs = {"start": start.reads, "pool": fingerprint(pool.manifest.inputs), "training": training.key}
    ranking = None
    if mutual:
        inputs["retriever"] = fingerprint([dict(retriever.key), config.temperature])
        ranking = partial(_ranking, pool, training, retriever, episode)
    settings = CrossEncoderConfig(
        loss="list",
        batch_queries=config.batch_queries,
        negatives_per_query=config.negatives_per_query,
        epochs=1,
        steps=teaching.teacher_steps,
        learning_rate=teaching.teacher_learning_rate,
        precision=config.train_precision,
        save_steps=config.save_steps,
        seed=recipe.episode.seed,
    )
    what = pool.load(), training.positives, collection, recipe.encoder.title_separator
    manifest = train_ranker(start.take, *what, settings, path, work, inputs, ranking)
    start.release()
    log_phase(f"episode {episode.number}", "teacher", f"{manifest.facts['steps']:,} steps", manifest)
    return CrossEncoderScorer(str(path), recipe.encoder, collection)


def _pairs(training: TrainingSet, pool: Artefact[Pool]) -> TeacherScores:
    return TeacherScores.unscored(training.queries, training.positives, pool.load())


def _ranking(pool: Artefact[Pool], training: TrainingSet, retriever: DenseRetriever, episode: Episode) -> TeacherScores:
    """Return the retriever's scores of positives and pool negatives, divided by its temperature."""
    pairs, score = _pairs(training, pool), DenseScorer(retriever).of(training.queries)
    temperature = resolve_temperature(retriever.checkpoint.model, episode.recipe.training)
    return replace(pairs, scores=score(pairs.positions, pairs.passages) / temperature)


def _by(teacher: CrossEncoderScorer, scored: Manifest) -> bool:
    """Return whether scores are by this teacher."""
    return all(scored.inputs.get(name) == value for name, value in teacher.reads.items())


def _first(scored: TeacherScores, positives: Qrels, retriever: DenseRetriever | None) -> dict[str, float]:
    """Return how often the teacher ranks a positive first, and on some of the lists how often both scorers do."""
    found = {"positive_first": scored.positive_first(positives)}
    if retriever is not None and len(scored.scores):
        some = scored.at(np.unique(np.linspace(0, len(scored.queries) - 1, COMPARED).round().astype(np.int64)))
        theirs = replace(some, scores=DenseScorer(retriever).of(some.queries)(some.positions, some.passages))
        of = positives.select(some.queries)
        found |= {"teacher_first": some.positive_first(of), "retriever_first": theirs.positive_first(of)}
    return {name: round(share, 4) for name, share in found.items()}


def warn_of_weak(scored: Manifest) -> None:
    """Log a warning where the retriever ranks positives first more often than the teacher on the same lists."""
    facts = scored.facts
    if facts.get("teacher_first", 1) < facts.get("retriever_first", 0):
        log.warning(
            f"the teacher ranks a positive first for {facts['teacher_first']:.1%} of the queries, the retriever itself "
            f"for {facts['retriever_first']:.1%} of them: there is little to learn from this teacher; train it longer "
            "(ance-tele teach), or take another"
        )


def _told(scored: Manifest) -> str:
    facts = scored.facts
    first = f"{100 * facts['positive_first']:.1f}% of the queries have a positive in the first place"
    return f"{facts['scored']:,} of {facts['pairs']:,} pairs scored; {first}"
