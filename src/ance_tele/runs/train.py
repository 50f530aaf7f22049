"""Training: the encoder of an episode from its pool; interrupted training resumes from its last checkpoint."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router

from ance_tele.console.errors import UserError
from ance_tele.console.log import muted
from ance_tele.encode.adapters import check_trainable
from ance_tele.encode.checkpoint import Checkpoint, TokenizedCollection
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import text_format, weights_fingerprint
from ance_tele.encode.ensemble import OWN, ensemble, members_of
from ance_tele.encode.loading import load_model
from ance_tele.encode.lora import check_adaptable
from ance_tele.encode.precision import emulated_bf16
from ance_tele.encode.saving import save_model
from ance_tele.encode.several import vectors_each
from ance_tele.encode.shards import located
from ance_tele.engine.executor import IN_PROCESS, Executor
from ance_tele.engine.work import Facts
from ance_tele.mining.pool import Pool
from ance_tele.mining.teacher_scores import TeacherScores
from ance_tele.runs.folder import Episode
from ance_tele.runs.identity import FREE_SETTINGS
from ance_tele.runs.inputs import RunInputs
from ance_tele.runs.log import log_phase, trained
from ance_tele.runs.look_back import forgotten_queries
from ance_tele.runs.tracked import tracking_of
from ance_tele.runs.training_set import TrainingSet, hash_of
from ance_tele.settings import Recipe
from ance_tele.store.artefacts import Artefact, cached, writing
from ance_tele.store.files import remove, write_json
from ance_tele.store.fingerprints import fingerprint
from ance_tele.store.manifests import package_versions
from ance_tele.training.batches import BatchPlan, by_turn
from ance_tele.training.card import LARGEST, model_card
from ance_tele.training.checkpoints import last_checkpoint
from ance_tele.training.config import TrainingConfig
from ance_tele.training.loss import check_sizes
from ance_tele.training.ranks import TrainJob, write_plan
from ance_tele.training.schedule import Schedule
from ance_tele.training.teaching import TeachingConfig
from ance_tele.training.tracking import Tracking

log = logging.getLogger(__name__)

# Removed settings at their defaults, as in manifests of older models.
_FORMER = {"negatives_cross_device": False}

# Settings of the teacher that decide its scores, pools or positives, and so are in their manifests.
_NOT_OF_THE_LOSS = (
    "teacher",
    "teacher_positives",
    "unlabelled_queries",
    "teacher_updates",
    "teacher_steps",
    "teacher_learning_rate",
)


def train(
    start: Checkpoint,
    pool: Artefact[Pool],
    training: TrainingSet,
    given: RunInputs,
    episode: Episode,
    scored: Artefact[TeacherScores] | None = None,
    judged: np.ndarray | None = None,
) -> Checkpoint:
    """Train the encoder of an episode from ``start``, the initial model or the previous checkpoint.

    The ranks of the executor that the run was ``given`` train it together; their number changes no batch and no step.
    ``scored`` are the teacher's scores of the pool, for a recipe that distils. ``judged`` are the rows of the queries
    that are compared from episode to episode, where ``training`` has unlabelled ones too; None means all.

    Raises:
        UserError: No training query has a negative, or training has diverged.
    """
    recipe, tokens = episode.recipe, given.tokens
    teaching, seed = recipe.teaching, recipe.episode.seed
    config, forgotten = _settings(training, episode, judged)
    schedule = recipe.schedule(episode.number, training.examples(config.positives))
    inputs = _inputs(start, pool, training, given, episode, config, schedule, scored, forgotten)
    path, work = episode.path / "model", episode.path / "checkpoints"
    manifest, model = cached(path, inputs), None
    if manifest is None:
        with writing(path, "model", inputs) as made:
            turns = by_turn(training.positives, seed)
            batch, negatives, every = config.batch_queries, config.negatives_per_query, config.positives == "all"
            scores = None if scored is None else scored.load()
            known, weighed, again = training.never, (training.doubtful, training.weight), (config.replay, forgotten)
            plan = BatchPlan(pool.load(), turns, batch, negatives, seed, known, every, *weighed, scores, *again)
            _check_negatives(plan, training, config)
            # Inputs as in the manifest, to recognise checkpoints of the same training.
            same = {"training": fingerprint(inputs)}
            settings = config, teaching
            what = settings, work, schedule, same, made.target, tracking_of(training, episode)
            result, model = _together(given.executor, start, plan, tokens, *what)
            made.earlier_seconds = result["earlier_seconds"]
            if recipe.episode.ensemble:
                model = _joined(model, made.target, episode, start.config)
                result |= {"weights": weights_fingerprint(model)}
            made.facts = {
                **{name: result[name] for name in ("weights", "steps", "scheduled")},
                "whole": plan.steps_per_epoch * config.epochs,
                "queries": len(turns),
                "pairs": len(turns.passages),
                "pairs_used": plan.pairs_used(schedule.steps, schedule.first_step),
                "repeats_per_epoch": plan.repeats(),
                "queries_without_negatives": int((plan.pool.sizes == 0).sum()),
                **({"replayed": len(forgotten)} if config.replay else {}),
            }
            _describe(model, made.target, made.facts, start, training, episode)
            log_file = {name: result[name] for name in ("loss", "learning_rate")}
            write_json(episode.path / "training_log.json", log_file)
        manifest = made.manifest
    remove(work)
    log_phase(f"episode {episode.number}", "train", trained(manifest), manifest)
    return Checkpoint(path, start.config, manifest.facts["weights"], model, trained=True)


def _settings(training: TrainingSet, episode: Episode, judged: np.ndarray | None) -> tuple[TrainingConfig, np.ndarray]:
    """Return the settings that an episode trains with, and the places of the forgotten queries that it sees again."""
    config, forgotten = episode.recipe.training, np.empty(0, int)
    if episode.last:
        config = replace(config, passage_loss=0.0)
    if config.replay and episode.number > 1:
        rows = (training.queries if judged is None else judged)[forgotten_queries(episode)]
        forgotten = np.searchsorted(training.queries, rows)
    return config if len(forgotten) else replace(config, replay=0.0), forgotten


def _inputs(
    start: Checkpoint,
    pool: Artefact[Pool],
    training: TrainingSet,
    given: RunInputs,
    episode: Episode,
    config: TrainingConfig,
    schedule: Schedule,
    scored: Artefact[TeacherScores] | None,
    forgotten: np.ndarray,
) -> dict[str, Any]:
    """Return all that decides an episode's weights."""
    recipe, tokens = episode.recipe, given.tokens
    several = len(training.positives.passages) > len(training)
    # Settings that came later, without effect.
    free = {*FREE_SETTINGS, *config.idle, *(() if several else ("positives",))}
    inputs = {
        "pool": fingerprint(pool.manifest.inputs),
        "training": training.key,
        "start": start.weights,
        "tokens": [tokens.queries.key, tokens.passages.key],
        "untie_encoders": recipe.encoder.untie_encoders,
        "settings": {**{name: value for name, value in asdict(config).items() if name not in free}, **_FORMER},
        "schedule": asdict(schedule),
        "seed": recipe.episode.seed,
        **training.same_texts,
        **({"forgotten": hash_of(forgotten)} if config.replay else {}),
    }
    if recipe.episode.ensemble:
        inputs["ensemble"] = episode.folder.weights(episode.number - 1)
    if scored is not None:
        own = {name: value for name, value in asdict(recipe.teaching).items() if name not in _NOT_OF_THE_LOSS}
        inputs["teaching"] = {"scores": fingerprint(scored.manifest.inputs), **own}
    return inputs


def _together(
    executor: Executor,
    start: Checkpoint,
    plan: BatchPlan,
    tokens: TokenizedCollection,
    settings: tuple[TrainingConfig, TeachingConfig],
    work: Path,
    schedule: Schedule,
    inputs: dict[str, Any],
    target: Path,
    tracking: Tracking,
) -> tuple[Facts, SentenceTransformer]:
    """Have all ranks train, and rank 0 save to ``target``; return what is known of it, and the trained model."""
    stores = tokens.queries, tokens.passages
    folders = [(store.folder, store.key) for store in stores]
    job = TrainJob(
        None if start.name is None else located(start.name),
        dict(vars(start.config)),
        str(work.resolve().parent / ".plan.npz"),
        [[str(folder), key] for folder, key in folders],
        asdict(settings[0]),
        str(work.resolve()),
        asdict(schedule),
        inputs,
        str(target.resolve()),
        {} if plan.teacher is None else asdict(settings[1]),
        asdict(tracking),
    )
    if executor.ranks == 1 or start.name is None or any(folder is None for folder, _ in folders):
        model = start.take()
        return IN_PROCESS.train(replace(job, _held=(model, plan, *stores))), model
    start.release()
    last_checkpoint(work, inputs)  # removes those of another training, which ranks do not
    try:
        write_plan(Path(job.plan), plan)
        facts = executor.train(job)
    finally:
        remove(Path(job.plan))
    with muted():
        return facts, load_model(target, start.config)


def _joined(newest: SentenceTransformer, target: Path, episode: Episode, config: EncoderConfig) -> SentenceTransformer:
    """Save the ensemble that an episode's encoder makes with those before it, in that encoder's place; return it."""
    earlier = None
    if episode.number > 1:
        with muted():
            earlier = load_model(episode.before / "model", config, str(newest.device))
    model = ensemble(earlier, newest)
    remove(target)
    save_model(model, target)
    return model


def _describe(
    model: SentenceTransformer,
    target: Path,
    facts: Mapping[str, Any],
    start: Checkpoint,
    training: TrainingSet,
    episode: Episode,
) -> None:
    """Write the model card."""
    recipe = episode.recipe
    score = "cosine similarity" if model.similarity_fn_name == "cosine" else "dot product"
    card = {
        **facts,
        "base": start.name,
        "recipe": recipe.name,
        "collection": training.collection.name,
        "notes": training.collection.notes,
        "episode": episode.number,
        "version": package_versions()["ance-tele"],
        "score": score,
        "separator": text_format(model, recipe.encoder, "document").title_separator,
    }
    if any(type(module) in OWN.values() for module in model.modules()):
        card["options"] = ", trust_remote_code=True"  # modules of ance-tele, which must be installed
    if vectors_each(model) > 1:
        card["compared"] = LARGEST
    (target / "README.md").write_text(model_card(card, recipe.settings()), "utf-8")


def _check_negatives(plan: BatchPlan, training: TrainingSet, config: TrainingConfig) -> None:
    """Refuse training in which the loss would always be 0; log the number of queries for which it is."""
    count = len(training)
    without = plan.without_negative(config.in_batch_negatives, config.mask_known_positives)
    if without < count:
        if without:
            log.info(f"{without:,} of {count:,} training queries meet no negative: nothing is learned from them")
        return
    if not config.in_batch_negatives:
        why, remedy = "in_batch_negatives is off", "switch it on, or have negatives_per_query above 0"
    elif min(config.batch_queries, count) == 1:
        why, remedy = "a batch holds one query", "train on more queries, with batch_queries above 1"
    else:
        why, remedy = "all passages that a batch can hold are relevant to its queries", "add other passages"
    raise UserError(
        f"None of the {count:,} training queries would meet a negative, and the loss be 0 at every step: there is "
        f"none of its own in a pool, and {why}; {remedy}."
    )


def check_start(start: Checkpoint, recipe: Recipe) -> None:
    """Refuse a model that cannot be trained as configured; log frozen weights and emulated bf16.

    Raises:
        UserError: It has no weight to train, cannot have adapters, its vectors are too short, it has several vectors
            a passage for settings that take one, or it is an ensemble for settings that would change its encoders.
    """
    if (each := vectors_each(start.model)) > 1:
        for name, remedy in recipe.of_one_vector.items():
            raise UserError(
                f"{start.name} has {each} vectors a passage, and {name} is {recipe.settings()[name]}, which takes one; "
                f"set {name} to {remedy}."
            )
    if recipe.episode.ensemble and (size := start.model.truncate_dim) is not None:
        raise UserError(
            f"{start.name} has vectors of {size} numbers by truncation (truncate_dim), which an ensemble's encoders do "
            "not take; leave truncate_dim out, projection sets the numbers of each; or begin with another model."
        )
    if members := members_of(start.model):
        encoder = recipe.encoder
        untied = all(any(isinstance(module, Router) for module in one.modules()) for one in members)
        changes = {
            "projection": (encoder.projection is not None, "null"),
            "passage_vectors": (encoder.passage_vectors > 1, "1"),
            "untie_encoders": (encoder.untie_encoders and not untied, "false"),
        }
        for name, (given, remedy) in changes.items():
            if given:
                raise UserError(
                    f"{start.name} is an ensemble, whose encoders stay what they are, and {name} is "
                    f"{recipe.settings()[name]}; set {name} to {remedy}, or begin with another model."
                )
    training = recipe.training
    if recipe.episode.episodes:
        adapters = check_adaptable(start.model, training.lora_rank, training.lora_targets, str(start.name))
        if frozen := adapters or check_trainable(start.model, str(start.name)):
            log.info(frozen)
        if short := check_sizes(start.model, training.matryoshka_dims):
            log.info(short)
    bf16 = "bf16" in (recipe.encoder.precision, training.train_precision, training.weights)
    if bf16 and (warning := emulated_bf16(start.model.device)):
        log.info(warning)
