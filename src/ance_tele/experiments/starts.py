"""What the rows of Table 1 start from and learn from: pretrainings of the collection's passages, and a teacher."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.console.numbers import duration
from ance_tele.data.collection import Collection
from ance_tele.plan.defaults import BASE_WIDTH
from ance_tele.plan.facts import AtHand
from ance_tele.pretraining.config import Objective, PretrainingConfig
from ance_tele.pretraining.pretrain import pretrain
from ance_tele.settings import Recipe
from ance_tele.store.manifests import read_manifest
from ance_tele.training.teaching import CrossEncoderConfig

log = logging.getLogger(__name__)

# Steps that the defaults aim at.
PRETRAINING_STEPS = 250
TEACHER_STEPS = 1000

# Sources of negatives for which no model encodes the corpus.
_WITHOUT_MODEL = {"bm25", "random", "given"}


@dataclass(frozen=True)
class Starts:
    """Where rows start.

    Attributes:
        folders: Model by name of the start.
        failed: Why there is none, by name.
        notes: A sentence on each that was made.
    """

    folders: dict[str, str]
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def pretraining_defaults(passages: int, width: int, longest: int) -> dict[str, Any]:
    """Return settings of a pretraining that suit a collection and a model.

    The batch is the largest power of two, of 32 to 256 passages, that leaves 100 steps an epoch; the epochs give 250
    steps, but are at most the 8 of Condenser; the rate is Condenser's, 1e-4, by the width of the model.

    Args:
        passages: Of the corpus.
        width: Hidden size of the model; 0 where it is not known.
        longest: Tokens that are read of a passage.

    Example:
        >>> pretraining_defaults(30_000, 128, 32)
        {'batch_passages': 256, 'epochs': 3, 'learning_rate': 0.0006, 'max_tokens': 32}
    """
    batch = 32
    while batch < 256 and passages >= 200 * batch:
        batch *= 2
    epochs = max(1, min(8, -(-PRETRAINING_STEPS * batch // max(1, passages))))
    rate = round(min(1e-3, 1e-4 * BASE_WIDTH / (width or BASE_WIDTH)), 6)
    return {"batch_passages": batch, "epochs": epochs, "learning_rate": rate, "max_tokens": longest}


def teacher_defaults(queries: int) -> dict[str, Any]:
    """Return settings of a teacher that suit the training queries; its rate goes by the width of the model.

    With 15 negatives to a positive a passage is relevant with a probability of 1/16 before anything is known of it.
    That is below RocketQA's threshold of 0.1, so that a teacher that has learned little still leaves negatives.

    Example:
        >>> teacher_defaults(400)
        {'negatives_per_query': 15, 'epochs': 10}
    """
    per_epoch = -(-queries // CrossEncoderConfig().batch_queries)
    return {"negatives_per_query": 15, "epochs": max(1, min(10, -(-TEACHER_STEPS // max(1, per_epoch))))}


def make_starts(
    names: Sequence[Objective],
    model: str,
    collection: Collection,
    folder: Path,
    longest: int,
    settings: Mapping[str, Any],
    cache: Path | None = None,
) -> Starts:
    """Pretrain the starts, each in its folder; those that are there already are reused.

    Args:
        names: Objectives; coCondenser goes on from Condenser's model and head, all others from the given model.
        model: Folder or hub name of a BERT.
        collection: Its passages are read.
        folder: Of the starts.
        longest: Tokens that are read of a passage.
        settings: Of all pretrainings, instead of :func:`pretraining_defaults`.
        cache: Folder for token stores.

    Returns:
        Models by "bert" (that of masked words, or the given model) and the other names.
    """
    usual = pretraining_defaults(len(collection.corpus), AtHand(collection, model).files.width, longest)
    made = Starts({} if "mlm" in names else {"bert": model})
    for name in names:
        config, out = PretrainingConfig(objective=name, **{**usual, **settings}), folder / name
        begin = str(folder / "condenser") if name == "cocondenser" else model
        try:
            if name == "cocondenser" and "condenser" in made.failed:
                raise UserError(made.failed["condenser"])
            found = pretrain(begin, collection, out, config, cache)
        except UserError as error:
            log.info(f"no start {name}: {error}")
            made.failed["bert" if name == "mlm" else name] = str(error)
            continue
        made.folders["bert" if name == "mlm" else name] = str(out)
        spent, losses = seconds_of(out), ", ".join(f"{term} {loss:.2f}" for term, loss in found.after.items())
        log.info(f"start {name:<12} {'cached' if found.reused else duration(spent):>7}   {found.steps:,} steps")
        made.notes.append(f"Start {name}: {found.steps:,} steps, {duration(spent)}; loss {losses}.")
    return made


def teacher_config(chosen: Recipe, at_hand: AtHand, settings: Mapping[str, Any]) -> CrossEncoderConfig:
    """Return the settings of the teacher that learns from a run of this recipe."""
    return CrossEncoderConfig(**{**teacher_defaults(at_hand.facts(chosen).queries), **settings})


def seconds_of(*artefacts: Path) -> float:
    """Return the seconds that artefacts took, as far as they are there."""
    return sum(found.seconds for path in artefacts if (found := read_manifest(path)) is not None)


def seconds_of_run(folder: Path, recipe: Recipe) -> dict[str, float]:
    """Return the seconds that the model of a run took: mining, scoring by a teacher, training; not its evaluation.

    What runs share counts in each of them. Of a training that was resumed, only the last part was timed.
    """
    spent = {"mining": 0.0, "scoring": 0.0, "training": 0.0}
    for number in range(1, recipe.episode.episodes + 1):
        before, here = folder / f"episode-{number - 1}", folder / f"episode-{number}"
        sources = set(recipe.mining.sources_at(number))
        scored = seconds_of(here / "mined_scores.parquet")  # within the making of candidates
        spent["mining"] += seconds_of(here / "candidates.parquet", here / "pool.parquet") - scored
        if sources - _WITHOUT_MODEL:
            measured = read_manifest(before / "evaluation")
            spent["mining"] += seconds_of(before / "training_lists")
            spent["mining"] += measured.facts["encode_seconds"] if measured is not None else 0.0
        if "bm25" in sources:
            spent["mining"] += seconds_of(folder / "bm25" / "training_lists.parquet")
        spent["scoring"] += scored + seconds_of(here / "teacher_scores.parquet")
        spent["training"] += seconds_of(here / "model", here / "teacher")
    return spent
