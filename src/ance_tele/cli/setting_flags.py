"""Flags for the settings of a recipe, grouped by room, with help texts from the docstrings of the configs."""

import re
from collections.abc import Sequence
from dataclasses import fields, replace
from inspect import cleandoc
from typing import Any, get_type_hints

from ance_tele.cli.common import LENIENT
from ance_tele.cli.flags import AT_HAND, Flag, switch
from ance_tele.paper.settings import OFFICIAL
from ance_tele.plan.defaults import SETTINGS
from ance_tele.settings import PARTS, Recipe

HEADINGS = ("Episodes", "Negatives", "Training", "Teacher", "Encoding", "Evaluation")
CONFIG = Flag("--config", "YAML file of settings, such as a run's config.yaml; may be repeated", tuple[str, ...], ())
MORE = (
    switch("--official", "do as the authors' code where it leaves the paper: " + ", ".join(OFFICIAL)),
    LENIENT,
    switch("--print_config", "print what would be done, as a --config file, and end"),
)


def setting_flags(config: Any, heading: str = "More") -> dict[str, Flag]:
    """Return flags for the settings of a config, by name, without those of --official.

    Help is from its docstring, and from those of its bases.
    """
    sections = (cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2] for kind in reversed(type(config).__mro__))
    entries = dict(re.findall(r"^    (\w+): (.*(?:\n     +.*)*)", "\n".join(sections), re.MULTILINE))
    kinds = get_type_hints(type(config), include_extras=True)
    texts = {name: " ".join(text.replace("``", "").replace("None", "null").split()) for name, text in entries.items()}
    return {
        name: Flag(f"--{name}", texts[name], kinds[name], getattr(config, name), True, heading)
        for name in (one.name for one in fields(config))
        if name not in OFFICIAL
    }


def recipe_flags(first: Sequence[Flag | str], more: Sequence[Flag]) -> list[Flag]:
    """Return the flags of a verb that takes all settings of a recipe: ``first`` (flags, or names of settings), then the
    rest.
    """
    rooms = zip(PARTS, HEADINGS, strict=True)
    settings = {n: flag for part, title in rooms for n, flag in setting_flags(getattr(Recipe(""), part), title).items()}
    settings |= {name: replace(settings[name], default=AT_HAND) for name in SETTINGS}
    chosen = [settings.pop(one) if isinstance(one, str) else one for one in first]
    return [
        *(replace(flag, heading="Most used") for flag in chosen),
        *(replace(flag, heading="More") for flag in (*more, *MORE)),
        *settings.values(),
    ]
