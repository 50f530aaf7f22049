"""Words that a negative shares with the positives of its query: near-duplicates are seldom true negatives."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from ance_tele.analysis.suspects import jaccard
from ance_tele.analysis.tables import Order
from ance_tele.console.progress import progress
from ance_tele.data.answers import words
from ance_tele.data.arrow import gather
from ance_tele.data.collection import Texts
from ance_tele.data.scripts import in_pairs

# Pairs compared at a time: bounds the texts in memory.
PAIRS_PER_BLOCK = 1 << 15


def overlaps(places: np.ndarray, passages: np.ndarray, positives: Path, order: Order, corpus: Texts) -> np.ndarray:
    """Return the words shared with the query's most similar positive (Jaccard, of the bodies), float64 [pairs].

    Args:
        places: Whose, as places among the training queries, int64 [pairs], ascending.
        passages: Rows of the corpus, int64 [pairs].
        positives: The file of the positives.
        order: The training queries.
        corpus: The passages.
    """
    table = pq.read_table(positives)
    owner = order.positions(table["query_id"], positives)
    relevant = corpus.rows(table["passage_id"])
    begins, ends = np.searchsorted(owner, places), np.searchsorted(owner, places, side="right")
    out = np.zeros(len(places))
    with progress("comparing words", len(places), "pairs") as advance:
        for start in range(0, len(places), PAIRS_PER_BLOCK):
            stop = min(start + PAIRS_PER_BLOCK, len(places))
            rows = np.unique(np.concatenate([passages[start:stop], relevant[begins[start] : ends[stop - 1]]]))
            texts = gather(corpus.table["text"], rows)
            bags = {row: frozenset(in_pairs(words(text))) for row, text in zip(rows.tolist(), texts, strict=True)}
            for number in range(start, stop):
                bag = bags[int(passages[number])]
                others = relevant[begins[number] : ends[number]].tolist()
                out[number] = max((jaccard(bag, bags[row]) for row in others), default=0.0)
            advance(stop - start)
    return out
