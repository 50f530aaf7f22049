"""The exact search of GPUs, on a CPU: what rules passages out, ties, memory; and on a GPU where there is one."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_scan import drawn

from ance_tele.search import gpu
from ance_tele.search.sort_keys import EMPTY, keyed, unkeyed

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def blocks_of(vectors: np.ndarray, size: int) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(vectors), size):
        yield start, vectors[start : start + size]


def search(
    queries: np.ndarray,
    vectors: np.ndarray,
    k: int,
    rank: np.ndarray | None = None,
    block: int = 70,
    device: str = "cpu",
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and scores of the k best."""
    rank = np.arange(len(vectors)) if rank is None else rank
    scores, ranks = unkeyed(gpu.scanned(queries, blocks_of(vectors, block), k, rank, device))
    return np.argsort(rank)[ranks], scores


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 1 << 20),
    count=st.integers(1, 300),
    dimension=st.sampled_from([1, 2, 31, 64, 100]),
    scale=st.sampled_from([1e-30, 1e-12, 1.0, 1e9, 1e15]),
    kind=st.sampled_from(["plain", "zeros", "giants", "shifted", "nearly equal"]),
    device=st.sampled_from(DEVICES),
)
def test_real_numbers_of_any_size(seed: int, count: int, dimension: int, scale: float, kind: str, device: str) -> None:
    """The rows found are the best ones by exact scores, up to what float32 cannot tell apart."""
    vectors, queries, k = drawn(seed, count, dimension, scale, kind)
    rows, scores = search(queries, vectors, k, device=device)
    exact = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    size = np.linalg.norm(queries.astype(np.float64), axis=1) * np.linalg.norm(vectors.astype(np.float64), axis=1).max()
    slack = 2 * dimension * 2.0**-24 * size[:, None] + 1e-37
    chosen = np.take_along_axis(exact, rows, 1)
    assert all(len(set(line)) == k for line in rows.tolist())
    assert (np.abs(chosen - scores) <= slack).all() and (np.diff(scores, axis=1) <= 0).all()
    assert (np.abs(chosen - -np.sort(-exact, axis=1)[:, :k]) <= 2 * slack).all()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1 << 20),
    dimension=st.integers(1, 400),
    scale=st.sampled_from([1e-19, 1e-3, 1.0, 1e5]),
    device=st.sampled_from(DEVICES),
)
def test_the_error_is_bounded(seed: int, dimension: int, scale: float, device: str) -> None:
    """The difference of exact and rounded products stays within the bound, and reaches a part of it."""
    rng = np.random.default_rng(seed)
    spread = scale * np.exp(rng.standard_normal((2, 1)) * 3)
    queries, vectors = ((one * rng.standard_normal((50, dimension))).astype(np.float32) for one in spread)
    rounded_queries, rounded_passages = (gpu._Rounded(torch.from_numpy(each).to(device)) for each in (queries, vectors))
    with gpu._tensor_float32():
        rough = (rounded_queries.rounded @ rounded_passages.rounded.T).cpu().numpy()
    exact = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    off, bound = np.abs(rough - exact), gpu._error(rounded_queries, rounded_passages).cpu().numpy()[:, None]
    assert (off <= bound).all()
    assert scale < 1e-10 or (off > bound / 100).any()


def test_rounding_leaves_ten_bits() -> None:
    numbers = torch.tensor([1.0, 1 + 2.0**-10, 1 + 2.0**-11, 1 + 2.0**-12, -(1 + 2.0**-11), 0.0, 3e-39])
    found = gpu.rounded(numbers)
    assert found[:6].tolist() == [1.0, 1 + 2.0**-10, 1 + 2.0**-10, 1.0, -(1 + 2.0**-10), 0.0]
    assert (found.view(torch.int32) & 0x1FFF == 0).all()


@given(scores=st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20), seed=st.integers(0, 1000))
def test_keys_are_those_of_a_cpu(scores: list[float], seed: int) -> None:
    values, rank = np.array(scores, dtype=np.float32), np.random.default_rng(seed).permutation(len(scores))
    keys = gpu._keyed(torch.from_numpy(values)) | torch.from_numpy(rank)
    assert np.array_equal(keys.numpy().view(np.uint64) ^ np.uint64(1 << 63), keyed(values, rank.astype(np.uint64)))
    assert np.array_equal(gpu._scores(keys).numpy(), values)
    assert gpu._scores(torch.tensor([gpu._EMPTY])).item() == -np.inf
    assert np.uint64(gpu._EMPTY) ^ np.uint64(1 << 63) == EMPTY


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("copies", [2, 40, 1003])
def test_copies_score_alike_whatever_their_place(copies: int, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collapsed model gives one vector for everything: by id then, and in little memory."""
    monkeypatch.setattr(gpu, "OPEN", 50)
    monkeypatch.setattr(gpu, "PAIRS", 1000)
    rng = np.random.default_rng(copies)
    vectors = rng.standard_normal((1003, 96)).astype(np.float32)
    vectors[rng.permutation(1003)[:copies]] = vectors[0]
    queries, rank = np.repeat(vectors[:1], 40, axis=0) * np.float32(0.37), rng.permutation(1003)
    same = np.flatnonzero((vectors == vectors[0]).all(axis=1))
    rows, scores = search(queries, vectors, 30, rank, 100, device)
    expected = same[np.argsort(rank[same])][:30].tolist()
    assert all(line[: len(expected)] == expected for line in rows.tolist())
    assert (scores[:, : len(expected)] == scores[:, :1]).all()


def test_few_scores_are_computed_in_float32_and_every_block_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((60_000, 32)).astype(np.float32)
    queries, k, asked, scored = rng.standard_normal((80, 32)).astype(np.float32), 100, [], []
    products = gpu._products

    def counted(left: torch.Tensor, right: torch.Tensor, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        scored.append(len(one))
        return products(left, right, one, other)

    def blocks() -> Iterator[tuple[int, np.ndarray]]:
        for start in range(0, len(vectors), 20_000):
            asked.append(start)
            yield start, vectors[start : start + 20_000]

    monkeypatch.setattr(gpu, "_products", counted)
    gpu.scanned(queries, blocks(), k, np.arange(len(vectors)), "cpu")
    assert asked == [0, 20_000, 40_000]
    # Of three blocks in chance order, k, k / 2 and k / 3 belong to the best so far.
    least = len(queries) * k * (1 + 1 / 2 + 1 / 3)
    assert least * 0.9 <= sum(scored) <= 1.5 * least


def test_settings_of_torch_are_as_they_were() -> None:
    matmul = torch.backends.cuda.matmul
    name, wanted = ("fp32_precision", "tf32") if hasattr(matmul, "fp32_precision") else ("allow_tf32", True)
    before = getattr(matmul, name)
    with gpu._tensor_float32():
        assert getattr(matmul, name) == wanted
    assert getattr(matmul, name) == before and matmul.allow_tf32 is False
