"""A passage matches where DPR says so; and what is built on it: the filter, found positives, answer recall."""

import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ance_tele.console.errors import UserError
from ance_tele.data import answers as answers_module
from ance_tele.data.annotations import Answers
from ance_tele.data.answers import has_answer, match_answers, words
from ance_tele.data.arrow import gather
from ance_tele.data.collection import Collection, Texts
from ance_tele.data.load import collection_from_dicts, load_collection
from ance_tele.evaluate.answers import answer_ranks, answer_recall, measure_answers
from ance_tele.evaluate.retrieval import run_of
from ance_tele.evaluate.run import Run
from ance_tele.mining.candidates import CandidateLists
from ance_tele.mining.filters import answer_bearing, answer_bearing_positives
from ance_tele.search.bm25 import BM25

UNSPACED = ("CJK UNIFIED", "HIRAGANA LETTER", "KATAKANA LETTER", "THAI CHARACTER")


def is_unspaced(character: str) -> bool:
    return character.isalpha() and unicodedata.name(character, "").startswith(UNSPACED)


def words_by_the_rules(text: str) -> list[str]:
    """Character by character: letters, numbers and marks run together, separators and controls vanish.

    A letter of a script without spaces is a word, with the marks that follow it.
    """
    found, run = [], ""
    for character in unicodedata.normalize("NFD", text) + "\n":
        kind = unicodedata.category(character)[0]
        alone = bool(run) and is_unspaced(run[0])
        starts = is_unspaced(character)
        if run and (starts or (alone and kind in "LN")):
            found, run = [*found, run], ""
        if kind in "LNM":
            run += character
            continue
        found += [run] if run else []
        found += [] if kind in "ZC" else [character]
        run = ""
    return [word.lower() for word in found]


def matches_by_the_rules(text: str, answers: list[str]) -> bool:
    held = words_by_the_rules(text)
    for wanted in map(words_by_the_rules, answers):
        if wanted and any(held[i : i + len(wanted)] == wanted for i in range(len(held))):
            return True
    return False


CASES = [
    # accents, in one character or two
    ("Beyonc\u00e9 sang", "Beyonce\u0301", True),
    ("Beyonce\u0301 sang", "BEYONC\u00c9", True),
    ("Beyonce sang", "Beyonc\u00e9", False),
    ("\ud55c\uad6d", "\u1112\u1161\u11ab\u1100\u116e\u11a8", True),
    # hyphens and apostrophes are words of their own
    ("a state-of-the-art model", "of-the", True),
    ("a state - of - the art", "state-of-the", True),
    ("a state-of-the-art model", "state of the art", False),
    ("Flann O'Brien wrote", "O'Brien", True),
    ("Flann O\u2019Brien wrote", "O'Brien", False),
    ("they don't", "don", True),
    ("snake_case", "snake", True),
    # numbers
    ("some 1,000 men", "1,000", True),
    ("some 1,000 men", "1", True),
    ("some 1,000 men", "1000", False),
    ("a height of 3.5 m", "3.5", True),
    ("versions 3 . 5", "3.5", True),
    ("pi is 3.14", "3.1", False),
    ("rose to $12 in 1974", "$12", True),
    ("in the 1970s", "1970", False),
    ("5 m\u00b2", "m", False),
    ("\u00bd of it", "1/2", False),
    # several words; what stands between them
    ("in New York, in May", "new york", True),
    ("in New\n  York", "New York", True),
    ("in New\u00a0York", "New York", True),
    ("in New, York", "New York", False),
    ("York is new: New", "New York", False),
    ("Washington, D.C. lies", "Washington, D.C.", True),
    ("Washington, D.C. lies", "Washington D.C.", False),
    ("co\u00adoperate", "co operate", True),
    ("co\u00adoperate", "cooperate", False),
    # parts of words, case
    ("a category", "cat", False),
    ("NATO and nato", "Nato", True),
    ("stra\u00dfe", "STRASSE", False),
    ("\u0130stanbul", "i\u0307stanbul", True),
    ("\u0130stanbul", "istanbul", False),
    ("\u039f\u0394\u039f\u03a3 1", "\u03bf\u03b4\u03bf\u03c2", True),
    ("\u039f\u0394\u039f\u03a3 1", "\u03bf\u03b4\u03bf\u03c3", False),
    ("\u039f\u03a3'\u0391", "\u03bf\u03c2", True),  # within the text a sigma before an apostrophe is not final
    # no white space between words: a character is a word, with its marks
    ("\u6771\u4eac\u90fd\u306f", "\u6771\u4eac", True),
    ("\u6771\u4eac\u90fd\u306f", "\u4eac\u6771", False),
    ("\u6771\u4eac\u5854\u9ad8333\u7c73", "333\u7c73", True),
    ("\u6771\u4eac\u5854\u9ad8333\u7c73", "33\u7c73", False),
    ("\u5728Paris\u4f4f", "paris", True),
    ("\u30ab\u3099\u30b9", "\u30ac\u30b9", True),  # a mark apart or together
    ("\u30ac\u30b9", "\u30ab\u30b9", False),
    ("\u0e40\u0e17\u0e35\u0e48\u0e22\u0e27", "\u0e17\u0e35\u0e48", True),
    ("\u0e40\u0e17\u0e35\u0e48\u0e22\u0e27", "\u0e17", False),
    # with spaces, and vowel signs within words
    ("\u0939\u093f\u0928\u094d\u0926\u0940 \u092d\u093e\u0937\u093e", "\u092d\u093e\u0937\u093e", True),
    ("\u0939\u093f\u0928\u094d\u0926\u0940 \u092d\u093e\u0937\u093e", "\u092d\u093e", False),
    ("\uc11c\uc6b8\uc5d0\uc11c", "\uc11c\uc6b8", False),
    ("\u6771\u4eac\u3001\u5927\u962a", "\u5927\u962a", True),
    # symbols, ligatures
    ("well \U0001f44d done", "\U0001f44d", True),
    ("\U0001f44d\U0001f3fd", "\U0001f44d", True),
    ("\U0001f469\u200d\U0001f680", "\U0001f469\U0001f680", True),
    ("\ufb01nance", "finance", False),
    ("\ufb01nance", "\ufb01nance", True),
    # nothing matches nothing
    ("some text", "", False),
    ("some text", " \t\n\u00a0", False),
    ("some text", "\u200b", False),
    ("", "", False),
    ("", "text", False),
    (" \n ", "text", False),
    ("...", ".", True),
]


@pytest.mark.parametrize(("text", "answer", "expected"), CASES)
def test_hard_cases_come_out_as_the_rules_of_dpr_say(text: str, answer: str, expected: bool) -> None:
    assert matches_by_the_rules(text, [answer]) is expected
    assert has_answer(text, [answer]) is expected


def test_words_are_lower_cased_and_keep_punctuation() -> None:
    assert words("In March\t1974, it's $12.") == ["in", "march", "1974", ",", "it", "'", "s", "$", "12", "."]


def test_any_of_several_answers_will_do() -> None:
    assert has_answer("in October 1973", ["1974", "", "october"])
    assert not has_answer("in October 1973", [])


# Few characters, so that answers are often found; each of a kind that the rules treat in its own way.
ODD = st.text(
    st.sampled_from(
        "aA1 \u03a3\u03c3\u03c2\u0391'-.\u00e9\u0301\u0130\u0131\u00b2\U0001f44d\u200d\n\u00a0$\ufb01"
        "\u4e2d\u4eac\u30ab\u3099\u0e17\u0e35"
    )
)


@given(ODD, st.lists(ODD, max_size=3))
def test_any_text_matches_as_a_slow_reading_of_the_rules_does(text: str, answers: list[str]) -> None:
    assert words(text) == words_by_the_rules(text)
    assert has_answer(text, answers) is matches_by_the_rules(text, answers)


def texts_of(bodies: list[str], chunk: int = 3, titles: list[str] | None = None) -> Texts:
    """A corpus in chunks of a few rows, as a large one is stored in many."""
    ids = [f"d{number}" for number in range(len(bodies))]
    columns = dict(zip(("id", "title", "text"), (ids, titles or [""] * len(bodies), bodies), strict=True))
    table = pa.table({name: pa.array(values, pa.large_string()) for name, values in columns.items()})
    return Texts(pa.Table.from_batches(table.to_batches(max_chunksize=chunk), table.schema))


def ragged(lists: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in lists])]).astype(np.int64)
    return offsets, np.array([row for rows in lists for row in rows], dtype=np.int32)


@settings(deadline=None)
@given(st.data(), st.lists(ODD, min_size=1, max_size=8), st.integers(1, 9))
def test_matching_a_block_is_matching_pair_by_pair(data: st.DataObject, bodies: list[str], block: int) -> None:
    row = st.integers(0, len(bodies) - 1)
    lists = data.draw(st.lists(st.lists(row, max_size=6), max_size=5))
    answers = data.draw(st.lists(st.lists(ODD, max_size=3), min_size=len(lists), max_size=len(lists)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers_module, "PAIRS_PER_BLOCK", block)
        found = match_answers(*ragged(lists), answers, texts_of(bodies))
    pairs = [(bodies[row], strings) for rows, strings in zip(lists, answers, strict=True) for row in rows]
    assert found.tolist() == [has_answer(text, strings) for text, strings in pairs]


def test_hard_cases_come_out_the_same_in_a_block() -> None:
    corpus, lists = texts_of([text for text, _, _ in CASES]), [[row] for row in range(len(CASES))]
    found = match_answers(*ragged(lists), [[answer] for _, answer, _ in CASES], corpus)
    assert found.tolist() == [expected for _, _, expected in CASES]


def test_a_passage_is_tokenised_once_and_only_if_it_may_match(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(answers_module, "words", lambda text: seen.append(text) or words(text))
    corpus = texts_of(["the red fox", "a blue bird", "a red bird"])
    found = match_answers(*ragged([[0, 1, 2], [2, 1, 0]]), [["red fox"], ["red"]], corpus)
    assert found.tolist() == [True, False, False, True, False, True]
    assert sorted(seen) == ["a red bird", "red", "red fox", "the red fox"]


def test_answers_for_another_number_of_queries_are_refused() -> None:
    with pytest.raises(ValueError, match="answers are for 1 queries, offsets for 2"):
        match_answers(*ragged([[0], [0]]), [["x"]], texts_of(["x"]))


@given(st.lists(st.text(max_size=3), min_size=1, max_size=12), st.data())
def test_gathering_rows_of_a_chunked_column_is_indexing_it(values: list[str], data: st.DataObject) -> None:
    rows = np.sort(np.array(data.draw(st.lists(st.integers(0, len(values) - 1))), dtype=np.int64))
    column = texts_of(values, chunk=data.draw(st.integers(1, 5))).table["text"]
    assert gather(column, rows) == [values[row] for row in rows]


# ---- in mining -------------------------------------------------------------------------------------------


def answers_of(strings: dict[int, list[str]]) -> Answers:
    kind = pa.list_(pa.large_string())
    return Answers(
        np.array(sorted(strings), dtype=np.int64), pa.chunked_array([[strings[q] for q in sorted(strings)]], kind)
    )


BODIES = ["the fox is red", "a blue bird", "the sky is blue", "red and blue", "nothing", "grey"]


def lists_of(rows: list[list[int]]) -> CandidateLists:
    offsets, passages = ragged(rows)
    ranks = np.concatenate([np.arange(1, len(one) + 1) for one in rows]).astype(np.int16)
    return CandidateLists(offsets, passages, -ranks.astype(np.float32), ranks)


def test_candidates_that_hold_an_answer_are_dropped_and_counted() -> None:
    lists = lists_of([[0, 1, 3], [2, 4], [0, 3]])
    # Query 7 asks for red, query 9 for blue, query 11 has no answers.
    holds = answer_bearing(lists, np.array([7, 9, 11]), answers_of({7: ["red"], 9: ["blue"]}), texts_of(BODIES))
    left = lists.where(~holds)
    assert holds.sum() == 3
    assert [left[query].tolist() for query in range(3)] == [[1], [4], [0, 3]]
    assert left.ranks.tolist() == [2, 2, 1, 2]
    assert left.scores.tolist() == [-2, -2, -1, -2]
    assert (left.passages.dtype, left.ranks.dtype, left.scores.dtype) == (np.int32, np.int16, np.float32)


def test_the_title_of_a_passage_holds_no_answer() -> None:
    corpus = texts_of(["a bird", "a red bird"], titles=["Red", "Blue"])
    holds = answer_bearing(lists_of([[0, 1]]), np.array([0]), answers_of({0: ["red"]}), corpus)
    assert holds.tolist() == [False, True]


@given(st.lists(st.lists(st.integers(0, 5), max_size=6), min_size=1, max_size=6), st.data())
def test_what_the_filter_leaves_holds_no_answer_and_what_it_drops_does(
    rows: list[list[int]], data: st.DataObject
) -> None:
    some = st.lists(st.sampled_from(["red", "blue", "the", "is blue", ""]), max_size=2)
    strings = {query: data.draw(some) for query in range(len(rows))}
    holds = answer_bearing(lists_of(rows), np.arange(len(rows)), answers_of(strings), texts_of(BODIES))
    left = lists_of(rows).where(~holds)
    kept = [[row for row in one if not has_answer(BODIES[row], strings[query])] for query, one in enumerate(rows)]
    assert [left[query].tolist() for query in range(len(rows))] == kept
    assert holds.sum() == sum(map(len, rows)) - sum(map(len, kept))


def test_a_query_without_a_positive_gets_its_best_passage_that_holds_an_answer() -> None:
    lists = lists_of([[1, 3, 0], [4, 5], [2, 1], []])
    strings = {3: ["red"], 5: ["blue"], 8: ["bird", "blue"], 9: ["red"]}
    queries, passages, missing = answer_bearing_positives(
        lists, np.array([3, 5, 8, 9]), answers_of(strings), texts_of(BODIES)
    )
    assert (queries.tolist(), passages.tolist(), missing) == ([3, 8], [3, 2], 2)
    assert (queries.dtype, passages.dtype) == (np.int64, np.int64)


def test_the_best_passage_is_the_best_by_rank_not_by_place() -> None:
    lists = replace(lists_of([[0, 3]]), ranks=np.array([4, 2], dtype=np.int16))
    _, passages, _ = answer_bearing_positives(lists, np.array([0]), answers_of({0: ["red"]}), texts_of(BODIES))
    assert passages.tolist() == [3]


# ---- in evaluation ---------------------------------------------------------------------------------------


def test_the_rank_of_an_answer_is_that_of_the_first_passage_that_holds_it() -> None:
    rows = np.array([[1, 0, 3], [4, -1, -1], [-1, -1, -1]])
    assert answer_ranks(rows, [["red"], ["red"], ["red"]], texts_of(BODIES)).tolist() == [2, 0, 0]
    assert answer_ranks(np.empty((2, 0), dtype=np.int64), [["red"], []], texts_of(BODIES)).tolist() == [0, 0]


def test_answer_recall_counts_ranks_up_to_the_cutoff() -> None:
    found = answer_recall(np.array([0, 1, 5, 6, 100]), ("Answer@5", "Answer@100"))
    assert {name: values.tolist() for name, values in found.items()} == {
        "Answer@5": [0.0, 1.0, 1.0, 0.0, 0.0],
        "Answer@100": [0.0, 1.0, 1.0, 1.0, 1.0],
    }
    assert all(values.dtype == np.float64 for values in found.values())


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    corpus = {f"d{number}": ("red blue", body) for number, body in enumerate(BODIES)}
    queries = {"qa": "red?", "qb": "blue?", "qc": "no answer known", "qd": "grey?"}
    plain = collection_from_dicts(corpus, queries, {"test": {"qa": {"d0": 1}}}, cache=tmp_path)
    return replace(plain, answers=answers_of({0: ["red"], 1: ["blue"], 3: ["grey"]}))


def test_a_run_is_measured_over_the_queries_that_have_answers(collection: Collection) -> None:
    run = Run.from_dict({"qc": {"d0": 1.0}, "qb": {"d4": 3.0, "d5": 2.0, "d1": 1.0}, "qa": {"d3": 1.0}})
    scores = measure_answers(run, collection, metrics=("Answer@1", "Answer@3"))
    assert scores.query_ids == ["qb", "qa"]
    assert {name: values.tolist() for name, values in scores.values.items()} == {"Answer@1": [0, 1], "Answer@3": [1, 1]}
    assert scores.missing == 0


def test_a_query_that_the_run_lacks_scores_zero_and_is_counted(collection: Collection) -> None:
    run = Run.from_dict({"qa": {"d3": 1.0}, "qd": {}})
    scores = measure_answers(run, collection, ["qa", "qb", "qc", "qd"], ("Answer@20",))
    assert (scores.query_ids, scores.missing) == (["qa", "qb", "qd"], 2)
    assert scores.means() == {"Answer@20": pytest.approx(1 / 3)}


@pytest.mark.parametrize(
    ("run", "metrics", "message"),
    [
        ({"qx": {"d0": 1.0}}, ("Answer@5",), "The run holds the query 'qx'"),
        ({"qa": {"d0": 1.0, "dx": 0.5, "dy": 0.4}}, ("Answer@5",), "The run holds the passage 'dx' and 1 more"),
        ({"qa": {"d0": 1.0}}, ("Recall@5",), "'Recall@5' is no answer metric"),
        ({"qa": {"d0": 1.0}}, ("Answer@0",), "'Answer@0' is no answer metric"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    collection: Collection, run: dict[str, dict[str, float]], metrics: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        measure_answers(Run.from_dict(run), collection, metrics=metrics)


def test_a_collection_without_answers_is_refused(collection: Collection) -> None:
    with pytest.raises(UserError, match="has no answers; Answer@5, Answer@20, Answer@100 cannot be measured"):
        measure_answers(Run.from_dict({}), replace(collection, answers=answers_of({})))


def test_bm25_on_real_questions_has_the_answer_recall_on_record(shared_data: Path) -> None:
    collection = load_collection(shared_data / "wiki-open")
    queries = collection.split("test-nq").queries
    questions = collection.queries.table["text"].take(queries).to_pylist()
    found = BM25(collection.corpus, "en").search(questions, 100, collection.corpus.id_rank)
    means = measure_answers(run_of(found, queries, collection), collection).means()
    assert {name: round(value, 4) for name, value in means.items()} == {
        "Answer@5": 0.8609,
        "Answer@20": 0.9260,
        "Answer@100": 0.9527,
    }
