"""Batches are a pure function of (seed, epoch, step)."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ance_tele.data.collection import Qrels
from ance_tele.data.tokens import TokenStore
from ance_tele.mining.pool import COLUMNS, Pool
from ance_tele.mining.seeding import hashed
from ance_tele.training.batches import BatchPlan, Collator, by_turn


class PlainForward:
    """Stands in for the forward pass: all that a collator reads of it."""

    pad = 0


def plan_of(sizes: list[int], negatives: int = 3, batch: int = 4, seed: int = 1, positives: int = 1) -> BatchPlan:
    """Make a plan whose query i has the positives i * 100 … and the negatives i * 100 + 10 …."""
    count = len(sizes)
    passages = np.concatenate([i * 100 + 10 + np.arange(size) for i, size in enumerate(sizes)]).astype(np.int32)
    columns = {name: np.zeros(len(passages), kind) for name, kind in COLUMNS.items()}
    columns["passages"] = passages
    pool = Pool(np.arange(count) * 2, np.concatenate([[0], np.cumsum(sizes)]), **columns)
    relevant = np.concatenate([i * 100 + np.arange(positives) for i in range(count)])
    qrels = Qrels(np.arange(count) * 2, np.arange(count + 1) * positives, relevant, np.ones(len(relevant), int))
    return BatchPlan(pool, qrels, batch, negatives, seed)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 5), st.integers(1, 5), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_every_query_once_an_epoch(sizes: list[int], negatives: int, batch: int, seed: int) -> None:
    plan = plan_of(sizes, negatives, batch, seed)
    for epoch in range(3):
        seen = []
        for inside in range(plan.steps_per_epoch):
            found, queries = plan.step(epoch * plan.steps_per_epoch + inside)
            assert found == epoch
            seen += queries.tolist()
        assert sorted(seen) == list(range(len(sizes)))


@given(st.integers(1, 12), st.integers(1, 6), st.integers(0, 50))
@settings(max_examples=80, deadline=None)
def test_negatives_without_replacement_across_epochs(size: int, negatives: int, seed: int) -> None:
    plan = plan_of([size], negatives, 1, seed)
    drawn = np.concatenate([plan.draw(0, epoch) for epoch in range(size)])  # the pool, `negatives` times over
    assert len(drawn) == size * negatives
    for start in range(0, len(drawn), size):
        window = drawn[start : start + size]
        assert len(set(window.tolist())) == len(window)


def test_a_short_pool_repeats_its_own_and_is_counted() -> None:
    plan = plan_of([2, 5, 0], negatives=4)
    assert sorted(plan.draw(0, 0).tolist()) == [10, 10, 11, 11]
    assert len(plan.draw(2, 0)) == 0
    assert plan.repeats() == 2


def test_positives_rotate_by_epoch() -> None:
    plan = plan_of([3, 3], positives=2)
    assert [plan.positive(1, epoch) for epoch in range(4)] == [100, 101, 100, 101]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.integers(1, 5), st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_every_pair_once_an_epoch(counts: list[int], batch: int, seed: int) -> None:
    """With ``every``, each pair is an example of each epoch, its negatives drawn anew and none twice before all."""
    plan = several(counts, batch=batch, seed=seed, every=True)
    pairs = [(query, query * 100 + place) for query, count in enumerate(counts) for place in range(count)]
    windows: dict[int, list[int]] = {query: [] for query in range(len(counts))}
    for epoch in range(2):
        seen = []
        for inside in range(plan.steps_per_epoch):
            found, examples = plan.step(epoch * plan.steps_per_epoch + inside)
            assert found == epoch
            for example in examples.tolist():
                query, passages = plan.passages(example, epoch)
                seen.append((query, int(passages[0])))
        assert sorted(seen) == pairs
        assert plan.pairs_used(plan.steps_per_epoch, epoch * plan.steps_per_epoch) == len(pairs)
        for example in range(plan.examples):  # in the order of their turns
            query, passages = plan.passages(example, epoch)
            windows[query] += passages[1:].tolist()
    for query, drawn in windows.items():
        for start in range(0, len(drawn), 6):
            assert len(set(drawn[start : start + 6])) == len(drawn[start : start + 6]), f"query {query}"


def test_no_batch_holds_a_query_twice_where_there_is_room() -> None:
    counts = [4] * 5 + [3, 2, 1] * 20
    plan = several(counts, batch=8, seed=3, every=True)
    for step in range(3 * plan.steps_per_epoch):
        epoch, examples = plan.step(step)
        queries = [plan.passages(example, epoch)[0] for example in examples.tolist()]
        assert len(set(queries)) == len(queries)
    # Four queries for batches of eight: they cannot but come again.
    assert len(several([3] * 4, batch=8, every=True).step(0)[1]) == 8


@given(st.integers(1, 30), st.integers(1, 7), st.integers(0, 99), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_of_one_positive_each_both_ways_are_the_same(queries: int, batch: int, seed: int, epoch: int) -> None:
    rotating, every = (several([1] * queries, batch=batch, seed=seed, every=which) for which in (False, True))
    assert np.array_equal(rotating.order(epoch), every.order(epoch))
    # As it always was: by a hash of the query alone.
    by_hash = np.argsort(hashed(seed, epoch, "order", np.arange(queries)), kind="stable")
    assert np.array_equal(rotating.order(epoch), by_hash)
    for query in range(queries):
        assert rotating.passages(query, epoch)[1].tolist() == every.passages(query, epoch)[1].tolist()
    assert np.array_equal(by_turn(rotating.positives, seed).passages, rotating.positives.passages)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=9), st.integers(1, 4), st.booleans(), st.data())
@settings(max_examples=80, deadline=None)
def test_pairs_used_are_those_of_the_batches(counts: list[int], batch: int, every: bool, data: st.DataObject) -> None:
    plan = several(counts, batch=batch, every=every)
    first, steps = data.draw(st.integers(0, 3 * plan.steps_per_epoch)), data.draw(st.integers(0, 20))
    seen = set()
    for step in range(first, first + steps):
        epoch, examples = plan.step(step)
        for example in examples.tolist():
            query, passages = plan.passages(example, epoch)
            seen.add((query, int(passages[0])))
    assert plan.pairs_used(steps, first) == len(seen)


def test_queries_begin_differently_and_with_their_highest_grade() -> None:
    queries, each = 300, 6
    grades = np.tile([1, 2, 1, 2, 2, 1], queries)
    passages = np.arange(queries * each)
    positives = Qrels(np.arange(queries), np.arange(queries + 1) * each, passages, grades)
    turns = by_turn(positives, 7)
    table, ranks = turns.passages.reshape(queries, each), turns.grades.reshape(queries, each)
    assert (np.diff(ranks, axis=1) <= 0).all() and (np.sort(table, axis=1) == passages.reshape(queries, each)).all()
    begins = np.bincount(table[:, 0] % each, minlength=each)
    assert (begins[[0, 2, 5]] == 0).all() and (begins[[1, 3, 4]] > 75).all(), "a third of 300 each, by chance"
    assert not np.array_equal(table, by_turn(positives, 8).passages.reshape(queries, each))


def several(counts: list[int], batch: int = 4, seed: int = 1, every: bool = False) -> BatchPlan:
    """Make a plan whose query i has the positives i * 100 … (``counts[i]`` of them) and six negatives."""
    plan = plan_of([6] * len(counts), negatives=2, batch=batch, seed=seed)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    passages = np.concatenate([query * 100 + np.arange(count) for query, count in enumerate(counts)])
    positives = Qrels(plan.positives.queries, offsets, passages, np.ones(len(passages), dtype=np.int64))
    return replace(plan, positives=positives, every=every)


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True)), min_size=1
    ),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2),
)
@settings(max_examples=150, deadline=None)
def test_queries_without_a_negative_are_counted(
    made: list[tuple[int, list[int]]], batch: int, in_batch: bool, masked: bool, negatives: int
) -> None:
    """Of few passages, by hand: does a batch exist that has a negative for the query?"""
    sizes, relevant = [size for size, _ in made], [rows for _, rows in made]
    plan = plan_of(sizes, negatives=negatives, batch=batch)
    rows = np.concatenate(relevant)
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in relevant])])
    positives = Qrels(plan.positives.queries, offsets, rows, np.ones(len(rows), dtype=np.int64))
    pool = replace(plan.pool, passages=np.arange(len(plan.pool)).astype(np.int32) + 100)  # beyond all positives
    plan = replace(plan, pool=pool, positives=positives)
    alone = 0
    for query, own in enumerate(relevant):
        met = bool(negatives and sizes[query])
        for other, theirs in enumerate(relevant):
            if in_batch and batch > 1 and other != query:
                met |= bool(negatives and sizes[other]) or not masked or bool(set(theirs) - set(own))
        alone += not met
    assert plan.without_negative(in_batch, masked) == alone


def test_order_differs_by_epoch_and_seed_and_is_the_same_again() -> None:
    sizes = [3] * 50
    assert np.array_equal(plan_of(sizes).order(0), plan_of(sizes).order(0))
    assert not np.array_equal(plan_of(sizes).order(0), plan_of(sizes).order(1))
    assert not np.array_equal(plan_of(sizes).order(0), plan_of(sizes, seed=2).order(0))


def test_the_collator_agrees_with_the_plan() -> None:
    plan = plan_of([6] * 10, negatives=3, batch=4, positives=2)
    rng = np.random.default_rng(0)
    queries = TokenStore.from_lists([[2, *range(5, 5 + int(n)), 3] for n in rng.integers(1, 6, 20)])
    passages = TokenStore.from_lists([[2, *range(5, 5 + int(n)), 3] for n in rng.integers(1, 9, 1000)])
    collate = Collator(plan, queries, passages, PlainForward(), PlainForward())  # type: ignore[arg-type]
    assert [len(collate(step)[0]["target"]) for step in range(6)] == [4, 4, 2, 4, 4, 2]
    asked, held = collate(4)
    epoch, places = plan.step(4)
    assert epoch == 1
    rows = held["row"].numpy()
    lengths = held["attention_mask"].sum(1).numpy()
    assert (np.diff(lengths) <= 0).all()
    for i, query in enumerate(places):
        assert rows[asked["target"][i]] == plan.positive(int(query), 1)
        mine = rows[held["query"].numpy() == i]
        # Trap 10: query i meets the negatives of query i.
        assert sorted(mine) == sorted([plan.positive(int(query), 1), *plan.draw(int(query), 1)])
        assert set(asked["positives"][i].tolist()) == {int(query) * 100, int(query) * 100 + 1}
        expected = queries[int(plan.positives.queries[query])]
        assert asked["input_ids"][i][: len(expected)].tolist() == expected.tolist()
    for row, ids, mask in zip(rows, held["input_ids"], held["attention_mask"], strict=True):
        assert ids[mask.bool()].tolist() == passages[row].tolist()
    for one, again in zip((asked, held), collate(4), strict=True):
        assert one.keys() == again.keys()
        assert all(str(one[name]) == str(again[name]) for name in one)
