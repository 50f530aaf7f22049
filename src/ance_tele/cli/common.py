"""Helpers of several verbs: shared flags, printing, the recipe, the summary of a collection, the end of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ance_tele.cli.flags import COMMON, DRY, Flag, Given, Result, switch
from ance_tele.console.errors import UserError
from ance_tele.engine.choose import EngineName
from ance_tele.paper.settings import OFFICIAL
from ance_tele.recipes import RECIPES, recipe
from ance_tele.settings import Recipe

if TYPE_CHECKING:
    from ance_tele.data.collection import Collection

HINTS = {
    "data": "a folder (BEIR, MS MARCO, DPR, Tevatron ...), a training file, 'irds:ID', 'hub:NAME', 'demo'",
    "model": "folder or hub name of the model to start from",
    "out": "the run folder",
    "recipes": "systems: a recipe's name and, after spaces, settings of its own, e.g. 'ance-tele alpha=0.3'",
}
LENIENT = switch("--lenient", "leave out what does not add up, and count it")
PROCESSES = Flag("--processes", "how many; auto is one a GPU, one on a CPU", int | Literal["auto"], "auto")
ENGINE = Flag("--engine", "where they run: on this machine, or on a Ray cluster", EngineName, "local")
BESIDE = Flag("--beside", "runs of other systems, in TREC format: NAME=FILE [NAME=FILE ...]", tuple[str, ...], ())
ADDRESS = Flag("--address", "of a Ray cluster that runs already")
MOVED = Flag("--data", "where the collection lies now, if it was moved")


def echo(line: str) -> None:
    """Print a line and flush, so that pipes see it at once."""
    print(line, flush=True)


def need(given: Given, *names: str) -> None:
    """Refuse a command line without the given flags."""
    for name in names:
        if not getattr(given, name):
            raise UserError(f"--{name} is missing: {HINTS[name]}.")


def settings_given(given: Given) -> dict[str, Any]:
    """Return the settings given on a command line, including those of --lenient and --official."""
    return {**given.settings, **({"strict": False} if given.lenient else {}), **(OFFICIAL if given.official else {})}


def chosen_recipe(given: Given) -> Recipe:
    """Return the recipe of `run`, with the settings of the command line."""
    if given.recipe is None:
        raise UserError(f"Which recipe? There are: {', '.join(RECIPES)}.")
    return recipe(given.recipe).with_settings(**settings_given(given))


def print_config(given: Given, settings: Mapping[str, Any]) -> Result:
    """Print flags and settings as a --config file."""
    import yaml

    other = {"settings", "config", "print_config", *(flag.key for flag in (*COMMON, DRY))}
    flags = {name: value for name, value in vars(given).items() if name not in other}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in {**flags, **settings}.items()}
    echo(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).rstrip())
    return plain


def introduce(collection: "Collection") -> None:
    """Print sizes, problems, notes and warnings of a collection."""
    from ance_tele.data.describe import warnings
    from ance_tele.data.notes import level_of

    judged = ", ".join(f"{len(qrels):,} {split}" for split, qrels in collection.qrels.items())
    echo(f"{collection.name}: {len(collection.corpus):,} passages; queries: {judged}")
    for problem, count in collection.problems.items():
        echo(f"left out: {count:,} ({problem})")
    for note, count in collection.notes.items():
        echo(f"{level_of(note)}: {count:,} {note}")
    for line in warnings(collection):
        echo(f"warning: {line}")
    if collection.hold_out is not None:
        final = (
            "" if "test" in collection.qrels else "; there is no test split, so the final figures are measured on them"
        )
        echo(f"held out as dev: {len(collection.qrels['dev']):,} training queries{final}")


def conclude(out: Path, named: str | None = None) -> Result:
    """Print a finished run's table of results and the path of its report; ``named`` is how the run was given.

    Returns:
        Its summary, and where report and model lie.
    """
    from rich.console import Console

    from ance_tele.report.renderers import terminal
    from ance_tele.report.run_tables import results
    from ance_tele.report.sentences import significance
    from ance_tele.runs.summary import Summary

    summary = Summary.read(out)
    echo("")
    console = Console()
    console.print(terminal(results(summary), console.width))
    for line in significance(summary):
        echo(line)
    echo(f"\nReport: {out / 'report.html'}  (in short: {out / 'report.md'})")
    found: dict[str, Any] = {"summary": summary.content(), "report": out / "report.html", "model": None}
    if summary.episodes:
        number = summary.episodes[-1].number
        found["model"] = out / f"episode-{number}" / "model"
        echo(f"Model:  {found['model']}  (load it with SentenceTransformer)")
        echo(f'Try:    ance-tele search {named or out} "your words"')
    return found
