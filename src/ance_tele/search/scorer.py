"""Scorers of (query, passage) pairs: an encoder, or a cross-encoder."""

from functools import cached_property
from typing import Any

import numpy as np
from sentence_transformers import CrossEncoder

from ance_tele.console.progress import Advance
from ance_tele.data.collection import Collection
from ance_tele.data.text_format import tokenizer_fingerprint
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.cross_encoder import activated, cross_logits, cross_scores, load_cross_encoder
from ance_tele.encode.encoder import weights_fingerprint
from ance_tele.encode.precision import resolve_precision
from ance_tele.encode.vectors import pair_scores
from ance_tele.search.dense import DenseRetriever
from ance_tele.search.retriever import PairScores
from ance_tele.store.fingerprints import fingerprint


class DenseScorer:
    """Dot products of an encoder."""

    key = None

    def __init__(self, retriever: DenseRetriever) -> None:
        self._retriever = retriever

    def of(self, queries: np.ndarray) -> PairScores:
        """Return the scores of queries; see :class:`ance_tele.search.retriever.Scorer`."""
        query_vectors, vectors = self._retriever.encode_queries(queries), self._retriever.vectors

        def score(positions: np.ndarray, passages: np.ndarray) -> np.ndarray:
            places, offsets = _grouped(positions)
            return pair_scores(query_vectors[places], vectors, offsets, passages)

        return score


class CrossEncoderScorer:
    """A cross-encoder, by folder or hub name and loaded on first use, or in memory."""

    def __init__(self, name: str | CrossEncoder, config: EncoderConfig, collection: Collection) -> None:
        self.name, self.config, self.collection = name, config, collection

    @cached_property
    def _model(self) -> CrossEncoder:
        return load_cross_encoder(self.name, self.config) if isinstance(self.name, str) else self.name

    @cached_property
    def key(self) -> str:
        """Fingerprint of its weights."""
        return weights_fingerprint(self._model)

    @cached_property
    def reads(self) -> dict[str, Any]:
        """Everything that decides its logits: weights, and how it reads pairs; for manifests."""
        model = self._model
        how = [tokenizer_fingerprint(model.tokenizer), model.max_seq_length, self.config.title_separator]
        precision = resolve_precision(self.config.precision, model.device)
        return {"teacher": self.key, "reads": fingerprint(how), "precision": precision}

    def of(self, queries: np.ndarray) -> PairScores:
        """Return the scores of queries; see :class:`ance_tele.search.retriever.Scorer`."""
        texts, corpus = self.collection.queries.table["text"].take(queries), self.collection.corpus
        model, separator = self._model, self.config.title_separator

        def score(positions: np.ndarray, passages: np.ndarray) -> np.ndarray:
            places, offsets = _grouped(positions)
            return cross_scores(model, texts.take(places).to_pylist(), offsets, passages, corpus, separator)

        return score

    def logits(self, queries: np.ndarray, offsets: np.ndarray, passages: np.ndarray, advance: Advance) -> np.ndarray:
        """Return the logits of passages, rows of the corpus, with their queries, rows of the collection: float32 [n].

        The passages of ``queries[i]`` are ``offsets[i]:offsets[i + 1]``; in the precision of the encoder's settings.
        """
        texts, corpus = self.collection.queries.table["text"].take(queries).to_pylist(), self.collection.corpus
        config = self.config
        given = (self._model, texts, offsets, passages, corpus, config.title_separator)
        return cross_logits(*given, config.precision, advance)

    def take(self) -> CrossEncoder:
        """Return the model to a caller that will change its weights; the next use loads it again."""
        self.reads  # noqa: B018 (computed before the weights change)
        model = self._model
        self.release()
        return model

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return the scores that logits are by the model's own activation, float32 [n]."""
        return activated(self._model, logits)

    def release(self) -> None:
        """Free the memory of the model."""
        vars(self).pop("_model", None)


def _grouped(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct positions, ascending, and the offsets of their pairs, int64 [distinct + 1]."""
    places, starts = np.unique(positions, return_index=True)
    return places, np.append(starts, len(positions))
