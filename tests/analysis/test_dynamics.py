from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ance_tele.data.collection import Qrels
from ance_tele.mining.candidates import CandidateLists
from ance_tele.runs import learning
from ance_tele.runs.learning import change, new_share, reciprocal_ranks


def ragged(lists: Sequence[Sequence[int]]) -> CandidateLists:
    flat = [passage for passages in lists for passage in passages]
    ranks = [rank for passages in lists for rank in range(1, len(passages) + 1)]
    offsets = np.cumsum([0, *map(len, lists)])
    return CandidateLists(offsets, np.array(flat, np.int32), np.zeros(len(flat), np.float32), np.array(ranks, np.int16))


def judged(positives: Sequence[Sequence[int]]) -> Qrels:
    flat = np.array([passage for passages in positives for passage in passages], dtype=np.int64)
    return Qrels(np.arange(len(positives)), np.cumsum([0, *map(len, positives)]), flat, np.ones_like(flat))


def plain_reciprocal_rank(ranking: Sequence[int], relevant: Sequence[int], cutoff: int) -> float:
    return next((1 / rank for rank, passage in enumerate(ranking[:cutoff], 1) if passage in relevant), 0.0)


# Far up in the corpus, so that a product of query and passage would not fit 32 bits.
PASSAGES = st.integers(2_147_483_600, 2_147_483_615)
LISTS = st.lists(PASSAGES, unique=True, max_size=12)


@st.composite
def several(draw: st.DrawFn) -> tuple[list[list[int]], list[list[list[int]]], int]:
    """Positives, the lists of some checkpoints, and the number of queries compared at a time."""
    count = draw(st.integers(1, 7))
    positives = draw(st.lists(LISTS.filter(bool).map(lambda p: p[:3]), min_size=count, max_size=count))
    checkpoints = draw(st.lists(st.lists(LISTS, min_size=count, max_size=count), min_size=1, max_size=4))
    return positives, checkpoints, draw(st.sampled_from([1, 2, 3, 4096]))


@settings(max_examples=120, deadline=None)
@given(several(), st.sampled_from([1, 3, 100]))
def test_against_plain_python(case: tuple[list[list[int]], list[list[list[int]]], int], cutoff: int) -> None:
    positives, checkpoints, block = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "QUERIES_PER_BLOCK", block)
        found = [reciprocal_ranks(ragged(lists), judged(positives), cutoff) for lists in checkpoints]
        share = new_share(ragged(checkpoints[-1]), [ragged(lists) for lists in checkpoints[:-1]], judged(positives))
    expected = [
        [plain_reciprocal_rank(ranking, relevant, cutoff) for ranking, relevant in zip(lists, positives, strict=True)]
        for lists in checkpoints
    ]
    assert [line.tolist() for line in found] == expected

    before, after = expected[0], expected[-1]
    shares = change(found[0], found[-1])
    count = len(positives)
    assert shares.forgotten == sum(b > a for b, a in zip(before, after, strict=True)) / count
    assert shares.learned == sum(b < a for b, a in zip(before, after, strict=True)) / count
    assert shares.unchanged == sum(b == a for b, a in zip(before, after, strict=True)) / count

    new = total = 0
    for query, ranking in enumerate(checkpoints[-1]):
        seen = {passage for lists in checkpoints[:-1] for passage in lists[query]}
        negatives = [passage for passage in ranking if passage not in positives[query]]
        new += sum(passage not in seen for passage in negatives)
        total += len(negatives)
    assert share == pytest.approx(new / total if total else 0.0)


def test_three_episodes_by_hand() -> None:
    positives = judged([[1], [2], [3, 4], [5]])
    lists = [
        ragged([[1, 8, 9], [8, 2, 9], [8, 9, 7], [8, 5, 9]]),
        ragged([[8, 1, 7], [2, 8, 9], [3, 9, 4], [5, 6, 7]]),
        ragged([[1, 8, 6], [8, 9, 7], [9, 4, 3], [5, 6, 8]]),
    ]
    ranks = [reciprocal_ranks(found, positives) for found in lists]
    assert [line.tolist() for line in ranks] == [[1, 0.5, 0, 0.5], [0.5, 1, 1, 1], [1, 0, 0.5, 1]]
    first, second = change(ranks[0], ranks[1]), change(ranks[1], ranks[2])
    assert (first.forgotten, first.learned, first.unchanged) == (0.25, 0.75, 0.0)
    assert (second.forgotten, second.learned, second.unchanged) == (0.5, 0.25, 0.25)

    assert new_share(lists[0], [], positives) == 1.0
    # 7; none; none, for 3 and 4 are positives; 6 and 7.
    assert new_share(lists[1], lists[:1], positives) == 3 / 7
    # 6; 7; none; none: what any earlier checkpoint listed for the same query is not new.
    assert new_share(lists[2], lists[:2], positives) == 2 / 8
    assert new_share(lists[2], [lists[1]], positives) == 3 / 8


def test_a_passage_is_new_or_not_for_its_own_query() -> None:
    assert new_share(ragged([[1], [2]]), [ragged([[2], [1]])], judged([[3], [3]])) == 1.0
    assert reciprocal_ranks(ragged([[2], [1]]), judged([[1], [2]])).tolist() == [0.0, 0.0]


def test_ranks_and_cutoff_of_long_lists() -> None:
    ranking = list(range(200))
    lists, positives = ragged([ranking] * 4), judged([[99], [100], [150, 199], [300]])
    assert reciprocal_ranks(lists, positives).tolist() == [1 / 100, 0, 0, 0]
    assert reciprocal_ranks(lists, positives, 200).tolist() == [1 / 100, 1 / 101, 1 / 151, 0]


def test_nothing_to_compare() -> None:
    assert change(np.array([]), np.array([])) == learning.Change(0.0, 0.0, 0.0)
    assert new_share(ragged([[], []]), [ragged([[1], [2]])], judged([[3], [4]])) == 0.0
    assert new_share(ragged([[3], []]), [ragged([[], []])], judged([[4], [4]])) == 1.0
    assert new_share(ragged([[3], []]), [ragged([[], []])], judged([[3], [4]])) == 0.0
    assert reciprocal_ranks(ragged([[], [1]]), judged([[1], [1]])).tolist() == [0.0, 1.0]
