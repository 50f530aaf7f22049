"""Defaults by collection and model for settings of a recipe that were not chosen.

Precedence: the user; the recipe; the paper's scale, if named; the run folder, if the run was begun;
:mod:`ance_tele.plan.defaults`.
"""

import logging
from collections.abc import Collection as Names
from pathlib import Path
from typing import Any

from ance_tele.data.collection import Collection
from ance_tele.paper.settings import SCALES
from ance_tele.plan.defaults import Default, defaults
from ance_tele.plan.facts import AtHand
from ance_tele.recipes import recipe
from ance_tele.runs.identity import read_settings
from ance_tele.settings import Recipe

log = logging.getLogger(__name__)

# What a recipe that trains nothing needs of them.
_UNTRAINED = ("query_max_len", "passage_max_len")


def recipe_for(name: str, collection: Collection, model: str | Path | None, **settings: Any) -> Recipe:
    """Return a recipe by name, with defaults that suit a collection and a model, and settings of your own.

    Args:
        name: Such as "ance-tele"; one at the paper's scale ("marco/q-neg") keeps the paper's settings.
        collection: What will be trained on.
        model: Folder or hub name; None for "bm25".
        settings: They win over all.

    Raises:
        UserError: There is no such recipe or setting, or a value cannot work.

    Example:
        >>> import ance_tele as at
        >>> qrels = {"train": {"q1": {"a": 1}}}
        >>> collection = at.collection_from_dicts({name: f"passage {name}" for name in "abc"}, {"q1": "first"}, qrels)
        >>> chosen = recipe_for("ance-tele", collection, "my-model", alpha=0.3)
        >>> chosen.mining.alpha, chosen.training.batch_queries
        (0.3, 8)
    """
    return suited(recipe(name).with_settings(**settings), AtHand(collection, model), settings)


def defaults_for(chosen: Recipe, at_hand: AtHand, given: Names[str] = ()) -> dict[str, Default]:
    """Return value and reason of the settings of a recipe that were not chosen, by name.

    ``given`` names the chosen ones. {} for a recipe at the paper's scale, or without a model.
    """
    if chosen.name.partition(" ")[0].partition("/")[0] in SCALES or chosen.lexical:
        return {}
    settings, plain = chosen.settings(), Recipe("").settings()
    fixed = {name: value for name, value in settings.items() if name in given or value != plain[name]}
    found = defaults(at_hand.facts(chosen), fixed)
    return {name: one for name, one in found.items() if settings["episodes"] or name in _UNTRAINED}


def suited(chosen: Recipe, at_hand: AtHand, given: Names[str] = (), begun: Path | None = None) -> Recipe:
    """Return a recipe with defaults for settings that were not chosen; see :func:`defaults_for`.

    The settings of a run in the folder ``begun``, if any, take precedence.
    """
    found = defaults_for(chosen, at_hand, given)
    if begun is not None and (begun / "run.json").is_file():
        old = read_settings(begun)
        found = {name: Default(old.get(name, one.value), "as this run was begun") for name, one in found.items()}
    if found:
        log.info("by what is at hand, where nothing else is chosen (--SETTING VALUE):")
    for name, one in found.items():
        log.info(f"  {name} {written(one.value)}: {one.reason}")
    return chosen.with_settings(**{name: one.value for name, one in found.items()})


def written(value: Any) -> str:
    """Format a value as on the command line."""
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
