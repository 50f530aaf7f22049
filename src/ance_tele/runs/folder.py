"""The run folder: where things lie in it, whose it is, and how it is opened again."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ance_tele.console.errors import UserError
from ance_tele.console.log import muted
from ance_tele.data.collection import Collection
from ance_tele.data.load import load_collection
from ance_tele.data.review import Review, load_review, write_review
from ance_tele.settings import Recipe
from ance_tele.store.files import atomic, lock, read_json, write_json
from ance_tele.store.manifests import SCHEMA, read_manifest

if TYPE_CHECKING:
    from ance_tele.encode.checkpoint import Checkpoint
    from ance_tele.search.dense import DenseRetriever
    from ance_tele.search.scorer import CrossEncoderScorer

# Settings that change no number of the result, and so may differ when a run is resumed; of the cross-encoder, it is
# the weights that may not.
FREE_SETTINGS = ("cross_encoder", "keep_vectors", "report_to", "save_steps", "shard_passages", "watch_lookahead")

# What a run keeps of its review, which may be written on where it lies: the pairs called relevant.
REVIEW = "given_review.csv"


@dataclass(frozen=True)
class RunFolder:
    """A run folder: ``episode-N`` of each checkpoint, ``bm25``, ``final``."""

    path: Path

    def checkpoint(self, number: int) -> Path:
        """Return the folder of a checkpoint: 0 is the model as it was given, N what episode N has trained."""
        return self.path / f"episode-{number}"

    def weights(self, number: int) -> str | None:
        """Return the fingerprint of the weights that an episode has trained; None where it has not."""
        manifest = read_manifest(self.checkpoint(number) / "model")
        return None if manifest is None else str(manifest.facts["weights"])


@dataclass(frozen=True)
class Episode:
    """One episode of a run.

    Attributes:
        number: Counted from 1; one more than there are episodes stands for the search that looks back on the last.
        recipe: Of the run.
        folder: Of the run.
    """

    number: int
    recipe: Recipe
    folder: RunFolder

    @property
    def path(self) -> Path:
        """Folder of its candidates, its pool and its checkpoint."""
        return self.folder.checkpoint(self.number)

    @property
    def before(self) -> Path:
        """Folder of the checkpoint that it mines with."""
        return self.folder.checkpoint(self.number - 1)

    @property
    def last(self) -> bool:
        """Whether the run ends with it."""
        return self.number == self.recipe.episode.episodes

    @property
    def after(self) -> "Episode":
        """What comes after it: where it is the last one, the search that looks back on it."""
        return replace(self, number=self.number + 1)

    def start(self, given: "Checkpoint", before: "Checkpoint") -> "Checkpoint":
        """Return what its training starts from: the model as it was given, or the checkpoint before it."""
        return given if self.recipe.episode.restart == "scratch" else before


@contextmanager
def claim(
    folder: RunFolder,
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
    out = folder.path
    out.mkdir(parents=True, exist_ok=True)
    with lock(out / ".lock", lambda: _busy(out)):
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


def _busy(out: Path) -> None:
    raise UserError(f"Another process is at work in {out}; wait for it, or give another --out.")


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


@dataclass(frozen=True)
class OpenedRun:
    """A run and what it was made of.

    Attributes:
        folder: Of the run.
        recipe: With all its settings.
        collection: Its data.
        model: Folder or hub name of the model that it started from; None for a run without one.
        review: The verdicts that it was given; None without.
    """

    folder: RunFolder
    recipe: Recipe
    collection: Collection
    model: str | None
    review: Review | None = None

    @property
    def last(self) -> int:
        """The last checkpoint that is trained; 0 where none is."""
        numbers = range(1, self.recipe.episode.episodes + 1)
        return max((number for number in numbers if self.folder.weights(number)), default=0)

    def retriever(self, number: int, cache: Path | None = None) -> "DenseRetriever":
        """Return the retriever of a checkpoint, over the vectors that the run has kept or that are encoded now."""
        from ance_tele.encode.checkpoint import Checkpoint, TokenizedCollection, with_common_prompt
        from ance_tele.search.dense import DenseRetriever

        name = self.folder.checkpoint(number) / "model" if number else self.model
        with muted():
            config = with_common_prompt(self.recipe.encoder, self.collection)
        checkpoint = Checkpoint(name, config, self.folder.weights(number), trained=number > 0)
        tokens = TokenizedCollection(checkpoint, self.collection, self.recipe.encoder, cache)
        return DenseRetriever(checkpoint, tokens, self.recipe.encoder, self.folder.checkpoint(number) / "vectors")


def open_run(out: Path, data: str | Path | None = None) -> OpenedRun:
    """Open a run folder and the collection it was made of.

    Args:
        out: A run folder.
        data: Where the collection lies now, if it was moved.

    Raises:
        UserError: This is no run folder, or its data is gone or has changed.
    """
    identity, recipe = read_identity(out), recipe_of(out)
    if data is None and identity["data"] is None:
        raise UserError(f"{out} does not say where its data lies; give that with --data.")
    source = data or resolve(identity["data"], out)
    collection = load_collection(source, strict=recipe.episode.strict).held_out(recipe.episode.hold_out)
    if collection.fingerprint != identity["fingerprints"]["data"]:
        raise UserError(f"{source} is not the data that {out} was made of; give that with --data.")
    review = load_review(out / REVIEW, collection, identity["review_as"]) if identity.get("review") else None
    model = identity["model"] and resolve(identity["model"], out)
    return OpenedRun(RunFolder(out), recipe, collection, model, review)


def held_out(recipe: Recipe, collection: Collection) -> tuple[Recipe, Collection]:
    """Return a recipe and its collection with the same queries held out: what one of them sets, the other gets.

    Raises:
        UserError: They differ, or it cannot be held out.
    """
    if recipe.episode.hold_out is None and collection.hold_out is not None:
        return recipe.with_settings(hold_out=collection.hold_out), collection
    return recipe, collection.held_out(recipe.episode.hold_out)


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
