"""BM25: the lexical top-k, for the baseline and as a source of negatives."""

import sys
from typing import Any

import numpy as np

from ance_tele.data.collection import Texts
from ance_tele.data.progress import progress
from ance_tele.encode.topk import TopK


class BM25:
    """Okapi BM25 in Lucene's variant, k1 = 0.9, b = 0.4 (Anserini's defaults), English stop words and stemmer."""

    def __init__(self, corpus: Texts) -> None:
        import Stemmer

        self._bm25s, self._stemmer = _bm25s(), Stemmer.Stemmer("english")
        texts: list[str] = []
        with progress("BM25: reading", len(corpus), "passages") as advance:
            for titles, bodies in corpus.batches():
                texts += [f"{title} {body}" for title, body in zip(titles, bodies, strict=True)]
                advance(len(bodies))
        tokens = self._tokens(texts, return_ids=True)
        self._index = self._bm25s.BM25(method="lucene", k1=0.9, b=0.4)
        # bm25s cannot index a corpus of stop words alone; there, nothing is ever found.
        self._wordless = not any(map(len, tokens.ids))
        if not self._wordless:
            self._index.index(tokens, show_progress=False)
        self._count = len(corpus)

    def _tokens(self, texts: list[str], return_ids: bool) -> Any:
        return self._bm25s.tokenize(
            texts, stopwords="en", stemmer=self._stemmer, return_ids=return_ids, show_progress=False
        )

    def search(self, queries: list[str], k: int, id_rank: np.ndarray, batch: int = 256) -> TopK:
        """Return the k best rows for each query: score descending, then id ascending.

        A passage that shares no word with the query scores zero and is left out (row -1, score -inf).
        """
        k = min(k, self._count)
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        with progress("BM25: searching", len(queries), "queries") as advance:
            for start in range(0, len(queries), batch):
                part = queries[start : start + batch]
                for line, words in enumerate(self._tokens(part, return_ids=False), start):
                    found, values = self._best(words, k, id_rank)
                    rows[line, : len(found)], scores[line, : len(found)] = found, values
                advance(len(part))
        return TopK(rows, scores)

    def _best(self, words: list[str], k: int, id_rank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows and scores of one query; not bm25s's own top-k, which cuts through ties at random."""
        if not words or self._wordless:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        scores = self._index.get_scores(words)
        rows = np.flatnonzero(scores > 0)
        if len(rows) > k:
            rows = rows[scores[rows] >= np.partition(scores[rows], len(rows) - k)[len(rows) - k]]
        rows = rows[np.lexsort((id_rank[rows], -scores[rows]))][:k]
        return rows, scores[rows]


def _bm25s() -> Any:
    """Import bm25s without JAX: where that is installed, bm25s starts it, and it takes three quarters of a GPU."""
    hidden = "jax" not in sys.modules
    if hidden:
        sys.modules["jax"] = None  # type: ignore[assignment]
    try:
        import bm25s
    finally:
        if hidden:
            del sys.modules["jax"]
    return bm25s
