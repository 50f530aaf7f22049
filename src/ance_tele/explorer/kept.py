"""Questions to a checkpoint whose vectors were kept, without loading its model by sentence-transformers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ance_tele.runs.folder import OpenedRun

if TYPE_CHECKING:
    from ance_tele.encode.question import QuestionEncoder
    from ance_tele.encode.vectors import Vectors
    from ance_tele.search.topk import TopK

# Where vectors may lie: fingerprint of the weights, key of the tokens, and precision, to a folder.
Place = Callable[[str, str, str], Path]


@dataclass(frozen=True)
class KeptRetriever:
    """An encoder of queries over vectors of the corpus; ``id_rank`` is the rank of each row's id, int64 [rows]."""

    encoder: "QuestionEncoder"
    vectors: "Vectors"
    id_rank: np.ndarray

    def ask(self, words: str, k: int) -> "TopK":
        """Return the k best passages for a text: a TopK with one row."""
        from ance_tele.search.topk import exact_topk

        return exact_topk(self.encoder(words), self.vectors, k, self.id_rank)


@dataclass(frozen=True)
class KnownCheckpoint:
    """A checkpoint whose queries can be encoded without loading its model.

    Attributes:
        encoder: Of its queries.
        weights: Fingerprint of its weights.
        tokens: Key of the corpus's tokens, as its tokenizer.json and its declarations have it.
    """

    encoder: "QuestionEncoder"
    weights: str
    tokens: str

    @classmethod
    def of(cls, opened: OpenedRun, number: int) -> "KnownCheckpoint | None":
        """Return a checkpoint of a run; None where its model has to be loaded.

        Raises:
            UserError: The model of an episode is damaged.
        """
        from ance_tele.encode.question import question_encoder  # loads torch

        weights = opened.known_weights(number)
        encoder = None if weights is None else question_encoder(opened.checkpoint_name(number), opened.encoder_config)
        if weights is None or encoder is None:
            return None
        return cls(encoder, weights, encoder.passages_key(opened.collection.texts_of("passages")))

    def over(self, opened: OpenedRun, number: int, *elsewhere: Place) -> KeptRetriever | None:
        """Return what answers over vectors that the run, or a place elsewhere, has kept of this checkpoint.

        None where there are none of these weights and tokens; of any precision.
        """
        from ance_tele.encode.vectors import open_vectors

        corpus, own = opened.collection.corpus, opened.folder.checkpoint(number) / "vectors"
        for place in (own, *(one(self.weights, self.tokens, self.encoder.precision) for one in elsewhere)):
            if (vectors := open_vectors(place, self.weights, self.tokens, len(corpus))) is not None:
                return KeptRetriever(self.encoder, vectors, corpus.id_rank)
        return None
