"""Dense retrieval: one encoder over one corpus, whose vectors are encoded on first use and searched exactly."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ance_tele.console.errors import UserError
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.checkpoint import Checkpoint, TokenizedCollection
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.corpus import encode_corpus, encode_many
from ance_tele.encode.encoder import text_format, tokenizer_of
from ance_tele.encode.inference import encode_texts
from ance_tele.encode.several import vectors_each
from ance_tele.encode.vectors import Vectors
from ance_tele.engine.executor import IN_PROCESS, Executor
from ance_tele.search.grid import grid_topk
from ance_tele.search.several import several_topk
from ance_tele.search.topk import TopK, exact_topk
from ance_tele.store.files import remove

# A search function such as exact_topk: (queries, vectors, k, id_rank=, device=, what=).
Search = Callable[..., TopK]


class DenseRetriever:
    """One encoder over the corpus of one collection, with tokens for that encoder.

    Corpus vectors are given, or encoded into ``folder``, where existing shards of the same encoder are reused.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokens: TokenizedCollection,
        config: EncoderConfig,
        folder: Path,
        vectors: Vectors | None = None,
        executor: Executor = IN_PROCESS,
    ) -> None:
        self.checkpoint, self.tokens, self.config, self.folder = checkpoint, tokens, config, folder
        self.executor = executor
        self._vectors = vectors

    @property
    def key(self) -> dict[str, Any]:
        """What decides its results: weights, tokens, precision."""
        return {
            "weights": self.checkpoint.weights,
            "passages": self.tokens.passages.key,
            "queries": self.tokens.queries.key,
            "precision": self.config.precision,
            "encode_tokens": self.config.encode_tokens,
        }

    @property
    def vectors(self) -> Vectors:
        """Vectors of the corpus; missing shards are encoded now."""
        if self._vectors is None:
            model, tokens = self.checkpoint.model, self.tokens.passages
            with self.checkpoint.explained():
                weights, name = self.checkpoint.weights, self.checkpoint.name
                self._vectors = encode_corpus(
                    model, tokens, "document", self.config, self.folder, weights, name=name, executor=self.executor
                )
        return self._vectors

    @property
    def each(self) -> int:
        """Vectors of a passage."""
        return vectors_each(self.checkpoint.model)

    @property
    def encoding_seconds(self) -> float | None:
        """How long encoding the corpus has taken; None where that was not necessary yet."""
        return None if self._vectors is None else self._vectors.seconds / self.executor.workers

    def encode_queries(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of queries, given by row, float32 [n, dimension]."""
        with self.checkpoint.explained():
            model, tokens, weights = self.checkpoint.model, self.tokens.queries, self.checkpoint.weights
            name, executor = self.checkpoint.name, self.executor
            return encode_many(model, tokens, rows, "query", self.config, self.folder, weights, name, executor)

    def encode_passages(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of a few passages, given by row, float32 [n, dimension]; the corpus is not encoded."""
        with self.checkpoint.explained():
            return encode_texts(self.checkpoint.model, self.tokens.passages, rows, "document", self.config)

    def search(self, queries: np.ndarray, depth: int, what: str = "searching") -> TopK:
        """Return the best passages of queries, given by row; see :class:`ance_tele.search.retriever.Retriever`."""
        return self.nearest(self.encode_queries(queries), depth, what)

    def nearest(self, queries: np.ndarray, depth: int, what: str = "searching", search: Search = exact_topk) -> TopK:
        """Return the passages whose vectors are nearest to those of queries or passages, float32 [n, dimension].

        Where passages have several vectors, that is by the largest product of any two; a passage's are one row.

        Raises:
            UserError: Passages have several vectors, and the search is approximate.
        """
        rank, device, each = self.tokens.collection.corpus.id_rank, self.checkpoint.device, self.each

        def find(queries: np.ndarray, vectors: Vectors, k: int, rank: np.ndarray) -> TopK:
            if search is exact_topk:
                return grid_topk(queries, vectors, k, rank, device, what, self.executor, self.folder)
            return search(queries, vectors, k, id_rank=rank, device=device, what=what)

        if each == 1:
            return find(queries, self.vectors, depth, rank)
        if search is not exact_topk:
            raise UserError(
                f"The model has {each} vectors a passage, which are searched exactly; set search to exact, or "
                "passage_vectors to 1."
            )
        return several_topk(find, queries, self.vectors, depth, rank, each)

    def ask(self, words: str, k: int) -> TopK:
        """Return the k best passages for a text: a TopK with one row."""
        model = self.checkpoint.model
        form = text_format(model, self.config, "query")
        ids = tokenizer_of(model, "query")(form.render([""], [words]), truncation=True, max_length=form.max_length)
        with self.checkpoint.explained():
            store = TokenStore.from_lists(ids["input_ids"])
            return self.nearest(encode_texts(model, store, np.array([0]), "query", self.config), k)

    def close(self, keep_vectors: bool) -> None:
        """Free the model's memory; remove the corpus vectors unless ``keep_vectors``."""
        self.checkpoint.release()
        self.executor.close()
        self._vectors = None
        if not keep_vectors:
            remove(self.folder)
