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


def kept_retriever(opened: OpenedRun, number: int, *elsewhere: Place) -> KeptRetriever | None:
    """Return what answers questions with a checkpoint over vectors that the run, or a place elsewhere, has kept.

    None where none are of the checkpoint's weights and the corpus's tokens, or these are not known without loading the
    model.

    Raises:
        UserError: The model of an episode is damaged.
    """
    from ance_tele.encode.question import question_encoder  # loads torch
    from ance_tele.encode.vectors import open_vectors

    weights = opened.known_weights(number)
    encoder = None if weights is None else question_encoder(opened.checkpoint_name(number), opened.encoder_config)
    if weights is None or encoder is None:
        return None
    tokens, corpus = encoder.passages_key(opened.collection.texts), opened.collection.corpus
    own = opened.folder.checkpoint(number) / "vectors"
    for place in (own, *(one(weights, tokens, encoder.precision) for one in elsewhere)):
        if (vectors := open_vectors(place, weights, tokens, len(corpus))) is not None:
            return KeptRetriever(encoder, vectors, corpus.id_rank)
    return None
