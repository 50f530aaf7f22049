"""The verb `merge`: models between a run's trained model and its start."""

from pathlib import Path
from typing import Literal

from ance_tele.cli.common import MOVED, echo
from ance_tele.cli.dry import shown
from ance_tele.cli.flags import Flag, Given, Result, Verb
from ance_tele.console.garbage import importing
from ance_tele.paper.settings import start_of


def merge_verb(given: Given) -> Result:
    """Measure merges of a run's trained model with its start along the weight, and save the best."""
    from rich.console import Console

    from ance_tele.runs.working_copy import kept_at

    with importing():  # loads torch
        from ance_tele.analysis.merge import merge_run
    from ance_tele.report.merging import along, choice, outcome
    from ance_tele.report.renderers import terminal

    other = getattr(given, "with")  # a word of Python's own
    base = start_of(other) if other else None
    with kept_at(given.run, begun=True) as run:
        found = merge_run(run, base, given.weight, given.method, given.on, given.rule, given.within, given.data)
    echo("")
    console = Console()
    console.print(terminal(along(found), console.width))
    for line in (choice(found), *outcome(found)):
        echo(line)
    echo(f"\nModel:  {run / 'merged' / 'model'}  (load it with SentenceTransformer)")
    echo(f"In the report: ance-tele report {given.run}")
    return {"model": run / "merged" / "model", "merge": found}


def merge_dry(given: Given) -> Result:
    """Print how many merges `merge` would measure on how many collections."""
    measured = len(given.weight) * (1 + len(given.on))
    return {"would_make": [shown("merged model", Path(given.run) / "merged" / "model", evaluations=measured)]}


MERGE = Verb(
    merge_verb,
    "Models between a run's trained model and its start: less forgetting elsewhere. They are measured along the weight "
    "on the run's collection and on others, and the best by a rule is saved; the same command resumes.",
    "RUN [--on DATA ...] [--weight 0 0.25 0.5 0.75 1] [--rule retain]",
    [
        Flag("run", "a run folder, or its URL", str),
        Flag("--with", "another model of the same kind in place of the one that the run started from"),
        Flag("--on", "other collections to measure on", tuple[str, ...], ()),
        Flag("--weight", "shares of the trained model: 0 is the base", tuple[float, ...], (0.0, 0.25, 0.5, 0.75, 1.0)),
        Flag("--method", "how tensors are interpolated", Literal["linear", "spherical"], "linear"),
        Flag(
            "--rule",
            "the highest mean over all collections; or over the others, of those that lose little on the run's own",
            Literal["mean", "retain"],
            "mean",
        ),
        Flag("--within", "with --rule retain: the share of the best own score that may be lost", float, 0.01),
        MOVED,
    ],
    merge_dry,
)
