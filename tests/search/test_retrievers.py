"""An encoder over a corpus, and BM25, behind one protocol."""

from pathlib import Path

import numpy as np
import pytest

from ance_tele.data.collection import Collection
from ance_tele.data.load import load_collection
from ance_tele.encode.checkpoint import Checkpoint, TokenizedCollection
from ance_tele.encode.config import EncoderConfig
from ance_tele.search.bm25 import BM25Retriever
from ance_tele.search.dense import DenseRetriever
from ance_tele.search.retriever import Retriever
from ance_tele.search.scorer import DenseScorer

CONFIG = EncoderConfig(query_max_len=16, passage_max_len=16, precision="float32")


@pytest.fixture(scope="module")
def collection(toy: Path) -> Collection:
    return load_collection(toy)


@pytest.fixture
def dense(collection: Collection, tiny_model: Path, tmp_path: Path) -> DenseRetriever:
    checkpoint = Checkpoint(tiny_model, CONFIG)
    return DenseRetriever(checkpoint, TokenizedCollection(checkpoint, collection, CONFIG), CONFIG, tmp_path / "vectors")


def test_they_are_asked_alike(dense: DenseRetriever, collection: Collection) -> None:
    retrievers: list[Retriever] = [dense, BM25Retriever(collection, "none")]
    rows = collection.qrels["test"].queries
    for one in retrievers:
        found = one.search(rows, 5)
        assert found.rows.shape == found.scores.shape == (len(rows), 5)
        assert (np.diff(found.scores, axis=1) <= 0).all()
        assert one.key
    assert retrievers[0].key.keys().isdisjoint(retrievers[1].key)


def test_a_dense_search_is_the_order_of_dot_products(dense: DenseRetriever, collection: Collection) -> None:
    rows = collection.qrels["dev"].queries
    passages = dense.encode_passages(np.arange(len(collection.corpus)))
    scores = dense.encode_queries(rows) @ passages.T
    best = np.lexsort((np.broadcast_to(collection.corpus.id_rank, scores.shape), -scores))[:, :7]
    found = dense.search(rows, 7)
    assert (found.rows == best).all()
    pairs = DenseScorer(dense).of(rows)
    flat = pairs(np.repeat([2, 3], 7), found.rows[2:4].ravel())
    assert flat == pytest.approx(found.scores[2:4].ravel(), rel=1e-5)


def test_a_text_that_is_no_query_finds_what_the_query_finds(dense: DenseRetriever, collection: Collection) -> None:
    row = int(collection.qrels["test"].queries[3])
    asked, found = dense.ask(collection.queries[row]["text"], 5), dense.search(np.array([row]), 5)
    assert (asked.rows == found.rows).all()


def test_vectors_are_encoded_once_and_dropped_on_request(dense: DenseRetriever, collection: Collection) -> None:
    rows = collection.qrels["dev"].queries
    first = dense.search(rows, 3)
    shard = next(dense.folder.glob("*.npy"))
    written = shard.stat().st_mtime_ns
    dense.close(keep_vectors=True)
    assert (dense.search(rows, 3).rows == first.rows).all()
    assert shard.stat().st_mtime_ns == written
    dense.close(keep_vectors=False)
    assert not dense.folder.exists()
    assert (dense.search(rows, 3).rows == first.rows).all()


def test_weights_decide_the_key(dense: DenseRetriever) -> None:
    key, model = dense.key, dense.checkpoint.take()
    for weight in model.parameters():
        weight.data += 1
    changed = Checkpoint("changed", CONFIG, model=model)
    assert changed.weights != key["weights"] == dense.key["weights"]
    assert dense.checkpoint.model is not model  # what was taken is loaded again
