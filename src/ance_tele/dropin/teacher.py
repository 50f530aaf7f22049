"""A teacher's scores of what a trainer reads: the logits of a cross-encoder, as labels."""

import numpy as np
from sentence_transformers import CrossEncoder

from ance_tele.data.ragged import owners
from ance_tele.dropin.pairs import Pairs
from ance_tele.encode.config import EncoderConfig
from ance_tele.search.scorer import CrossEncoderScorer


def teacher_labels(teacher: CrossEncoder | str, pairs: Pairs, table: np.ndarray, encoder: EncoderConfig) -> np.ndarray:
    """Return the logits of each row's positive and negatives, float32 [rows, 1 + negatives]; each pair is scored once.

    Args:
        teacher: A cross-encoder in memory, or its folder or hub name.
        pairs: The dataset.
        table: Rows of the corpus, int64 [rows, negatives].
        encoder: Precision of scoring.
    """
    positives = pairs.training.positives
    positions = owners(positives.offsets)[pairs.examples]
    passages = np.concatenate([positives.passages[pairs.examples][:, None], table], axis=1)
    width = len(pairs.collection.corpus)
    keys, place = np.unique(positions[:, None] * width + passages, return_inverse=True)
    offsets = np.searchsorted(keys, np.arange(len(positives) + 1) * width)
    scorer = CrossEncoderScorer(teacher, encoder, pairs.collection)
    logits = scorer.logits(positives.queries, offsets, keys % width, lambda done: None)
    return logits[place.reshape(passages.shape)]
