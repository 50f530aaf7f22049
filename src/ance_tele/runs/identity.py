"""The identity of a run folder: recipe, data, model and review."""

import os
from pathlib import Path
from typing import Any, get_args

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection
from ance_tele.data.grades import ReviewAs
from ance_tele.settings import Recipe
from ance_tele.store.files import read_json
from ance_tele.store.fingerprints import file_sha256, fingerprint
from ance_tele.store.yaml_files import read_yaml

# Settings without effect on results, which may differ when a run is resumed; cross-encoders are compared by weights.
FREE_SETTINGS = (
    "cross_encoder",
    "keep_vectors",
    "report_to",
    "save_steps",
    "shard_passages",
    "teacher",
    "watch_lookahead",
)

# Files that a model is loaded from: settings, tokenizer, weights.
LOADED = (".json", ".txt", ".model", ".jinja", ".safetensors")

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
    names = [found.get(name) for name in ("data", "model", "review", "cross_encoder", "teacher")]
    named = all(name is None or isinstance(name, str) for name in names)
    reviewed = "review" not in found or found.get("review_as") in get_args(ReviewAs)
    return named and reviewed and {"data", "model"} <= found["fingerprints"].keys()


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
    return Recipe(str(settings.pop("recipe", ""))).with_settings(**settings)


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
    given = {"cross_encoder": recipe.mining.cross_encoder, "teacher": recipe.teaching.teacher}
    folders = {name: path for name, path in given.items() if path and Path(path).is_absolute() and Path(path).exists()}
    return recipe.with_settings(**{name: os.path.relpath(path) for name, path in folders.items()})


def resolve(name: str, out: Path) -> str:
    """Return the path or name that :func:`relative` wrote."""
    path = out / name
    return str(path) if path.exists() else name


def held_out(recipe: Recipe, collection: Collection) -> tuple[Recipe, Collection]:
    """Return recipe and collection with the same ``hold_out``, if only one of them has it.

    Raises:
        UserError: They differ, or it cannot be held out.
    """
    if recipe.episode.hold_out is None and collection.hold_out is not None:
        return recipe.with_settings(hold_out=collection.hold_out), collection
    return recipe, collection.held_out(recipe.episode.hold_out)
