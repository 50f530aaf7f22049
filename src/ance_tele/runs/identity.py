"""The identity of a run folder: recipe, data, model and review."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from ance_tele.console.errors import UserError
from ance_tele.data.annotations import Part
from ance_tele.data.collection import Collection
from ance_tele.data.expansion import expand
from ance_tele.data.grades import ReviewAs, ReviewUse
from ance_tele.data.load import load_collection
from ance_tele.settings import Recipe
from ance_tele.store.files import read_json
from ance_tele.store.fingerprints import file_sha256, fingerprint
from ance_tele.store.yaml_files import read_yaml

# Settings without effect on results, which may differ when a run is resumed; cross-encoders are compared by weights,
# files of terms by what they add to the data.
FREE_SETTINGS = (
    "cross_encoder",
    "expand_passages",
    "expand_queries",
    "keep_vectors",
    "report_to",
    "save_steps",
    "shard_passages",
    "teacher",
    "watch_lookahead",
)

# Files that a model is loaded from: settings, tokenizer, weights.
LOADED = (".json", ".txt", ".model", ".jinja", ".safetensors")

# Settings that name files of terms, by what they are added to.
EXPANSIONS: Mapping[str, Part] = {"expand_passages": "passages", "expand_queries": "queries"}

# Copy of the relevant pairs of the review, which may change later.
REVIEW = "given_review.csv"


def read_identity(out: Path) -> dict[str, Any]:
    """Read back the ``run.json`` of a run folder: recipe, data, model and their fingerprints.

    Raises:
        UserError: This is no run folder.
    """
    if not (out / "run.json").is_file():
        raise UserError(f"{out} is no run folder: it holds no run.json; give the --out folder of a run.")
    found = read_json(out / "run.json", "restore it from a copy, or delete it and run the same command again")
    if not isinstance(found, dict) or not _is_identity(found):
        raise UserError(f"{out} is no run folder: its run.json is of something else; give the --out folder of a run.")
    return found


def _is_identity(found: dict[str, Any]) -> bool:
    """Return whether a run.json names what a run is made of."""
    if not {"recipe", "data", "model", "fingerprints"} <= found.keys() or not isinstance(found["fingerprints"], dict):
        return False
    names = [found.get(name) for name in ("data", "model", "review", "cross_encoder", "teacher", *EXPANSIONS)]
    named = all(name is None or isinstance(name, str) for name in names)
    reviewed = "review" not in found or found.get("review_as") in get_args(ReviewAs)
    return named and reviewed and {"data", "model"} <= found["fingerprints"].keys()


def review_use(identity: Mapping[str, Any]) -> ReviewUse:
    """Return how the review of a run is used, as its ``run.json`` declares."""
    others = {name: identity.get(f"review_{name}", "keep") for name in ("doubtful", "irrelevant")}
    return ReviewUse(identity["review_as"], **others)


def model_files(model: str | Path) -> str | None:
    """Return a fingerprint of the files that a model's folder is loaded from; None for a hub name."""
    folder = Path(model)
    if not folder.is_dir():
        return None
    files = sorted(path for path in folder.rglob("*") if path.suffix in LOADED and path.is_file())
    return fingerprint({path.relative_to(folder).as_posix(): file_sha256(path) for path in files})


def read_settings(out: Path) -> dict[str, Any]:
    """Read back the ``config.yaml`` of a run folder.

    Raises:
        UserError: It is missing or damaged.
    """
    path = out / "config.yaml"
    try:
        found = read_yaml(path)
    except UserError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{path} is missing or damaged; restore it from a copy, or begin again with another --out.")
    return {str(name): value for name, value in found.items()}


def recipe_of(out: Path) -> Recipe:
    """Return the recipe of a run folder, with all its settings.

    Raises:
        UserError: Its ``config.yaml`` is missing or damaged, or holds a setting that this version does not know.
    """
    settings = read_settings(out)
    recipe = Recipe(str(settings.pop("recipe", "")))
    try:
        return recipe.with_settings(**settings)
    except UserError as error:
        raise UserError(f"{out / 'config.yaml'} is of another version of ance-tele: {error}") from None


def other_settings(out: Path, recipe: Recipe) -> list[str]:
    """Return the settings in which the run of a folder differs from a recipe; none where there is no run."""
    if not (out / "run.json").is_file():
        return []
    own, asked = recipe_of(out).settings(), recipe.settings()
    return [name for name, value in asked.items() if name not in FREE_SETTINGS and own[name] != value]


def settings_of(model: str | Path) -> dict[str, Any]:
    """Return the settings of the run that a model folder belongs to; {} for other models."""
    run = Path(model).resolve().parent.parent
    return read_settings(run) if (run / "run.json").is_file() and Path(model).is_dir() else {}


def relative(path: str | Path | None, out: Path) -> str | None:
    """Return a path relative to the run folder; other names unchanged."""
    if path is None or str(path) == "demo" or not Path(path).exists():
        return None if path is None else str(path)
    return os.path.relpath(Path(path).resolve(), out.resolve())


def portable(recipe: Recipe) -> Recipe:
    """Return a recipe with absolute paths made relative, since a run folder contains none."""
    settings = recipe.settings()
    paths = {name: settings[name] for name in ("cross_encoder", "teacher", *EXPANSIONS) if settings[name] is not None}
    absolute = [name for name, path in paths.items() if Path(path).is_absolute() and Path(path).exists()]
    return recipe.with_settings(**{name: os.path.relpath(paths[name]) for name in absolute}) if absolute else recipe


def resolve(name: str, out: Path) -> str:
    """Return the path or name that :func:`relative` wrote."""
    path = out / name
    return str(path) if path.exists() else name


def collection_for(recipe: Recipe, data: str | Path, cache: Path | None = None) -> Collection:
    """Load the collection of a recipe: with its queries held out, and its terms added.

    Raises:
        UserError: The data, or a file of terms, cannot be used.
    """
    return agreeing(recipe, load_collection(data, cache, recipe.episode.strict), cache)[1]


def agreeing(recipe: Recipe, collection: Collection, cache: Path | None = None) -> tuple[Recipe, Collection]:
    """Return recipe and collection with the same held-out queries and added terms, if only one of them has these.

    Raises:
        UserError: They differ, it cannot be held out, or a file of terms cannot be used.
    """
    episode = recipe.episode
    added = collection.expansions
    taken: dict[str, Any] = {name: added[part].path for name, part in EXPANSIONS.items() if part in added}
    if collection.hold_out is not None:
        taken["hold_out"] = collection.hold_out
    settings = recipe.settings()
    if missing := {name: value for name, value in taken.items() if settings[name] is None}:
        recipe = recipe.with_settings(**missing)
    collection = collection.held_out(episode.hold_out)
    return recipe, expand(collection, episode.expand_passages, episode.expand_queries, cache)
