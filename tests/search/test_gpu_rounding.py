"""The bound that a GPU's search rules passages out by, against exact products; and copies in pieces."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ance_tele.search import gpu, gpu_rounding, upload
from ance_tele.search.gpu_rounding import Passages, Queries, passages_of, queries_of
from ance_tele.search.upload import Upload

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
TYPES = {"bf16": torch.bfloat16, "float32": torch.float32}


def rounded(queries: np.ndarray, vectors: np.ndarray, kind: str, device: str = "cpu") -> tuple[Queries, Passages]:
    place = torch.device(device)
    passages = passages_of(0, vectors, np.arange(len(vectors)), TYPES[kind], Upload(place))
    return queries_of(torch.from_numpy(queries).to(place), TYPES[kind]), passages


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 1 << 20),
    dimension=st.integers(1, 400),
    scale=st.sampled_from([1e-38, 1e-30, 1e-19, 1e-3, 1.0, 1e5, 1e14, 1e25]),
    shift=st.sampled_from([0.0, 1.0, 30.0]),
    spread=st.sampled_from([0.0, 3.0]),
    kind=st.sampled_from(list(TYPES)),
    device=st.sampled_from(DEVICES),
)
def test_the_error_is_bounded(
    seed: int, dimension: int, scale: float, shift: float, spread: float, kind: str, device: str
) -> None:
    """Exact and approximate scores differ by the bound at most, and by a part of it somewhere."""
    rng = np.random.default_rng(seed)
    sizes = [one * np.exp(rng.standard_normal((50, 1)) * spread) for one in (1 / scale**0.5, scale)]
    common = shift * rng.standard_normal(dimension)
    queries, vectors = ((size * (rng.standard_normal((50, dimension)) + common)).astype(np.float32) for size in sizes)
    asked, passages = rounded(queries, vectors, kind, device)
    with gpu._sums_in_float32():
        rough = (asked.narrow @ passages.narrow.T)[:, : len(vectors)].double().cpu().numpy()
    bound, exact = asked.error(passages).double().cpu().numpy()[:, None], queries.astype(np.float64) @ vectors.T
    moved = asked.shift(passages).double().cpu().numpy()[:, None]
    last = np.abs(rough) * torch.finfo(TYPES[kind]).eps / 2 + 1e-38  # of the rounding of approximate scores
    exact = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    off = np.abs(rough + moved - exact)
    assert (off <= bound + last).all()
    assert scale < 1e-3 or kind == "float32" or spread or (off > bound / 200).any()


@pytest.mark.parametrize("kind", TYPES)
def test_norms_and_residuals_are_those_of_float64(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_rounding, "ROWS", 30)
    for scale in (1e-37, 1e-20, 1.0, 1e20, 1e36):
        vectors = (np.random.default_rng(1).standard_normal((100, 13)) * scale + scale).astype(np.float32)
        asked, passages = rounded(vectors, vectors, kind)
        assert passages.narrow.shape == (128, 16) and asked.narrow.shape == (100, 16)
        assert not passages.narrow[100:].any() and not passages.narrow[:, 13:].any()
        centred = vectors - passages.mean.numpy()
        left = (centred - passages.narrow[:100, :13].float().numpy()).astype(np.float64)
        most = [np.linalg.norm(each, axis=1).max() for each in (centred.astype(np.float64), left)]
        assert np.allclose([passages.norm, passages.residual], most, rtol=1e-5, atol=0)
        assert np.isclose(passages.middle, np.linalg.norm(passages.mean.double()), rtol=1e-5)
        assert np.allclose(asked.norm.numpy(), np.linalg.norm(vectors.astype(np.float64), axis=1), rtol=1e-5)


def test_centring_makes_the_bound_smaller() -> None:
    """Cosines of 0.9 between any two: the bound is about a third of that without centring."""
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((500, 64)) + 3 * rng.standard_normal(64)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    asked, passages = rounded(vectors, vectors, "bf16")
    plain = queries_of(torch.from_numpy(vectors), torch.bfloat16)
    without = 2 * float((plain.norm * plain.residual).max())
    assert float(asked.error(passages).max()) < 0.5 * without


@pytest.mark.parametrize("piece", [1, 7, 64, 1000])
@pytest.mark.parametrize("device", DEVICES)
def test_copies_in_pieces_are_copies(piece: int, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "PIECE", piece)
    copies = Upload(torch.device(device), staged=True)
    for shape in ((9, 7), (1, 1), (0, 3)):
        array = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
        with copies.beside():
            there = copies.copy(array)
            assert np.array_equal(there.cpu().numpy(), array)
    strided = np.arange(40, dtype=np.float32).reshape(8, 5)[::2, 1:]
    assert np.array_equal(copies.copy(strided).cpu().numpy(), strided)
