from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ance_tele.evaluate.statistics import compare_with, holm, pairwise_tests, permutation_test

VALUES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.sampled_from([0.0, 0.25, 0.5, 1.0])), min_size=1, max_size=9
)


def enumerated(a: np.ndarray, b: np.ndarray) -> float:
    """Two-sided p-value from all sign flips."""
    difference = a - b
    flips = np.array(list(product([1, -1], repeat=len(a))))
    means = np.abs(flips @ difference)
    return float((means >= abs(difference.sum()) - 1e-9).mean())


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_few_queries_are_counted_out(pairs: list[tuple[float, float]]) -> None:
    a, b = np.array(pairs).T
    assert permutation_test(a, b) == pytest.approx(enumerated(a, b))


def test_known_values() -> None:
    # Five wins in five: 2 of 32 flips are as extreme.
    assert permutation_test(np.ones(5), np.zeros(5)) == pytest.approx(2 / 32)
    # Four wins and a loss of the same size: 1 + 5 flips on either side.
    assert permutation_test(np.array([1, 1, 1, 1, 0.0]), np.array([0, 0, 0, 0, 1.0])) == pytest.approx(12 / 32)


def test_many_queries_are_sampled() -> None:
    rng = np.random.default_rng(0)
    a = rng.random(16)
    b = a + rng.normal(0.1, 0.2, 16)
    assert permutation_test(a, b) == pytest.approx(enumerated(a, b), abs=0.01)
    # Nothing is as extreme: the smallest p-value there is.
    clear = np.arange(30.0)
    assert permutation_test(clear + 1, clear, resamples=999) == pytest.approx(2 / 1000)


@pytest.mark.parametrize("count", [8, 60])
def test_the_order_of_the_systems_does_not_matter(count: int) -> None:
    rng = np.random.default_rng(count)
    a, b = rng.random(count), rng.random(count)
    assert permutation_test(a, b) == permutation_test(b, a) == permutation_test(a, b)


def test_a_constant_shift_is_found_and_noise_is_not() -> None:
    rng = np.random.default_rng(1)
    a = rng.random(200)
    assert permutation_test(a, a + rng.normal(0.05, 0.1, 200)) < 0.001
    found = [permutation_test(a, a + rng.normal(0, 0.1, 200), resamples=400, seed=seed) for seed in range(60)]
    assert sum(p < 0.05 for p in found) <= 9, "under the null hypothesis one in twenty is significant"


def test_nothing_to_tell_apart() -> None:
    same = np.array([0.1, 0.5, 1.0])
    assert permutation_test(same, same.copy()) == 1.0
    assert permutation_test(np.array([]), np.array([])) == 1.0
    assert permutation_test(np.array([1.0]), np.array([0.0])) == 1.0
    assert permutation_test(np.array([0.0, 1.0]), np.array([1.0, 0.0])) == 1.0


def test_other_queries_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a has shape \(3,\), b \(4,\): a paired test needs the same queries"):
        permutation_test(np.zeros(3), np.zeros(4))


# ---- a table of systems ----------------------------------------------------------------------------------


@pytest.mark.parametrize("queries", [14, 150])
def test_a_table_of_systems_agrees_with_the_test_of_two(queries: int) -> None:
    """Within four standard errors of two samples of 10,000 flips, of which the other test doubles the smaller tail."""
    rng = np.random.default_rng(queries)
    values = rng.random((4, queries)) + np.linspace(0, 0.3, 4)[:, None]
    found = pairwise_tests(values)
    for a, b in combinations(range(4), 2):
        p = permutation_test(values[a], values[b])
        error = np.sqrt(max(p * (1 - p) + p * (2 - p), 1e-3) / 10_000)
        assert found[a, b] == pytest.approx(p, abs=4 * error), (a, b)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0]), min_size=5, max_size=5), min_size=1, max_size=4))
def test_a_table_is_symmetric_with_ones_where_nothing_differs(rows: list[list[float]]) -> None:
    values = np.array(rows)
    found = pairwise_tests(values, resamples=200)
    assert found.shape == (len(rows), len(rows))
    assert (found == found.T).all() and (np.diag(found) == 1).all()
    assert ((found >= 1 / 201) & (found <= 1)).all()
    for a, b in combinations(range(len(rows)), 2):
        if rows[a] == rows[b]:
            assert found[a, b] == 1
    assert (pairwise_tests(values[::-1], resamples=200)[::-1, ::-1] == found).all(), "whatever the order of the rows"


def test_a_table_counted_by_hand() -> None:
    """Of three queries: won by 0.3, 0.2 and 0.1 is beaten by no flip but its mirror, so 2 of 8; +0.3, -0.2 and -0.1
    add up to nothing, so every flip is as extreme; rounding may not tell 0.1 + 0.2 from 0.3."""
    values = np.array([[0.3, 0.2, 0.1], [0.0, 0.0, 0.0], [0.0, 0.4, 0.2]])
    found = pairwise_tests(values, resamples=50_000)
    assert found[0, 1] == pytest.approx(2 / 8, abs=0.01)
    assert found[0, 2] == 1
    # Differences 0, 0.4, 0.2: the zero changes nothing, so 4 of 8.
    assert found[1, 2] == pytest.approx(4 / 8, abs=0.01)


def test_the_smallest_p_value_of_a_table_is_not_zero() -> None:
    clear = np.stack([np.arange(40.0) + 1, np.arange(40.0)])
    assert pairwise_tests(clear, resamples=999)[0, 1] == 1 / 1000


def test_a_table_is_the_same_each_time_and_however_many_queries_fit_in_memory() -> None:
    rng = np.random.default_rng(5)
    values = rng.random((3, 30))
    assert (pairwise_tests(values) == pairwise_tests(values)).all()
    assert (pairwise_tests(values, seed=1) != pairwise_tests(values, seed=2)).any()
    wide = np.tile(rng.random((2, 1)), (1, (1 << 24) // 40))  # 40 flips at a time
    assert pairwise_tests(wide, resamples=60)[0, 1] == 1 / 61


def test_nothing_to_tell_apart_in_a_table() -> None:
    assert pairwise_tests(np.zeros((1, 5))).tolist() == [[1.0]]
    assert (pairwise_tests(np.zeros((3, 0)), resamples=10) == 1).all()
    assert pairwise_tests(np.array([[1.0], [0.0]]), resamples=100)[0, 1] == 1.0, "one query proves nothing"


# ---- several comparisons ---------------------------------------------------------------------------------


def test_holm_by_hand() -> None:
    # Sorted: .005 x 4, .01 x 3, .03 x 2, .04 x 1; no adjusted value may lie below the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.4, 0.9]) == pytest.approx([1.0, 1.0, 1.0])
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=8), st.sampled_from([0.05, 0.01, 0.5]))
def test_holm_rejects_step_by_step(p_values: list[float], level: float) -> None:
    """The procedure as Holm gives it: go up from the smallest, stop at the first that is too large."""
    rejected = [False] * len(p_values)
    for step, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[index] * (len(p_values) - step) > level:
            break
        rejected[index] = True
    adjusted = holm(p_values)
    assert [p <= level for p in adjusted] == rejected
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))


def test_a_system_is_compared_with_several_on_the_queries_that_are_measured() -> None:
    rng = np.random.default_rng(5)
    values = np.append(rng.random(40), np.nan)
    others = {"low": values - 0.2 - 0.1 * rng.random(41), "near": values + rng.normal(0, 0.1, 41)}
    found = compare_with(values, others)
    raw = [permutation_test(values[:-1], other[:-1]) for other in others.values()]
    assert [p for _, p in found.values()] == holm(raw)
    assert found["low"][0] == pytest.approx((values - others["low"])[:-1].mean()) and found["low"][1] < 0.01
    assert compare_with(values, {}) == {}
