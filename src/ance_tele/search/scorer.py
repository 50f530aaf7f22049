"""Scorers of (query, passage) pairs: an encoder, or a cross-encoder."""

from functools import cached_property

import numpy as np
from sentence_transformers import CrossEncoder

from ance_tele.data.collection import Collection
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.cross_encoder import cross_scores, load_cross_encoder
from ance_tele.encode.encoder import weights_fingerprint
from ance_tele.encode.vectors import pair_scores
from ance_tele.search.dense import DenseRetriever
from ance_tele.search.retriever import PairScores


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
    """A cross-encoder, by folder or hub name, loaded on first use."""

    def __init__(self, name: str, config: EncoderConfig, collection: Collection) -> None:
        self._name, self._config, self._collection = name, config, collection

    @cached_property
    def _model(self) -> CrossEncoder:
        return load_cross_encoder(self._name, self._config)

    @cached_property
    def key(self) -> str:
        """Fingerprint of its weights."""
        return weights_fingerprint(self._model)

    def of(self, queries: np.ndarray) -> PairScores:
        """Return the scores of queries; see :class:`ance_tele.search.retriever.Scorer`."""
        texts, corpus = self._collection.queries.table["text"].take(queries), self._collection.corpus
        model, separator = self._model, self._config.title_separator

        def score(positions: np.ndarray, passages: np.ndarray) -> np.ndarray:
            places, offsets = _grouped(positions)
            return cross_scores(model, texts.take(places).to_pylist(), offsets, passages, corpus, separator)

        return score

    def release(self) -> None:
        """Free the memory of the model."""
        vars(self).pop("_model", None)


def _grouped(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct positions, ascending, and the offsets of their pairs, int64 [distinct + 1]."""
    places, starts = np.unique(positions, return_index=True)
    return places, np.append(starts, len(positions))
