"""The searches of mining: T for the training queries, L for the anchors, BM25's lists.

Each is an artefact of a checkpoint. T also shows what the checkpoint has learned.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ance_tele.encode.vectors import pair_scores
from ance_tele.evaluate.config import ExcludeSelf
from ance_tele.evaluate.evaluation import own_passages
from ance_tele.mining.candidates import CandidateLists
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.sources import lookahead_anchors
from ance_tele.mining.storage import read_lists, write_lists
from ance_tele.runs.learning import reciprocal_ranks, training_metric
from ance_tele.runs.training_set import TrainingSet, hash_of
from ance_tele.search.approximate import approximate_topk, recall_of_exact
from ance_tele.search.bm25 import BM25Retriever
from ance_tele.search.dense import DenseRetriever, Search
from ance_tele.search.topk import TopK, exact_topk
from ance_tele.store.artefacts import Artefact, cached, writing
from ance_tele.store.tables import write_parquet

log = logging.getLogger(__name__)


# Training queries and anchors are searched for in one pass over the vectors if their vectors and results fit.
ONE_PASS_BYTES = 4 << 30


@dataclass(frozen=True)
class Searched:
    """T, one list per training query; and L, one list per anchor (ascending rows), if the same pass has found it."""

    queries: Artefact[CandidateLists]
    anchors: Artefact[CandidateLists] | None = None


def lookahead_rows(training: TrainingSet, config: MiningConfig) -> np.ndarray:
    """Return the anchors, the distinct positives whose neighbours lookahead mines: rows, ascending."""
    return np.unique(lookahead_anchors(training.positives, config.lookahead_positives)[0])


def training_lists(
    training: TrainingSet,
    retriever: DenseRetriever,
    config: MiningConfig,
    folder: Path,
    exclude_self: ExcludeSelf,
    anchors: np.ndarray | None = None,
) -> Searched:
    """Search for the training queries: T of the next episode, and the reciprocal rank of each query's positive.

    The artefacts are in the ``folder`` of the checkpoint.

    Args:
        exclude_self: Passages that are the query itself and do not count in ranks.
        anchors: Rows of the anchors of the next episode, ascending: searched for in the same pass over the vectors
            unless that takes too much memory.
    """
    collection, depth, queries = training.collection, config.depth, training.queries
    path, file = folder / "training_lists", folder / "training_lists.parquet"
    inputs: dict[str, Any] = {**retriever.key, "training": training.key, "depth": depth, **config.searching}
    own = own_passages(collection, training.positives, exclude_self)
    if len(own[0]):
        inputs["exclude_self"] = exclude_self
    read = partial(read_lists, file, queries, collection.queries, collection.corpus)
    if found := cached(path, inputs):
        return Searched(Artefact(found, read))
    with writing(path, "lists of training queries", inputs, spread=True) as made:
        made.target.mkdir()
        query_vectors = retriever.encode_queries(queries)
        best, anchor_results = _in_one_pass(query_vectors, retriever, config, anchors)
        lists = CandidateLists.from_topk(best)
        # An artefact of its own, reused if the run is killed before the end of this block.
        anchored = None if anchor_results is None else anchor_lists(training, retriever, config, folder, anchor_results)
        ranks = reciprocal_ranks(CandidateLists.from_topk(best.without(*own, depth)), training.positives)
        relevant = training.positives
        scores = pair_scores(query_vectors, retriever.vectors, relevant.offsets, relevant.passages)
        metric = training_metric(depth, len(collection.corpus))
        columns = {metric: ranks, "positive_score": np.maximum.reduceat(scores, relevant.offsets[:-1])}
        ids = collection.queries.take_ids(queries)
        write_parquet(pa.table({"query_id": ids, **columns}), made.target / "per_training_query.parquet")
        write_lists(made.target / file.name, queries, lists, collection.queries, collection.corpus)
        recall = _recall(best, retriever, config, lambda places: query_vectors[places])
        made.facts = {metric: float(ranks.mean()), "search_engine": best.engine, **recall}
    return Searched(made.artefact(read, lists), anchored)


def anchor_lists(
    training: TrainingSet, retriever: DenseRetriever, config: MiningConfig, folder: Path, found: TopK | None = None
) -> Artefact[CandidateLists]:
    """Search for the neighbours of the anchors: L of the next episode, one list per anchor.

    Results of a pass that has searched for them already (``found``) are only written.
    """
    corpus, rows = training.collection.corpus, lookahead_rows(training, config)
    path = folder / "around_positives.parquet"
    inputs = {**retriever.key, "positives": hash_of(rows), "depth": config.depth, **config.searching}
    read = partial(read_lists, path, rows, corpus, corpus)
    if manifest := cached(path, inputs):
        return Artefact(manifest, read)
    with writing(path, "lists around positives", inputs) as made:
        if found is None:
            found = nearest_passages(retriever, config, rows, "searching around positives")
        lists = CandidateLists.from_topk(found)
        write_lists(made.target, rows, lists, corpus, corpus)
        recall = _recall(found, retriever, config, lambda places: retriever.vectors.take(rows[places]))
        made.facts = {"search_engine": found.engine, **recall}
    return made.artefact(read, lists)


def nearest_passages(retriever: DenseRetriever, config: MiningConfig, rows: np.ndarray, what: str) -> TopK:
    """Return the neighbours of passages, given by row, by the search of mining: exact or approximate."""
    return retriever.nearest(retriever.vectors.take(rows), config.depth, what, _search(config))


def nearest_to_queries(retriever: DenseRetriever, config: MiningConfig, rows: np.ndarray, what: str) -> CandidateLists:
    """Return the passages nearest to queries, given by row, by the search of mining."""
    return CandidateLists.from_topk(
        retriever.nearest(retriever.encode_queries(rows), config.depth, what, _search(config))
    )


def bm25_lists(training: TrainingSet, bm25: BM25Retriever, depth: int, out: Path) -> Artefact[CandidateLists]:
    """Search for the training queries with BM25."""
    collection, queries = training.collection, training.queries
    path = out / "bm25" / "training_lists.parquet"
    inputs = {"data": collection.fingerprint, "training": training.key, "depth": depth, **bm25.key}
    read = partial(read_lists, path, queries, collection.queries, collection.corpus)
    if found := cached(path, inputs):
        return Artefact(found, read)
    with writing(path, "BM25 lists of training queries", inputs) as made:
        lists = CandidateLists.from_topk(bm25.search(queries, depth))
        write_lists(made.target, queries, lists, collection.queries, collection.corpus)
        without = int((np.diff(lists.offsets) == 0).sum())
        if without:
            log.info(f"BM25 found nothing for {without:,} of {len(queries):,} training queries")
        made.facts = {"queries": len(queries), "found_nothing": without}
    return made.artefact(read, lists)


def _in_one_pass(
    query_vectors: np.ndarray, retriever: DenseRetriever, config: MiningConfig, anchors: np.ndarray | None
) -> tuple[TopK, TopK | None]:
    """Search for training queries, float32 [q, dimension], and in the same pass for anchors, if both fit in memory."""
    count, depth, search = len(query_vectors), config.depth, _search(config)
    rows = np.empty(0, dtype=np.int64) if anchors is None else anchors
    several = query_vectors.shape[1] != retriever.vectors.dimension  # vectors a passage
    fits = (count + len(rows)) * (4 * query_vectors.shape[1] + 20 * depth) <= ONE_PASS_BYTES
    # An index takes as long to build as to search, and more memory than both.
    if several or not len(rows) or not (fits or config.search != "exact"):
        return retriever.nearest(query_vectors, depth, "searching for training queries", search), None
    both = np.concatenate([query_vectors, retriever.vectors.take(rows)])
    found = retriever.nearest(both, depth, "searching for training queries and around positives", search)
    parts = slice(None, count), slice(count, None)
    queries, anchor_results = (TopK(found.rows[part], found.scores[part], found.engine) for part in parts)
    return queries, anchor_results


def _search(config: MiningConfig) -> Search:
    """Return the search function of mining: exact or approximate."""
    if config.search == "exact":
        return exact_topk
    return partial(approximate_topk, probes=config.search_probes)


def _recall(
    found: TopK, retriever: DenseRetriever, config: MiningConfig, query_vectors: Callable[[np.ndarray], np.ndarray]
) -> dict[str, float]:
    """Return the recall of an approximate search; {} for exact search.

    ``query_vectors`` returns the vectors that were searched for, by position.
    """
    if config.search == "exact":
        return {}
    rank, device = retriever.tokens.collection.corpus.id_rank, retriever.checkpoint.device
    return {"recall": round(recall_of_exact(found, query_vectors, retriever.vectors, rank, device), 4)}
