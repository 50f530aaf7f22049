"""Scores of a teacher by pair: which pairs there are, looked up, taken over, denoised and augmented by."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ance_tele as at
from ance_tele.data.collection import Collection, Qrels
from ance_tele.mining.candidates import CandidateLists, Candidates
from ance_tele.mining.never import NeverNegative
from ance_tele.mining.storage import read_teacher_scores, write_teacher_scores
from ance_tele.mining.teacher_scores import TeacherScores, confident_pairs, without_relevant

LISTS = st.lists(st.lists(st.integers(0, 20), max_size=8), min_size=1, max_size=6)


def scored_by(lists: list[list[int]], factor: float = 1.0) -> TeacherScores:
    """Return scores that are the row of the passage and a hundredth of the position of the query."""
    found = TeacherScores.unscored(np.arange(len(lists)) * 3, CandidateLists.of(lists))
    found.scores[:] = factor * (found.passages + found.positions / 100)
    return found


@given(LISTS)
@settings(max_examples=60, deadline=None)
def test_each_pair_once_and_found_again(lists: list[list[int]]) -> None:
    found = scored_by(lists)
    for position, passages in enumerate(lists):
        part = found.passages[found.offsets[position] : found.offsets[position + 1]]
        assert part.tolist() == sorted(set(passages))
        expected = np.array(passages, dtype=np.float64) + position / 100
        assert np.allclose(found.of(position, np.array(passages, dtype=np.int64)), expected)


@given(LISTS, LISTS)
@settings(max_examples=60, deadline=None)
def test_known_scores_are_taken_over(lists: list[list[int]], earlier: list[list[int]]) -> None:
    earlier = (earlier + [[]] * len(lists))[: len(lists)]
    new = TeacherScores.unscored(np.arange(len(lists)) * 3, CandidateLists.of(lists))
    filled = new.filled(scored_by(earlier))
    assert np.isnan(new.scores).all()
    for position, passage, score in zip(filled.positions, filled.passages, filled.scores, strict=True):
        if passage in earlier[position]:
            assert score == pytest.approx(passage + position / 100)
        else:
            assert np.isnan(score)


def test_how_often_a_positive_is_first() -> None:
    """Of three queries: a positive above all others; one below a negative; two positives, one of them first."""
    scored = TeacherScores.unscored(np.array([2, 5, 9]), CandidateLists.of([[1, 4, 6], [3, 4], [0, 1, 2]]))
    scored.scores[:] = [0.5, 0.2, 0.4, 1.0, 2.0, -1.0, 0.3, 0.1]
    rows, passages = np.array([2, 5, 9, 9]), np.array([1, 3, 0, 1])
    positives = Qrels.from_arrays(rows, passages, np.ones(4, dtype=np.int64))
    assert scored.positive_first(positives) == pytest.approx(2 / 3)
    some = scored.at(np.array([0, 2]))
    assert some.queries.tolist() == [2, 9] and some.passages.tolist() == [1, 4, 6, 0, 1, 2]
    assert some.positive_first(positives.select(some.queries)) == 1
    other = Qrels.from_arrays(np.array([2, 5, 9]), np.array([4, 99, 2]), np.ones(3, dtype=np.int64))
    assert scored.positive_first(other) == 0  # passage 99 is in no list


def test_probabilities_do_not_overflow() -> None:
    scored = TeacherScores(np.array([0]), np.array([0, 3]), np.arange(3), np.array([-1e4, 0.0, 1e4], dtype=np.float32))
    assert scored.probabilities.tolist() == [0.0, 0.5, 1.0]


@pytest.fixture(scope="module")
def collection() -> Collection:
    corpus, qrels = {f"d{i}": f"passage {i}" for i in range(3200)}, {"train": {"q0": {"d12": 1}, "q1": {"d3123": 1}}}
    return at.collection_from_dicts(corpus, {"q0": "first", "q1": "second"}, qrels)


def test_written_and_read(collection: Collection, tmp_path: Path) -> None:
    scored = scored_by([[5, 3], [3123, 12]])
    scored = TeacherScores(np.array([0, 1]), scored.offsets, scored.passages, scored.scores)
    path = tmp_path / "scores.parquet"
    write_teacher_scores(path, scored, collection.queries, collection.corpus)
    again = read_teacher_scores(path, scored.queries, collection.queries, collection.corpus)
    assert all(np.array_equal(getattr(scored, name), getattr(again, name)) for name in vars(scored))


def test_denoised_by_the_scores_of_the_query_itself(collection: Collection) -> None:
    """What is relevant to one query is a negative of another; known positives are left to mixing."""
    lists = {"query": CandidateLists.of([[12, 5], [12, 7]]), "random": CandidateLists.of([[9], []])}
    candidates = Candidates(np.array([0, 1]), lists)
    scored = TeacherScores.unscored(candidates.queries, *lists.values())
    for pair, logit in {(0, 12): 9.0, (0, 5): -9.0, (0, 9): 3.0, (1, 12): -9.0, (1, 7): 3.0}.items():
        position, passage = pair
        place = scored.offsets[position] + np.flatnonzero(
            scored.passages[slice(*scored.offsets[position:][:2])] == passage
        )
        scored.scores[place] = logit
    positives = collection.split("train").relevant()
    kept, dropped = without_relevant(candidates, scored, 0.1, NeverNegative.rows(positives))
    assert [kept.lists["query"][position].tolist() for position in (0, 1)] == [[12, 5], [12]]
    assert kept.lists["query"].ranks.tolist() == [1, 2, 1]
    assert len(kept.lists["random"].passages) == 0 and dropped == {"query": 1, "random": 1}


def test_further_positives_are_told_apart_by_id_not_by_its_digits(collection: Collection) -> None:
    """Fault of RocketQA's code: passage 12 counts as labelled for the query of passage 3123, whose digits hold it."""
    positives: Qrels = collection.split("train").relevant()
    lists = CandidateLists.of([[12, 31], [12, 3123]])
    scored = TeacherScores.unscored(positives.queries, lists)
    scored.scores[:] = 5.0
    queries, passages = confident_pairs(scored, 0.9, NeverNegative.rows(positives))
    assert list(zip(queries.tolist(), passages.tolist(), strict=True)) == [(0, 31), (1, 12)]
    scored.scores[:] = 2.0  # 0.88
    assert len(confident_pairs(scored, 0.9, NeverNegative.rows(positives))[0]) == 0
