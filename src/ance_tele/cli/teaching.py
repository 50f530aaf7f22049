"""The verb `teach`: train a cross-encoder on what a run has mined, to be the teacher of another run."""

from pathlib import Path
from typing import TypeVar

from ance_tele.cli.common import MOVED, echo
from ance_tele.cli.dry import shown
from ance_tele.cli.flags import Flag, Given, Result, Verb
from ance_tele.cli.setting_flags import setting_flags
from ance_tele.console.errors import UserError
from ance_tele.console.garbage import importing
from ance_tele.paper.settings import start_of
from ance_tele.training.teaching import CrossEncoderConfig, StepsConfig

Config = TypeVar("Config", bound=StepsConfig)


def teach_verb(given: Given) -> Result:
    """Train a cross-encoder on a run's positives and negatives."""
    config = config_of(given, CrossEncoderConfig, "cross-encoder")

    with importing():  # loads torch
        from ance_tele.runs.teach import train_teacher

    found = train_teacher(given.run, given.model, given.out, config, given.episode, given.data)
    echo(f"{'cached' if found.reused else 'trained'}: {found.facts['steps']:,} steps; {Path(given.out)}")
    echo(f"Try:  ance-tele run ance-tele+teacher --teacher {given.out} ...")
    return {"teacher": given.out, "cached": found.reused, "seconds": found.seconds, **found.facts}


def teach_dry(given: Given) -> Result:
    """Print what `teach` would train, and in how many steps."""
    from ance_tele.plan.hardware import model_shape

    config, queries = config_of(given, CrossEncoderConfig, "cross-encoder"), training_queries(given)
    config = config.suited(queries, model_shape(start_of(given.model)).hidden)
    steps = config.steps or -(-queries // config.batch_queries) * (config.epochs or 1)
    return {"would_make": [shown("cross-encoder", given.out, training_queries=queries, steps=steps)]}


def training_queries(given: Given) -> int:
    """Return how many training queries the named run has."""
    from ance_tele.runs.folder import open_run
    from ance_tele.runs.training_set import read_pairs

    opened = open_run(Path(given.run), given.data)
    return len(set(read_pairs(opened.folder.path / "positives.parquet", opened.collection)[0].tolist()))


def config_of(given: Given, kind: type[Config], made: str) -> Config:
    """Return the configuration that the flags give; ``made`` is what the verb makes.

    Raises:
        UserError: --model or --out is missing, or a value cannot be.
    """
    for name, hint in (("model", "folder or hub name of an encoder"), ("out", f"folder of the {made}")):
        if not getattr(given, name):
            raise UserError(f"--{name} is missing: {hint}.")
    config = kind(**given.settings)
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
        *setting_flags(CrossEncoderConfig(), "Training").values(),
    ],
    teach_dry,
)
