"""Momentum of all earlier episodes by age, and shares of the queries that were forgotten."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from pools import judged, long_lists, negatives, three_pools
from test_mix import same

from ance_tele.console.errors import UserError
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.mix import mix
from ance_tele.mining.pool import COLUMNS
from ance_tele.mining.quota import quota


@pytest.mark.parametrize(("decay", "old"), [(0.0, 1 / 11), (0.5, 6 / 16), (1.0, 11 / 21)])
def test_the_weight_is_a_probability(decay: float, old: float) -> None:
    """One momentum negative at episode 3: of the 11 of D_2, one of which is old, and by weight the 10 mined for D_1."""
    queries = 1500
    config = MiningConfig(pool_per_source=5, alpha=1 / 11, momentum_decay=decay)
    pools = three_pools(
        judged(range(queries), [[0]] * queries), config, [long_lists(queries, n) for n in (1, 2, 3)], 42
    )
    carried = pools[2].first[pools[2].source == pools[2].names.index("momentum")]
    assert [len(pool) for pool in pools] == [10 * queries, 11 * queries, 11 * queries] and len(carried) == queries
    assert abs((carried == 1).mean() - old) < 0.05  # four standard deviations


def test_a_vanishing_weight_is_none() -> None:
    """So the default, 0, is the draw from the previous pool: the same pools, bit for bit."""
    positives, found = judged(range(9), [[0]] * 9), [long_lists(9, number) for number in (1, 2, 3, 4)]
    plain, vanishing, half = (
        three_pools(positives, MiningConfig(momentum_decay=decay), found, 42) for decay in (0.0, 1e-12, 0.5)
    )
    assert all(map(same, plain, vanishing))
    # With one earlier episode there is nothing older.
    assert same(plain[1], half[1]) and not same(plain[2], half[2])


def test_what_is_older_fills_up_a_short_pool() -> None:
    """Two in the last pool, where everything mined is relevant; the older ones come in whatever their weight."""
    config = MiningConfig(sources=("query",), pool_per_source=2, momentum_decay=1e-3)
    first = three_pools(judged([0], [[5]]), config, [long_lists(1, 1, ("query",), 4)], 42)[0]
    second = replace(first, passages=first.passages + 1000)
    held = [first, replace(second, **{name: getattr(second, name)[:2] for name in COLUMNS}, offsets=np.array([0, 2]))]
    drawn = mix(long_lists(1, 3, ("query",), 4), judged([0], [[5]]), config, 3, 42, held)
    assert drawn.by_source() == {"query": 4, "momentum": 4}
    momentum = drawn.passages[drawn.source == drawn.names.index("momentum")]
    assert set(second.passages[:2]) <= set(momentum) and len(set(momentum) & set(first.passages)) == 2


@pytest.mark.parametrize(
    ("config", "previous", "forgotten", "new", "momentum"),
    [
        # 120 in all: 0.8 of them momentum, or half.
        (MiningConfig(alpha_forgotten=0.8), 120, True, {"query": 12, "lookahead": 12}, 96),
        (MiningConfig(alpha_forgotten=0.8), 120, False, {"query": 30, "lookahead": 30}, 60),
        # 60 past ones are 0.8 of 75, so that is the size of all pools.
        (MiningConfig(alpha_forgotten=0.8), 60, True, {"query": 7, "lookahead": 8}, 60),
        (MiningConfig(alpha_forgotten=0.8), 60, False, {"query": 19, "lookahead": 18}, 38),
        (MiningConfig(alpha_forgotten=0.0), 60, True, {"query": 30, "lookahead": 30}, 0),
        (MiningConfig(alpha_forgotten=0.0), 60, False, {"query": 15, "lookahead": 15}, 30),
        (MiningConfig(alpha_forgotten=1.0), 60, True, {"query": 0, "lookahead": 0}, 60),
        (MiningConfig(alpha=0.0, alpha_forgotten=0.5), 60, True, {"query": 15, "lookahead": 15}, 30),
        (MiningConfig(alpha=0.0, alpha_forgotten=0.5), 60, False, {"query": 30, "lookahead": 30}, 0),
        (MiningConfig(beta_forgotten=1.0), 60, True, {"query": 0, "lookahead": 60}, 60),
        (MiningConfig(beta=0.0, beta_forgotten=0.5), 60, False, {"query": 60, "lookahead": 0}, 60),
    ],
)
def test_quota_of_the_forgotten(
    config: MiningConfig, previous: int, forgotten: bool, new: dict[str, int], momentum: int
) -> None:
    found = quota(config, 2, previous, forgotten)
    assert (found.new, found.momentum) == (new, momentum)


@pytest.mark.parametrize("alpha_forgotten", [0.0, 0.2, 0.8, 1.0])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_pools_have_one_size_at_which_both_shares_hold(alpha: float, alpha_forgotten: float) -> None:
    config = MiningConfig(alpha=alpha, alpha_forgotten=alpha_forgotten, beta_forgotten=0.75)
    forgotten = np.array([True, False, True])
    found = [long_lists(3, number) for number in (1, 2, 3)]
    pools = three_pools(judged(range(3), [[0]] * 3), config, found, 42, forgotten)
    for pool in pools[1:]:
        assert not pool.shortage["missing"] and pool.sizes.min() == pool.sizes.max() > 0
        for drawn, worse in zip(negatives(pool), forgotten, strict=True):
            parts = Counter(negative[1] for negative in drawn)
            share, beta = (alpha_forgotten, 0.75) if worse else (alpha, 0.5)
            assert abs(parts["momentum"] - share * len(drawn)) <= 0.5
            assert abs(parts["lookahead"] - beta * (len(drawn) - parts["momentum"])) <= 0.5


def test_a_query_that_was_not_forgotten_draws_as_without_the_setting() -> None:
    """Its shares fit the size there is, so its pool is that of the plain run."""
    config, positives = MiningConfig(alpha=0.3), judged([0, 1], [[0], [0]])
    first, *_ = three_pools(positives, config, [long_lists(2, 1)], 42)
    found = long_lists(2, 2)
    plain = mix(found, positives, config, 2, 42, [first])
    other = mix(found, positives, replace(config, alpha_forgotten=0.4), 2, 42, [first], np.array([False, True]))
    assert negatives(plain)[0] == negatives(other)[0] and negatives(plain)[1] != negatives(other)[1]


def test_what_does_not_go_together_is_refused() -> None:
    positives, config = judged([0], [[0]]), MiningConfig(alpha_forgotten=0.8)
    pool = mix(long_lists(1, 1), positives, config, 1, 42)
    with pytest.raises(ValueError, match=r"say which queries were forgotten"):
        mix(long_lists(1, 2), positives, config, 2, 42, [pool])
    for name in ("momentum_decay", "alpha_forgotten"):
        with pytest.raises(UserError, match=f"{name} is 0.5, but momentum 'all' takes the whole previous pool"):
            MiningConfig(momentum="all", **{name: 0.5}).check()
    with pytest.raises(UserError, match="alpha_forgotten is 0, but momentum 'all'"):
        MiningConfig(momentum="all", alpha_forgotten=0).check()  # no momentum for these queries, which is not null
