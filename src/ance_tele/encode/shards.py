"""The unit of encoding: a run of texts to a shard of vectors, wherever it is done."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from ance_tele.console.log import muted
from ance_tele.console.progress import Advance
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.in_use import Task
from ance_tele.encode.inference import encode_texts
from ance_tele.encode.loading import load_model
from ance_tele.encode.precision import resolve_precision
from ance_tele.engine.work import Facts, Unit, Work
from ance_tele.store.artefacts import build
from ance_tele.store.tables import write_array

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncodeJob:
    """Texts of a token store to shards of vectors; a unit is the number of a shard, its first row, and the row after.

    Attributes:
        model: Folder or hub name of the encoder; None where there is none, and no other process can load it.
        weights: Fingerprint of its weights.
        tokens: Folder of the token store; None where it is in memory alone.
        key: Of the token store.
        task: "query" or "document".
        config: Settings of the encoder.
        precision: In which it encodes, "auto" resolved.
        folder: Where the shards belong.
        what: What the texts are; the shards are named by it.
        rows: A file with the rows to encode, int64; None for all texts in order.
        rows_key: Fingerprint of those rows.
    """

    model: str | None
    weights: str
    tokens: str | None
    key: str
    task: Task
    config: dict[str, Any]
    precision: str
    folder: str
    what: str
    rows: str | None = None
    rows_key: str | None = None
    _held: tuple[SentenceTransformer, TokenStore] | None = field(default=None, compare=False)
    _advance: Advance = field(default=lambda texts: None, compare=False)

    @classmethod
    def of(
        cls,
        model: SentenceTransformer,
        tokens: TokenStore,
        task: Task,
        config: EncoderConfig,
        folder: Path,
        weights: str,
        what: str,
        name: str | Path | None,
    ) -> "EncodeJob":
        """Return the job of a model that is loaded already, so that it is not loaded again in this process."""
        return cls(
            None if name is None else located(name),
            weights,
            None if tokens.folder is None else str(tokens.folder.resolve()),
            tokens.key,
            task,
            dict(vars(config)),
            resolve_precision(config.precision, model.device),
            str(folder.resolve()),
            what,
            _held=(model, tokens),
        )

    @property
    def portable(self) -> bool:
        """Whether another process can do its units: model and tokens lie on disk."""
        return self.model is not None and self.tokens is not None

    def path(self, unit: Unit) -> Path:
        """Return where the shard of a unit belongs."""
        return Path(self.folder) / f"{self.what}-{unit[0]:05d}.npy"

    def inputs(self, unit: Unit | None) -> dict[str, Any]:
        """Return what decides the content of a unit's shard; without the rows, that of all."""
        inputs = {
            "weights": self.weights,
            "tokens": self.key,
            "task": self.task,
            "precision": self.precision,
            "batch_tokens": self.config["encode_tokens"],
        }
        if self.rows_key is not None:
            inputs["of"] = self.rows_key
        return inputs if unit is None else {**inputs, "rows": [unit[1], unit[2] - unit[1]]}

    def open(self) -> Work:
        """Load the encoder, unless it is at hand; return what encodes a shard."""
        config = EncoderConfig(**{**self.config, "precision": self.precision})
        if self._held is not None:
            model, tokens = self._held
        else:
            assert self.model is not None and self.tokens is not None
            with muted():
                model = load_model(self.model, config)
            tokens = TokenStore.open(Path(self.tokens), self.key)
        chosen = None if self.rows is None else np.load(self.rows, mmap_mode="r")
        again = False

        def work(unit: Unit) -> Facts:
            nonlocal again

            def make(target: Path) -> None:
                rows = np.arange(*unit[1:]) if chosen is None else np.asarray(chosen[slice(*unit[1:])])
                write_array(target, encode_texts(model, tokens, rows, self.task, config, self._advance))

            with muted(again):  # why one shard is made again is why all are
                manifest = build(self.path(unit), "vectors", self.inputs(unit), make)
            again = again or not manifest.reused
            return {"seconds": manifest.seconds}

        return work


def shards_of(texts: int, each: int) -> list[Unit]:
    """Return the units of so many texts: number, first row, row after the last of each shard; one at least.

    Example:
        >>> shards_of(5, 2)
        [(0, 0, 2), (1, 2, 4), (2, 4, 5)]
    """
    starts = range(0, max(1, texts), each)
    return [(number, start, min(start + each, texts)) for number, start in enumerate(starts)]


def located(name: str | Path) -> str:
    """Return a folder as an absolute path, so that it is found from anywhere; a hub name as it is."""
    return str(Path(name).resolve()) if Path(name).exists() else str(name)
