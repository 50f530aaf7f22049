from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from ance_tele.data.annotations import ScoredPassages
from ance_tele.data.collection import Collection, Qrels, Texts
from ance_tele.mining.candidates import CandidateLists, Candidates, concatenate
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.context import MiningContext
from ance_tele.mining.mine import mine
from ance_tele.mining.sources import given_lists, lookahead_lists
from ance_tele.search.bm25 import BM25
from ance_tele.search.topk import TopK


def judged(positives: Sequence[Sequence[int]]) -> Qrels:
    flat = np.array([passage for passages in positives for passage in passages], dtype=np.int64)
    return Qrels(10 + np.arange(len(positives)), np.cumsum([0, *map(len, positives)]), flat, np.ones_like(flat))


class Searcher:
    """Answers a search for passages from a table, and remembers what it was asked."""

    def __init__(self, answers: dict[int, list[tuple[int, float]]]) -> None:
        self.answers, self.asked = answers, []

    def __call__(self, rows: np.ndarray) -> CandidateLists:
        self.asked.append(rows.tolist())
        width = max(len(self.answers[row]) for row in rows.tolist())
        found = TopK(np.full((len(rows), width), -1), np.full((len(rows), width), -np.inf, dtype=np.float32))
        for line, row in enumerate(rows.tolist()):
            for place, (passage, score) in enumerate(self.answers[row]):
                found.rows[line, place], found.scores[line, place] = passage, score
        return CandidateLists.from_topk(found)


def plain(lists: CandidateLists) -> list[list[tuple[int, int, float]]]:
    """Passage, rank and score, per query."""
    rows = list(zip(lists.passages.tolist(), lists.ranks.tolist(), lists.scores.tolist(), strict=True))
    return [rows[start:stop] for start, stop in zip(lists.offsets[:-1], lists.offsets[1:], strict=True)]


def test_lookahead_around_several_positives() -> None:
    search = Searcher(
        {
            3: [(3, 9.0), (7, 8.0), (5, 7.0)],
            5: [(5, 9.5), (3, 8.5), (8, 8.0)],
            6: [(6, 4.0), (7, 3.0)],
        }
    )
    positives = judged([[5, 3], [6], [3], [3, 6]])
    # By rank, then row; what two lists hold (5, 3 and 7) keeps its best rank, with the score it had there.
    assert plain(lookahead_lists(positives, search, "all")) == [
        [(3, 1, 9.0), (5, 1, 9.5), (7, 2, 8.0), (8, 3, 8.0)],
        [(6, 1, 4.0), (7, 2, 3.0)],
        [(3, 1, 9.0), (7, 2, 8.0), (5, 3, 7.0)],
        [(3, 1, 9.0), (6, 1, 4.0), (7, 2, 8.0), (5, 3, 7.0)],
    ]
    assert search.asked == [[3, 5, 6]], "every distinct positive is searched once"


def test_lookahead_around_the_first_positive() -> None:
    search = Searcher({5: [(5, 9.5), (3, 8.5)], 6: [(6, 4.0)], 9: [(9, 1.0), (2, 0.5)]})
    found = lookahead_lists(judged([[5, 3, 6], [6], [5, 6], [9, 5]]), search, "first")
    assert plain(found) == [
        [(5, 1, 9.5), (3, 2, 8.5)],
        [(6, 1, 4.0)],
        [(5, 1, 9.5), (3, 2, 8.5)],
        [(9, 1, 1.0), (2, 2, 0.5)],
    ]
    assert search.asked == [[5, 6, 9]]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["all", "first"]))
def test_lookahead_agrees_with_dictionaries(seed: int, which: str) -> None:
    rng = np.random.default_rng(seed)
    corpus = int(rng.integers(3, 20))
    positives = [
        rng.choice(corpus, rng.integers(1, min(4, corpus) + 1), replace=False).tolist()
        for _ in range(rng.integers(1, 8))
    ]
    answers = {}
    for passage in range(corpus):
        rows = rng.permutation(corpus)[: rng.integers(1, corpus + 1)].tolist()
        answers[passage] = [(row, float(-place)) for place, row in enumerate(rows)]
    search = Searcher(answers)
    expected = []
    for relevant in positives:
        best: dict[int, int] = {}
        for passage in relevant if which == "all" else relevant[:1]:
            for rank, (row, _) in enumerate(answers[passage], 1):
                best[row] = min(rank, best.get(row, rank))
        expected.append(sorted(((row, rank, 1.0 - rank) for row, rank in best.items()), key=lambda n: (n[1], n[0])))
    found = lookahead_lists(judged(positives), search, which)
    if which == "all":
        assert plain(found) == expected
    else:
        assert [sorted(line) for line in plain(found)] == [sorted(line) for line in expected]
    (asked,) = search.asked
    wanted = {p for relevant in positives for p in (relevant if which == "all" else relevant[:1])}
    assert asked == sorted(wanted)


def test_places_that_a_search_left_empty_drop_out() -> None:
    found = TopK(np.array([[4, 2, -1], [-1, -1, -1], [1, 0, 5]]), np.array([[2, 1, -np.inf]] * 3, dtype=np.float32))
    lists = CandidateLists.from_topk(found)
    assert lists.offsets.tolist() == [0, 2, 2, 5]
    assert [(p, r) for line in plain(lists) for p, r, _ in line] == [(4, 1), (2, 2), (1, 1), (0, 2), (5, 3)]
    assert (lists.passages.dtype, lists.ranks.dtype, lists.scores.dtype) == (np.int32, np.int16, np.float32)
    assert len(lists) == 3 and lists[0].tolist() == [4, 2] and lists[1].tolist() == []
    parts = [lists.block(0, 1), lists.block(1, 3)]
    assert parts[1].offsets.tolist() == [0, 0, 3]
    assert plain(concatenate(parts)) == plain(lists)


def corpus(bodies: Sequence[str], ids: Sequence[str] | None = None) -> Texts:
    columns = {"id": ids or [f"d{i}" for i in range(len(bodies))], "title": [""] * len(bodies), "text": bodies}
    return Texts(pa.table({name: pa.array(column, pa.large_string()) for name, column in columns.items()}))


def mined(
    config: MiningConfig, episode: int = 1, seed: int = 42, queries: int = 50, passages: int = 30, **searches: Any
) -> Candidates:
    texts = corpus([""] * passages)
    collection = Collection("toy", texts, texts, {}, "", Path())
    return mine(MiningContext(collection, judged([[0]] * queries), config, episode, seed, **searches))


def test_random_passages_never_repeat_within_a_query() -> None:
    config = MiningConfig(sources=("random",), depth=20)
    lists = mined(config).lists["random"]
    assert lists.offsets.tolist() == list(range(0, 1001, 20))
    lines = lists.passages.reshape(50, 20)
    assert all(len(set(line)) == 20 for line in lines.tolist())
    assert len({tuple(line) for line in lines.tolist()}) == 50
    assert lines.min() == 0 and lines.max() == 29

    again, other_seed, other_episode = mined(config), mined(config, seed=43), mined(config, episode=2)
    assert np.array_equal(again.lists["random"].passages, lists.passages)
    for other in (other_seed, other_episode):
        assert not np.array_equal(other.lists["random"].passages, lists.passages)
    # A query's passages do not depend on which other queries there are.
    assert np.array_equal(mined(config, queries=10).lists["random"].passages, lists.passages[:200])


def test_random_passages_are_uniform_and_end_with_the_corpus() -> None:
    lists = mined(MiningConfig(sources=("random",), depth=5), queries=2000, passages=25).lists["random"]
    first = np.bincount(lists.passages.reshape(2000, 5)[:, 0], minlength=25)
    assert chi2.sf(((first - 80) ** 2 / 80).sum(), 24) > 1e-3
    every = mined(MiningConfig(sources=("random",), depth=200), queries=3, passages=25).lists["random"]
    assert all(sorted(line) == list(range(25)) for line in every.passages.reshape(3, 25).tolist())


def test_only_the_sources_of_the_episode_are_asked() -> None:
    config = MiningConfig(sources=("query",), first_sources=("bm25",))
    lexical = CandidateLists.from_topk(TopK(np.array([[1]] * 50), np.ones((50, 1), dtype=np.float32)))
    dense = CandidateLists.from_topk(TopK(np.array([[2]] * 50), np.ones((50, 1), dtype=np.float32)))
    first = mined(config, 1, bm25=lambda: lexical)
    assert list(first.lists) == ["bm25"] and first.lists["bm25"] is lexical
    second = mined(config, 2, search_queries=lambda: dense)
    assert list(second.lists) == ["query"] and second.lists["query"] is dense
    assert second.queries.tolist() == list(range(10, 60))
    with pytest.raises(ValueError, match="make it with search_queries"):
        mined(config, 2)


def test_bm25_ranks_by_score_and_leaves_out_what_shares_no_word() -> None:
    texts = corpus(["apple pie", "banana bread", "apple apple cake", "the of and", "Apples, pies"])
    found = BM25(texts, "en").search(["apple pies", "banana", "the", "", "zebra"], 4, texts.id_rank)
    assert found.rows.tolist() == [
        [0, 4, 2, -1],
        [1, -1, -1, -1],
        [-1] * 4,
        [-1] * 4,
        [-1] * 4,
    ]
    assert found.scores[0, 0] == found.scores[0, 1] > found.scores[0, 2] > 0
    assert np.array_equal(found.rows < 0, np.isneginf(found.scores))


def test_bm25_scores_are_lucenes() -> None:
    texts = corpus(["fox jumps", "fox fox sleeps long", "dog barks"])
    found = BM25(texts, "en").search(["fox"], 3, texts.id_rank)
    idf, average = np.log(1 + (3 - 2 + 0.5) / (2 + 0.5)), 8 / 3
    expected = {
        row: idf * tf / (tf + 0.9 * (0.6 + 0.4 * length / average)) for row, tf, length in ((0, 1, 2), (1, 2, 4))
    }
    assert found.rows[0].tolist() == [*sorted(expected, key=lambda row: -expected[row]), -1]
    np.testing.assert_allclose(found.scores[0, :2], sorted(expected.values(), reverse=True), rtol=1e-6)


@pytest.mark.parametrize("k", [1, 3, 7, 39, 40, 100])
def test_bm25_settles_ties_at_the_cut_by_id(k: int) -> None:
    rng = np.random.default_rng(5)
    ids = [f"p{number}" for number in rng.permutation(40)]
    texts = corpus(["same words here"] * 30 + ["same words"] * 5 + ["other things"] * 5, ids)
    found = BM25(texts, "en").search(["words", "same other"], k, texts.id_rank)
    by_id = sorted(range(40), key=lambda row: ids[row])
    words = [r for r in by_id if 30 <= r < 35] + [r for r in by_id if r < 30]
    assert [row for row in found.rows[0].tolist() if row >= 0] == words[:k]
    both = [r for r in by_id if r >= 35] + words
    assert [row for row in found.rows[1].tolist() if row >= 0] == both[:k]


def test_bm25_takes_many_queries_and_a_corpus_without_words() -> None:
    texts = corpus([f"word{number} common" for number in range(20)])
    found = BM25(texts, "en").search([f"word{number}" for number in range(20)], 2, texts.id_rank)
    assert found.rows[:, 0].tolist() == list(range(20)) and (found.rows[:, 1] == -1).all()
    empty = corpus(["the", "of the", "a"])
    assert (BM25(empty, "en").search(["the", "apple"], 2, empty.id_rank).rows == -1).all()
    assert BM25(texts, "en").search([], 2, texts.id_rank).rows.shape == (0, 2)


def test_given_negatives_keep_the_order_of_their_file_or_follow_a_teacher() -> None:
    """Checked against a list of pairs: scored ones first, by score; each passage once; only training queries."""
    nan = float("nan")
    listed = {  # query row: passages and scores as a file names them
        3: [(7, nan), (5, nan), (7, nan), (9, nan)],
        4: [(1, 0.5), (2, 0.9), (3, nan), (4, -1.0)],
        6: [(8, nan)],
        9: [(0, 1.0)],
    }
    offsets = np.cumsum([0, *map(len, listed.values())])
    pairs = [pair for rows in listed.values() for pair in rows]
    passages, scores = (np.array(column) for column in zip(*pairs, strict=True))
    negatives = ScoredPassages(np.array(list(listed)), offsets, passages, scores.astype(np.float32))
    found = given_lists(negatives, np.array([1, 3, 4, 9, 12]), 3)
    assert [found[place].tolist() for place in range(5)] == [[], [7, 5, 9], [2, 1, 4], [0], []]
    assert found.ranks.tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert found.scores.tolist() == [0, 0, 0, np.float32(0.9), np.float32(0.5), -1, 1]
    assert len(given_lists(ScoredPassages.none(), np.array([1, 2]), 3)) == 2
    assert len(given_lists(negatives, np.array([0]), 3).passages) == 0
