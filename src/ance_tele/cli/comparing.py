"""The verbs `compare` and `reproduce`: several systems, models and seeds on the same data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from ance_tele.cli.common import ADDRESS, BESIDE, ENGINE, HINTS, echo, introduce, need, print_config, settings_given
from ance_tele.cli.dry import state
from ance_tele.cli.flags import Flag, Given, Result, Verb
from ance_tele.cli.setting_flags import CONFIG, recipe_flags
from ance_tele.console.errors import UserError, unknown
from ance_tele.console.garbage import importing
from ance_tele.console.log import muted
from ance_tele.console.values import check, read
from ance_tele.engine.choose import executor_for, serve_other_ranks
from ance_tele.experiments.reproduce import TABLES
from ance_tele.paper.settings import SCALES, start_of
from ance_tele.plan.defaults import NEGATIVES
from ance_tele.pretraining.config import TERMS, PretrainingConfig
from ance_tele.settings import EpisodeConfig, Recipe
from ance_tele.training.teaching import CrossEncoderConfig

if TYPE_CHECKING:
    from ance_tele.experiments.grid import Cell

# Flags that table1 alone has.
_TABLE1 = ("starts", "pretraining", "teaching", "t5")
_STARTS = tuple(TERMS)


def compare_verb(given: Given) -> Result:
    """Compare recipes, models and seeds."""
    if not given.recipes:
        raise UserError(f"--recipes is missing: {HINTS['recipes']}.")
    return _comparison(given, given.recipes, None)


def reproduce_verb(given: Given) -> Result:
    """Compare the systems of one of the paper's tables."""
    from ance_tele.experiments.reproduce import systems_of

    if given.table == "table1":
        return _table1(given)
    usual = SCALES[given.scale]["negatives_per_query"] if given.scale in SCALES else NEGATIVES
    negatives = given.settings.get("negatives_per_query", usual)
    names = systems_of(given.table, negatives)
    for name in _TABLE1:
        if getattr(given, name):
            raise UserError(f"--{name} is a flag of table1; leave it out for {given.table}.")
    return _comparison(given, names, given.table)


def _comparison(given: Given, names: Any, table: str | None) -> Result:
    if given.print_config:
        return print_config(given, given.settings)
    models = _checked(given)
    if serve_other_ranks():
        return None
    from ance_tele.runs.working_copy import kept_at

    with importing():  # loads torch
        from ance_tele.experiments.compare import compare_systems

    asked = _asked(given, names, settings_given(given))
    if given.dry_run:
        from ance_tele.experiments.grid import grid

        return _would_run(grid(asked.systems, models, asked.seeds, asked.suit), given)
    with executor_for(given.parallel, given.engine, given.address) as executor, kept_at(given.out) as out:
        more = executor, table, asked.suit, asked.beside
        found = compare_systems(asked.systems, models, asked.seeds, given.data, out, None, *more)
    return _print(found, out)


def _table1(given: Given) -> Result:
    """Train and measure the rows of Table 1, each from its own start."""
    from ance_tele.experiments.rows import rows_of, starts_wanted
    from ance_tele.runs.working_copy import kept_at

    if given.print_config:
        return print_config(given, given.settings)
    model, *others = _checked(given)
    if others:
        raise UserError("table1 makes its starts of one model; give a single --model, a BERT.")
    starts = starts_wanted(given.starts or _STARTS)
    pretraining = settings_of_words("pretraining", given.pretraining, PretrainingConfig, ("objective",))
    teaching = settings_of_words("teaching", given.teaching, CrossEncoderConfig)
    PretrainingConfig(**pretraining).check()
    CrossEncoderConfig(**teaching).check()
    if serve_other_ranks():
        return None
    with importing():  # loads torch
        from ance_tele.experiments.table1 import Table1, reproduce_table1

    settings = settings_given(given)
    terms = settings.pop("expand_passages", None), settings.pop("expand_queries", None)  # for rows of their own
    rows, left_out = rows_of(starts, given.t5, *terms)
    asked = _asked(given, [row.system for row in rows], {"pooling": "cls", **settings}, [row.label for row in rows])
    for row in rows:
        echo(f"{row.label:<24} {row.system}{'' if row.recipe == 'bm25' else f', from {row.start}'}")
    for line in left_out:
        echo(line)
    if given.dry_run:
        labels = [f"{row.label} ({row.system})" for row in rows]
        echo(f"would train and measure {len(rows) * len(asked.seeds):,} runs in {given.out}, {state(given.out)}")
        return {"folder": given.out, "state": state(given.out), "rows": labels, "seeds": list(asked.seeds)}
    table = Table1(
        list(zip(rows, asked.systems, strict=True)), model, starts, left_out, pretraining, teaching, given.t5
    )
    with executor_for(given.parallel, given.engine, given.address) as executor, kept_at(given.out) as out:
        more = executor, asked.suit, asked.beside
        found = reproduce_table1(table, asked.seeds, given.data, out, None, *more)
    return _print(found, out)


def settings_of_words(flag: str, words: Sequence[str], config: type, without: Sequence[str] = ()) -> dict[str, Any]:
    """Return the settings of a config that words such as "epochs=2" give.

    Raises:
        UserError: A word is none such, or there is no such setting.

    Example:
        >>> settings_of_words("teaching", ["epochs=2", "learning_rate=1e-4"], CrossEncoderConfig)
        {'epochs': 2, 'learning_rate': 0.0001}
    """
    kinds = {name: kind for name, kind in get_type_hints(config).items() if name not in without}
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"{flag} is '{word}'; it must be NAME=VALUE, such as epochs=2.")
        if name not in kinds:
            raise UserError(unknown(f"setting of {flag}", name, kinds))
        found[name] = read(value, kinds[name])
        check(name, found[name], kinds[name])
    return found


def _checked(given: Given) -> list[str]:
    """Return the models; refuse a command line that lacks something."""
    need(given, "data")
    if not given.out:
        raise UserError("--out is missing: the folder of the comparison.")
    models = [*given.models, *([given.model] if given.model else [])]
    if not models:
        raise UserError(f"--model is missing: {HINTS['model']}; --models takes several.")
    if given.parallel != "auto" and given.parallel < 1:
        raise UserError(f"parallel is {given.parallel}; it must be at least 1, or auto.")
    return [start_of(model) for model in models]


@dataclass(frozen=True)
class _Asked:
    """Systems, seeds and runs of others that a command line names, and what suits a system to its model."""

    systems: Sequence[Recipe]
    seeds: Sequence[int]
    beside: Mapping[str, Path]
    suit: Callable[[Recipe, str, Path], Recipe]


def _asked(given: Given, names: Sequence[str], settings: dict[str, Any], taken: Sequence[str] | None = None) -> _Asked:
    """Return what is to be compared; runs of others may not have a name that is ``taken``."""
    from ance_tele.data.load import load_collection
    from ance_tele.evaluate.given import named_runs
    from ance_tele.experiments.grid import expansions, own_settings, system
    from ance_tele.mining.plugins import load_all
    from ance_tele.plan.facts import AtHand
    from ance_tele.plan.suited import suited
    from ance_tele.runs.identity import agreeing

    settings = dict(settings)
    seeds = given.seeds or [settings.pop("seed", EpisodeConfig().seed)]
    beside = named_runs(given.beside, names if taken is None else taken)
    for name in names:
        load_all(system(name, given.scale, **settings).mining)  # before data of any size are read
    collection = load_collection(given.data, strict=not given.lenient).held_out(given.settings.get("hold_out"))
    introduce(collection)
    if "split" not in settings and "dev" in collection.qrels:
        settings["split"] = "dev"  # episodes are watched on dev; the last one is measured on test too
    systems = [system(name, given.scale, **settings) for name in names]
    for chosen in {one.name: one for one in systems}.values():
        stays = [
            f"{name} {value}"
            for name, value in chosen.settings().items()
            if name in settings and value != settings[name] and f" {name}=" not in chosen.name
        ]
        if stays:
            echo(f"{chosen.name} stays what it is: {', '.join(stays)}")
    read = {expansions(chosen): agreeing(chosen, collection)[1] for chosen in systems}
    at_hand = cache(lambda start, added: AtHand(read[added], start))
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
            return suited(chosen, at_hand(start, expansions(chosen)), {*settings, *chosen_by_name}, folder)

    return _Asked(systems, seeds, beside, suit)


def _print(found: dict[str, Any], out: Path) -> Result:
    """Print the tables of a comparison and where they lie; return its figures."""
    from rich.console import Console

    from ance_tele.evaluate.comparison import ComparisonResult
    from ance_tele.experiments.tables import cost, stem, terminal_tables

    result = ComparisonResult.of(found)
    echo("")
    for one in terminal_tables(result):
        Console().print(one)
        echo("")
    for note in result.notes:
        echo(note)
    echo(cost(result))
    echo(f"Tables: {out}/{stem(result)}.md, .tex, .csv; curves: .png; all figures: .json")
    return {"folder": out, "comparison": found}


def _would_run(cells: "Sequence[Cell]", given: Given) -> Result:
    """Print the cells of a comparison, which of them are done, and their steps; return them."""
    from ance_tele.runs.identity import collection_for

    found: list[dict[str, Any]] = []
    counts: dict[int, int] = {}
    for cell in cells:
        recipe, folder = cell.recipe, Path(given.out) / cell.folder
        made = (folder / "summary.json").is_file()
        there = "cached" if made else "begun" if (folder / "run.json").is_file() else "to be made"
        key = recipe.mining.positive_level
        if recipe.episode.episodes and key not in counts:
            counts[key] = len(collection_for(recipe, given.data).split("train").relevant(key))
        examples = min(counts.get(key, 0), recipe.episode.max_train_queries or counts.get(key, 0))
        numbers = range(1, recipe.episode.episodes + 1)
        steps = sum(recipe.schedule(number, examples).steps for number in numbers)
        found.append({"cell": cell.label, "folder": folder, "state": there, "steps": steps})
        echo(f"{cell.label}: {there}, {steps:,} steps")
    left = sum(one["steps"] for one in found if one["state"] != "cached")
    echo(f"{len(found):,} cells; at most {left:,} steps to come")
    return {"folder": given.out, "cells": found, "steps_to_come": left}


def _flags(what: Flag, *more: Flag) -> list[Flag]:
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
            *more,
        ],
    )


COMPARE = Verb(
    compare_verb,
    "Recipes x models x seeds: one table, with significance. The same command resumes. Settings that are given hold "
    "for all systems, but for what makes a recipe what it is: DPR keeps its one episode.",
    "--recipes q-neg 'ance-tele alpha=0.3' --seeds 1 2 3 --data DATA --model MODEL --out FOLDER [settings]",
    _flags(Flag("--recipes", HINTS["recipes"], tuple[str, ...], ())),
    compare_verb,
)

REPRODUCE = Verb(
    reproduce_verb,
    "A table of the paper, on your data and models.",
    "table3 --seeds 1 2 3 --data DATA --model MODEL --out FOLDER [settings]",
    _flags(
        Flag("table", "table1, table2, table3, table8, table9, figure4 or figure8", str, words=("table1", *TABLES)),
        Flag("--starts", f"table1: which pretrainings it makes: {', '.join(TERMS)}; else all", tuple[str, ...], ()),
        Flag("--pretraining", "table1: their settings, NAME=VALUE, as of pretrain", tuple[str, ...], ()),
        Flag("--teaching", "table1: settings of its teacher, NAME=VALUE, as of teach", tuple[str, ...], ()),
        Flag("--t5", "table1: folder or hub name of a T5, for GTR"),
    ),
    reproduce_verb,
)
