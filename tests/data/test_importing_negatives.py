"""Training files: rows of one anchor are one query; given negatives, a teacher's scores, instructions are kept."""

import hashlib
import json
import math
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ance_tele.console.errors import UserError
from ance_tele.data.annotations import ScoredPassages
from ance_tele.data.collection import Collection
from ance_tele.data.describe import describe
from ance_tele.data.formats.write import write_beir
from ance_tele.data.importing_negatives import Columns, write_listed
from ance_tele.data.load import collection_from_dicts, load_collection
from ance_tele.mining.export import Kind, export_corpus, export_pool
from ance_tele.mining.pool import Pool

Rows = list[dict[str, Any]]


def load(tmp_path: Path, rows: Rows, name: str = "train.jsonl", **files: Rows) -> Collection:
    folder = tmp_path / f"data-{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    for file, content in {name: rows, **files}.items():
        (folder / file).write_text("".join(json.dumps(row) + "\n" for row in content), "utf-8")
    return load_collection(folder, tmp_path / "cache")


def texts(found: Collection, given: ScoredPassages) -> dict[str, list[tuple[str, float | None]]]:
    """Return the passages' texts and the scores (None for NaN) by query text."""
    return {
        found.queries[row]["text"]: [
            (found.corpus[passage]["text"], None if math.isnan(score) else score)
            for passage, score in zip(*(column.tolist() for column in given.of(row)), strict=True)
        ]
        for row in given.queries.tolist()
    }


def negatives(found: Collection) -> dict[str, list[str]]:
    return {query: [text for text, _ in some] for query, some in texts(found, found.negatives).items()}


def positives(found: Collection, split: str = "train") -> dict[str, set[str]]:
    qrels = found.qrels[split]
    pairs = zip(qrels.owners.tolist(), qrels.passages.tolist(), strict=True)
    result: dict[str, set[str]] = {found.queries[row]["text"]: set() for row in qrels.queries.tolist()}
    for query, passage in pairs:
        result[found.queries[query]["text"]].add(found.corpus[passage]["text"])
    return result


# ---- rows of one anchor --------------------------------------------------------------------------


def test_rows_of_one_anchor_are_one_query_with_all_its_positives(tmp_path: Path) -> None:
    rows = [
        {"anchor": "q", "positive": "a", "negative": "b"},
        {"anchor": "r", "positive": "c", "negative": "a"},
        {"anchor": " q\n", "positive": "b", "negative": "c"},
        {"anchor": "q", "positive": "a", "negative": "d"},
    ]
    found = load(tmp_path, rows)
    assert found.queries.ids.to_pylist() == ["train-1", "train-2"] and found.problems == {}
    assert positives(found) == {"q": {"a", "b"}, "r": {"c"}}
    assert negatives(found) == {"q": ["c", "d"], "r": ["a"]}
    assert found.notes == {
        "train.jsonl: rows joined to the query of an earlier row, which has the same text": 2,
        "train.jsonl: given negatives that are relevant passages of their query, left out": 1,
    }
    lines = list(describe(found))
    assert all(any(what in line for line in lines) for what in ("rows joined", "queries with given negatives"))


def test_rows_of_other_instructions_and_splits_stay_apart(tmp_path: Path) -> None:
    rows = [{"query": "q", "pos": ["a"], "neg": ["n"], "prompt": prompt} for prompt in ("x: ", "y: ", "x: ")]
    found = load(tmp_path, rows, **{"test.jsonl": rows[:1]})
    assert found.queries.ids.to_pylist() == ["test-1", "train-1", "train-2"]
    assert found.queries.prompts is not None and found.queries.prompts.to_pylist() == ["x: ", "x: ", "y: "]
    assert "warning   test: 1 of 1 queries are training queries, too (0 by id, 1 by text)" in describe(found)
    assert found.fingerprint != load(tmp_path, [{**row, "prompt": None} for row in rows]).fingerprint


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(*map(st.sampled_from, ("pqr", ["", " ", "\n"], "abcde", "abcdef"))),
        min_size=1,
        max_size=12,
    )
)
def test_whatever_the_rows_pairs_and_negatives_are_those_of_a_dictionary(rows: list[tuple[str, str, str, str]]) -> None:
    good: dict[str, set[str]] = {}
    bad: dict[str, list[str]] = {}
    for anchor, _, positive, negative in rows:
        good.setdefault(anchor, set()).add(positive)
        bad.setdefault(anchor, []).append(negative)
    bad = {anchor: [one for one in dict.fromkeys(some) if one not in good[anchor]] for anchor, some in bad.items()}
    with tempfile.TemporaryDirectory() as name:
        found = load(Path(name), [{"anchor": f"{space}{q}", "positive": p, "negative": n} for q, space, p, n in rows])
        assert {query.strip(): some for query, some in positives(found).items()} == good
        assert {query.strip(): some for query, some in negatives(found).items()} == {q: n for q, n in bad.items() if n}
        assert sum(found.notes[note] for note in found.notes if "joined" in note) == len(rows) - len(good)
        write_beir(found, Path(name) / "out")
        assert load_collection(Path(name) / "out", Path(name) / "cache").fingerprint == found.fingerprint


def test_pairs_are_those_that_datasets_reads(tmp_path: Path) -> None:
    import datasets

    rng = np.random.default_rng(3)
    rows = [{"anchor": f"q{rng.integers(9)}", "positive": f"p{rng.integers(20)}"} for _ in range(60)]
    (tmp_path / "d").mkdir()
    path = tmp_path / "d" / "train.csv"
    path.write_text("anchor,positive\n" + "".join(f"{row['anchor']},{row['positive']}\n" for row in rows))
    table = datasets.load_dataset("csv", data_files=str(path), split="train", cache_dir=str(tmp_path / "hf"))
    found = positives(load_collection(path, tmp_path / "cache"))
    assert {(query, one) for query, some in found.items() for one in some} == {
        (row["anchor"], row["positive"]) for row in table
    }


@pytest.mark.parametrize("kind", ["tevatron", "tevatron2", "flagembedding", "triplets"])
def test_an_export_read_back_gives_one_query_for_each_with_all_its_positives(tmp_path: Path, kind: Kind) -> None:
    corpus = {f"d{number}": ("", f"text {number}") for number in range(8)}
    judged = {"q1": {"d0": 1, "d1": 1}, "q2": {"d2": 1}}
    first = collection_from_dicts(
        corpus,
        {"q1": "one", "q2": "two"},
        {"train": judged},
        cache=tmp_path,
        prompts={} if kind == "triplets" else {"q1": "ask: "},
    )
    code = np.zeros(5, dtype=np.uint8)
    whole, real = code.astype(np.int16), code.astype(np.float32)
    pool = Pool(np.array([0, 1]), np.array([0, 3, 5]), np.array([4, 5, 6, 6, 7]), code, code, code, whole, real)
    path = tmp_path / "out" / "train.jsonl"
    path.parent.mkdir()
    export_pool(pool, first.split("train").relevant(), first, path, kind)
    if kind == "tevatron2":
        export_corpus(first, path.with_name("corpus.jsonl"))
    again = load_collection(path.parent, tmp_path / "cache")
    assert positives(again) == positives(first) and again.problems == {}
    assert negatives(again) == {"one": ["text 4", "text 5", "text 6"], "two": ["text 6", "text 7"]}
    prompts = again.queries.prompts
    assert (None if prompts is None else prompts.to_pylist()) == (None if kind == "triplets" else ["ask: ", ""])


# ---- scores --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "scores"),
    [
        ({"scores": [3.0, 1.0, 0.5]}, {"a": 3.0, "m": 1.0, "n": 0.5}),
        ({"label": [3.0, 1.0, 0.5]}, {"a": 3.0, "m": 1.0, "n": 0.5}),
        ({"label": [2.0, 2.5]}, {"a": 0.0, "m": -2.0, "n": -2.5}),
        ({"label": [3.0, None, 0.5]}, {"a": 3.0, "n": 0.5}),
        ({"label": 1}, {}),
        ({"label": 0.5}, {}),
        ({"negative_2": "", "label": 0.5}, {"a": 0.0, "m": -0.5}),
        ({}, {}),
    ],
)
def test_scores_of_triplets(tmp_path: Path, row: dict[str, Any], scores: dict[str, float]) -> None:
    whole = {"anchor": "q", "positive": "a", "negative_1": "m", "negative_2": "n", **row}
    if whole["negative_2"] == "":
        del whole["negative_2"]
    found = load(tmp_path, [whole])
    assert dict(texts(found, found.teacher).get("q", [])) == scores
    unused = {"train.jsonl: rows with a field 'label', which is not used": 1}
    assert found.notes == (unused if row.get("label") in (1, 0.5) and not scores else {})
    for text, score in texts(found, found.negatives)["q"]:
        assert score == scores.get(text)


def test_a_labelled_pair_or_list_names_its_negatives_among_the_positives(tmp_path: Path) -> None:
    pairs = [{"anchor": "q", "positive": text, "label": label} for text, label in (("a", 1), ("n", 0), ("m", 0))]
    found = load(tmp_path, pairs)
    assert positives(found) == {"q": {"a"}} and negatives(found) == {"q": ["n", "m"]}
    for zero, one in (("0", "1"), (0.0, 1.0), ("0.0", "1.0"), (False, True)):
        other = load(tmp_path, [{**pair, "label": one if pair["label"] else zero} for pair in pairs])
        assert positives(other) == positives(found) and negatives(other) == negatives(found)
    again = load(tmp_path, [{"anchor": "q", "positive": ["a", "n", "m"], "labels": [1, 0, 0]}])
    assert positives(again) == positives(found) and negatives(again) == negatives(found)
    assert not found.notes.keys() & {
        "train.jsonl: pairs with a score, taken as relevant whatever it is (0: not relevant)"
    }
    scored = load(tmp_path, [{"anchor": "q", "positive": ["a", "n"], "scores": [0.9, 0.25]}])
    assert texts(scored, scored.teacher) == {"q": [("a", pytest.approx(0.9)), ("n", 0.25)]}
    pair = load(tmp_path, [{"anchor": "q", "positive": "a", "score": 0.25}])
    assert texts(pair, pair.teacher) == {"q": [("a", 0.25)]} and not len(pair.negatives)
    assert pair.notes["train.jsonl: pairs with a score, taken as relevant whatever it is (0: not relevant)"] == 1


def test_margins_of_several_positives_are_not_mixed(tmp_path: Path) -> None:
    rows = [{"anchor": "q", "positive": p, "negative": "n", "label": m} for p, m in (("a", 1.5), ("b", 2.5))]
    found = load(tmp_path, [*rows, {"anchor": "r", "positive": "a", "negative": "n", "label": 1.5}])
    assert texts(found, found.teacher) == {"r": [("a", 0.0), ("n", -1.5)]}
    assert texts(found, found.negatives) == {"q": [("n", None)], "r": [("n", -1.5)]}
    assert found.notes["train.jsonl: margins of queries with several relevant passages, not used"] == 4


def test_scores_and_instructions_of_flagembedding(tmp_path: Path) -> None:
    row = {"query": "q", "pos": ["a", "b"], "neg": ["n", "a"], "pos_scores": [2, 1.5], "neg_scores": [0.5, 9]}
    found = load(tmp_path, [{**row, "type": "normal", "prompt": "Find: "}])
    assert texts(found, found.teacher) == {"q": [("a", 2.0), ("b", 1.5), ("n", 0.5)]}
    assert texts(found, found.negatives) == {"q": [("n", 0.5)]}
    assert found.queries.prompts is not None and found.queries.prompts.to_pylist() == ["Find: "]
    assert found.notes["train.jsonl: rows with a field 'type', which is not used"] == 1
    assert found.notes["train.jsonl: scores of a pair that had another before, which is kept"] == 1


@pytest.mark.parametrize(
    ("row", "fragments"),
    [
        (
            {"query": "q", "pos": ["a"], "pos_scores": [1, 2]},
            ["line 1", "1 texts in 'pos'", "2 scores in"],
        ),
        ({"query": "q", "pos": ["a"], "pos_scores": ["x"]}, ["line 1", "'pos_scores' must hold numbers", "'x'"]),
        ({"query": "q", "pos": ["a"], "neg": ["b"], "neg_scores": 3}, ["'neg_scores' must be a list of numbers"]),
        ({"query": "q", "pos": ["a"], "prompt": ["x"]}, ["'prompt' must be a string"]),
        ({"anchor": "q", "positive": "a", "negative": "b", "scores": [1, 2, 3]}, ["3 numbers in 'scores'", "2 scores"]),
        ({"anchor": "q", "positive": ["a", "b"], "labels": [1, 3]}, ["'labels' must hold 0 or 1"]),
    ],
)
def test_scores_that_are_refused(tmp_path: Path, row: dict[str, Any], fragments: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path, [row])
    assert all(fragment in str(caught.value) for fragment in fragments), str(caught.value)


# ---- other formats -------------------------------------------------------------------------------


def test_dpr_takes_hard_negatives_or_else_the_others(tmp_path: Path) -> None:
    def passage(text: str, **fields: Any) -> dict[str, Any]:
        return {"title": "", "text": text, "passage_id": text, **fields}

    hard = {"hard_negative_ctxs": [passage("h", score=2.5)], "negative_ctxs": [passage("e")]}
    rows = [
        {"question": "q", "answers": [], "positive_ctxs": [passage("a", score="7.5")], **hard},
        {"question": "r", "answers": [], "positive_ctxs": [passage("a")], **hard, "hard_negative_ctxs": []},
    ]
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "train.json").write_text(json.dumps(rows))
    found = load_collection(tmp_path / "d", tmp_path / "cache")
    assert texts(found, found.negatives) == {"q": [("h", 2.5)], "r": [("e", None)]}
    assert texts(found, found.teacher) == {"q": [("a", 7.5), ("h", 2.5)]}
    assert found.notes == {"train.json: rows with a field 'negative_ctxs', which is not used": 1}


def test_marco_triples_give_negatives_beside_judgements_and_in_their_place(tmp_path: Path) -> None:
    files = {
        "collection.tsv": "0\ta\n1\tb\n2\tc\n",
        "queries.train.tsv": "7\tq\n8\tr\n",
        "qidpidtriples.train.tsv": "7\t0\t1\n7\t0\t2\n8\t1\t2\n8\t1\t9\n",
    }
    for name, qrels in (("one", {"qrels.train.tsv": "7\t0\t0\t1\n8\t0\t1\t1\n"}), ("two", {})):
        (tmp_path / name).mkdir()
        for file, content in {**files, **qrels}.items():
            (tmp_path / name / file).write_text(content)
        found = load_collection(tmp_path / name, tmp_path / "cache")
        assert negatives(found) == {"q": ["b", "c"], "r": ["c"]}
        left_out = "qidpidtriples.train.tsv: given passages or queries that are not in the collection, left out"
        assert found.notes == {left_out: 1}


def test_a_pair_judged_in_two_splits_is_one_relevant_passage(tmp_path: Path) -> None:
    query, passage = np.array([0, 0, 1, 1]), np.array([5, 5, 5, 6])
    listed = Columns(
        np.array([0, 1]),
        np.array([7, 7]),
        np.array([True, True]),
        np.array([-2, -3], dtype=np.float32),
        np.array([True, True]),
    )
    notes = Counter[str]()
    write_listed(listed, (query, passage), tmp_path, "x", hashlib.sha256(), notes)
    teacher = ScoredPassages.open(tmp_path / "teacher.arrow")
    assert teacher.queries.tolist() == [0] and teacher.scores.tolist() == [-2]
    assert notes == {"x: margins of queries with several relevant passages, not used": 1}


def test_given_things_from_dictionaries_go_out_and_come_back(tmp_path: Path) -> None:
    base: Any = {"d1": "a", "d2": "b", "d3": "c"}, {"q": "x", "r": "y"}, {"train": {"q": {"d1": 1}, "r": {"d2": 1}}}
    plain = collection_from_dicts(*base, cache=tmp_path)
    assert not len(plain.negatives) and not len(plain.teacher) and plain.queries.prompts is None
    assert collection_from_dicts(*base, cache=tmp_path, negatives={}, scores={}).fingerprint == plain.fingerprint
    found = collection_from_dicts(
        *base,
        cache=tmp_path,
        negatives={"r": ["d3", "d1"], "q": ["d3", "d1"]},
        scores={"q": {"d1": np.float32(0.1), "d2": 0.7}},  # type: ignore[dict-item]
        prompts={"r": "ask: ", "z": "of no query: "},
    )
    assert found.notes["prompts: of queries that are not in the collection, left out"] == 1
    assert negatives(found) == {"x": ["c"], "y": ["c", "a"]}
    assert found.teacher.queries.tolist() == [0] and found.teacher.scores.dtype == np.float32
    write_beir(found, tmp_path / "out")
    again = load_collection(tmp_path / "out", tmp_path / "cache")
    assert again.fingerprint == found.fingerprint != plain.fingerprint
    assert texts(again, again.teacher) == texts(found, found.teacher)
    with pytest.raises(UserError, match=r"scores\['q'\]: 'd1' must hold numbers"):
        collection_from_dicts(*base, cache=tmp_path, scores={"q": {"d1": math.inf}})
