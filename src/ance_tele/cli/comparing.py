"""The verbs `compare` and `reproduce`: several systems, models and seeds on the same data."""

from pathlib import Path
from typing import Any, Literal

from ance_tele.cli.common import ADDRESS, BESIDE, ENGINE, HINTS, echo, introduce, need, print_config, settings_given
from ance_tele.cli.flags import Flag, Given, Verb
from ance_tele.cli.setting_flags import CONFIG, recipe_flags
from ance_tele.console.errors import UserError
from ance_tele.console.garbage import importing
from ance_tele.console.log import muted
from ance_tele.engine.choose import executor_for, serve_other_ranks
from ance_tele.paper.settings import SCALES, start_of
from ance_tele.plan.defaults import NEGATIVES
from ance_tele.settings import EpisodeConfig, Recipe


def compare_verb(given: Given) -> int:
    """Compare recipes, models and seeds."""
    if not given.recipes:
        raise UserError(f"--recipes is missing: {HINTS['recipes']}.")
    return _comparison(given, given.recipes, None)


def reproduce_verb(given: Given) -> int:
    """Compare the systems of one of the paper's tables."""
    from ance_tele.experiments.reproduce import systems_of

    usual = SCALES[given.scale]["negatives_per_query"] if given.scale in SCALES else NEGATIVES
    negatives = given.settings.get("negatives_per_query", usual)
    return _comparison(given, systems_of(given.table, negatives), given.table)


def _comparison(given: Given, names: Any, table: str | None) -> int:
    from rich.console import Console

    if given.print_config:
        return print_config(given, given.settings)
    need(given, "data")
    if not given.out:
        raise UserError("--out is missing: the folder of the comparison.")
    models = [*given.models, *([given.model] if given.model else [])]
    if not models:
        raise UserError(f"--model is missing: {HINTS['model']}; --models takes several.")
    if given.parallel != "auto" and given.parallel < 1:
        raise UserError(f"parallel is {given.parallel}; it must be at least 1, or auto.")
    if serve_other_ranks():
        return 0
    settings = settings_given(given)
    seeds = given.seeds or [settings.pop("seed", EpisodeConfig().seed)]

    from ance_tele.data.load import load_collection
    from ance_tele.evaluate.comparison import ComparisonResult
    from ance_tele.evaluate.given import named_runs

    with importing():  # loads torch
        from ance_tele.experiments.compare import compare_systems
    from ance_tele.experiments.grid import expansions, own_settings, system
    from ance_tele.experiments.tables import cost, stem, terminal_tables
    from ance_tele.mining.plugins import load_all
    from ance_tele.plan.facts import AtHand
    from ance_tele.plan.suited import suited
    from ance_tele.runs.identity import agreeing
    from ance_tele.runs.working_copy import kept_at

    beside = named_runs(given.beside, names)
    for name in names:
        load_all(system(name, given.scale, **settings).mining)  # before data of any size are read
    collection = load_collection(given.data, strict=not given.lenient).held_out(given.settings.get("hold_out"))
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
    read = {expansions(chosen): agreeing(chosen, collection)[1] for chosen in systems}
    at_hand = {(start, added): AtHand(texts, start) for start in starts for added, texts in read.items()}
    announced: set[str] = set()

    def suit(chosen: Recipe, start: str, folder: Path) -> Recipe:
        """Set defaults of settings that were not given; print them once per model."""
        if given.scale:
            return chosen
        quiet = start in announced or not chosen.episode.episodes
        if not quiet:
            echo(f"{chosen.name} from {start}")
            announced.add(start)
        chosen_by_name = own_settings(chosen.name)
        with muted(quiet):
            return suited(chosen, at_hand[start, expansions(chosen)], {*settings, *chosen_by_name}, folder)

    with executor_for(given.parallel, given.engine, given.address) as executor, kept_at(given.out) as out:
        found = compare_systems(systems, starts, seeds, given.data, out, None, executor, table, suit, beside)
    result = ComparisonResult.of(found)
    echo("")
    for one in terminal_tables(result):
        Console().print(one)
        echo("")
    echo(cost(result))
    echo(f"Tables: {out}/{stem(result)}.md, .tex, .csv; curves: .png; all figures: .json")
    return 0


def _flags(what: Flag) -> list[Flag]:
    return recipe_flags(
        [
            what,
            Flag("--models", "folders or hub names of models", tuple[str, ...], ()),
            Flag("--seeds", "one run each; else that of --seed", tuple[int, ...], ()),
            Flag("--data", HINTS["data"]),
            Flag("--out", "folder of the comparison, or its URL"),
            CONFIG,
            *("episodes", "epochs", "batch_queries", "learning_rate"),
        ],
        [
            Flag("--model", "the same as --models, for a single one"),
            BESIDE,
            Flag("--parallel", "cells at a time; auto is one a GPU, one on a CPU", int | Literal["auto"], "auto"),
            ENGINE,
            ADDRESS,
            Flag("--scale", "settings of marco, nq or triviaqa (Table 5)"),
        ],
    )


COMPARE = Verb(
    compare_verb,
    "Recipes x models x seeds: one table, with significance. The same command resumes. Settings that are given hold "
    "for all systems, but for what makes a recipe what it is: DPR keeps its one episode.",
    "--recipes q-neg 'ance-tele alpha=0.3' --seeds 1 2 3 --data DATA --model MODEL --out FOLDER [settings]",
    _flags(Flag("--recipes", HINTS["recipes"], tuple[str, ...], ())),
)

REPRODUCE = Verb(
    reproduce_verb,
    "A table of the paper, on your data and models.",
    "table3 --seeds 1 2 3 --data DATA --model MODEL --out FOLDER [settings]",
    _flags(Flag("table", "table1, table2, table3, table8, table9, figure4 or figure8", str)),
)
