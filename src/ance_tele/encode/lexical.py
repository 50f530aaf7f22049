"""BM25: the lexical top-k, for the baseline and as a source of negatives."""

import numpy as np

from ance_tele.data.collection import Texts
from ance_tele.data.progress import progress
from ance_tele.encode.topk import TopK


class BM25:
    """Okapi BM25 in Lucene's variant, k1 = 0.9, b = 0.4 (Anserini's defaults), English stop words and stemmer."""

    def __init__(self, corpus: Texts) -> None:
        import bm25s
        import Stemmer

        self._bm25s, self._stemmer = bm25s, Stemmer.Stemmer("english")
        texts: list[str] = []
        with progress("BM25: reading", len(corpus), "passages") as advance:
            for titles, bodies in corpus.batches():
                texts += [f"{title} {body}" for title, body in zip(titles, bodies, strict=True)]
                advance(len(bodies))
        tokens = self._tokens(texts)
        self._index = bm25s.BM25(method="lucene", k1=0.9, b=0.4)
        # bm25s cannot index a corpus of stop words alone; there, nothing is ever found.
        self._empty = not any(tokens)
        if not self._empty:
            self._index.index(tokens, show_progress=False)
        self._count = len(corpus)

    def _tokens(self, texts: list[str]) -> object:
        return self._bm25s.tokenize(texts, stopwords="en", stemmer=self._stemmer, show_progress=False)

    def search(self, queries: list[str], k: int, id_rank: np.ndarray, batch: int = 256) -> TopK:
        """Return the k best rows for each query: score descending, then id ascending.

        A passage that shares no word with the query scores zero and is left out (row -1, score -inf).
        """
        k = min(k, self._count)
        rows = np.empty((len(queries), k), dtype=np.int64)
        scores = np.empty((len(queries), k), dtype=np.float32)
        with progress("BM25: searching", len(queries), "queries") as advance:
            for start in range(0, len(queries), batch):
                part = queries[start : start + batch]
                found = self._index.retrieve(self._tokens(part), k=k, show_progress=False)
                order = np.lexsort((id_rank[found.documents], -found.scores), axis=1)
                ranked = np.take_along_axis(found.scores, order, 1)
                documents = np.take_along_axis(found.documents, order, 1)
                rows[start : start + len(part)] = np.where(ranked > 0, documents, -1)
                scores[start : start + len(part)] = np.where(ranked > 0, ranked, -np.inf)
                advance(len(part))
        return TopK(rows, scores)
