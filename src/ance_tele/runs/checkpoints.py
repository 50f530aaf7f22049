"""The models of the checkpoints, their tokens, vectors and searches.

Checkpoint 0 is the model as it was given; checkpoint i is what episode i has trained. A checkpoint's corpus
vectors are encoded once and serve its evaluation and the mining of the next episode.
"""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ance_tele.console.log import muted
from ance_tele.data.collection import Collection
from ance_tele.data.detection import Detected, detect, sample
from ance_tele.data.review import Review
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.search.approximate import approximate_topk
from ance_tele.search.topk import TopK, exact_topk
from ance_tele.settings import Recipe
from ance_tele.store.artefacts import read_manifest, remove

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from ance_tele.encode.vectors import Vectors

log = logging.getLogger(__name__)


class Checkpoints:
    """Models, tokens, vectors and searches of one run folder.

    Args:
        recipe: What to do.
        collection: On which data.
        model: Folder or hub name of the model to start from; None for recipes without a model.
        out: The run folder.
        cache: Folder for the token stores.
        review: What people found of passages; None without.
        announce: Log what is worth knowing of the start and of its texts: for whoever begins a run, not for who comes
            back to it.
    """

    def __init__(
        self,
        recipe: Recipe,
        collection: Collection,
        model: str | Path | None,
        out: Path,
        cache: Path,
        review: Review | None = None,
        announce: bool = False,
    ) -> None:
        self.recipe, self.collection, self.model = recipe, collection, model
        self.out, self.cache, self.review = out, cache, review
        self._announce = announce
        self._held: tuple[int, SentenceTransformer] | None = None
        self._described = False  # what the start declares is logged once

    def folder(self, checkpoint: int) -> Path:
        """Return the folder of a checkpoint: ``episode-N``."""
        return self.out / f"episode-{checkpoint}"

    def load(self, checkpoint: int) -> "SentenceTransformer":
        """Return the model of a checkpoint; the one last used is kept in memory."""
        if self._held is None or self._held[0] != checkpoint:
            self._held = (checkpoint, self._fresh(checkpoint))
        return self._held[1]

    def _fresh(self, checkpoint: int) -> "SentenceTransformer":
        from ance_tele.encode.loading import load_model

        assert self.model is not None
        if checkpoint:
            with muted():
                return load_model(self.folder(checkpoint) / "model", self.encoder)
        described, self._described = self._described, True
        with muted(described or not self._announce):
            return load_model(self.model, self.encoder)

    @cached_property
    def encoder(self) -> EncoderConfig:
        """How texts become vectors: as the recipe says; one instruction that all training queries have is the prompt.

        So it is the trained model's, and what is asked of it gets it too.
        """
        config, prompts = self.recipe.encoder, getattr(self.collection.queries, "prompts", None)
        if prompts is None or config.query_prompt is not None or "train" not in self.collection.qrels:
            return config
        distinct = prompts.take(pa.array(self.collection.qrels["train"].queries)).fill_null("").unique().to_pylist()
        if len(distinct) != 1 or not distinct[0]:
            return config
        self._log_start(
            f"all training queries have one instruction ({distinct[0]!r}): it is the model's prompt for queries"
        )
        return replace(config, query_prompt=distinct[0])

    def _log_start(self, line: str) -> None:
        if self._announce:
            log.info(line)

    def trained(self, checkpoint: int) -> bool:
        """Say whether a checkpoint's model stands."""
        return read_manifest(self.folder(checkpoint) / "model") is not None

    def weights(self, checkpoint: int) -> str:
        """Return the fingerprint of a checkpoint's weights."""
        if checkpoint == 0:
            return self._start_weights
        manifest = read_manifest(self.folder(checkpoint) / "model")
        assert manifest is not None, "a checkpoint is used before it is trained"
        return str(manifest.facts["weights"])

    @cached_property
    def _start_weights(self) -> str:
        from ance_tele.encode.adapters import check_trainable
        from ance_tele.encode.encoder import emulated_bf16, weights_fingerprint

        model = self.load(0)
        if self.recipe.episode.episodes and (frozen := check_trainable(model, str(self.model))):
            self._log_start(frozen)
        asked = "bf16" in (self.recipe.encoder.precision, self.recipe.training.train_precision)
        if asked and (warning := emulated_bf16(model.device)):
            self._log_start(warning)
        return weights_fingerprint(model)

    @cached_property
    def passages(self) -> TokenStore:
        """Tokens of the corpus."""
        return self._tokens("document")

    @cached_property
    def queries(self) -> TokenStore:
        """Tokens of all queries."""
        return self._tokens("query")

    def _tokens(self, task: Any) -> TokenStore:
        from ance_tele.encode.encoder import tokens_of
        from ance_tele.encode.lengths import TEXTS

        # Training leaves the tokenizer as it is, so any checkpoint's will do.
        model = self._held[1] if self._held else self.load(0)
        texts = self.collection.corpus if task == "document" else self.collection.queries
        store = tokens_of(model, self.recipe.encoder, task, texts, self.cache, self.collection.texts)
        if store.cut is not None and store.cut.cut:
            self._log_start(store.cut.line(TEXTS[task]))
        return store

    def encoding(self, checkpoint: int) -> dict[str, Any]:
        """Return what decides a checkpoint's vectors, for the manifests of what is made of them."""
        config = self.recipe.encoder
        return {
            "weights": self.weights(checkpoint),
            "passages": self.passages.key,
            "queries": self.queries.key,
            "precision": config.precision,
            "encode_tokens": config.encode_tokens,
        }

    @contextmanager
    def explained(self, checkpoint: int) -> Iterator[None]:
        """Explain vectors that are no numbers: training has diverged, or the model was given so."""
        if checkpoint:
            yield
            return
        from ance_tele.encode.finite import as_given

        with as_given(self.load(0), self.model):
            yield

    def vectors(self, checkpoint: int) -> "Vectors":
        """Return the corpus vectors of a checkpoint, encoding the shards that do not stand."""
        from ance_tele.encode.vectors import encode_corpus

        folder, weights = self.folder(checkpoint) / "vectors", self.weights(checkpoint)
        model = self.load(checkpoint)
        with self.explained(checkpoint):
            return encode_corpus(model, self.passages, "document", self.recipe.encoder, folder, weights)

    def query_vectors(self, checkpoint: int, rows: np.ndarray) -> np.ndarray:
        """Encode queries, given by row, with a checkpoint: float32 [n, dimension]."""
        from ance_tele.encode.rows import encode_rows

        with self.explained(checkpoint):
            return encode_rows(self.load(checkpoint), self.queries, rows, "query", self.recipe.encoder)

    def few_vectors(self, checkpoint: int, queries: np.ndarray, passages: np.ndarray) -> np.ndarray:
        """Encode a few queries, then passages, given by row, with a checkpoint: float32 [n, dimension]."""
        from ance_tele.encode.rows import encode_rows

        model, config = self.load(checkpoint), self.recipe.encoder
        with self.explained(checkpoint):
            asked = encode_rows(model, self.queries, queries, "query", config)
            return np.concatenate([asked, encode_rows(model, self.passages, passages, "document", config)])

    def nearest(self, checkpoint: int, asked: np.ndarray, depth: int, what: str, mining: bool = False) -> TopK:
        """Search the corpus under a checkpoint for vectors, float32 [n, dimension]; exactly unless it is mining."""
        config, vectors, rank = self.recipe.mining, self.vectors(checkpoint), self.collection.corpus.id_rank
        device = self.device(checkpoint)
        if not mining or config.search == "exact":
            return exact_topk(asked, vectors, depth, rank, device, what=what)
        return approximate_topk(asked, vectors, depth, rank, config.search_probes, device, what=what)

    def device(self, checkpoint: int) -> str:
        """Return where the vectors of a checkpoint are searched: "cpu" or a torch device."""
        device = self.load(checkpoint).device
        return "cpu" if device.type == "cpu" else str(device)

    def search(self, checkpoint: int, rows: np.ndarray, depth: int, task: Any, what: str, mining: bool = False) -> TopK:
        """Search the corpus for queries, or for passages (``task`` "document"), given by row."""
        vectors = self.vectors(checkpoint)
        asked = vectors.take(rows) if task == "document" else self.query_vectors(checkpoint, rows)
        return self.nearest(checkpoint, asked, depth, what, mining)

    def bm25(self, queries: np.ndarray, depth: int) -> TopK:
        """Search the corpus for queries, given by row, with BM25."""
        texts = self.collection.queries.table["text"].take(queries).to_pylist()
        return self._bm25_index.search(texts, depth, self.collection.corpus.id_rank)

    @cached_property
    def language(self) -> Detected:
        """The language that BM25 takes the texts for: as set, or as detected in passages and queries."""
        from ance_tele.search.terms import describe

        code = self.recipe.evaluation.language
        detected, language = code == "auto", Detected(code)
        if detected:
            language = detect([*sample(self.collection.corpus), *sample(self.collection.queries)])
        log.info(f"BM25: {language.named(detected)}, {describe(language.code)}")
        return language

    @property
    def lexical(self) -> dict[str, Any]:
        """Return what decides BM25's results, for the manifests of what is made of them."""
        from ance_tele.search.terms import VERSION

        return {"language": self.language.code, "terms": VERSION}

    @cached_property
    def _bm25_index(self) -> Any:
        from ance_tele.search.bm25 import BM25

        return BM25(self.collection.corpus, self.language.code)

    def drop(self, checkpoint: int) -> None:
        """Remove what nothing will read any more of a checkpoint: its vectors, unless they are to be kept."""
        if not self.recipe.episode.keep_vectors:
            remove(self.folder(checkpoint) / "vectors")


def hash_of(array: np.ndarray) -> str:
    """Return the sha-256 (hex) of an integer array."""
    return hashlib.sha256(np.ascontiguousarray(array, dtype=np.int64).tobytes()).hexdigest()
