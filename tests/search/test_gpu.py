"""The exact search of GPUs, on a CPU: what rules passages out, ties, memory; and on a GPU where there is one."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_scan import drawn
from torch.utils._python_dispatch import TorchDispatchMode

from ance_tele.search import gpu
from ance_tele.search.sort_keys import EMPTY, keyed, unkeyed

Precision = Literal["bf16", "float32"]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
PRECISIONS: list[Precision] = ["bf16", "float32"]


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
    precision: Precision = "bf16",
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and scores of the k best."""
    rank = np.arange(len(vectors)) if rank is None else rank
    scores, ranks = unkeyed(gpu.scanned(queries, blocks_of(vectors, block), k, rank, device, precision))
    return np.argsort(rank)[ranks], scores


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 1 << 20),
    count=st.integers(1, 300),
    dimension=st.sampled_from([1, 2, 31, 64, 100]),
    scale=st.sampled_from([1e-30, 1e-12, 1.0, 1e9, 1e15]),
    kind=st.sampled_from(["plain", "zeros", "giants", "shifted", "nearly equal"]),
    device=st.sampled_from(DEVICES),
    precision=st.sampled_from(PRECISIONS),
)
def test_real_numbers_of_any_size(
    seed: int, count: int, dimension: int, scale: float, kind: str, device: str, precision: Precision
) -> None:
    """The rows found are the best ones by exact scores, up to what float32 cannot tell apart."""
    vectors, queries, k = drawn(seed, count, dimension, scale, kind)
    rows, scores = search(queries, vectors, k, device=device, precision=precision)
    exact = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    size = np.linalg.norm(queries.astype(np.float64), axis=1) * np.linalg.norm(vectors.astype(np.float64), axis=1).max()
    slack = 2 * dimension * 2.0**-24 * size[:, None] + 1e-37
    chosen = np.take_along_axis(exact, rows, 1)
    assert all(len(set(line)) == k for line in rows.tolist())
    assert (np.abs(chosen - scores) <= slack).all() and (np.diff(scores, axis=1) <= 0).all()
    assert (np.abs(chosen - -np.sort(-exact, axis=1)[:, :k]) <= 2 * slack).all()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1 << 20),
    count=st.integers(1, 200),
    k=st.integers(1, 220),
    dimension=st.sampled_from([1, 3, 8, 13]),
    block=st.sampled_from([1, 5, 33, 1000]),
    spread=st.sampled_from([0, 1, 3, 200]),
    sign=st.sampled_from([-1, 0, 1]),
    precision=st.sampled_from(PRECISIONS),
    device=st.sampled_from(DEVICES),
)
def test_ids_ranks_and_scores_are_those_of_sorting_everything(
    seed: int, count: int, k: int, dimension: int, block: int, spread: int, sign: int, precision: Precision, device: str
) -> None:
    """Whole numbers, whose float32 scores are exact: many ties, duplicates and rows of zeros; k up to all of them."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-spread, spread + 1, (count, dimension)).astype(np.float32)
    queries = rng.integers(-200, 201, (int(rng.integers(1, 9)), dimension)).astype(np.float32)
    if sign:  # scores that are all positive, or all negative
        vectors, queries = np.abs(vectors) + 300, sign * np.abs(queries)
    vectors[rng.random(count) < 0.1] = rng.choice([0.0, -0.0])
    rank, k, scores = rng.permutation(count), min(k, count), queries @ vectors.T
    rows, found = search(queries, vectors, k, rank, block, device, precision)
    expected = np.stack([np.lexsort((rank, -line)) for line in scores])[:, :k]
    assert np.array_equal(rows, expected)
    assert np.array_equal(found, np.take_along_axis(scores, expected, 1))
    assert not np.signbit(found[found == 0]).any()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dimension", [48, 100, 384])
def test_either_precision_gives_the_same_bits(dimension: int, device: str) -> None:
    """Vectors as of an encoder, normalised and close together; parts, blocks and runs of groups smaller than all."""
    rng = np.random.default_rng(dimension)
    common = 3 * rng.standard_normal(dimension)
    vectors, queries = (rng.standard_normal((n, dimension)) + common for n in (3000, 50))
    vectors, queries = (
        (each / np.linalg.norm(each, axis=1, keepdims=True)).astype(np.float32) for each in (vectors, queries)
    )
    vectors[2000:2040] = vectors[7]
    found = [search(queries, vectors, 60, None, 1100, device, precision) for precision in PRECISIONS]
    assert all(np.array_equal(one, other) for one, other in zip(*found, strict=True))
    exact = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    assert np.abs(found[0][1] - -np.sort(-exact, axis=1)[:, :60]).max() < 1e-6


@pytest.mark.parametrize("precision", PRECISIONS)
def test_small_parts_give_the_same(precision: Precision, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    vectors, queries = (rng.integers(-2, 3, (n, 20)).astype(np.float32) for n in (900, 30))
    whole = search(queries, vectors, 40, block=250, precision=precision)
    for name, value in {"PART": 7, "OPEN": 9, "MERGED": 100, "PAIRS": 70}.items():
        monkeypatch.setattr(gpu, name, value)
    parts = search(queries, vectors, 40, block=250, precision=precision)
    assert all(np.array_equal(one, other) for one, other in zip(whole, parts, strict=True))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_no_number_is_refused(precision: Precision) -> None:
    vectors = np.ones((40, 2), dtype=np.float32)
    for worst in (np.nan, np.inf, -np.inf):
        vectors[25, 1] = worst
        with pytest.raises(ValueError, match="Vectors 20 to 29 hold NaN or infinite values: the model has diverged"):
            search(np.ones((2, 2), dtype=np.float32), vectors, 3, block=10, precision=precision)
    giants = np.full((40, 2), 3e38, dtype=np.float32) * np.float32([1, -1])
    with pytest.raises(ValueError, match="too large for float32"):
        search(np.full((2, 2), 3e38, dtype=np.float32), giants, 3, precision=precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_giants_without_sums_that_overflow(precision: Precision) -> None:
    """Numbers that bf16 rounds to infinity, and means that overflow: nothing is ruled out then."""
    vectors = np.zeros((70, 3), dtype=np.float32)
    vectors[:, 0] = np.linspace(3.0e38, 3.4e38, 70)
    queries = np.array([[0.5, 0, 0], [0, 1, 0], [1e-38, 0, 0]], dtype=np.float32)
    rows, scores = search(queries, vectors, 5, precision=precision)
    assert rows.tolist() == [[69, 68, 67, 66, 65], [0, 1, 2, 3, 4], [69, 68, 67, 66, 65]]
    assert np.array_equal(scores, queries[:, :1] * vectors[rows, 0])


def test_no_queries() -> None:
    rows, scores = search(np.empty((0, 3), dtype=np.float32), np.ones((9, 3), dtype=np.float32), 4)
    assert rows.shape == scores.shape == (0, 4)


ASKING = {"nonzero", "_local_scalar_dense", "masked_select", "bincount", "is_nonzero", "equal", "unique_dim"}


class Waits(TorchDispatchMode):
    """Counts the calls of torch for which a host would wait for a GPU: they need a number of it.

    Copies of results count as well. What another thread calls is not seen: it waits for itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masks = name.startswith("index") and any(
            one is not None and one.dtype in (torch.bool, torch.uint8)
            for one in (args[1] if isinstance(args[1], list | tuple) else ())
        )
        if name in ASKING or masks:
            self.counts[name] += 1
        return func(*args, **kwargs or {})


def test_a_host_waits_three_times_a_block_and_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups to open, pairs to score, pairs per query (``Tensor.cpu``, no call of torch's on a CPU); one in the end."""
    read: list[tuple[int, ...]] = []
    cpu = torch.Tensor.cpu

    def counted(tensor: torch.Tensor) -> torch.Tensor:
        read.append(tuple(tensor.shape))
        return cpu(tensor)

    monkeypatch.setattr(torch.Tensor, "cpu", counted)
    monkeypatch.setattr(gpu, "PART", 20)
    rng = np.random.default_rng(0)
    vectors, queries = (rng.standard_normal((n, 32)).astype(np.float32) for n in (6000, 60))
    with Waits() as waits:
        search(queries, vectors, 20, block=2000)
    blocks, parts = 3, 3
    assert waits.counts == {"nonzero": 2 * blocks * parts, "_local_scalar_dense": parts}
    assert sorted(read) == [(20, 20)] * parts + [(21,)] * blocks * parts


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dimension", [1, 7, 96, 768])
def test_fused_products_are_those_of_rows(dimension: int, device: str) -> None:
    """torch's kernel on a CPU shares the meaning, not the order of sums, with that on a GPU."""
    rng = torch.Generator().manual_seed(dimension)
    left, right = (torch.randn(n, dimension, generator=rng) for n in (40, 300))
    one, other = (torch.randint(len(each), (500,), generator=rng) for each in (left, right))
    expected = (left[one].double() * right[other].double()).sum(1)
    there = [each.to(device) for each in (left, right, one, other)]
    for product in (gpu.products, gpu.fused_products):
        assert (product(*there).cpu() - expected).abs().max() < 1e-6 * dimension
        assert len(product(*(each[:0] if each.dtype == torch.int64 else each for each in there))) == 0


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


@pytest.mark.parametrize(("precision", "times"), [("float32", 1.1), ("bf16", 1.25)])
def test_few_scores_are_computed_in_float32_and_every_block_is_read_once(
    precision: Precision, times: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((60_000, 32)).astype(np.float32)
    queries, k, asked, scored = rng.standard_normal((80, 32)).astype(np.float32), 100, [], []
    products = gpu.products

    def counted(left: torch.Tensor, right: torch.Tensor, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        scored.append(len(one))
        return products(left, right, one, other)

    def blocks() -> Iterator[tuple[int, np.ndarray]]:
        for start in range(0, len(vectors), 20_000):
            asked.append(start)
            yield start, vectors[start : start + 20_000]

    monkeypatch.setattr(gpu, "products", counted)
    gpu.scanned(queries, blocks(), k, np.arange(len(vectors)), "cpu", precision)
    assert asked == [0, 20_000, 40_000]
    # Of three blocks in chance order, k, k and k / 2 reach the k-th best of what came before, or of the first.
    least = len(queries) * k * (1 + 1 + 1 / 2)
    assert least * 0.9 <= sum(scored) <= times * least


def test_settings_of_torch_are_as_they_were() -> None:
    matmul = torch.backends.cuda.matmul
    name, wanted = ("fp32_precision", "ieee") if hasattr(matmul, "fp32_precision") else ("allow_tf32", False)
    before = getattr(matmul, name), matmul.allow_bf16_reduced_precision_reduction
    with gpu._sums_in_float32():
        assert getattr(matmul, name) == wanted and matmul.allow_bf16_reduced_precision_reduction is False
    assert (getattr(matmul, name), matmul.allow_bf16_reduced_precision_reduction) == before
