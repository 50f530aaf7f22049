"""BM25, as a baseline and a source of negatives."""

import logging
from collections import defaultdict
from functools import cached_property

import numpy as np

from ance_tele.console.progress import progress
from ance_tele.data.collection import Collection, Texts
from ance_tele.data.detection import Detected, detect, sample
from ance_tele.search.terms import VERSION, Terms, describe, import_bm25s
from ance_tele.search.topk import TopK

log = logging.getLogger(__name__)


class BM25Retriever:
    """BM25 over the corpus of a collection, indexed on first use.

    Args:
        collection: What is searched, and the queries.
        language: ISO code, "none", or "auto" for the language that passages and queries are detected to be in.
    """

    def __init__(self, collection: Collection, language: str = "auto") -> None:
        self._collection, self._language = collection, language

    @cached_property
    def language(self) -> Detected:
        """The language of the texts, configured or detected; logged once."""
        found, automatic = Detected(self._language), self._language == "auto"
        if automatic:
            found = detect([*sample(self._collection.corpus), *sample(self._collection.queries)])
        log.info(f"BM25: {found.named(automatic)}, {describe(found.code)}")
        return found

    @property
    def reads(self) -> str:
        """Description of language and terms."""
        return f"{self.language.named(self._language == 'auto')}, {describe(self.language.code)}"

    @property
    def key(self) -> dict[str, object]:
        """What decides its results."""
        return {"language": self.language.code, "terms": VERSION}

    @cached_property
    def _index(self) -> "BM25":
        return BM25(self._collection.corpus, self.language.code)

    def search(self, queries: np.ndarray, depth: int, what: str = "searching") -> TopK:
        """Return the best passages of queries, given by row; see :class:`ance_tele.search.retriever.Retriever`."""
        asked = self._collection.queries.batches(queries, expanded=True)
        texts = [text for _, bodies in asked for text in bodies]
        return self._index.search(texts, depth, self._collection.corpus.id_rank)


class BM25:
    """Okapi BM25 in Lucene's variant, k1 = 0.9, b = 0.4 (Anserini's defaults).

    Args:
        corpus: The passages; title, text and terms added to it are searched.
        language: Decides the terms; see :class:`ance_tele.search.terms.Terms`.
    """

    def __init__(self, corpus: Texts, language: str) -> None:
        bm25s = import_bm25s()
        self._terms = Terms(language)
        numbers: defaultdict[str, int] = defaultdict()
        numbers.default_factory = numbers.__len__
        ids: list[list[int]] = []
        with progress("BM25: reading", len(corpus), "passages") as advance:
            for titles, bodies in corpus.batches(expanded=True):
                for title, body in zip(titles, bodies, strict=True):
                    ids.append(list(map(numbers.__getitem__, self._terms.of(f"{title} {body}"))))
                advance(len(bodies))
        self._index = bm25s.BM25(method="lucene", k1=0.9, b=0.4)
        # bm25s cannot index a corpus without terms.
        self._wordless = not numbers
        if not self._wordless:
            # Terms are numbered in order; bm25s's own tokenisation depends on the hash seed of the process.
            self._index.index(bm25s.tokenization.Tokenized(ids, dict(numbers)), show_progress=False)
        self._count = len(corpus)

    def search(self, queries: list[str], k: int, id_rank: np.ndarray) -> TopK:
        """Return the k best rows for each query: score descending, then id ascending.

        A passage that shares no term with the query scores zero and is left out (row -1, score -inf).
        """
        k = min(k, self._count)
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        with progress("BM25: searching", len(queries), "queries") as advance:
            for line, query in enumerate(queries):
                found, values = self._best(self._terms.of(query), k, id_rank)
                rows[line, : len(found)], scores[line, : len(found)] = found, values
                advance(1)
        return TopK(rows, scores)

    def _best(self, terms: list[str], k: int, id_rank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and scores of one query; bm25s's own top-k breaks ties arbitrarily."""
        if not terms or self._wordless:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        scores = self._index.get_scores(terms)
        rows = np.flatnonzero(scores > 0)
        if len(rows) > k:
            rows = rows[scores[rows] >= np.partition(scores[rows], len(rows) - k)[len(rows) - k]]
        rows = rows[np.lexsort((id_rank[rows], -scores[rows]))][:k]
        return rows, scores[rows]
