"""Checkpoints: encoders, loaded on first use, with fingerprints of their weights; the tokens of a collection."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

from ance_tele.console.errors import NotFiniteError, UserError
from ance_tele.console.log import muted
from ance_tele.data.collection import Collection
from ance_tele.data.load import cache_folder
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import tokens_of, weights_fingerprint
from ance_tele.encode.in_use import TEXTS, Task
from ance_tele.encode.loading import load_model

log = logging.getLogger(__name__)


class Checkpoint:
    """An encoder, loaded on first use.

    Args:
        name: Folder or hub name; None for a model without.
        config: Lengths, prompts, pooling.
        weights: Fingerprint of its weights, if known; else computed from the loaded model.
        model: The model, if it is in memory.
        trained: It was trained by this run, so that NaN in its vectors means divergence, not broken files.
        announce: Log on loading where its use differs from what its files declare.

    Raises:
        UserError: On first use, if the model cannot be loaded.
    """

    def __init__(
        self,
        name: str | Path | None,
        config: EncoderConfig,
        weights: str | None = None,
        model: SentenceTransformer | None = None,
        trained: bool = False,
        announce: bool = False,
    ) -> None:
        self.name, self.config, self.trained, self.announce = name, config, trained, announce
        self._weights, self._model, self._loaded = weights, model, False

    @property
    def model(self) -> SentenceTransformer:
        """The loaded model."""
        if self._model is None:
            assert self.name is not None
            with muted(self._loaded or not self.announce):
                self._model = load_model(self.name, self.config)
            self._loaded = True
        return self._model

    @property
    def weights(self) -> str:
        """Fingerprint of its weights."""
        if self._weights is None:
            self._weights = weights_fingerprint(self.model)
        return self._weights

    @property
    def device(self) -> str:
        """Device to search its vectors on: "cpu" or a torch device."""
        device = self.model.device
        return "cpu" if device.type == "cpu" else str(device)

    def take(self) -> SentenceTransformer:
        """Return the model to a caller that will change its weights; the next use loads it again."""
        self.weights  # noqa: B018 (computed before the weights change)
        model, self._model = self.model, None
        return model

    def release(self) -> None:
        """Free the memory of the model if it can be loaded again."""
        if self.name is not None:
            self._model = None

    @contextmanager
    def explained(self) -> Iterator[None]:
        """On NaN or infinite vectors of a model that was not trained here, name the tensor that causes them."""
        try:
            yield
        except NotFiniteError as error:
            if self.trained:
                raise
            which = f"The model {self.name}" if self.name else "The model"
            wrong = [(key, one) for key, one in self.model.named_parameters() if not torch.isfinite(one).all()]
            if not wrong:
                raise UserError(
                    f"{error.found}, although {which[0].lower()}{which[1:]} holds none in its weights: numbers "
                    "overflow on their way through it; set precision to float32."
                ) from None
            (key, tensor), *others = wrong
            holds = "NaN" if torch.isnan(tensor).any() else "infinite values"
            more = f" and in {len(others):,} more" if others else ""
            raise UserError(
                f"{which} holds {holds} as it was given, in its tensor '{key}'{more}: the file is damaged, or its own "
                "training diverged; take another copy or checkpoint of it."
            ) from None


class TokenizedCollection:
    """Token stores of a collection's queries and passages, made on first use and kept in the folder ``cache``.

    All checkpoints of a run share a tokenizer; ``checkpoint`` is any of them, or None if no tokens are needed.
    """

    def __init__(
        self, checkpoint: Checkpoint | None, collection: Collection, config: EncoderConfig, cache: Path | None = None
    ) -> None:
        self._checkpoint, self.collection, self._config = checkpoint, collection, config
        self._cache = cache or cache_folder()

    @cached_property
    def queries(self) -> TokenStore:
        """Tokens of all queries."""
        return self._tokens("query")

    @cached_property
    def passages(self) -> TokenStore:
        """Tokens of the corpus."""
        return self._tokens("document")

    def _tokens(self, task: Task) -> TokenStore:
        assert self._checkpoint is not None, "tokens of no model"
        texts = self.collection.corpus if task == "document" else self.collection.queries
        source = self.collection.texts_of(TEXTS[task])
        store = tokens_of(self._checkpoint.model, self._config, task, texts, self._cache, source)
        if self._checkpoint.announce and store.cut is not None and store.cut.cut:
            log.info(store.cut.line(TEXTS[task]))
        return store
