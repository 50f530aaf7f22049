"""The settings of a recipe as flags, under headings by room; what explains them is the docstring of their config."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from inspect import cleandoc
from typing import Any

from ance_tele.cli.flags import AT_HAND, Flag
from ance_tele.paper.settings import OFFICIAL
from ance_tele.plan.defaults import SETTINGS
from ance_tele.settings import Recipe, setting_kinds

HEADINGS = {
    "episode": "Episodes",
    "mining": "Negatives",
    "training": "Training",
    "encoder": "Encoding",
    "evaluation": "Evaluation",
}


def setting_flags(config: Any) -> dict[str, Flag]:
    """Return the settings of a room's config as flags by name, explained by its docstring; no part of --official."""
    section = cleandoc(type(config).__doc__ or "").partition("Attributes:\n")[2]
    entries = dict(re.findall(r"^    (\w+): (.*(?:\n     +.*)*)", section, re.MULTILINE))
    texts = {name: " ".join(text.replace("``", "").replace("None", "null").split()) for name, text in entries.items()}
    return {
        name: Flag(f"--{name}", texts[name], setting_kinds()[name], getattr(config, name), True)
        for name in (one.name for one in fields(config))
        if name not in OFFICIAL
    }


def recipe_flags(first: Sequence[str | Flag], others: Sequence[Flag]) -> Mapping[str, Sequence[Flag]]:
    """Return the flags of a verb that takes all settings of a recipe, by heading.

    Args:
        first: What people need first: flags of the verb's own, and names of settings.
        others: The other flags of its own.
    """
    plain = Recipe("")
    rooms = {heading: setting_flags(getattr(plain, part)) for part, heading in HEADINGS.items()}
    settings = {name: flag for flags in rooms.values() for name, flag in flags.items()}
    settings |= {name: replace(settings[name], default=AT_HAND) for name in SETTINGS}
    chosen = [settings[one] if isinstance(one, str) else one for one in first]
    found = {"Most used": chosen, "More": others}
    for heading, flags in rooms.items():
        found[heading] = [settings[name] for name in flags if settings[name] not in chosen]
    return found
