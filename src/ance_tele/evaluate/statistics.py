"""Significance: paired permutation tests, and Holm's adjustment for several comparisons."""

from collections.abc import Mapping, Sequence

import numpy as np


def permutation_test(a: np.ndarray, b: np.ndarray, resamples: int = 10_000, seed: int = 42) -> float:
    """Return the two-sided p-value of a paired permutation test on the mean difference (Smucker et al. 2007).

    Args:
        a: Per-query values of one system, float [queries].
        b: Per-query values of the other, same queries in the same order.
        resamples: Number of random sign flips; the smallest possible p-value is 2 / (resamples + 1). The test is exact
            if there are no more than these, ``2 ** queries``.
        seed: Of the sign flips.

    Example:
        >>> permutation_test(np.array([1.0, 1.0, 0.5, 1.0, 1.0, 1.0]), np.array([0.5, 0.0, 0.0, 0.5, 0.2, 0.3]))
        0.03125
    """
    from scipy.stats import permutation_test as test

    if a.shape != b.shape:
        raise ValueError(f"a has shape {a.shape}, b {b.shape}: a paired test needs the same queries in both.")
    # With a single query both flips are equally extreme; scipy refuses the case.
    if len(a) < 2 or not np.any(a != b):
        return 1.0

    def difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return np.mean(x - y, axis=axis)

    rng = np.random.default_rng(seed)
    result = test(
        (a, b), difference, permutation_type="samples", n_resamples=resamples, batch=500, vectorized=True, rng=rng
    )
    return float(result.pvalue)


def compare_with(values: np.ndarray, others: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """Compare a system with each of several others, query by query: float [queries], NaN where one is not measured.

    Returns:
        By name: mean difference (positive where the system is better) and the p-value of :func:`permutation_test`,
        adjusted for all of them (:func:`holm`).
    """
    measured = ~np.isnan(values)
    own = values[measured]
    p = holm([permutation_test(own, other[measured]) for other in others.values()])
    return {
        name: (float((own - other[measured]).mean()), adjusted)
        for (name, other), adjusted in zip(others.items(), p, strict=True)
    }


def pairwise_tests(values: np.ndarray, resamples: int = 10_000, seed: int = 42) -> np.ndarray:
    """Return the two-sided p-value of the same test for every pair of systems, float64 [systems, systems].

    All pairs share the random sign flips, so that one matrix product computes all; the p-value is
    (1 + flips at least as extreme) / (1 + flips), never zero (Phipson & Smyth 2010). Values are float [systems,
    queries].
    """
    count, queries = values.shape
    left, right = np.triu_indices(count, 1)
    differences = (values[left] - values[right]).T
    observed = np.abs(differences.sum(axis=0))
    rng, extreme, done = np.random.default_rng(seed), np.zeros(len(left)), 0
    while done < resamples:
        size = min(max(1, (1 << 24) // max(1, queries)), resamples - done)
        signs = rng.integers(0, 2, (size, queries), dtype=np.int8) * 2.0 - 1.0
        # Sums that differ by rounding only count as equally extreme.
        extreme += (np.abs(signs @ differences) >= observed * (1 - 1e-9) - 1e-12).sum(axis=0)
        done += size
    p = np.ones((count, count))
    p[left, right] = p[right, left] = (1 + extreme) / (1 + resamples)
    return p


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values of several comparisons (Holm 1979)."""
    order = np.argsort(p_values)
    adjusted, worst = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = worst
    return adjusted


def rank_agreement(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Return Kendall's tau-b and Spearman's rho of two lists of values of the same systems; NaN for fewer than two.

    Example:
        >>> rank_agreement([0.1, 0.2, 0.3, 0.4], [1, 2, 4, 3])
        (0.6667, 0.8)
    """
    from scipy.stats import kendalltau, spearmanr

    if len(a) < 2:
        return float("nan"), float("nan")
    return round(float(kendalltau(a, b).statistic), 4), round(float(spearmanr(a, b).statistic), 4)
