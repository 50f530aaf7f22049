"""The bf16 scan finds what sorting all float32 scores would, and computes few of them."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ance_tele.encode.threads import workers
from ance_tele.encode.vectors import Vectors, prefetched
from ance_tele.search import bf16_tiles, scan
from ance_tele.search.sort_keys import EMPTY, keyed, unkeyed
from ance_tele.search.topk import TopK, exact_topk, prunes_in_bf16, resolve_engine

SMALL = {"TILE": 32, "STEP": 16, "GROUP": 4, "PART": 3, "CHUNK": 6, "SETTLE": 40}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut everything so small that a few vectors make many tiles and parts."""
    for name, value in SMALL.items():
        for module in (scan, bf16_tiles):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)


def bf16(queries: np.ndarray, vectors: Vectors, k: int, id_rank: np.ndarray | None = None, block: int = 131072) -> TopK:
    return exact_topk(queries, vectors, k, id_rank, block_rows=block, precision="bf16")


def sharded(vectors: np.ndarray, cuts: list[int]) -> Vectors:
    return Vectors(tuple(np.split(vectors, cuts)), "")


@pytest.mark.usefixtures("small")
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 1 << 20),
    count=st.integers(1, 150),
    k=st.integers(1, 170),
    block=st.sampled_from([1, 5, 33, 1000]),
    spread=st.sampled_from([0, 1, 3, 200]),
    sign=st.sampled_from([-1, 0, 1]),
)
def test_as_sorting_everything_would(seed: int, count: int, k: int, block: int, spread: int, sign: int) -> None:
    """Whole numbers: float32 products are exact (bf16 ones not: 200 needs no more digits, 200 x 199 does)."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-spread, spread + 1, (count, 3)).astype(np.float32)
    queries = rng.integers(-200, 201, (int(rng.integers(1, 9)), 3)).astype(np.float32)
    if sign:  # scores that are all positive, or all negative
        vectors, queries = np.abs(vectors) + 300, sign * np.abs(queries)
    id_rank, cuts = rng.permutation(count), sorted(set(rng.integers(0, count, 2).tolist()) - {0})
    found, scores = bf16(queries, sharded(vectors, cuts), k, id_rank, block), queries @ vectors.T
    rows = np.stack([np.lexsort((id_rank, -line)) for line in scores])[:, : min(k, count)]
    assert found.engine == "bf16 scan"
    assert np.array_equal(found.rows, rows) and found.rows.dtype == np.int64
    assert np.array_equal(found.scores, np.take_along_axis(scores, rows, 1)) and found.scores.dtype == np.float32


def drawn(seed: int, count: int, dimension: int, scale: float, kind: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Return vectors, seven queries, and how many are asked for."""
    rng = np.random.default_rng(seed)
    vectors, queries = rng.standard_normal((count, dimension)), rng.standard_normal((7, dimension))
    if kind == "zeros":
        vectors[rng.random(count) < 0.5], queries[0] = 0, 0
    elif kind == "giants":
        vectors[rng.integers(count)] *= 1e4
    elif kind == "shifted":
        vectors, queries = vectors - 4, queries + 4
    elif kind == "nearly equal":
        vectors = 1 + 1e-5 * vectors
    vectors, queries = (scale * vectors).astype(np.float32), (scale * queries).astype(np.float32)
    k = int(rng.integers(1, count + 1))
    return vectors, queries, k


@pytest.mark.usefixtures("small")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 1 << 20),
    count=st.integers(40, 200),
    dimension=st.sampled_from([1, 2, 31, 64, 100]),
    scale=st.sampled_from([1e-30, 1e-12, 1.0, 1e9, 1e15]),
    kind=st.sampled_from(["plain", "zeros", "giants", "shifted", "nearly equal"]),
)
def test_real_numbers_of_any_size(seed: int, count: int, dimension: int, scale: float, kind: str) -> None:
    """The rows found are the best ones by exact scores, up to what float32 cannot tell apart."""
    vectors, queries, k = drawn(seed, count, dimension, scale, kind)
    found = bf16(queries, sharded(vectors, [17]), k, block=70)
    exact = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    size = np.linalg.norm(queries.astype(np.float64), axis=1)[:, None] * np.linalg.norm(
        vectors.astype(np.float64), axis=1
    )
    slack = 2 * dimension * 2.0**-24 * size.max(axis=1, keepdims=True) + 1e-37
    chosen = np.take_along_axis(exact, found.rows, 1)
    assert (np.sort(found.rows, axis=1)[:, 1:] > np.sort(found.rows, axis=1)[:, :-1]).all()
    assert (np.abs(chosen - found.scores) <= slack).all()
    assert (np.abs(chosen - -np.sort(-exact, axis=1)[:, :k]) <= 2 * slack).all()
    assert (np.diff(found.scores, axis=1) <= 0).all()


@given(
    scores=st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20),
    seed=st.integers(0, 1000),
)
def test_keys_order_by_score_then_rank(scores: list[float], seed: int) -> None:
    values, rank = np.array(scores, dtype=np.float32), np.random.default_rng(seed).permutation(len(scores))
    keys = keyed(values, rank.astype(np.uint64))
    assert np.argsort(keys).tolist() == np.lexsort((rank, -values)).tolist()
    back, ranks = unkeyed(keys)
    assert np.array_equal(back, values) and np.array_equal(ranks, rank) and (keys < EMPTY).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1 << 20), dimension=st.integers(1, 400), scale=st.sampled_from([1e-19, 1e-3, 1.0, 1e5]))
def test_the_error_is_bounded(seed: int, dimension: int, scale: float) -> None:
    """The difference of exact and bf16 products stays within the bound, and reaches a part of it."""
    rng = np.random.default_rng(seed)
    spread = scale * np.exp(rng.standard_normal((2, 1)) * 3)
    vectors, queries = ((one * rng.standard_normal((50, dimension))).astype(np.float32) for one in spread)
    with workers() as (pool, _):
        (tile,) = bf16_tiles.tiles(vectors, torch.empty(50, dimension, dtype=torch.bfloat16), pool)
    part = scan.Part(queries, np.full((50, 1), EMPTY))
    rough = (tile.bf16 @ part.bf16.T).float().numpy().T
    exact = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    bound = part.error(tile)[:, None] + np.abs(rough) * 2.0**-8
    assert (np.abs(rough - exact) <= bound).all()
    assert scale < 1e-10 or (np.abs(rough - exact) > bound / 100).any()


def test_few_scores_are_computed_in_float32_and_every_block_is_read_once() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((60_000, 32)).astype(np.float32)
    queries, k, asked = rng.standard_normal((80, 32)).astype(np.float32), 100, []

    def blocks() -> Iterator[tuple[int, np.ndarray]]:
        for start in range(0, len(vectors), 20_000):
            asked.append(start)
            yield start, vectors[start : start + 20_000]

    tally = scan.Tally()
    scan.scanned(queries, blocks(), k, np.arange(len(vectors)), tally=tally)
    assert asked == [0, 20_000, 40_000] and tally.reads == len(vectors)
    assert tally.pairs == len(queries) * len(vectors)
    # Of three blocks in chance order, k, k / 2 and k / 3 belong to the best so far.
    least = len(queries) * k * (1 + 1 / 2 + 1 / 3)
    assert least * 0.9 <= tally.rescored <= 1.5 * least
    assert tally.rescored < tally.opened < 4 * least


def test_reading_ahead_asks_for_every_block_once_and_for_one_more_at_a_time() -> None:
    asked: list[int] = []

    def blocks() -> Iterator[tuple[int, np.ndarray]]:
        for first in range(5):
            asked.append(first)
            yield first, np.full((2, 3), first, dtype=np.float32)

    for first, block in prefetched(blocks()):
        assert (block == first).all() and len(asked) <= first + 2
    assert asked == [0, 1, 2, 3, 4]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("copies", [2, 40, 1003])
def test_copies_score_alike_whatever_their_place(copies: int) -> None:
    rng = np.random.default_rng(copies)
    vectors = rng.standard_normal((1003, 96)).astype(np.float32)
    vectors[rng.permutation(1003)[:copies]] = vectors[0]
    queries, id_rank = np.repeat(vectors[:1], 40, axis=0) * np.float32(0.37), rng.permutation(1003)
    same = np.flatnonzero((vectors == vectors[0]).all(axis=1))
    found = bf16(queries, sharded(vectors, [331]), 30, id_rank, 100)
    expected = same[np.argsort(id_rank[same])][:30].tolist()
    assert all(line[: len(expected)] == expected for line in found.rows.tolist())
    assert (found.scores[:, : len(expected)] == found.scores[:, :1]).all()


def test_vectors_on_disk_without_a_warning_and_threads_as_they_were(tmp_path: Path) -> None:
    vectors = np.random.default_rng(3).integers(-2, 3, (5000, 8)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    mapped, threads = np.load(tmp_path / "vectors.npy", mmap_mode="r"), torch.get_num_threads()
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = bf16(vectors[:700], Vectors((mapped,), ""), 9, block=600)
    finally:
        torch.set_warn_always(False)
    expected = exact_topk(vectors[:700], Vectors((vectors,), ""), 9, precision="float32")
    assert np.array_equal(found.rows, expected.rows) and expected.engine == "faiss"
    assert torch.get_num_threads() == threads


def test_a_diverged_model_is_told() -> None:
    vectors = np.ones((40, 2), dtype=np.float32)
    for worst in (np.nan, np.inf):
        vectors[25] = worst
        with pytest.raises(ValueError, match="Vectors 20 to 29 hold NaN or infinite values: the model has diverged"):
            bf16(np.ones((2, 2), dtype=np.float32), Vectors((vectors,), ""), 3, block=10)
    giants = np.full((40, 2), 3e38, dtype=np.float32) * np.float32([1, -1])
    with pytest.raises(ValueError, match="too large for float32"):
        bf16(np.full((2, 2), 3e38, dtype=np.float32), Vectors((giants,), ""), 3)


def test_bf16_is_chosen_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    for able in (True, False):
        monkeypatch.setattr("ance_tele.encode.precision.has_fast_bf16", lambda device, able=able: able)
        assert prunes_in_bf16("auto", "cpu", 1000, 100_000, 200) == able
        assert not prunes_in_bf16("auto", "cpu", 1, 100_000, 200)  # one question
        assert not prunes_in_bf16("auto", "cpu", 1000, 1000, 200)  # nearly everything is among the best
        assert prunes_in_bf16("auto", "cuda:0", 1000, 1000, 200) == able
        assert resolve_engine("auto", "cuda:0", 1000, 1000, 200)[1] == ("bf16 scan" if able else "float32 scan")
        assert not prunes_in_bf16("float32", "cpu", 1000, 100_000, 200)
        assert prunes_in_bf16("bf16", "cpu", 1, 10, 5)


def test_either_precision_gives_the_same_bits() -> None:
    rng = np.random.default_rng(5)
    vectors, queries = (rng.standard_normal((n, 96)).astype(np.float32) for n in (3000, 40))
    held, id_rank = sharded(vectors, [700]), rng.permutation(3000)
    found, exact = bf16(queries, held, 20, id_rank, 1100), exact_topk(queries, held, 20, id_rank, precision="float32")
    assert (found.engine, exact.engine) == ("bf16 scan", "faiss")
    assert np.array_equal(found.rows, exact.rows) and np.array_equal(found.scores, exact.scores)
