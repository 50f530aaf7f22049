"""Mixing: a plain mixer that agrees, properties of every pool, numbers written out once."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import SOURCES, Negative, judged, long_lists, negatives, ragged, three_pools
from scipy.stats import chi2

from ance_tele.data.collection import Qrels
from ance_tele.mining import mix as mixing
from ance_tele.mining.candidates import Candidates
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.mix import mix
from ance_tele.mining.pool import COLUMNS, Pool
from ance_tele.mining.quota import quota
from ance_tele.mining.seeding import hashed

# Positives, settings, candidates of three episodes, seed, which queries were forgotten.
Case = tuple[Qrels, MiningConfig, list[Candidates], int, np.ndarray]


def same(a: Pool, b: Pool) -> bool:
    names = ("queries", "offsets", *COLUMNS)
    return a.shortage == b.shortage and all(
        getattr(a, name).dtype == getattr(b, name).dtype and getattr(a, name).tobytes() == getattr(b, name).tobytes()
        for name in names
    )


def reference(
    found: Candidates,
    positives: Qrels,
    config: MiningConfig,
    episode: int,
    seed: int,
    history: Sequence[Pool],
    forgotten: np.ndarray,
) -> list[list[Negative]]:
    """The mixer once more, query by query, with sets and lists."""
    targets = [quota(config, 1)] * 2
    for number in range(2, episode + 1):
        targets = [quota(config, number, targets[0].total, each) for each in (False, True)]
    past = [negatives(pool) for pool in history]
    pools = []
    for index, query in enumerate(positives.queries.tolist()):
        relevant = set(positives.passages[positives.offsets[index] : positives.offsets[index + 1]].tolist())
        drawn: list[Negative] = []
        target = targets[int(forgotten[index])]
        for source, size in target.new.items():
            lists = found.lists[source]
            entries = range(int(lists.offsets[index]), int(lists.offsets[index + 1]))
            left = [entry for entry in entries if int(lists.passages[entry]) not in relevant]
            lot = {e: int(hashed(seed, episode, source, np.array([query]), lists.passages[e : e + 1])[0]) for e in left}
            for entry in sorted(left, key=lambda e: lot[e])[:size]:
                passage = int(lists.passages[entry])
                rank, score = int(lists.ranks[entry]), float(lists.scores[entry])
                drawn.append((passage, source, source, episode, rank, score))
        if target.momentum:
            arrivals: list[tuple[float, Negative]] = []
            for back, pool in enumerate(past[::-1]):
                for place, old in enumerate(pool[index]):
                    if old[0] in relevant or (back and (not config.momentum_decay or old[1] == "momentum")):
                        continue
                    purpose = f"momentum {back}" if back else "momentum"
                    lot = int(hashed(seed, episode, purpose, np.array([query]), np.array([place]))[0])
                    arrivals.append((-math.log1p(-(lot >> 11) / 2**53) / config.momentum_decay**back, old))
            if config.momentum == "weighted":
                arrivals = sorted(arrivals, key=lambda each: each[0])[: target.momentum]
            drawn += [(old[0], "momentum", *old[2:]) for _, old in arrivals]
        if config.dedup:
            held: dict[int, Negative] = {}
            for negative in drawn:
                held.setdefault(negative[0], negative)
            drawn = list(held.values())
        pools.append(
            [(*negative[:3], first_met(negative[0], index, past, episode), *negative[4:]) for negative in drawn]
        )
    return pools


def first_met(passage: int, index: int, past: list[list[list[Negative]]], episode: int) -> int:
    """first(q, d) = min {j : d in D_j(q)}."""
    held = [number for number, pools in enumerate(past, 1) if passage in {negative[0] for negative in pools[index]}]
    return min([*held, episode])


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Positives, settings, the candidates of three episodes, which queries were forgotten from the second on.

    Short, empty and overlapping lists are common.
    """
    count = draw(st.integers(1, 5))
    queries = sorted(draw(st.sets(st.integers(0, 600_000), min_size=count, max_size=count)))
    # Far up in the corpus, so that a product of query and passage would not fit 32 bits.
    shift = draw(st.sampled_from([0, 2_147_483_000]))
    passages = st.lists(st.integers(shift, shift + 25), unique=True, max_size=25)
    positives = draw(st.lists(passages.filter(bool).map(lambda p: p[:3]), min_size=count, max_size=count))
    sources = draw(st.lists(st.sampled_from(SOURCES[:4]), min_size=1, max_size=4, unique=True))
    first = draw(st.none() | st.lists(st.sampled_from(SOURCES[:4]), min_size=1, max_size=2, unique=True))
    config = MiningConfig(
        sources=tuple(sources),
        first_sources=first if first is None else tuple(first),
        pool_per_source=draw(st.integers(1, 9)),
        alpha=draw(st.sampled_from([0.0, 0.01, 0.3, 0.5, 0.8, 1.0])),
        beta=draw(st.sampled_from([0.0, 0.3, 0.5, 1.0])),
        momentum=draw(st.sampled_from(["weighted", "all"])),
        dedup=draw(st.booleans()),
    )
    if config.momentum == "weighted":
        config = replace(
            config,
            momentum_decay=draw(st.sampled_from([0.0, 0.5, 1.0])),
            alpha_forgotten=draw(st.sampled_from([None, 0.0, 0.8, 1.0])),
            beta_forgotten=draw(st.sampled_from([None, 0.0, 1.0])),
        )
    found = []
    for episode in (1, 2, 3):
        lists = {source: ragged(draw(st.lists(passages, min_size=count, max_size=count))) for source in SOURCES[:4]}
        found.append(Candidates(np.array(queries), {source: lists[source] for source in config.sources_at(episode)}))
    forgotten = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    return judged(queries, positives), config, found, draw(st.integers(0, 3)), forgotten


@settings(max_examples=150, deadline=None)
@given(cases())
def test_the_mixer_agrees_with_a_plain_one(case: Case) -> None:
    positives, config, found, seed, forgotten = case
    pools = three_pools(positives, config, found, seed, forgotten)
    for episode, (candidates, pool) in enumerate(zip(found, pools, strict=True), 1):
        known = forgotten if episode > 1 else np.zeros(len(positives), dtype=bool)
        wanted = reference(candidates, positives, config, episode, seed, pools[: episode - 1], known)
        assert negatives(pool) == wanted
        assert {name: getattr(pool, name).dtype for name in COLUMNS} == {n: np.dtype(k) for n, k in COLUMNS.items()}
        target = quota(config, 1)
        for number in range(2, episode + 1):
            target = quota(config, number, target.total)
        short = [target.total - len(drawn) for drawn in wanted]
        assert pool.shortage == {
            "wanted": target.total * len(positives),
            "missing": sum(short),
            "short_queries": sum(size > 0 for size in short),
        }
        assert pool.by_source() == dict(Counter(negative[1] for drawn in wanted for negative in drawn))


@settings(max_examples=100, deadline=None)
@given(cases())
def test_what_a_pool_may_hold(case: Case) -> None:
    """The same, said as properties: nothing here knows how the draw is done."""
    positives, config, found, seed, forgotten = case
    pools = three_pools(positives, config, found, seed, forgotten)
    for episode, (candidates, pool) in enumerate(zip(found, pools, strict=True), 1):
        plan = quota(config, episode, len(pools[episode - 2]) if episode > 1 else 0)
        for index, drawn in enumerate(negatives(pool)):
            relevant = set(positives.passages[positives.offsets[index] : positives.offsets[index + 1]].tolist())
            assert not relevant & {negative[0] for negative in drawn}
            for source, lists in candidates.lists.items():
                entries = range(int(lists.offsets[index]), int(lists.offsets[index + 1]))
                listed = {
                    (int(lists.passages[e]), int(lists.ranks[e]), float(lists.scores[e]))
                    for e in entries
                    if int(lists.passages[e]) not in relevant
                }
                mined = [(n[0], n[4], n[5]) for n in drawn if n[1] == source]
                assert len(mined) == len(set(mined)), "drawn with replacement"
                assert set(mined) <= listed
                assert all(n[2] == source for n in drawn if n[1] == source)
                if not config.dedup and episode == 1:
                    assert len(mined) == min(plan.new[source], len(listed))
            carried = Counter((n[0], *n[2:]) for n in drawn if n[1] == "momentum")
            if episode == 1 or config.alpha_of(bool(forgotten[index])) == 0:
                assert not carried
            else:
                held = Counter((n[0], *n[2:]) for n in negatives(pools[episode - 2])[index])
                if config.momentum_decay and episode == 3:
                    held += Counter((n[0], *n[2:]) for n in negatives(pools[0])[index])
                assert carried <= held
            if config.dedup:
                assert len({negative[0] for negative in drawn}) == len(drawn)


@settings(max_examples=40, deadline=None)
@given(cases(), st.integers(1, 4))
def test_a_pool_depends_on_its_inputs_alone(case: Case, block: int) -> None:
    positives, config, found, seed, forgotten = case
    once = three_pools(positives, config, found, seed, forgotten)
    assert all(map(same, once, three_pools(positives, config, found, seed, forgotten)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mixing, "QUERIES_PER_BLOCK", block)
        assert all(map(same, once, three_pools(positives, config, found, seed, forgotten)))


def test_another_seed_or_episode_draws_others() -> None:
    positives, config = judged(range(20), [[0]] * 20), MiningConfig()
    found = long_lists(20, 1)
    pools = [mix(found, positives, config, 1, seed) for seed in (42, 42, 43)]
    assert same(pools[0], pools[1])
    assert not np.array_equal(pools[0].passages, pools[2].passages)
    later = mix(found, positives, config, 2, 42, pools[:1])
    new = later.passages[later.source != SOURCES.index("momentum")]
    assert not np.array_equal(np.sort(new), np.sort(pools[0].passages))


def test_overlaps_are_kept_and_dedup_removes_them() -> None:
    found = Candidates(np.array([3]), {"query": ragged([[1, 2, 3]]), "lookahead": ragged([[3, 2, 4]])})
    positives, config = judged([3], [[9]]), MiningConfig(pool_per_source=3)
    pool = mix(found, positives, config, 1, 42)
    assert Counter(pool.negatives(0).tolist()) == {1: 1, 2: 2, 3: 2, 4: 1}
    again = mix(found, positives, config, 2, 42, [pool])
    assert Counter(again.negatives(0).tolist()) == {1: 2, 2: 4, 3: 4, 4: 2}

    single = replace(config, dedup=True)
    pool = mix(found, positives, single, 1, 42)
    assert Counter(pool.negatives(0).tolist()) == {1: 1, 2: 1, 3: 1, 4: 1}
    assert {n[0]: (n[1], n[4]) for n in negatives(pool)[0]} == {
        1: ("query", 1),
        2: ("query", 2),
        3: ("query", 3),
        4: ("lookahead", 3),
    }
    assert pool.shortage == {"wanted": 6, "missing": 2, "short_queries": 1}


def fits(picked: np.ndarray, draws: int, size: int, queries: int) -> bool:
    """Chi-square of how often each of ``size`` places was drawn, ``draws`` at a time without replacement."""
    expected = queries * draws / size
    statistic = ((picked - expected) ** 2 / expected).sum() * (size - 1) / (size - draws)
    return bool(1e-4 < chi2.sf(statistic, size - 1) < 1 - 1e-4)


def test_the_sample_is_uniform_not_the_top() -> None:
    queries, size = 4000, 40
    config, positives = MiningConfig(pool_per_source=5), judged(range(queries), [[0]] * queries)
    pools = three_pools(positives, config, [long_lists(queries, number, size=size) for number in (1, 2, 3)], 42)
    for source in ("query", "lookahead"):
        picked = [np.bincount(p.ranks[p.source == SOURCES.index(source)] - 1, minlength=size) for p in pools]
        assert all(fits(counts, 5, size, queries) for counts in picked)
    # Momentum at episode 3: half of a pool of 20, places 0 to 9 being newly mined at episode 2.
    carried = pools[2].passages[pools[2].source == SOURCES.index("momentum")].reshape(queries, 10)
    before = pools[1].passages.reshape(queries, 20)
    places = (carried[:, :, None] == before[:, None, :]).argmax(axis=2)
    assert fits(np.bincount(places.ravel(), minlength=20), 10, 20, queries)
    # Two sources, two episodes or two neighbouring queries share no more of their ranks than chance would.
    ranks = [np.sort(p.ranks[p.source < 2].reshape(queries, 2, 5), axis=2) for p in pools]
    pairs = [(ranks[0][:, 0], ranks[0][:, 1]), (ranks[0][:, 0], ranks[1][:, 0]), (ranks[0][:-1, 0], ranks[0][1:, 0])]
    for left, right in pairs:
        overlap = (left[:, :, None] == right[:, None, :]).sum(axis=(1, 2)).mean()
        assert abs(overlap - 5 * 5 / size) < 0.05


def test_golden_numbers() -> None:
    """Written out once; a refactor changes none of them."""
    positives = judged([4, 9], [[11], [25, 21]])
    config = MiningConfig(pool_per_source=2, depth=5)
    first = Candidates(
        positives.queries,
        {
            "query": ragged([[11, 12, 13, 14, 15], [21, 22, 23, 24, 25]]),
            "lookahead": ragged([[11, 13, 16, 17, 18], [25, 21, 26, 27, 28]]),
        },
    )
    second = Candidates(
        positives.queries,
        {
            "query": ragged([[14, 11, 19, 13, 12], [29, 23, 22, 21, 20]]),
            "lookahead": ragged([[11, 18, 14, 12, 10], [21, 28, 20, 25, 22]]),
        },
    )
    pool = mix(first, positives, config, 1, 42)
    assert negatives(pool) == GOLDEN_FIRST
    assert negatives(mix(second, positives, config, 2, 42, [pool])) == GOLDEN_SECOND


GOLDEN_FIRST: list[list[Negative]] = [
    [
        (15, "query", "query", 1, 5, 6.0),
        (14, "query", "query", 1, 4, 7.0),
        (13, "lookahead", "lookahead", 1, 2, 9.0),
        (16, "lookahead", "lookahead", 1, 3, 8.0),
    ],
    [
        (23, "query", "query", 1, 3, 8.0),
        (22, "query", "query", 1, 2, 9.0),
        (26, "lookahead", "lookahead", 1, 3, 8.0),
        (28, "lookahead", "lookahead", 1, 5, 6.0),
    ],
]
GOLDEN_SECOND: list[list[Negative]] = [
    [
        (12, "query", "query", 2, 5, 6.0),
        (14, "query", "query", 1, 1, 10.0),
        (14, "lookahead", "lookahead", 1, 3, 8.0),
        (18, "lookahead", "lookahead", 2, 2, 9.0),
        (13, "momentum", "lookahead", 1, 2, 9.0),
        (16, "momentum", "lookahead", 1, 3, 8.0),
        (14, "momentum", "query", 1, 4, 7.0),
        (15, "momentum", "query", 1, 5, 6.0),
    ],
    [
        (22, "query", "query", 1, 3, 8.0),
        (29, "query", "query", 2, 1, 10.0),
        (28, "lookahead", "lookahead", 1, 2, 9.0),
        (20, "lookahead", "lookahead", 2, 3, 8.0),
        (23, "momentum", "query", 1, 3, 8.0),
        (28, "momentum", "lookahead", 1, 5, 6.0),
        (22, "momentum", "query", 1, 2, 9.0),
        (26, "momentum", "lookahead", 1, 3, 8.0),
    ],
]


def test_lists_of_other_queries_are_refused() -> None:
    positives, config = judged([1, 4, 6], [[0], [0], [0]]), MiningConfig(pool_per_source=2)
    lists = {source: ragged([[1, 2, 3]] * 3) for source in ("query", "lookahead")}
    pool = mix(Candidates(positives.queries, lists), positives, config, 1, 42)
    for queries in ([4, 1, 6], [1, 4], [1, 4, 7]):
        with pytest.raises(ValueError, match="same queries in the same order; mine again"):
            mix(Candidates(np.array(queries), lists), positives, config, 1, 42)
        with pytest.raises(ValueError, match=r"history holds 1 pools; episode 2 needs .* for the same queries"):
            other = replace(pool, queries=np.array(queries))
            mix(Candidates(positives.queries, lists), positives, config, 2, 42, [other])


@pytest.mark.parametrize(("episode", "pools"), [(1, 1), (2, 0), (3, 1)])
def test_a_history_with_a_gap_is_refused(episode: int, pools: int) -> None:
    positives, config = judged([1], [[0]]), MiningConfig(pool_per_source=2)
    found = Candidates(positives.queries, {source: ragged([[1, 2, 3]]) for source in ("query", "lookahead")})
    history = [mix(found, positives, config, 1, 42)] * pools
    with pytest.raises(ValueError, match=f"history holds {pools} pools; episode {episode} needs"):
        mix(found, positives, config, episode, 42, history)


def test_a_source_that_was_not_mined_is_refused() -> None:
    found = Candidates(np.array([1]), {"query": ragged([[1, 2, 3]])})
    with pytest.raises(ValueError, match="not the source 'lookahead'"):
        mix(found, judged([1], [[0]]), MiningConfig(), 1, 42)


def test_momentum_brings_in_no_positive_of_a_history_with_others() -> None:
    config = MiningConfig(pool_per_source=3)
    found = Candidates(np.array([1]), {source: ragged([[1, 2, 3]]) for source in ("query", "lookahead")})
    pool = mix(found, judged([1], [[9]]), config, 1, 42)
    assert 2 in pool.negatives(0)
    for momentum in ("weighted", "all"):
        second = mix(found, judged([1], [[2]]), replace(config, momentum=momentum), 2, 42, [pool])
        assert Counter(second.negatives(0).tolist()) == {1: 4, 3: 4}
