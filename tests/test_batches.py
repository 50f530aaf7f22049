"""Batches are a pure function of (seed, epoch, step)."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ance_tele.data.collection import Qrels
from ance_tele.data.tokens import TokenStore
from ance_tele.mining.pool import COLUMNS, Pool
from ance_tele.training.batches import Collator, Plan, StepSampler


class PlainForward:
    """Stands in for the forward pass: all that a collator reads of it."""

    pad = 0


def plan_of(sizes: list[int], negatives: int = 3, batch: int = 4, seed: int = 1, positives: int = 1) -> Plan:
    """Make a plan whose query i has the positives i * 100 … and the negatives i * 100 + 10 …."""
    count = len(sizes)
    passages = np.concatenate([i * 100 + 10 + np.arange(size) for i, size in enumerate(sizes)]).astype(np.int32)
    columns = {name: np.zeros(len(passages), kind) for name, kind in COLUMNS.items()}
    columns["passages"] = passages
    pool = Pool(np.arange(count) * 2, np.concatenate([[0], np.cumsum(sizes)]), **columns)
    relevant = np.concatenate([i * 100 + np.arange(positives) for i in range(count)])
    qrels = Qrels(np.arange(count) * 2, np.arange(count + 1) * positives, relevant, np.ones(len(relevant), int))
    return Plan(pool, qrels, batch, negatives, seed)


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


def test_order_differs_by_epoch_and_seed_and_is_the_same_again() -> None:
    sizes = [3] * 50
    assert np.array_equal(plan_of(sizes).order(0), plan_of(sizes).order(0))
    assert not np.array_equal(plan_of(sizes).order(0), plan_of(sizes).order(1))
    assert not np.array_equal(plan_of(sizes).order(0), plan_of(sizes, seed=2).order(0))


def test_sampler_and_collator_agree_with_the_plan() -> None:
    plan = plan_of([6] * 10, negatives=3, batch=4, positives=2)
    rng = np.random.default_rng(0)
    queries = TokenStore.from_lists([[2, *range(5, 5 + int(n)), 3] for n in rng.integers(1, 6, 20)])
    passages = TokenStore.from_lists([[2, *range(5, 5 + int(n)), 3] for n in rng.integers(1, 9, 1000)])
    collate = Collator(plan, queries, passages, PlainForward(), PlainForward())  # type: ignore[arg-type]
    steps = list(StepSampler(plan, 6))
    assert [len(step) for step in steps] == [4, 4, 2, 4, 4, 2]
    batch = collate([{"example": number} for number in steps[4]])
    epoch, places = plan.step(4)
    assert epoch == 1
    rows = batch["passage_row"].numpy()
    lengths = batch["passage_attention_mask"].sum(1).numpy()
    assert (np.diff(lengths) <= 0).all()
    for i, query in enumerate(places):
        assert rows[batch["query_target"][i]] == plan.positive(int(query), 1)
        mine = rows[batch["passage_owner"].numpy() == i]
        # Trap 10: query i meets the negatives of query i.
        assert sorted(mine) == sorted([plan.positive(int(query), 1), *plan.draw(int(query), 1)])
        assert set(batch["query_positives"][i].tolist()) == {int(query) * 100, int(query) * 100 + 1}
        expected = queries[int(plan.positives.queries[query])]
        assert batch["query_input_ids"][i][: len(expected)].tolist() == expected.tolist()
    for row, ids, mask in zip(rows, batch["passage_input_ids"], batch["passage_attention_mask"], strict=True):
        assert ids[mask.bool()].tolist() == passages[row].tolist()
    again = collate([{"example": number} for number in steps[4]])
    assert all(torch.equal(batch[name], again[name]) for name in batch)
