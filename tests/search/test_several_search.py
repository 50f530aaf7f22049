"""Several vectors a passage: the largest product, exact and with ties as everywhere."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ance_tele.encode.vectors import Vectors, pair_scores
from ance_tele.search.several import several_topk
from ance_tele.search.topk import TopK, exact_topk


def find(queries: np.ndarray, vectors: Vectors, k: int, rank: np.ndarray, device: str = "cpu") -> TopK:
    return exact_topk(queries, vectors, k, rank, device)


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1 << 20),
    count=st.integers(1, 60),
    k=st.integers(1, 80),
    each=st.integers(2, 4),
    around=st.booleans(),
    spread=st.sampled_from([0, 1, 3]),
)
def test_as_scoring_everything_would(
    device: str, seed: int, count: int, k: int, each: int, around: bool, spread: int
) -> None:
    """Small whole numbers: products are exact, and ties are everywhere; for queries, and around passages."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(-spread, spread + 1, (count, each * 3)).astype(np.float32)
    asked = each if around else 1
    queries = rng.integers(-2, 3, (int(rng.integers(1, 6)), asked * 3)).astype(np.float32)
    id_rank = rng.permutation(count)
    vectors = Vectors(tuple(np.split(rows, [count // 2])) if count > 1 else (rows,), "")
    found = several_topk(partial(find, device=device), queries, vectors, k, id_rank, each)

    products = np.einsum("qad,pmd->qpam", queries.reshape(-1, asked, 3), rows.reshape(count, each, 3))
    scores = products.max(axis=(2, 3))
    order = np.stack([np.lexsort((id_rank, -line)) for line in scores])[:, :k]
    assert np.array_equal(found.rows, order)
    assert np.array_equal(found.scores, np.take_along_axis(scores, order, 1))
    if not around:
        offsets = np.arange(len(queries) + 1) * order.shape[1]
        assert np.array_equal(pair_scores(queries, vectors, offsets, order.reshape(-1)), found.scores.reshape(-1))


def test_the_largest_of_hand_made_products() -> None:
    """Of the query (1, 2): 1 and 4 of the first passage's vectors, 5 and 0 of the second's, 4 twice of the third's."""
    rows = np.array([[1, 0, 0, 2], [1, 2, 0, 0], [4, 0, 0, 2]], dtype=np.float32)
    query = np.array([[1, 2]], dtype=np.float32)
    found = several_topk(find, query, Vectors((rows,), ""), 3, np.array([2, 0, 1]), 2)
    assert (found.rows.tolist(), found.scores.tolist()) == ([[1, 2, 0]], [[5, 4, 4]])
    assert pair_scores(query, Vectors((rows,), ""), np.array([0, 2]), np.array([0, 1])).tolist() == [4, 5]
