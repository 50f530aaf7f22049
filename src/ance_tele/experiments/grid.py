"""The cells of a comparison: recipes x models x seeds, and which of them share their first episode."""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ance_tele.console.errors import UserError, unknown
from ance_tele.console.values import read
from ance_tele.paper.settings import SCALES
from ance_tele.recipes import at_scale, recipe
from ance_tele.settings import Recipe, setting_kinds
from ance_tele.store.fingerprints import fingerprint


def system(text: str, scale: str | None = None, **settings: Any) -> Recipe:
    """Return the recipe of a system's name: a recipe and, after spaces, settings of its own.

    Args:
        text: E.g. "ance-tele" or "ance-tele alpha=0.3 negatives_per_query=5".
        scale: Begin with the paper's settings for "marco", "nq" or "triviaqa".
        settings: Of the whole comparison. Those that define a recipe stay (DPR has one episode, zero-shot none), and
            the system's own settings override both.

    Raises:
        UserError: There is no such recipe or setting, or a value cannot be read.

    Example:
        >>> chosen = system("ance-tele alpha=0.3", depth=100)
        >>> chosen.name, chosen.mining.alpha, chosen.mining.depth
        ('ance-tele alpha=0.3', 0.3, 100)
    """
    name, *own = text.split() or [""]
    chosen = recipe(name)
    if scale is not None and scale not in SCALES:
        raise UserError(unknown("scale", scale, SCALES))
    kind = name.rpartition("/")[2]
    plain, its = Recipe(kind).settings(), recipe("ance-tele" if kind in SCALES else kind).settings()
    changed = {key: value for key, value in settings.items() if key not in its or its[key] == plain[key]}
    for word in own:
        key, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"'{word}' in '{text}' is no setting; write name=value, such as alpha=0.3.")
        if key == "seed":
            raise UserError(f"'{word}' in '{text}': every system runs with all seeds of the comparison; use --seeds.")
        changed[key] = read(value, setting_kinds().get(key, str))
    made = (at_scale(chosen, scale) if scale else chosen).with_settings(**changed)
    return replace(made, name=" ".join([name, *own]))


def own_settings(name: str) -> tuple[str, ...]:
    """Return the names of the settings that a system's name gives: ("alpha",) of "ance-tele alpha=0.3"."""
    return tuple(word.partition("=")[0] for word in name.split()[1:])


# Returns a system with defaults for a model, given the system, the model and the folder of the cell.
Suit = Callable[[Recipe, str, Path], Recipe]


@dataclass(frozen=True)
class Cell:
    """One run of a comparison.

    Attributes:
        recipe: The system, with its seed.
        model: Where it starts.
        folder: Its run folder, relative to that of the comparison.
        donor: The folder of an earlier cell with the same first episode, or None.
        start: Short name of the model, of which folders are called.
    """

    recipe: Recipe
    model: str
    folder: str
    donor: str | None
    start: str

    @property
    def label(self) -> str:
        """Name of the cell for log lines."""
        return f"{self.recipe.name}, {self.start}, seed {self.recipe.episode.seed}"

    @property
    def shared(self) -> Path:
        """Folder, within that of the comparison, of what cells from the same model share."""
        return shared_folder(self.recipe, slug(self.start))


def model_name(model: str) -> str:
    """Return the short name of a model: the last part of its folder or hub name."""
    return Path(model).absolute().name


def slug(text: str) -> str:
    """Return a name as a folder name."""
    return re.sub(r"[^\w.+-]+", "_", text).strip("_")


Expansions = tuple[str | None, str | None]
"""Files of terms for passages and for queries."""


def expansions(recipe: Recipe) -> Expansions:
    """Return the files of terms that a recipe adds to passages and queries; systems that differ share no search."""
    return recipe.episode.expand_passages, recipe.episode.expand_queries


def shared_folder(recipe: Recipe, name: str) -> Path:
    """Return the folder, within that of the comparison, of what cells share under a name: of a model, or "bm25"."""
    added = expansions(recipe)
    return Path("shared") / (name if added == (None, None) else f"{name}+{fingerprint(added)[:8]}")


def grid(
    systems: Sequence[Recipe], models: Sequence[str], seeds: Sequence[int], suit: Suit | None = None
) -> list[Cell]:
    """Return the cells of a comparison, donors first.

    ``suit`` gets system, model and the folder of the cell, relative to that of the comparison.

    Raises:
        UserError: A system, model or seed is named twice, or there is none.
    """
    for what, names in (("system", [one.name for one in systems]), ("model", [model_name(one) for one in models])):
        twice = [name for name in names if names.count(name) > 1]
        if twice or not names:
            found = f"the {what} '{twice[0]}' is named twice" if twice else f"no {what} is named"
            raise UserError(f"A comparison needs different {what}s, but {found}.")
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"A comparison needs different seeds, got {', '.join(map(str, seeds)) or 'none'}.")
    return cells_of([(one, model, model_name(model)) for model in models for one in systems], seeds, suit)


def cells_of(systems: Sequence[tuple[Recipe, str, str]], seeds: Sequence[int], suit: Suit | None = None) -> list[Cell]:
    """Return a cell for each seed of systems that each have their own model, donors first.

    Args:
        systems: Recipe, model, and its short name; no two of them agree in recipe and name.
        seeds: Of the cells; what is not trained has the first one alone.
        suit: As for :func:`grid`.
    """
    cells: list[Cell] = []
    first: dict[str, str] = {}
    for one, model, start in systems:
        for seed in seeds if one.episode.episodes else seeds[:1]:  # without training the seed has no effect
            folder = f"cells/{slug(start)}/{slug(one.name)}/seed-{seed}"
            seeded = (suit(one, model, Path(folder)) if suit else one).with_settings(seed=seed)
            key = fingerprint([model, beginning(seeded)])
            cells.append(Cell(seeded, model, folder, first.get(key), start))
            first.setdefault(key, folder)
    order = list(dict.fromkeys(model for _, model, _ in systems))
    return sorted(cells, key=lambda cell: (cell.donor is not None, order.index(cell.model), seeds.index(_seed(cell))))


def _seed(cell: Cell) -> int:
    return cell.recipe.episode.seed


# Settings of mining that have no effect in the first episode.
_OF_LATER_EPISODES = ("alpha", "momentum", "momentum_decay", "alpha_forgotten", "beta_forgotten")


def beginning(recipe: Recipe) -> dict[str, Any]:
    """Return everything that decides the first episode of a recipe; recipes that agree in it share the episode."""
    if not recipe.episode.episodes:
        return {"recipe": recipe.name}
    mining = recipe.mining
    return {
        "sources": mining.sources_at(1),
        "beta": mining.beta_at(1),
        **{
            name: value
            for name, value in asdict(mining).items()
            if name not in ("sources", "first_sources", "beta", *_OF_LATER_EPISODES)
        },
        "schedule": asdict(recipe.schedule(1, 1_000_000)),
        "episode": [getattr(recipe.episode, name) for name in ("seed", "max_train_queries", "strict", "ensemble")],
        "expansions": expansions(recipe),
        "training": asdict(replace(recipe.training, replay=0.0)),
        "parts": [asdict(getattr(recipe, part)) for part in ("teaching", "encoder", "evaluation")],
    }
