"""Folders of MS MARCO and of DPR: what is read, and what is refused in one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
from format_files import Content, Files, read, refused, write

from ance_tele.data.formats.examples import text_id

# ---- MS MARCO ------------------------------------------------------------------------------------

MARCO: dict[str, Any] = {
    "collection.tsv": '0\tThe "raw" text\n1\t"opens and does not close\n2\t"all of it"\n',
    "queries.train.tsv": '10\twhat is "x\n11\tsame\n12\tsame\n',
    "queries.dev.tsv": "20\tnever judged\n21\tdev\n",
    "queries.dev.small.tsv": "21\tdev\n",
    "qrels.train.tsv": "10\t0\t1\t1\n11\t0\t2\t1\n11\t0\t0\t1\n12\t0\t2\t1\n",
    "qrels.dev.small.tsv": "21 0 0 1\n",
}
MARCO_CONTENT = Content(
    {"0": ("", 'The "raw" text'), "1": ("", '"opens and does not close'), "2": ("", '"all of it"')},
    {"20": "never judged", "21": "dev", "10": 'what is "x', "11": "same", "12": "same"},
    {"train": {"10": {"1": 1}, "11": {"2": 1, "0": 1}, "12": {"2": 1}}, "dev": {"21": {"0": 1}}},
    {},
)


def test_a_marco_folder_is_raw_text_and_its_small_dev_set_is_dev(tmp_path: Path) -> None:
    assert read(write(tmp_path / "marco", MARCO), tmp_path / "cache") == MARCO_CONTENT


def test_a_marco_folder_may_be_gzipped_and_forced(tmp_path: Path) -> None:
    folder = write(tmp_path / "marco", {f"{name}.gz": text for name, text in MARCO.items()})
    assert read(f"marco:{folder}", tmp_path / "cache") == MARCO_CONTENT


def test_dev_small_keeps_its_name_beside_dev(tmp_path: Path) -> None:
    folder = write(tmp_path / "marco", {**MARCO, "qrels.dev.tsv": "20\t0\t2\t1\n"})
    found = read(folder, tmp_path / "cache").qrels
    assert (found["dev"], found["dev.small"]) == ({"20": {"2": 1}}, {"21": {"0": 1}})


def test_passages_with_titles(tmp_path: Path) -> None:
    folder = write(tmp_path / "marco", {**MARCO, "collection.tsv": "0\t\ta\n1\tT\tb\n2\t-\tc\n"})
    assert read(folder, tmp_path / "cache").corpus == {"0": ("", "a"), "1": ("T", "b"), "2": ("-", "c")}


def test_training_triples_stand_in_for_training_judgements(tmp_path: Path) -> None:
    triples = "10\t1\t0\n10\t1\t2\n11\t2\t1\n11\t0\t1\n11\t2\t0\n12\t2\t0\n"
    files = {name: text for name, text in MARCO.items() if name != "qrels.train.tsv"}
    folder = write(tmp_path / "marco", {**files, "qidpidtriples.train.full.2.tsv.gz": triples})
    assert read(folder, tmp_path / "cache") == MARCO_CONTENT


@pytest.mark.parametrize(
    ("changes", "fragments"),
    [
        ({"collection.tsv": "0\n"}, ["collection.tsv line 1", "1 tab-separated", "two (id, text)"]),
        ({"collection.tsv": "0\ta\n1\tb\tc\n"}, ["collection.tsv line 2 has 3", "2, as the lines before"]),
        ({"collection.tsv": "0\ta\n1\t\n2\tb\n"}, ["collection.tsv", "without text", "'1' in line 2"]),
        ({"queries.dev.tsv": "21\ta\tb\n"}, ["queries.dev.tsv line 1 has 3", "query id, text"]),
        ({"queries.dev.small.tsv": "21\tanother text\n"}, ["'21'", "stood before", "--lenient"]),
        ({"qrels.train.tsv": "10\t1\t1\n"}, ["qrels.train.tsv line 1 has 3", "four are needed"]),
        ({"qrels.train.tsv": "10\t0\t1\tx\n"}, ["qrels.train.tsv line 1", "'x'", "integer"]),
        ({"qrels.train.tsv": "10\t0\t9\t1\n"}, ["qrels.train.tsv", "unknown passages", "'9' in line 1"]),
    ],
)
def test_marco_files_that_are_refused(tmp_path: Path, changes: dict[str, str], fragments: list[str]) -> None:
    sentence = refused(write(tmp_path / "marco", {**MARCO, **changes}), tmp_path / "cache")
    assert all(fragment in sentence for fragment in fragments), sentence


@pytest.mark.parametrize("kind", ["collection", "queries", "qrels"])
def test_a_marco_folder_that_lacks_files_says_which(tmp_path: Path, kind: str) -> None:
    folder = write(tmp_path / "marco", {name: text for name, text in MARCO.items() if not name.startswith(kind)})
    sentence = refused(f"marco:{folder}", tmp_path / "cache")
    assert f"no {kind}." in sentence and "found: " in sentence


# ---- DPR -----------------------------------------------------------------------------------------

PSGS_QUOTED = 'id\ttext\ttitle\n1\t"Aaron (""Ahärôn"") said\tso"\tAaron\n2\tplain\t"""Heroes"""\n3\t"it\'s"\tA, B\n'
PSGS_RAW = 'id\ttext\ttitle\n1\tAaron ("Ahärôn") said so\tAaron\n2\t"plain\t"Heroes"\n3\t"it" is "it"\tA, B\n'
PASSAGES_QUOTED = {"1": ("Aaron", 'Aaron ("Ahärôn") said\tso'), "2": ('"Heroes"', "plain"), "3": ("A, B", "it's")}
PASSAGES_RAW = {"1": ("Aaron", 'Aaron ("Ahärôn") said so'), "2": ('"Heroes"', '"plain'), "3": ("A, B", '"it" is "it"')}


def context(key: Any, name: str = "passage_id", **fields: Any) -> dict[str, Any]:
    return {"title": f"t{key}", "text": f"text {key}", "score": 1.5, name: key, **fields}


def question(text: str, answers: list[str], positives: list[Any], **fields: Any) -> dict[str, Any]:
    rest: dict[str, Any] = {"negative_ctxs": [], "hard_negative_ctxs": []}
    return {"question": text, "answers": answers, "positive_ctxs": positives, **rest, **fields}


DPR_TRAIN = [
    question("who", ["A", "B"], [context("2"), context("1"), context("2")], hard_negative_ctxs=[context("3")]),
    question("who", ["C"], []),
    question("when", [], [context("3", "psg_id")]),
]
QA = 'how many\t[\'it\'\'s 5\', "5"]\nwhere "is" it\t["O\'Hare"]\n'
QA_QUOTED = 'how many\t"[\'its 5\', ""5""]"\n"where ""is"" it"\t"[""O\'Hare""]"\n'


@pytest.mark.parametrize(("psgs", "corpus"), [(PSGS_QUOTED, PASSAGES_QUOTED), (PSGS_RAW, PASSAGES_RAW)])
@pytest.mark.parametrize("qa", [QA, QA_QUOTED])
def test_a_dpr_folder(tmp_path: Path, psgs: str, corpus: dict[str, tuple[str, str]], qa: str) -> None:
    files: Files = {
        "psgs_w100.tsv.gz": psgs,
        "nq-train.json": json.dumps(DPR_TRAIN, indent=4),
        "nq-test.qa.csv": qa,
        "config.json": "{}",
    }
    assert read(write(tmp_path / "dpr", files), tmp_path / "cache") == Content(
        corpus,
        {"train-1": "who", "train-3": "when", "test-1": "how many", "test-2": 'where "is" it'},
        {
            "train": {"train-1": {"2": 1, "1": 1}, "train-3": {"3": 1}},
            "test": {"test-1": {}, "test-2": {}},
        },
        {"train-1": ["A", "B", "C"], "test-1": ["its 5", "5"], "test-2": ["O'Hare"]},
    )


def test_without_the_wikipedia_passages_the_corpus_is_those_met(tmp_path: Path) -> None:
    bare = {"title": "T", "text": "no id"}
    rows = [*DPR_TRAIN, question("?", ["x"], [bare], negative_ctxs=[bare, context("7")])]
    file = write(tmp_path / "d", {"biencoder-nq-train.json.gz": json.dumps(rows)}) / "biencoder-nq-train.json.gz"
    found = read(file, tmp_path / "cache")
    key = text_id("no id", "T")
    assert found.corpus == {**{one: (f"t{one}", f"text {one}") for one in "2137"}, key: ("T", "no id")}
    assert found.qrels["train"]["train-4"] == {key: 1}
    assert read(f"dpr:{file.parent}", tmp_path / "cache") == found


def test_questions_beside_a_training_set_are_a_split_of_their_own(tmp_path: Path) -> None:
    files: Files = {"psgs.tsv": PSGS_RAW, "nq-dev.json": json.dumps(DPR_TRAIN), "nq-dev.qa.csv": QA}
    found = read(write(tmp_path / "dpr", files), tmp_path / "cache")
    assert {split: len(queries) for split, queries in found.qrels.items()} == {"dev": 2, "dev-qa": 2}
    assert found.queries["dev-1"] == "who" and found.queries["dev-qa-1"] == "how many"


def test_passages_without_a_heading_line_or_with_the_columns_turned_round(tmp_path: Path) -> None:
    for psgs in (PSGS_RAW.partition("\n")[2], "title\tid\ttext\nAaron\t1\tx\nT\t2\ty\nA, B\t3\tz\n"):
        folder = write(tmp_path / "dpr", {"psgs.tsv": psgs, "dev.qa.csv": QA})
        corpus = read(folder, tmp_path / "cache").corpus
        assert list(corpus) == ["1", "2", "3"] and corpus["1"][0] == "Aaron" and corpus["3"][0] == "A, B"


@pytest.mark.parametrize(
    ("changes", "fragments"),
    [
        ({"psgs.tsv": "id\tbody\ttitle\n1\tx\ty\n"}, ["psgs.tsv line 1", "'text'", "id, body, title"]),
        ({"psgs.tsv": "id\ttext\ttitle\n1\tx\n"}, ["psgs.tsv line 2 has 2", "3 are needed: id, text, title"]),
        ({"psgs.tsv": PSGS_QUOTED + '4\t"ab"c"\tx\n'}, ["psgs.tsv line 5", "not well-formed CSV"]),
        ({"train.json": '[{"query": "x"}]'}, ["train.json element 1", "'positive_ctxs'", "its fields: query"]),
        ({"train.json": json.dumps([question("x", "y", [])])}, ["element 1", "list of strings", "'y'"]),  # type: ignore[arg-type]
        ({"train.json": json.dumps(DPR_TRAIN)[:-1]}, ["train.json ends after element 3", "fetch it again"]),
        ({"train.json": json.dumps(DPR_TRAIN)[:-30]}, ["train.json, element 3", "cut short"]),
        ({"train.json": "[1, 2]"}, ["train.json, element 1 is a JSON int", "array of objects"]),
        ({"train.json": b'[{"question": "\xff"}]'}, ["train.json is not UTF-8"]),
        (
            {"train.json": json.dumps([question("x", ["y"], [context("9")])])},
            ["train.json", "unknown passages", "'9' in line 1"],
        ),
        (
            {"train.json": json.dumps([question("x", ["y"], [{"text": "z", "id": 1}])])},
            ["element 1, positive_ctxs", "'passage_id' or 'psg_id'", "text, id"],
        ),
        ({"train.json": "[]", "nq-train.json": "[]"}, ["two files for split 'train'", "nq-train.json, train.json"]),
        ({"test.csv": "how many\tfive\n"}, ["test.csv line 1", "list of strings", "'five'"]),
        ({"test.csv": "how many\n"}, ["test.csv line 1 has 1", "question, answers"]),
        ({"test.csv": "how many\t[5]\n"}, ["test.csv line 1", "list of strings", "got 5"]),
    ],
)
def test_dpr_files_that_are_refused(tmp_path: Path, changes: Files, fragments: list[str]) -> None:
    files: Files = {"psgs.tsv": PSGS_RAW, "train.json": json.dumps(DPR_TRAIN), **changes}
    sentence = refused(write(tmp_path / "dpr", files), tmp_path / "cache")
    assert all(fragment in sentence for fragment in fragments), sentence


def test_questions_alone_have_no_corpus(tmp_path: Path) -> None:
    sentence = refused(write(tmp_path / "dpr", {"nq-test.qa.csv": QA}), tmp_path / "cache")
    assert "no psgs*.tsv" in sentence and "nq-test.qa.csv" in sentence
