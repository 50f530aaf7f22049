"""The layout of a run folder, its episodes, and opening a run again."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ance_tele.console.errors import UserError
from ance_tele.console.log import muted
from ance_tele.data.collection import Collection
from ance_tele.data.reviewed import Review, load_review
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.prompts import with_common_prompt
from ance_tele.runs.identity import (
    EXPANSIONS,
    REVIEW,
    collection_for,
    model_files,
    read_identity,
    recipe_of,
    resolve,
    review_use,
)
from ance_tele.settings import Recipe
from ance_tele.store.artefacts import check_whole
from ance_tele.store.manifests import manifest_path, read_manifest

if TYPE_CHECKING:
    from ance_tele.encode.checkpoint import Checkpoint
    from ance_tele.search.dense import DenseRetriever


AGAIN = "restore it from a copy, or run the command that made it again"


@dataclass(frozen=True)
class RunFolder:
    """A run folder: ``episode-N`` of each checkpoint, ``bm25``, ``final``, ``beside``."""

    path: Path

    def checkpoint(self, number: int) -> Path:
        """Return the folder of a checkpoint: 0 is the initial model, N that of episode N."""
        return self.path / f"episode-{number}"

    def given(self, name: str) -> Path:
        """Return the folder of a given run of another system: a folder for each split."""
        return self.path / "beside" / name

    def weights(self, number: int) -> str | None:
        """Return the fingerprint of the weights that an episode has trained; None where it has not.

        Raises:
            UserError: The model is damaged.
        """
        path = self.checkpoint(number) / "model"
        manifest = read_manifest(path)
        if manifest is not None:
            return str(manifest.facts["weights"])
        if path.exists() or manifest_path(path).exists():
            raise UserError(f"{path} is damaged: files of it, or its manifest, are gone or were changed; {AGAIN}.")
        return None


@dataclass(frozen=True)
class Episode:
    """One episode of a run, from 1; the number after the last stands for the final search."""

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
        """Whether it is the last episode."""
        return self.number == self.recipe.episode.episodes

    @property
    def after(self) -> "Episode":
        """The next episode; after the last one, the final search for learned and forgotten queries."""
        return replace(self, number=self.number + 1)

    def start(self, given: "Checkpoint", before: "Checkpoint") -> "Checkpoint":
        """Return the checkpoint that its training starts from: the initial model, or the previous checkpoint."""
        return given if self.recipe.episode.restart == "scratch" else before


@dataclass(frozen=True)
class OpenedRun:
    """A run with recipe and collection; ``model`` is a folder or hub name, None without a model."""

    folder: RunFolder
    recipe: Recipe
    collection: Collection
    model: str | None
    review: Review | None = None

    @property
    def last(self) -> int:
        """The last trained checkpoint; 0 without training."""
        numbers = range(1, self.recipe.episode.episodes + 1)
        return max((number for number in numbers if self.folder.weights(number)), default=0)

    @property
    def encoder_config(self) -> EncoderConfig:
        """Settings of the encoder, with the prompt of the data."""
        with muted():
            return with_common_prompt(self.recipe.encoder, self.collection)

    def checkpoint_name(self, number: int) -> str | Path:
        """Return the folder or hub name of a checkpoint's model.

        Raises:
            UserError: The model of an episode is damaged.
        """
        if not number:
            assert self.model is not None, "a run without a model"
            return self.model
        path = self.folder.checkpoint(number) / "model"
        if (manifest := read_manifest(path)) is not None:
            check_whole(path, manifest)
        return path

    def known_weights(self, number: int) -> str | None:
        """Return the fingerprint of a checkpoint's weights, as far as it is known without loading the model.

        That of the initial model is, if its files are those that the run began with.

        Raises:
            UserError: The model of an episode is damaged.
        """
        if number or self.model is None:
            return self.folder.weights(number) if number else None
        known = read_identity(self.folder.path)["fingerprints"]
        files = model_files(self.model)
        return known["model"] if files is not None and files == known.get("model_files") else None

    def retriever(self, number: int, cache: Path | None = None) -> "DenseRetriever":
        """Return the retriever of a checkpoint; vectors that were not kept are encoded."""
        from ance_tele.encode.checkpoint import Checkpoint, TokenizedCollection
        from ance_tele.search.dense import DenseRetriever

        name = None if number == 0 and self.model is None else self.checkpoint_name(number)
        checkpoint = Checkpoint(name, self.encoder_config, self.folder.weights(number), trained=number > 0)
        tokens = TokenizedCollection(checkpoint, self.collection, self.recipe.encoder, cache)
        return DenseRetriever(checkpoint, tokens, self.recipe.encoder, self.folder.checkpoint(number) / "vectors")


def open_run(out: Path, data: str | Path | None = None) -> OpenedRun:
    """Open a run folder and its collection, which is in ``data`` if it was moved.

    Raises:
        UserError: This is no run folder, or its data is gone or has changed.
    """
    identity, recipe = read_identity(out), recipe_of(out)
    if data is None and identity["data"] is None:
        raise UserError(f"{out} does not say where its data lies; give that with --data.")
    source = data or resolve(identity["data"], out)
    terms = {name: resolve(identity[name], out) for name in EXPANSIONS if identity.get(name) is not None}
    recipe = recipe.with_settings(**terms) if terms else recipe
    collection = collection_for(recipe, source)
    if collection.fingerprint != identity["fingerprints"]["data"]:
        where = os.path.normpath(source)
        raise UserError(f"{where} is not the data that {out} was made of; give that with --data.")
    review = load_review(out / REVIEW, collection, review_use(identity)) if identity.get("review") else None
    model = identity["model"] and resolve(identity["model"], out)
    return OpenedRun(RunFolder(out), recipe, collection, model, review)
