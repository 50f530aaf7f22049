import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ance_tele.encode.vectors import Vectors
from ance_tele.search import topk
from ance_tele.search.topk import MARGIN, TopK, exact_topk

# "cpu:0" is the same device to torch, but not the word that chooses faiss.
ENGINES = pytest.mark.parametrize("device", ["cpu", "cpu:0"])


def by_sorting(queries: np.ndarray, vectors: np.ndarray, k: int, id_rank: np.ndarray) -> TopK:
    scores = queries @ vectors.T
    order = np.stack([np.lexsort((id_rank, -line)) for line in scores])[:, :k]
    return TopK(order, np.take_along_axis(scores, order, 1))


def same(found: TopK, expected: TopK) -> bool:
    right = found.rows.dtype == np.int64 and found.scores.dtype == np.float32
    return right and np.array_equal(found.rows, expected.rows) and np.array_equal(found.scores, expected.scores)


def sharded(vectors: np.ndarray, cuts: list[int]) -> Vectors:
    return Vectors(tuple(np.split(vectors, cuts)), "")


@ENGINES
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1 << 20),
    count=st.integers(1, 90),
    k=st.integers(1, 120),
    block=st.sampled_from([1, 2, 5, 16, 33, 1000]),
    chunk=st.sampled_from([1, 3, 64]),
    spread=st.sampled_from([0, 1, 3]),
)
def test_as_sorting_everything_would(
    device: str, seed: int, count: int, k: int, block: int, chunk: int, spread: int
) -> None:
    """Small whole numbers: products are exact, and ties are everywhere (``spread`` 0 makes all scores equal)."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-spread, spread + 1, (count, 3)).astype(np.float32)
    queries = rng.integers(-2, 3, (int(rng.integers(1, 7)), 3)).astype(np.float32)
    id_rank = rng.permutation(count)
    cuts = sorted(rng.integers(1, count, int(rng.integers(0, 3))).tolist()) if count > 1 else []
    cuts = sorted(set(cuts))
    found = exact_topk(queries, sharded(vectors, cuts), k, id_rank, device, block, chunk)
    assert found.rows.shape == (len(queries), min(k, count))
    assert same(found, by_sorting(queries, vectors, min(k, count), id_rank))


@ENGINES
def test_without_ids_the_row_decides(device: str) -> None:
    vectors = np.array([[1.0], [2.0], [2.0], [1.0], [2.0]], dtype=np.float32)
    found = exact_topk(np.array([[1.0], [-1.0]], dtype=np.float32), Vectors((vectors,), ""), 4, device=device)
    assert found.rows.tolist() == [[1, 2, 4, 0], [0, 3, 1, 2]]
    assert found.scores.tolist() == [[2, 2, 2, 1], [-1, -1, -2, -2]]


@ENGINES
@pytest.mark.parametrize("entries", [1 << 22, 1000, 1])
@pytest.mark.parametrize("copies", [MARGIN - 1, MARGIN, MARGIN + 1, 20 * MARGIN, 600])
def test_more_copies_of_a_text_than_the_margin(
    device: str, copies: int, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies lie over the cut of every query; they go by id, although no search returns all of them."""
    monkeypatch.setattr(topk, "TIED_ENTRIES", entries)
    rng = np.random.default_rng(copies)
    vectors = rng.integers(-3, 4, (700, 4)).astype(np.float32)
    vectors[rng.permutation(700)[:copies]] = [2, 2, 2, 2]
    queries = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [-1, -1, 0, 0]], dtype=np.float32)
    id_rank = rng.permutation(700)
    for k in (1, 10, 50):
        found = exact_topk(queries, sharded(vectors, [150, 400]), k, id_rank, device, 128, 2)
        assert same(found, by_sorting(queries, vectors, k, id_rank))


def test_copies_score_alike_whatever_their_place() -> None:
    """Vectors of real numbers: a copy may not win by the rounding of the block that it happens to lie in."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3, 96)).astype(np.float32)[rng.integers(0, 3, 1003)]
    queries = rng.standard_normal((40, 96)).astype(np.float32)
    id_rank = rng.permutation(1003)
    found = exact_topk(queries, sharded(vectors, [331]), 30, id_rank, block_rows=100)
    best = (queries.astype(np.float64) @ vectors.T.astype(np.float64)).argmax(axis=1)
    for line, row in zip(found.rows, best, strict=True):
        copies = np.flatnonzero((vectors == vectors[row]).all(axis=1))
        assert line.tolist() == copies[np.argsort(id_rank[copies])][:30].tolist()


def test_faiss_finds_the_best_of_one_block() -> None:
    rng = np.random.default_rng(2)
    block, queries = rng.standard_normal((50, 8)).astype(np.float32), rng.standard_normal((4, 8)).astype(np.float32)
    scores, rows = topk._faiss(block)(queries, 7)
    expected = by_sorting(queries, block, 7, np.arange(50))
    assert np.array_equal(rows, expected.rows)
    np.testing.assert_allclose(scores, expected.scores, rtol=1e-5)


@ENGINES
def test_vectors_on_disk_are_searched_without_a_warning(device: str, tmp_path: Path) -> None:
    import torch

    rng = np.random.default_rng(3)
    vectors = rng.integers(-2, 3, (64, 5)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = exact_topk(vectors[:5], Vectors((mapped,), ""), 9, np.arange(64), device, 10)
    finally:
        torch.set_warn_always(False)
    assert same(found, by_sorting(vectors[:5], vectors, 9, np.arange(64)))


@ENGINES
def test_no_queries_and_one_passage(device: str) -> None:
    one = Vectors((np.ones((1, 2), dtype=np.float32),), "")
    assert exact_topk(np.empty((0, 2), dtype=np.float32), one, 5, device=device).rows.shape == (0, 1)
    found = exact_topk(np.ones((2, 2), dtype=np.float32), one, 5, device=device)
    assert (found.rows.tolist(), found.scores.tolist()) == ([[0], [0]], [[2.0], [2.0]])


@ENGINES
def test_a_diverged_model_is_told(device: str) -> None:
    vectors = np.ones((40, 2), dtype=np.float32)
    broken = vectors.copy()
    broken[20:] = np.nan
    with pytest.raises(ValueError, match="Query vectors hold NaN or infinite values: the model has diverged"):
        exact_topk(broken[20:22], Vectors((vectors,), ""), 3, device=device)
    with pytest.raises(ValueError, match="Vectors 20 to 29 hold NaN or infinite values: the model has diverged"):
        exact_topk(vectors[:2], Vectors((broken,), ""), 3, device=device, block_rows=10)


def test_faiss_multiplies_in_blocks_and_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    import faiss

    def settings() -> dict[str, int]:
        return {name: getattr(faiss.cvar, name) for name in topk.FAISS}

    def watched(*args: object, **options: object) -> object:
        seen.append(settings())
        return knn(*args, **options)

    before, knn, seen = settings(), faiss.knn, list[dict[str, int]]()
    monkeypatch.setattr(faiss, "knn", watched)
    vectors = np.ones((40, 2), dtype=np.float32)
    for few in (topk.FAISS_QUERIES - 1, topk.FAISS_QUERIES):
        exact_topk(vectors[:few], Vectors((vectors,), ""), 40)
    assert seen == [before, topk.FAISS] and before != topk.FAISS
    assert settings() == before


def test_small_shards_are_joined_for_many_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of short vectors, to blocks of so many bytes, the last smaller; and the same is found, bit by bit."""
    rng, seen, engine = np.random.default_rng(0), list[int](), topk._faiss
    vectors = sharded(rng.standard_normal((1000, 8)).astype(np.float32), list(range(100, 1000, 100)))
    many = rng.standard_normal((topk.MANY_QUERIES, 8)).astype(np.float32)

    def watched(block: np.ndarray) -> topk.Engine:
        seen.append(len(block))
        return engine(block)

    monkeypatch.setattr(topk, "_faiss", watched)
    alone = exact_topk(many, vectors, 5, block_rows=topk.BLOCK_ROWS, precision="float32")
    monkeypatch.setattr(topk, "JOINED_BYTES", 8 * 4 * 399)
    found = exact_topk(many, vectors, 5, precision="float32")
    assert seen == [100] * 10 + [100, 200, 300, 300, 100]
    assert np.array_equal(found.rows, alone.rows) and np.array_equal(found.scores, alone.scores)
    seen.clear()
    exact_topk(many[:-1], vectors, 5, precision="float32")
    monkeypatch.setattr(topk, "SHORT", 7)
    exact_topk(many, vectors, 5, precision="float32")
    assert seen == [100] * 20


@pytest.mark.parametrize("queries", [4, 64])
def test_a_search_copies_no_vectors(queries: int, tmp_path: Path) -> None:
    """Counted in bytes that numpy asks for, whichever engine answers: of vectors on disk, a block is only looked at."""
    np.save(tmp_path / "vectors.npy", np.random.default_rng(0).standard_normal((60_000, 128)).astype(np.float32))
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    asked, vectors = np.array(mapped[:queries]), Vectors((mapped,), "")
    exact_topk(asked, vectors, 10, block_rows=20_000)  # imports
    tracemalloc.start()
    try:
        exact_topk(asked, vectors, 10, block_rows=20_000)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    block = 20_000 * 128 * 4
    assert 0 < most < block / 3 < mapped.nbytes / 8
