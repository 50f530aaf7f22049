"""Word overlap of negatives with the positives of their query: evidence of near-duplicates."""

import numpy as np
import pyarrow.parquet as pq

from ance_tele.analysis.rounds import Rounds
from ance_tele.analysis.suspects import jaccard
from ance_tele.console.progress import progress
from ance_tele.data.answers import words
from ance_tele.data.arrow import gather
from ance_tele.data.collection import Texts
from ance_tele.data.scripts import in_pairs

# Pairs compared at a time: bounds the texts in memory.
PAIRS_PER_BLOCK = 1 << 15


def overlaps(positions: np.ndarray, passages: np.ndarray, rounds: Rounds, corpus: Texts) -> np.ndarray:
    """Return the word overlap (Jaccard, of the bodies) with the query's most similar positive, float64 [pairs].

    Args:
        positions: Of the training query of each pair, int64 [pairs], ascending.
        passages: Rows of the corpus, int64 [pairs].
    """
    table = pq.read_table(rounds.positives)
    owner = rounds.order.positions(table["query_id"], rounds.positives)
    relevant = corpus.rows(table["passage_id"])
    begins, ends = np.searchsorted(owner, positions), np.searchsorted(owner, positions, side="right")
    out = np.zeros(len(positions))
    with progress("comparing words", len(positions), "pairs") as advance:
        for start in range(0, len(positions), PAIRS_PER_BLOCK):
            stop = min(start + PAIRS_PER_BLOCK, len(positions))
            rows = np.unique(np.concatenate([passages[start:stop], relevant[begins[start] : ends[stop - 1]]]))
            texts = gather(corpus.table["text"], rows)
            bags = {row: frozenset(in_pairs(words(text))) for row, text in zip(rows.tolist(), texts, strict=True)}
            for number in range(start, stop):
                bag = bags[int(passages[number])]
                others = relevant[begins[number] : ends[number]].tolist()
                out[number] = max((jaccard(bag, bags[row]) for row in others), default=0.0)
            advance(stop - start)
    return out
