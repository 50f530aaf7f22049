"""How many negatives each source and momentum give: alpha and beta as shares, pools that come short."""

from collections import Counter

import pytest
from pools import judged, long_lists, negatives, ragged, three_pools

from ance_tele.mining.candidates import Candidates
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.mix import mix
from ance_tele.mining.quota import quota


@pytest.mark.parametrize("beta", [0.0, 0.2, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("alpha", [0.0, 0.001, 0.1, 1 / 3, 0.5, 0.6, 0.75, 0.95, 1.0])
def test_alpha_and_beta_are_the_shares_of_the_pool(alpha: float, beta: float) -> None:
    config, positives = MiningConfig(alpha=alpha, beta=beta, pool_per_source=30), judged([0, 1], [[0], [0]])
    pools = three_pools(positives, config, [long_lists(2, episode) for episode in (1, 2, 3)], 42)
    for episode, pool in enumerate(pools, 1):
        assert not pool.shortage["missing"] and pool.sizes.min() == pool.sizes.max() >= 60
        for drawn in negatives(pool):
            parts = Counter(negative[1] for negative in drawn)
            new = parts["query"] + parts["lookahead"]
            assert abs(parts["lookahead"] - beta * new) <= 0.5
            assert abs(parts["momentum"] - alpha * len(drawn) * (episode > 1)) <= 0.5


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.1, 0.2, 0.5, 0.9, 0.999])
def test_a_small_pool_is_never_empty(alpha: float, size: int) -> None:
    config, positives = MiningConfig(alpha=alpha, pool_per_source=size), judged([0], [[0]])
    pools = three_pools(positives, config, [long_lists(1, episode) for episode in (1, 2, 3)], 42)
    assert all(len(pool) >= 2 * size for pool in pools)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (MiningConfig(), [((30, 30), 0), ((30, 30), 60), ((30, 30), 60)]),
        (MiningConfig(momentum="all"), [((30, 30), 0), ((30, 30), 60), ((30, 30), 120)]),
        (MiningConfig(alpha=0.0, momentum="all"), [((30, 30), 0)] * 3),
    ],
)
def test_momentum_in_three_episodes(config: MiningConfig, expected: list[tuple[tuple[int, int], int]]) -> None:
    pools = three_pools(judged([0, 1], [[0], [0]]), config, [long_lists(2, number) for number in (1, 2, 3)], 42)
    for pool, (new, momentum) in zip(pools, expected, strict=True):
        for drawn in negatives(pool):
            parts = Counter(negative[1] for negative in drawn)
            assert ((parts["query"], parts["lookahead"]), parts["momentum"]) == (new, momentum)


def test_momentum_hands_on_what_momentum_brought() -> None:
    config = MiningConfig(momentum="all")
    pools = three_pools(judged([0], [[0]]), config, [long_lists(1, number) for number in (1, 2, 3)], 42)
    third = negatives(pools[2])[0]
    assert Counter(n[3] for n in third) == {1: 60, 2: 60, 3: 60}
    assert Counter(n[2] for n in third) == {"query": 90, "lookahead": 90}
    assert all(n[0] // 10_000 == n[3] for n in third)


@pytest.mark.parametrize(
    ("config", "episode", "previous", "new", "momentum"),
    [
        (MiningConfig(), 1, 0, {"query": 30, "lookahead": 30}, 0),
        (MiningConfig(), 2, 60, {"query": 30, "lookahead": 30}, 60),
        (MiningConfig(), 3, 120, {"query": 30, "lookahead": 30}, 60),
        (MiningConfig(pool_per_source=80), 2, 160, {"query": 80, "lookahead": 80}, 160),
        (MiningConfig(momentum="all"), 3, 120, {"query": 30, "lookahead": 30}, 120),
        (MiningConfig(beta=0.25), 1, 0, {"query": 45, "lookahead": 15}, 0),
        (MiningConfig(beta=1.0), 1, 0, {"lookahead": 60}, 0),
        (MiningConfig(beta=0.0), 1, 0, {"query": 60}, 0),
        (MiningConfig(alpha=0.25), 2, 60, {"query": 30, "lookahead": 30}, 20),
        # Three quarters of momentum would be 180; there are 60, so the new part shrinks.
        (MiningConfig(alpha=0.75), 2, 60, {"query": 10, "lookahead": 10}, 60),
        (MiningConfig(alpha=0.75, beta=0.2), 2, 60, {"query": 16, "lookahead": 4}, 60),
        (MiningConfig(alpha=1.0), 2, 60, {"query": 0, "lookahead": 0}, 60),
        (MiningConfig(alpha=0.001), 2, 60, {"query": 30, "lookahead": 30}, 0),
        (MiningConfig(sources=("query",)), 1, 0, {"query": 60}, 0),
        (MiningConfig(sources=("bm25",), alpha=0.0), 1, 0, {"bm25": 60}, 0),
        (MiningConfig(sources=("query", "bm25")), 1, 0, {"query": 30, "bm25": 30}, 0),
        (MiningConfig(sources=("random", "bm25"), alpha=0.75), 2, 59, {"random": 10, "bm25": 10}, 59),
        (
            MiningConfig(sources=("query", "bm25", "lookahead"), beta=0.75),
            1,
            0,
            {"query": 15, "bm25": 30, "lookahead": 45},
            0,
        ),
        (MiningConfig(sources=("query",), first_sources=("bm25",), alpha=0.0), 1, 0, {"bm25": 60}, 0),
        (MiningConfig(sources=("query",), first_sources=("bm25",), alpha=0.0), 2, 60, {"query": 60}, 0),
    ],
)
def test_quota(config: MiningConfig, episode: int, previous: int, new: dict[str, int], momentum: int) -> None:
    found = quota(config, episode, previous)
    assert (found.new, found.momentum) == (new, momentum)
    assert found.total == sum(new.values()) + momentum


def test_a_short_pool_is_counted_and_never_filled() -> None:
    lists = {
        "query": ragged([[1, 2, 3, 4], [7, 8], [], list(range(20))]),
        "lookahead": ragged([[5, 6], [8, 7], [], list(range(20, 40))]),
    }
    positives = judged([0, 1, 2, 3], [[1], [7, 8], [0], [0, 1]])
    config = MiningConfig(pool_per_source=3)
    pool = mix(Candidates(positives.queries, lists), positives, config, 1, 42)
    assert pool.sizes.tolist() == [5, 0, 0, 6]
    assert sorted(pool.negatives(0).tolist()) == [2, 3, 4, 5, 6]
    assert pool.shortage == {"wanted": 24, "missing": 13, "short_queries": 3}
    nothing = Candidates(positives.queries, {source: ragged([[]] * 4) for source in ("query", "lookahead")})
    second = mix(nothing, positives, config, 2, 42, [pool])
    assert second.by_source() == {"momentum": 11}
    assert second.shortage == {"wanted": 48, "missing": 37, "short_queries": 4}


def test_a_history_larger_than_these_settings_draw_is_taken_whole() -> None:
    positives = judged([1], [[0]])
    pool = mix(Candidates(positives.queries, long_lists(1, 1).lists), positives, MiningConfig(), 1, 42)
    config = MiningConfig(pool_per_source=2, momentum="all")
    found = Candidates(positives.queries, long_lists(1, 2).lists)
    assert mix(found, positives, config, 2, 42, [pool]).by_source() == {"query": 2, "lookahead": 2, "momentum": 60}


def test_given_negatives_are_wanted_as_far_as_there_are_any() -> None:
    """Two queries with lists of 20; the file gives one and none: nothing of that is a shortage, then or later."""
    positives = judged([4, 7], [[100], [101]])
    config = MiningConfig(sources=("query", "given"), pool_per_source=6)
    found = Candidates(positives.queries, {"query": ragged([list(range(20))] * 2), "given": ragged([[50], []])})
    first = mix(found, positives, config, 1, seed=3)
    second = mix(found, positives, config, 2, seed=3, history=[first])
    assert first.sizes.tolist() == [7, 6] and second.sizes.tolist() == [14, 12]
    for pool, wanted in ((first, 13), (second, 26)):
        assert pool.shortage == {"wanted": wanted, "missing": 0, "short_queries": 0}
    few = Candidates(positives.queries, {"query": ragged([list(range(20)), [1]]), "given": ragged([[50], []])})
    assert mix(few, positives, config, 1, seed=3).shortage == {"wanted": 13, "missing": 5, "short_queries": 1}
