"""The verb `teach`: train a cross-encoder on what a run has mined, to be the teacher of another run."""

from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from ance_tele.cli.common import MOVED, echo
from ance_tele.cli.dry import shown
from ance_tele.cli.flags import Flag, Given, Result, Verb
from ance_tele.console.errors import UserError
from ance_tele.console.garbage import importing
from ance_tele.paper.settings import start_of
from ance_tele.training.teaching import CrossEncoderConfig

_USUAL = CrossEncoderConfig()


def teach_verb(given: Given) -> Result:
    """Train a cross-encoder on a run's positives and negatives."""
    config = _config(given)

    with importing():  # loads torch
        from ance_tele.runs.teach import train_teacher

    found = train_teacher(given.run, given.model, given.out, config, given.episode, given.data)
    echo(f"{'cached' if found.reused else 'trained'}: {found.facts['steps']:,} steps; {Path(given.out)}")
    echo(f"Try:  ance-tele run ance-tele+teacher --teacher {given.out} ...")
    return {"teacher": given.out, "cached": found.reused, "seconds": found.seconds, **found.facts}


def teach_dry(given: Given) -> Result:
    """Print what `teach` would train, and in how many steps."""
    from ance_tele.plan.hardware import model_shape

    config, queries = _config(given), training_queries(given)
    config = config.suited(queries, model_shape(start_of(given.model)).hidden)
    steps = config.steps or -(-queries // config.batch_queries) * (config.epochs or 1)
    return {"would_make": [shown("cross-encoder", given.out, training_queries=queries, steps=steps)]}


def training_queries(given: Given) -> int:
    """Return how many training queries the named run has."""
    from ance_tele.runs.folder import open_run
    from ance_tele.runs.training_set import read_pairs

    opened = open_run(Path(given.run), given.data)
    return len(set(read_pairs(opened.folder.path / "positives.parquet", opened.collection)[0].tolist()))


def settings_of(given: Given, kind: type, made: str) -> dict[str, Any]:
    """Return the flags that are fields of a configuration; ``made`` is what the verb makes.

    Raises:
        UserError: --model or --out is missing.
    """
    for name, hint in (("model", "folder or hub name of an encoder"), ("out", f"folder of the {made}")):
        if not getattr(given, name):
            raise UserError(f"--{name} is missing: {hint}.")
    return {one.name: getattr(given, one.name) for one in fields(kind)}


def _config(given: Given) -> CrossEncoderConfig:
    config = CrossEncoderConfig(**settings_of(given, CrossEncoderConfig, "cross-encoder"))
    config.check()
    return config


TEACH = Verb(
    teach_verb,
    "Train a cross-encoder on what a run has mined, as a teacher. The same command resumes.",
    "RUN --model ENCODER --out FOLDER [settings]",
    [
        Flag("run", "a run folder", str),
        Flag("--model", "folder or hub name of an encoder, or of a cross-encoder that goes on learning"),
        Flag("--out", "folder of the cross-encoder"),
        Flag("--episode", "whose pool; the last one's", int | None),
        MOVED,
        Flag(
            "--loss",
            "binary: each passage judged alone, so that scores are probabilities; list: the positive against the list",
            Literal["binary", "list"],
            _USUAL.loss,
        ),
        Flag("--batch_queries", "queries in a step", int, _USUAL.batch_queries),
        Flag("--negatives_per_query", "drawn from the pool for each", int, _USUAL.negatives_per_query),
        Flag("--epochs", "passes over the training queries; 2 to 10, for about 3,000 steps", int | None),
        Flag("--steps", "steps instead of epochs", int | None),
        Flag("--learning_rate", "peak of the linear schedule; by the model's width", float | None),
        Flag("--warmup_ratio", "share of the steps that warm up", float, _USUAL.warmup_ratio),
        Flag("--weight_decay", "of AdamW", float, _USUAL.weight_decay),
        Flag("--max_grad_norm", "gradients are clipped to this norm", float, _USUAL.max_grad_norm),
        Flag(
            "--precision",
            "auto is bf16 where the hardware is faster with it",
            Literal["auto", "float32", "bf16"],
            _USUAL.precision,
        ),
        Flag("--rerank", "passages of each query to rerank by it in the end; 0 for none", int, _USUAL.rerank),
        Flag("--save_steps", "steps between two checkpoints; ten minutes", int | None),
        Flag("--seed", "of the new head, of batches and of dropout", int, _USUAL.seed),
    ],
    teach_dry,
)
