"""Whose a run folder is: recipe, data, model and review, written when a run begins and checked when it goes on."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection
from ance_tele.data.review import Review, write_review
from ance_tele.settings import Recipe
from ance_tele.store.files import atomic, lock, read_json, write_json
from ance_tele.store.manifests import SCHEMA

if TYPE_CHECKING:
    from ance_tele.encode.checkpoint import Checkpoint
    from ance_tele.search.scorer import CrossEncoderScorer

# Settings that change no number of the result, and so may differ when a run is resumed; of the cross-encoder, it is
# the weights that may not.
FREE_SETTINGS = ("cross_encoder", "keep_vectors", "report_to", "save_steps", "shard_passages", "watch_lookahead")

# What a run keeps of its review, which may be written on where it lies: the pairs called relevant.
REVIEW = "given_review.csv"


@contextmanager
def hold_folder(
    out: Path,
    recipe: Recipe,
    collection: Collection,
    start: "Checkpoint | None",
    data: str | Path | None,
    review: Review | None,
    cross_encoder: "CrossEncoderScorer | None",
) -> Iterator[None]:
    """Hold a run folder while a run is at work in it; write, or check, what it is the folder of.

    Raises:
        UserError: Another process works in it; or it was begun with other settings, data or model.
    """
    out.mkdir(parents=True, exist_ok=True)
    with lock(out / ".lock"):
        settings = _plain(recipe.settings())
        model = None if start is None else start.name
        identity: dict[str, Any] = {
            "schema": SCHEMA,
            "recipe": recipe.name,
            "data": relative(data, out),
            "model": relative(model, out),
            "fingerprints": {
                "data": collection.fingerprint,
                "model": None if start is None else start.weights,
            },
        }
        if review is not None:
            identity |= {"review": relative(review.path, out), "review_as": review.use}
            identity["fingerprints"]["review"] = review.fingerprint
        if cross_encoder is not None:
            identity["cross_encoder"] = relative(recipe.mining.cross_encoder, out)
            identity["fingerprints"]["cross_encoder"] = cross_encoder.key
        if (out / "run.json").exists():
            _same(out, identity, settings)
        if review is not None:
            write_review(out / REVIEW, review.verdicts)
        text = yaml.safe_dump({"recipe": recipe.name, **settings}, sort_keys=False, allow_unicode=True)
        with atomic(out / "config.yaml") as temporary:
            temporary.write_text("# The resolved settings of this run; give it back with --config.\n" + text, "utf-8")
        write_json(out / "run.json", identity)
        yield


def check_folder(out: Path) -> None:
    """Refuse a folder that cannot be a run's.

    Raises:
        UserError: It is a file, or holds something else.
    """
    for path in (out, *out.parents):
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file; --out takes a folder, new or of the same run.")
    if out.is_dir() and any(out.iterdir()) and not (out / "run.json").exists() and not _only_lock(out):
        raise UserError(f"{out} is not empty and holds no run; give --out a new folder.")


def _only_lock(out: Path) -> bool:
    return all(
        path.name in (".lock", "config.yaml", REVIEW)
        or path.name.startswith((".run.json", ".config.yaml", f".{REVIEW}"))
        for path in out.iterdir()
    )


def _same(out: Path, identity: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    before = read_identity(out)
    old = _plain(Recipe("").settings()) | read_settings(out)  # a setting younger than the run is as it was without it
    differ = [
        f"{name} was {old.get(name)!r}, is {value!r}"
        for name, value in {"recipe": identity["recipe"], **settings}.items()
        if name not in FREE_SETTINGS and old.get(name) != value
    ]
    for what in ("data", "model", "review", "cross_encoder"):
        if before["fingerprints"].get(what) != identity["fingerprints"].get(what):
            differ.append(f"the {what} was {_named(what, before)}, is {_named(what, identity)}")
    if differ:
        raise UserError(
            f"{out} holds a run of another configuration ({'; '.join(differ)}); give another --out, or the same "
            "configuration to go on."
        )


def _named(what: str, identity: Mapping[str, Any]) -> str:
    """Name the data, model or review of a run folder for a sentence."""
    if what in ("review", "cross_encoder") and what not in identity:
        return "none"
    use = f" as {identity['review_as']}" if what == "review" else ""
    return f"{identity[what]}{use} ({str(identity['fingerprints'][what])[:12]})"


def read_identity(out: Path) -> dict[str, Any]:
    """Read back the ``run.json`` of a run folder: recipe, data, model and their fingerprints.

    Raises:
        UserError: This is no run folder.
    """
    if not (out / "run.json").is_file():
        raise UserError(f"{out} is no run folder: it holds no run.json; give the --out folder of a run.")
    found = read_json(out / "run.json")
    if not isinstance(found, dict) or not {"recipe", "data", "model", "fingerprints"} <= found.keys():
        raise UserError(f"{out} is no run folder: its run.json is of something else; give the --out folder of a run.")
    return found


def read_settings(out: Path) -> dict[str, Any]:
    """Read back the ``config.yaml`` of a run folder.

    Raises:
        UserError: It is missing or damaged.
    """
    path = out / "config.yaml"
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except (FileNotFoundError, UnicodeDecodeError, yaml.YAMLError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{path} is missing or damaged; restore it from a copy, or begin again with another --out.")
    return found


def recipe_of(out: Path) -> Recipe:
    """Return the recipe of a run folder, with all its settings.

    Raises:
        UserError: Its ``config.yaml`` is missing or damaged, or holds a setting that this version does not know.
    """
    settings = read_settings(out)
    return Recipe(str(settings.pop("recipe", ""))).with_settings(**settings)


def settings_of(model: str | Path) -> dict[str, Any]:
    """Return the settings of the run that a model folder lies in; {} for any other model."""
    run = Path(model).resolve().parent.parent
    return read_settings(run) if (run / "run.json").is_file() and Path(model).is_dir() else {}


def relative(path: str | Path | None, out: Path) -> str | None:
    """Return a path relative to the run folder; a name that is no path stays as it is."""
    if path is None or str(path) == "demo" or not Path(path).exists():
        return None if path is None else str(path)
    return os.path.relpath(Path(path).resolve(), out.resolve())


def portable(recipe: Recipe) -> Recipe:
    """Return a recipe that names no absolute path, since a run folder holds none: they become relative to here."""
    judge = recipe.mining.cross_encoder
    if judge is None or not Path(judge).is_absolute() or not Path(judge).exists():
        return recipe
    return replace(recipe, mining=replace(recipe.mining, cross_encoder=os.path.relpath(judge)))


def resolve(name: str, out: Path) -> str:
    """Turn what :func:`relative` wrote back into a path, or a name."""
    path = out / name
    return str(path) if path.exists() else name


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


def held_out(recipe: Recipe, collection: Collection) -> tuple[Recipe, Collection]:
    """Return a recipe and its collection with the same queries held out: what one of them sets, the other gets.

    Raises:
        UserError: They differ, or it cannot be held out.
    """
    if recipe.episode.hold_out is None and collection.hold_out is not None:
        return recipe.with_settings(hold_out=collection.hold_out), collection
    return recipe, collection.held_out(recipe.episode.hold_out)
