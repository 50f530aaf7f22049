"""Acquiring a run folder: recipe, data, model and review are written by a new run and checked by a resumed one."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from ance_tele.console.errors import UserError
from ance_tele.data.review import write_review
from ance_tele.mining.plugins import load_all
from ance_tele.runs.identity import (
    EXPANSIONS,
    FREE_SETTINGS,
    REVIEW,
    model_files,
    read_identity,
    recipe_of,
    relative,
)
from ance_tele.runs.inputs import RunInputs
from ance_tele.runs.train import check_start
from ance_tele.runs.training_set import check_given_negatives
from ance_tele.runs.unlabelled import check_unlabelled
from ance_tele.store.files import atomic, write_json
from ance_tele.store.lock import lock
from ance_tele.store.manifests import SCHEMA, adopt

log = logging.getLogger(__name__)


@contextmanager
def acquire_run_folder(
    inputs: RunInputs, data: str | Path | None, adopted: Mapping[str, Path] | None
) -> Iterator[None]:
    """Lock the run folder while the block runs; settings and data are checked before it is created.

    ``adopted`` are parts of other run folders to begin with, by their name here.

    Raises:
        UserError: Another process holds it, it belongs to another run, or settings and data do not fit.
    """
    recipe, out, review = inputs.recipe, inputs.folder.path, inputs.review
    if review is not None:
        log.info(review.line)
    check_folder(out)
    recipe.check()
    load_all(recipe.mining)
    if recipe.episode.episodes:
        judged, collection = inputs.judged, inputs.collection
        check_given_negatives((judged or collection.split("train")).queries, collection, recipe)
        check_unlabelled(collection, recipe)
        inputs.teacher  # noqa: B018 (refused before the folder is made)
    if inputs.start is not None:
        check_start(inputs.start, recipe)
    out.mkdir(parents=True, exist_ok=True)
    with lock(out / ".lock"):
        identity, settings = _identity(inputs, data), _plain(recipe.settings())
        if (out / "run.json").exists():
            _check_same(out, identity, settings)
        if review is not None:
            write_review(out / REVIEW, review.verdicts)
        text = yaml.safe_dump({"recipe": recipe.name, **settings}, sort_keys=False, allow_unicode=True)
        with atomic(out / "config.yaml") as temporary:
            temporary.write_text("# The resolved settings of this run; give it back with --config.\n" + text, "utf-8")
        write_json(out / "run.json", identity)
        for name, part in (adopted or {}).items():
            adopt(part, out / name)
        yield
        if not (out / "run.json").exists():
            raise UserError(f"{out} was deleted while the run was at work; run the same command again.")


def _identity(inputs: RunInputs, data: str | Path | None) -> dict[str, Any]:
    """Return the content of ``run.json``."""
    recipe, out, start, review = inputs.recipe, inputs.folder.path, inputs.start, inputs.review
    identity: dict[str, Any] = {
        "schema": SCHEMA,
        "recipe": recipe.name,
        "data": relative(data, out),
        "model": None if start is None else relative(start.name, out),
        "fingerprints": {
            "data": inputs.collection.fingerprint,
            "model": None if start is None else start.weights,
            "model_files": None if start is None or start.name is None else model_files(start.name),
        },
    }
    if review is not None:
        identity |= {"review": relative(review.path, out), "review_as": review.uses.relevant}
        others = {"review_doubtful": review.uses.doubtful, "review_irrelevant": review.uses.irrelevant}
        identity |= {name: use for name, use in others.items() if use != "keep"}
        identity["fingerprints"]["review"] = review.fingerprint
    for name, part in EXPANSIONS.items():
        if part in inputs.collection.expansions:
            identity[name] = relative(inputs.collection.expansions[part].path, out)
    if inputs.cross_encoder is not None:
        identity["cross_encoder"] = relative(recipe.mining.cross_encoder, out)
        identity["fingerprints"]["cross_encoder"] = inputs.cross_encoder.key
    if inputs.teacher is not None:
        identity["teacher"] = relative(recipe.teaching.teacher, out)
        identity["fingerprints"]["teacher"] = inputs.teacher.key
    return identity


def check_folder(out: Path) -> None:
    """Refuse a folder that cannot be a run's.

    One that has lost its ``run.json`` goes on: what is made of other inputs is made again in any case.

    Raises:
        UserError: It is a file, or holds something else.
    """
    for path in (out, *out.parents):
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file; --out takes a folder, new or of the same run.")
    if not out.is_dir() or not any(out.iterdir()) or (out / "run.json").exists() or _only_lock(out):
        return
    if any(path for folder in ("episode-*", "bm25") for path in out.glob(f"{folder}/*.manifest.json")):
        log.info(f"{out} has lost its run.json; what is whole in it, and made of the same, is kept")
    else:
        raise UserError(f"{out} is not empty and holds no run; give --out a new folder.")


def _only_lock(out: Path) -> bool:
    return all(
        path.name in ("config.yaml", REVIEW)
        or path.name.startswith((".lock", ".run.json", ".config.yaml", f".{REVIEW}"))
        for path in out.iterdir()
    )


_LONGER = " (with other episodes it is another run: the schedules of training depend on how many there are)"


def _check_same(out: Path, identity: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    before = read_identity(out)
    made = recipe_of(out)
    old = {"recipe": made.name, **_plain(made.settings())}
    differ = [
        f"{name} was {old.get(name)!r}, is {value!r}"
        for name, value in {"recipe": identity["recipe"], **settings}.items()
        if name not in FREE_SETTINGS and old.get(name) != value
    ]
    longer = old.get("episodes") != settings.get("episodes")
    for what in ("data", "model", "review", "cross_encoder", "teacher"):
        if before["fingerprints"].get(what) != identity["fingerprints"].get(what):
            differ.append(f"the {what} was {_named(what, before)}, is {_named(what, identity)}")
    if differ:
        raise UserError(
            f"{out} holds a run of another configuration ({'; '.join(differ)}); give another --out, or the same "
            f"configuration to go on{_LONGER if longer else ''}."
        )


def _named(what: str, identity: Mapping[str, Any]) -> str:
    """Describe the data, model or review of a run folder in an error."""
    if what in ("review", "cross_encoder", "teacher") and what not in identity:
        return "none"
    use = f" as {identity['review_as']}" if what == "review" else ""
    return f"{identity[what]}{use} ({str(identity['fingerprints'][what])[:12]})"


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
