"""What is made of a collection: dictionaries, judgements, answers; any collection comes back as it was."""

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beir_files import CONTENT, HEADER, content, refused, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection
from ance_tele.data.describe import describe
from ance_tele.data.load import collection_from_dicts, load_collection

# ---- from dictionaries ---------------------------------------------------------------------------


def test_dictionaries_in_all_their_forms(tmp_path: Path) -> None:
    forms: list[dict[str, Any]] = [
        CONTENT[0],
        {key: {"title": title, "text": text} for key, (title, text) in CONTENT[0].items()},  # as in beir
        {"d1": {"text": "first text", "title": "One"}, "d2": "second", "d3": {"text": "third", "title": None}},
    ]
    found = [collection_from_dicts(form, CONTENT[1], CONTENT[2], cache=tmp_path) for form in forms]
    assert [content(one) for one in found] == [CONTENT] * 3
    assert len({one.fingerprint for one in found}) == 1
    assert found[0].fingerprint == load_collection(write(tmp_path / "data"), tmp_path).fingerprint
    assert collection_from_dicts(CONTENT[0], CONTENT[1], CONTENT[2], cache=tmp_path).folder == found[0].folder


@pytest.mark.parametrize(
    ("corpus", "queries", "qrels", "fragments"),
    [
        (
            {"d": {"body": "x", "title": "y"}},
            {"q": "x"},
            {"q": {"d": 1}},
            ["entry 1", "no field 'text'", "body, title"],
        ),
        ({7: "x"}, {"q": "x"}, {"q": {"7": 1}}, ["the corpus, entry 1", "the id must be a string", "got 7"]),
        ({"d": "x"}, {"q": None}, {"q": {"d": 1}}, ["the queries, entry 1", "the text must be a string", "None"]),
        ({"d": "x"}, {"q": "x"}, {"q": {"e": 1}}, ["qrels['test']", "unknown passages", "'e'", "strict=False"]),
        ({"d": "x"}, {"q": "x"}, {}, ["qrels['test']", "no judgements"]),
        ({}, {"q": "x"}, {"q": {"d": 1}}, ["the corpus", "no passages"]),
    ],
)
def test_dictionaries_that_are_refused(corpus: Any, queries: Any, qrels: Any, fragments: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        collection_from_dicts(corpus, queries, {"test": qrels})
    assert all(fragment in str(caught.value) for fragment in fragments), str(caught.value)


# ---- what is made of it --------------------------------------------------------------------------


def test_rows_ranks_and_batches(tmp_path: Path) -> None:
    corpus = {key: (f"title {key}", f"text {key}") for key in ("b", "a", "d", "c")}
    found = collection_from_dicts(corpus, {"q": "x"}, {"test": {"q": {"a": 1}}}, cache=tmp_path).corpus
    assert found.rows(["c", "nobody", "b"]).tolist() == [3, -1, 0]
    assert found.id_rank.tolist() == [1, 0, 3, 2]
    assert list(found.batches(size=3)) == [
        (["title b", "title a", "title d"], ["text b", "text a", "text d"]),
        (["title c"], ["text c"]),
    ]
    assert list(found.batches(np.array([3, 0]), size=1)) == [(["title c"], ["text c"]), (["title b"], ["text b"])]


def test_relevant_and_selected_judgements(tmp_path: Path) -> None:
    corpus, queries = {key: key for key in "abc"}, {key: key for key in "pqr"}
    qrels = {"test": {"r": {"a": 0}, "p": {"c": 2, "a": 0, "b": 1}, "q": {"b": 1}}}
    split = collection_from_dicts(corpus, queries, qrels, cache=tmp_path).split("test")
    assert split.queries.tolist() == [0, 1, 2] and split.passages.tolist() == [2, 0, 1, 1, 0]
    relevant = split.relevant()
    assert (relevant.queries.tolist(), relevant.offsets.tolist()) == ([0, 1], [0, 2, 3])
    assert (relevant.passages.tolist(), relevant.grades.tolist()) == ([2, 1, 1], [2, 1, 1])
    chosen = split.select(np.array([2, 1]))
    assert (chosen.queries.tolist(), chosen.passages.tolist(), len(chosen)) == ([1, 2], [1, 0], 2)


# ---- answers -------------------------------------------------------------------------------------

QUESTIONS = [
    '{"_id": "q3", "text": "ös", "answers": ["Öse", "an eye", "Öse"]}',
    '{"_id": "q9", "text": "of another collection", "answers": ["x"]}',
    '{"_id": "q1", "text": "same", "answers": ["1973", " "]}',
    '{"_id": "q2", "text": "same", "answers": []}',
]


def test_questions_give_answers_to_queries_wherever_they_are_judged(tmp_path: Path) -> None:
    plain = load_collection(write(tmp_path / "plain"), tmp_path / "cache")
    found = load_collection(write(tmp_path / "open", {"questions.jsonl": QUESTIONS}), tmp_path / "cache")
    assert content(found) == CONTENT and found.problems == {}
    assert found.answers.queries.tolist() == [0, 2] and found.answers.queries.dtype == np.int64
    assert [found.answers.of(row) for row in range(4)] == [["1973"], [], ["Öse", "an eye"], []]
    assert (len(found.answers), 0 in found.answers, 1 in found.answers) == (2, True, False)
    assert len(plain.answers) == 0 and plain.answers.of(0) == [] and 0 not in plain.answers
    assert found.fingerprint != plain.fingerprint
    assert "2 queries with answer strings, 1.50 per query" in "\n".join(describe(found))


def test_answers_are_part_of_the_fingerprint_only_where_there_are_any(tmp_path: Path) -> None:
    plain = load_collection(write(tmp_path / "plain"), tmp_path / "cache")
    prints = {"none": plain.fingerprint}
    for name, lines in {
        "empty": QUESTIONS[3:],
        "one": QUESTIONS[2:3],
        "two": QUESTIONS[:3],
        "other": [QUESTIONS[2].replace("1973", "1974")],
    }.items():
        folder = write(tmp_path / name, {"questions.jsonl": lines})
        prints[name] = load_collection(folder, tmp_path / "cache").fingerprint
    assert prints.pop("empty") == plain.fingerprint and len(set(prints.values())) == 4


def test_a_split_holds_the_queries_that_only_have_answers(tmp_path: Path) -> None:
    changes = {"questions/test.jsonl": QUESTIONS[2:], "questions/extra.jsonl.gz": gzip.compress(QUESTIONS[0].encode())}
    found = load_collection(write(tmp_path / "data", changes), tmp_path / "cache")
    assert list(found.qrels) == ["train", "test", "extra"]
    test, extra = found.split("test"), found.split("extra")
    assert test.queries.tolist() == [0, 1, 2] and test.offsets.tolist() == [0, 0, 0, 2]
    assert test.judged().tolist() == [2] and test.relevant().queries.tolist() == [2]
    assert test.select(np.array([1, 2])).queries.tolist() == [1, 2]
    assert test.select(np.array([1])).offsets.tolist() == [0, 0]
    assert (extra.queries.tolist(), len(extra.passages), len(extra.relevant())) == ([2], 0, 0)
    assert "2 queries with answers only" in " ".join("\n".join(describe(found)).split())


def test_answers_in_several_places_are_joined(tmp_path: Path) -> None:
    changes = {"questions.jsonl": QUESTIONS[:1], "questions/test.jsonl": ['{"_id": "q3", "answers": ["ear", "Öse"]}']}
    found = load_collection(write(tmp_path / "data", changes), tmp_path / "cache")
    assert found.answers.of(2) == ["ear", "Öse", "an eye"]


@pytest.mark.parametrize(
    ("changes", "fragments"),
    [
        ({"questions.jsonl": ['{"_id": "q1", "answer": ["x"]}']}, ["line 1", "no field 'answers'", "_id, answer"]),
        ({"questions.jsonl": ['{"_id": "q1", "answers": "x"}']}, ["line 1", "list of strings", "got 'x'"]),
        ({"questions.jsonl": ['{"_id": "q1", "answers": ["x", 7]}']}, ["line 1", "list of strings", "got 7"]),
        ({"questions.jsonl": ['{"_id": "q1", "answers": ["\\ud800"]}']}, ["questions.jsonl", "half a character"]),
        ({"questions/test.jsonl": QUESTIONS}, ["questions/test.jsonl", "unknown queries", "'q9' in line 2"]),
    ],
)
def test_answers_that_are_refused(tmp_path: Path, changes: dict[str, list[str]], fragments: list[str]) -> None:
    sentence = refused(write(tmp_path / "data", changes), tmp_path / "cache")
    assert all(fragment in sentence for fragment in fragments), sentence


def test_a_collection_stored_before_there_were_answers_opens(tmp_path: Path) -> None:
    found = load_collection(write(tmp_path / "data"), tmp_path / "cache")
    assert not (found.folder / "answers.arrow").exists()  # what the previous version wrote
    assert content(Collection.open(found.folder)) == CONTENT


def test_answers_from_dictionaries(tmp_path: Path) -> None:
    answers = {"train": {"q1": ["x"]}, "open": {"q2": ["y", "z"]}}
    found = collection_from_dicts(*CONTENT, cache=tmp_path, answers=answers)
    assert list(found.qrels) == ["train", "test", "open"] and found.answers.of(1) == ["y", "z"]
    with pytest.raises(UserError, match="'q1' must be a list of strings, got 'x'"):
        collection_from_dicts(*CONTENT, cache=tmp_path, answers={"train": {"q1": "x"}})


def test_judgements_in_trec_format_have_a_name_of_their_own(tmp_path: Path) -> None:
    changes = {"qrels/test.tsv": None, "qrels/test.trec": ["q3 0 d3 1", "q3\t0\td1\t0"]}
    assert content(load_collection(write(tmp_path / "data", changes), tmp_path / "cache")) == CONTENT


def test_an_unknown_split_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no qrels for split 'dev'; it has: train, test"):
        load_collection(write(tmp_path / "data"), tmp_path).split("dev")


def test_describe_counts_words(tmp_path: Path) -> None:
    lines = list(describe(load_collection(write(tmp_path / "data"), tmp_path)))
    assert " ".join(lines[1].split()) == "passages 3 words with titles: median 1, 5% under 1, 5% over 3, longest 3"
    assert " ".join(lines[2].split()) == "queries 3 words: median 1, 5% under 1, 5% over 1, longest 1"
    assert " ".join(lines[3].split()).startswith("texts ")
    assert "2 judged queries, 2 judgements, 1.00 relevant" in lines[4]
    assert "1 judged query, 2 judgements, 1.00 relevant" in lines[5]
    assert lines[6:] == ["problems          none found"]


# ---- any collection at all -----------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8"), max_size=20)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6).filter(
    # NUL is refused; a BOM at the start of a file is no part of it
    lambda name: name.split() == [name] and "\0" not in name and name[0] != "\ufeff"
)


@st.composite
def collections(draw: st.DrawFn) -> tuple[dict[str, tuple[str, str]], dict[str, str], dict[str, Any]]:
    filled = texts.filter(lambda text: bool(text.strip()))
    corpus = draw(st.dictionaries(names, st.tuples(texts, filled) | st.tuples(filled, texts), min_size=1, max_size=8))
    queries = draw(st.dictionaries(names, filled, min_size=1, max_size=5))
    pairs = st.tuples(st.sampled_from(sorted(queries)), st.sampled_from(sorted(corpus)))
    qrels: dict[str, Any] = {}
    for split in draw(st.sets(st.sampled_from(["train", "dev", "test", "test-é"]), min_size=1)):
        for (query, passage), grade in draw(st.dictionaries(pairs, st.integers(-2, 3), min_size=1)).items():
            qrels.setdefault(split, {}).setdefault(query, {})[passage] = grade
    return corpus, queries, qrels


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(collections(), st.booleans(), st.booleans(), st.booleans())
def test_whatever_is_written_is_read_back(whole: Any, packed: bool, header: bool, escaped: bool) -> None:
    corpus, queries, qrels = whole
    files: dict[str, list[str]] = {
        "corpus.jsonl": [
            json.dumps({"_id": key, "title": title, "text": text}, ensure_ascii=escaped)
            for key, (title, text) in corpus.items()
        ],
        "queries.jsonl": [
            json.dumps({"_id": key, "text": text}, ensure_ascii=escaped) for key, text in queries.items()
        ],
    }
    for split, judged in qrels.items():
        lines = [f"{query}\t{key}\t{grade}" for query, grades in judged.items() for key, grade in grades.items()]
        files[f"qrels/{split}.tsv"] = [HEADER] * header + lines
    pack = gzip.compress if packed else bytes
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "data"
        for file, lines in files.items():
            path = folder / (file + ".gz" * packed)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pack("".join(f"{line}\n" for line in lines).encode()))
        found = load_collection(folder, Path(name) / "cache")
        assert content(found) == whole
        assert content(collection_from_dicts(corpus, queries, qrels, cache=Path(name) / "cache")) == whole
