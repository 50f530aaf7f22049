"""Forgotten queries are trained on more often: which examples of which batches, with which passages."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_batches import plan_of, several

from ance_tele.console.errors import UserError
from ance_tele.training.batches import BatchPlan
from ance_tele.training.config import TrainingConfig
from ance_tele.training.ranks import read_plan, write_plan


@st.composite
def plans(draw: st.DrawFn) -> BatchPlan:
    counts = draw(st.lists(st.integers(1, 4), min_size=1, max_size=15))
    plan = several(counts, draw(st.integers(1, 6)), draw(st.integers(0, 9)), draw(st.booleans()))
    some = draw(st.sets(st.integers(0, len(counts) - 1), min_size=1))
    return replace(plan, replay=draw(st.sampled_from([0.1, 0.25, 0.5, 0.8, 1.0])), forgotten=np.array(sorted(some)))


@given(plans(), st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_a_share_of_each_batch_is_repeated_and_nothing_else_changes(plan: BatchPlan, epoch: int) -> None:
    plain, count = replace(plan, replay=0.0), plan.examples
    assert plan.steps_per_epoch == plain.steps_per_epoch
    order = plan.order(epoch)
    fresh, again = order[order < count], order[order >= count]
    assert len(order) == count and len(again) == int(count * plan.replay)
    assert fresh.tolist() == plain.order(epoch)[: len(fresh)].tolist(), "the others in their order"
    for step in range(plan.steps_per_epoch):
        examples = plan.step(epoch * plan.steps_per_epoch + step)[1]
        assert abs((examples >= count).sum() - len(examples) * plan.replay) < 1 + 1e-9
    queries = [plan.passages(example, epoch)[0] for example in again.tolist()]
    assert plan.forgotten is not None and set(queries) <= set(plan.forgotten.tolist())
    able = [e for e in range(count) if plan.passages(e, 0)[0] in plan.forgotten]
    times = Counter((again % count).tolist())
    assert max((times[e] for e in able), default=0) - min(times[e] for e in able) <= 1
    assert len(set(again.tolist())) == len(again), "each time has a number"
    assert np.array_equal(replace(plan).order(epoch), order)
    for example in again.tolist():
        assert plan.passages(example, epoch)[1][0] in plan.positives.passages


@given(plans())
@settings(max_examples=40, deadline=None)
def test_without_share_or_forgotten_queries_nothing_is_repeated(plan: BatchPlan) -> None:
    plain = replace(plan, replay=0.0, forgotten=None)
    for other in (replace(plan, replay=0.0), replace(plan, forgotten=None), replace(plan, forgotten=np.empty(0, int))):
        for epoch in range(3):
            assert other.order(epoch).tobytes() == plain.order(epoch).tobytes()
            for example in range(plain.examples):
                assert other.passages(example, epoch)[1].tolist() == plain.passages(example, epoch)[1].tolist()


def test_the_places_of_three_tenths() -> None:
    """Of ten queries 2 and 7 were forgotten; every time that 0.3 k reaches a whole number, one of them comes again."""
    plan = replace(plan_of([12] * 10), replay=0.3, forgotten=np.array([2, 7]))
    for epoch in range(4):
        order = plan.order(epoch)
        assert np.flatnonzero(order >= 10).tolist() == [3, 6, 9]
        first, second, third = order[[3, 6, 9]].tolist()
        assert sorted([first, second]) == [12, 17] and third == first + 10
    assert len({plan.order(epoch)[3] for epoch in range(8)}) == 2, "not always the same one first"


def test_repeats_draw_from_the_other_end() -> None:
    """A pool of 12, three at a time: two epochs and two repeats use all of it up, and positives turn backwards."""
    plan = replace(plan_of([12] * 4, positives=3), replay=0.5, forgotten=np.array([1]))
    # Two of an epoch's four examples are repeats of query 1: numbered 5 and 9, its turns -1 and -2, then -3 and -4.
    turns = {(epoch, example): plan.passages(example, epoch) for epoch in (0, 1) for example in (1, 5, 9)}
    assert {query for query, _ in turns.values()} == {1}
    assert [int(turns[0, example][1][0]) for example in (1, 5, 9)] == [100, 102, 101]
    assert [int(turns[1, example][1][0]) for example in (1, 5, 9)] == [101, 100, 102]
    drawn = [turns[place][1][1:].tolist() for place in ((0, 1), (1, 1), (0, 5), (0, 9))]
    assert sorted(row for window in drawn for row in window) == list(range(110, 122))
    assert turns[1, 5][1][1:].tolist() == drawn[1], "the third window from the end is the second from the beginning"


@given(plans(), st.integers(0, 30), st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_pairs_used_are_those_of_the_batches(plan: BatchPlan, first: int, steps: int) -> None:
    seen = set()
    for step in range(first, first + steps):
        epoch, examples = plan.step(step)
        for example in examples.tolist():
            query, passages = plan.passages(example, epoch)
            seen.add((query, int(passages[0])))
    assert plan.pairs_used(steps, first) == len(seen)


def test_ranks_read_the_same_batches(tmp_path: Path) -> None:
    plan = replace(plan_of([6] * 9, positives=2), replay=0.4, forgotten=np.array([0, 5]))
    write_plan(tmp_path / "plan.npz", plan)
    again = read_plan(tmp_path / "plan.npz")
    assert any((plan.order(epoch) >= 9).any() for epoch in range(2))
    for step in range(2 * plan.steps_per_epoch):
        epoch, examples = plan.step(step)
        assert again.step(step)[1].tolist() == examples.tolist()
        for example in examples.tolist():
            assert again.passages(example, epoch)[1].tolist() == plan.passages(example, epoch)[1].tolist()


def test_unmasked_it_is_refused() -> None:
    with pytest.raises(UserError, match=r"replay is 0\.2, but mask_known_positives is off"):
        TrainingConfig(replay=0.2, mask_known_positives=False).check()
