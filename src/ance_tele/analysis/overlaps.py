"""Words that a negative shares with the positives of its query: near-duplicates are seldom true negatives."""

import numpy as np

from ance_tele.analysis.rounds import Rounds
from ance_tele.analysis.suspects import jaccard
from ance_tele.console.progress import progress
from ance_tele.data.answers import words
from ance_tele.data.arrow import gather
from ance_tele.data.collection import Texts
from ance_tele.data.scripts import in_pairs
from ance_tele.store.tables import read_parquet

# Pairs compared at a time: bounds the texts in memory.
PAIRS_PER_BLOCK = 1 << 15


def overlaps(positions: np.ndarray, passages: np.ndarray, rounds: Rounds, corpus: Texts) -> np.ndarray:
    """Return the words shared with the query's most similar positive (Jaccard, of the bodies), float64 [pairs].

    Args:
        positions: Of the training query of each pair, int64 [pairs], ascending.
        passages: Rows of the corpus, int64 [pairs].
        rounds: Of the run.
        corpus: The passages.
    """
    table = read_parquet(rounds.positives)
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
