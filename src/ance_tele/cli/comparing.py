"""The verbs `compare` and `reproduce`: several systems, models and seeds on the same data."""

from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from ance_tele.cli.common import echo, introduce, need
from ance_tele.cli.flags import settings_given
from ance_tele.cli.parsers import HINTS
from ance_tele.console.errors import UserError
from ance_tele.console.log import muted
from ance_tele.recipes import OFFICIAL, RECIPES, recipe
from ance_tele.settings import Recipe


def compare_verb(given: Namespace, argv: list[str]) -> int:
    """Compare recipes, models and seeds."""
    if not given.recipes:
        raise UserError(f"--recipes is missing: {HINTS['recipes']}.")
    return _comparison(given, argv, given.recipes, None)


def reproduce_verb(given: Namespace, argv: list[str]) -> int:
    """Compare the systems of one of the paper's tables."""
    from ance_tele.experiments.reproduce import systems_of
    from ance_tele.plan.defaults import NEGATIVES

    negatives = given.negatives_per_query
    if "negatives_per_query" not in settings_given(argv):
        negatives = recipe(given.scale).training.negatives_per_query if given.scale in RECIPES else NEGATIVES
    return _comparison(given, argv, systems_of(given.table, negatives), given.table)


def _comparison(given: Namespace, argv: list[str], names: Any, table: str | None) -> int:
    from rich.console import Console

    need(given, "data")
    if not given.out:
        raise UserError("--out is missing: the folder of the comparison.")
    models = [*given.models, *([given.model] if given.model else [])]
    if not models:
        raise UserError(f"--model is missing: {HINTS['model']}; --models takes several.")
    if given.parallel < 1:
        raise UserError(f"parallel is {given.parallel}; it must be at least 1.")
    settings = {name: getattr(given, name) for name in settings_given(argv) if name != "seed"}
    if given.lenient:
        settings["strict"] = False
    if given.official:
        settings |= OFFICIAL

    from ance_tele.data.load import load_collection
    from ance_tele.evaluate.comparison import ComparisonResult
    from ance_tele.experiments.compare import compare_systems
    from ance_tele.experiments.grid import own_settings, system
    from ance_tele.experiments.tables import cost, stem, terminal_tables
    from ance_tele.paper.published import start_of
    from ance_tele.plan.facts import AtHand
    from ance_tele.plan.suited import suited

    collection = load_collection(given.data, strict=not given.lenient).held_out(given.hold_out)
    introduce(collection)
    if "split" not in settings and "dev" in collection.qrels:
        settings["split"] = "dev"  # episodes are watched on dev; the last one is measured on test too
    systems = [system(name, given.scale, **settings) for name in names]
    for chosen in systems:
        stays = [
            f"{name} {value}"
            for name, value in chosen.settings().items()
            if name in settings and value != settings[name] and f" {name}=" not in chosen.name
        ]
        if stays:
            echo(f"{chosen.name} stays what it is: {', '.join(stays)}")
    starts = [start_of(model) for model in models]
    at_hand = {start: AtHand(collection, start) for start in starts}
    announced: set[str] = set()

    def suit(chosen: Recipe, start: str, folder: Path) -> Recipe:
        """Set defaults for what nobody has chosen, printed once for each model."""
        if given.scale:
            return chosen
        quiet = start in announced or not chosen.episode.episodes
        if not quiet:
            echo(f"{chosen.name} from {start}")
            announced.add(start)
        chosen_by_name = own_settings(chosen.name)
        with muted(quiet):
            return suited(chosen, at_hand[start], {*settings, *chosen_by_name}, folder)

    seeds = given.seeds or [given.seed]
    found = compare_systems(systems, starts, seeds, given.data, given.out, None, given.parallel, table, suit)
    result = ComparisonResult.of(found)
    echo("")
    for one in terminal_tables(result):
        Console().print(one)
        echo("")
    echo(cost(result))
    echo(f"Tables: {given.out}/{stem(result)}.md, .tex, .csv; curves: .png; all figures: .json")
    return 0
