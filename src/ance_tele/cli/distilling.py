"""The verb `distil`: train one encoder to give the query vectors of a run's model, such as an ensemble."""

from pathlib import Path

from ance_tele.cli.common import MOVED, echo
from ance_tele.cli.dry import shown
from ance_tele.cli.flags import Flag, Given, Result, Verb
from ance_tele.cli.setting_flags import setting_flags
from ance_tele.cli.teaching import config_of, training_queries
from ance_tele.console.garbage import importing
from ance_tele.paper.settings import start_of
from ance_tele.training.teaching import DistilConfig


def distil_verb(given: Given) -> Result:
    """Train a query encoder on the query vectors of a run's last model."""
    config = config_of(given, DistilConfig, "query encoder")

    with importing():  # loads torch
        from ance_tele.runs.distil import distil

    found = distil(given.run, start_of(given.model), given.out, config, given.data)
    echo(f"{'cached' if found.reused else 'trained'}: {found.facts['steps']:,} steps; {Path(given.out)}")
    passages = Path(given.run) / f"episode-{found.facts['episode']}" / "model"
    echo(f"Try:  ance-tele evaluate --query_model {given.out} --passage_model {passages} --data DATA")
    return {"query_encoder": given.out, "cached": found.reused, "seconds": found.seconds, **found.facts}


def distil_dry(given: Given) -> Result:
    """Print what `distil` would train, and in how many steps."""
    from ance_tele.plan.hardware import model_shape

    config, queries = config_of(given, DistilConfig, "query encoder"), training_queries(given)
    steps = config.suited(queries, model_shape(start_of(given.model)).hidden).steps
    return {"would_make": [shown("query encoder", given.out, training_queries=queries, steps=steps)]}


DISTIL = Verb(
    distil_verb,
    "Train one encoder to give the query vectors of a run's model, such as an ensemble. The same command resumes.",
    "RUN --model ENCODER --out FOLDER [settings]",
    [
        Flag("run", "a run folder", str),
        Flag("--model", "folder or hub name of an encoder"),
        Flag("--out", "folder of the query encoder"),
        MOVED,
        *setting_flags(DistilConfig(), "Training").values(),
    ],
    distil_dry,
)
