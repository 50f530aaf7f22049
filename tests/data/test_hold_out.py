"""Grades by one rule, validation as dev, training queries held out, and what `data` warns of."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.data.copies import Copies
from ance_tele.data.describe import describe, warnings
from ance_tele.data.formats.write import write_beir
from ance_tele.data.grades import whole_grade
from ance_tele.data.load import collection_from_dicts, load_collection
from ance_tele.runs.folder import open_run
from ance_tele.runs.identity import agreeing, read_settings
from ance_tele.settings import Recipe

# ---- grades --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "grade"),
    [
        *((one, 2) for one in (2, 2.0, "2", "2.0", " 2 ", "2e0", np.int64(2), np.float32(2), np.array(2))),
        *((one, 1) for one in (True, np.True_, "+1")),
        *((one, -1) for one in (-1, "-1.0")),
        ((1 << 60) + 1, (1 << 60) + 1),
    ],
)
def test_a_grade_is_a_whole_number_however_it_is_written(value: Any, grade: int) -> None:
    found = whole_grade(value, "x")
    assert found == grade and type(found) is int


@pytest.mark.parametrize(
    "value", [0.7, "0.7", "yes", "", None, float("nan"), "nan", float("inf"), "-inf", 1 << 63, "1e30", [1], b"1"]
)
def test_whatever_else_is_refused(value: Any) -> None:
    with pytest.raises(UserError, match=r"file line 3: the grade .* is not an integer\."):
        whole_grade(value, "file line 3")


def test_grades_of_all_readers(tmp_path: Path) -> None:
    corpus, queries = {"d": "a", "e": "b"}, {"q": "x"}
    found = collection_from_dicts(corpus, queries, {"test": {"q": {"d": 1.0, "e": np.int32(2)}}}, cache=tmp_path)
    assert found.qrels["test"].grades.tolist() == [1, 2]
    write_beir(found, tmp_path / "beir")
    (tmp_path / "beir" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1.0\nq\te\t2.0\n")
    assert load_collection(tmp_path / "beir", tmp_path / "cache").fingerprint == found.fingerprint
    (tmp_path / "beir" / "qrels" / "test.tsv").unlink()
    (tmp_path / "beir" / "qrels" / "test.trec").write_text("q 0 d 1.0\nq 0 e 2\n")
    assert load_collection(tmp_path / "beir", tmp_path / "cache").fingerprint == found.fingerprint
    (tmp_path / "beir" / "qrels" / "test.trec").write_text("q 0 d 1\nq 0 e 0.7\n")
    with pytest.raises(UserError, match=r"test\.trec line 2: the grade '0\.7' is not an integer"):
        load_collection(tmp_path / "beir", tmp_path / "cache")
    with pytest.raises(UserError, match=r"qrels\['test'\], query 'q', passage 'd': the grade 0.7 is not an integer"):
        collection_from_dicts(corpus, queries, {"test": {"q": {"d": 0.7}}}, cache=tmp_path)


def test_a_query_without_a_judgement_belongs_to_its_split(tmp_path: Path) -> None:
    qrels: Any = {"test": {"q": {"d": 1}, "r": {}}}
    found = collection_from_dicts({"d": "a"}, {"q": "x", "r": "y"}, qrels, cache=tmp_path)
    assert found.qrels["test"].queries.tolist() == [0, 1] and found.qrels["test"].judged().tolist() == [0]
    assert found.notes == {"qrels['test']: queries without a judgement": 1}
    assert any(line.split() == ["1", "query", "without", "a", "judgement"] for line in describe(found))
    with pytest.raises(UserError, match="holds no judgements"):
        collection_from_dicts({"d": "a"}, {"q": "x"}, {"test": {"q": {}}}, cache=tmp_path)


# ---- splits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["validation", "valid", "val", "eval", "Validation"])
def test_validation_is_dev_in_every_format(tmp_path: Path, word: str) -> None:
    qrels = {"train": {"q": {"d": 1}}, word: {"r": {"d": 1}}}
    found = collection_from_dicts({"d": "a"}, {"q": "x", "r": "y"}, qrels, cache=tmp_path)
    assert list(found.qrels) == ["train", "dev"] and found.split(word) is found.qrels["dev"]
    write_beir(found, tmp_path / "beir")
    (tmp_path / "beir" / "qrels" / "dev.tsv").rename(tmp_path / "beir" / "qrels" / f"{word}.tsv")
    assert load_collection(tmp_path / "beir", tmp_path / "cache").fingerprint == found.fingerprint
    marco = tmp_path / "marco"
    marco.mkdir()
    (marco / "collection.tsv").write_text("d\ta\n")
    (marco / "queries.all.tsv").write_text("q\tx\nr\ty\n")
    (marco / "qrels.train.tsv").write_text("q\t0\td\t1\n")
    (marco / f"qrels.{word}.tsv").write_text("r\t0\td\t1\n")
    assert load_collection(marco, tmp_path / "cache").fingerprint == found.fingerprint


def test_validation_beside_dev_keeps_its_name(tmp_path: Path) -> None:
    qrels = {"validation": {"q": {"d": 1}}, "dev": {"r": {"d": 1}}}
    found = collection_from_dicts({"d": "a"}, {"q": "x", "r": "y"}, qrels, cache=tmp_path)
    assert set(found.qrels) == {"dev", "validation"} and found.split("validation").queries.tolist() == [0]


def test_what_data_warns_of(tmp_path: Path) -> None:
    queries = {"q": "x", "r": "y", "s": " x ", "t": "z"}
    qrels = {"train": {"q": {"d": 1}, "r": {"d": 1}}, "dev": {"t": {"d": 0}}, "test": {"q": {"d": 1}, "s": {"d": 1}}}
    found = collection_from_dicts({"d": "a"}, queries, qrels, cache=tmp_path)
    assert list(warnings(found)) == [
        "dev: none of its judgements is above grade 0, so no passage is relevant",
        "test: 2 of 2 queries are training queries, too (1 by id, 1 by text)",
    ]
    only = collection_from_dicts({"d": "a"}, queries, {"train": qrels["train"]}, cache=tmp_path)
    assert any("--hold_out 0.1" in line for line in warnings(only))


# ---- held out ------------------------------------------------------------------------------------


def rows(count: int, order: np.ndarray) -> list[dict[str, str]]:
    return [{"anchor": f"question {number}", "positive": f"passage {number}"} for number in order[:count].tolist()]


def test_the_same_queries_are_held_out_whatever_their_order(tmp_path: Path) -> None:
    held = []
    for name, order in (("one", np.arange(200)), ("two", np.random.default_rng(1).permutation(200))):
        (tmp_path / name).mkdir()
        lines = "".join(json.dumps(row) + "\n" for row in rows(200, order))
        (tmp_path / name / "train.jsonl").write_text(lines)
        whole = load_collection(tmp_path / name, tmp_path / "cache")
        found = whole.held_out(0.1)
        dev = found.qrels["dev"]
        assert len(dev) == 20 and len(found.qrels["train"]) == 180 and found.fingerprint != whole.fingerprint
        assert not set(dev.queries) & set(found.qrels["train"].queries)
        held.append({found.queries[row]["text"] for row in dev.queries})
        assert len(whole.held_out(50).qrels["dev"]) == 50 and whole.held_out(None) is whole
        assert found.held_out(0.1) is found
        write_beir(found, tmp_path / f"{name}-beir")
        again = load_collection(tmp_path / f"{name}-beir", tmp_path / "cache")
        assert {split: len(qrels) for split, qrels in again.qrels.items()} == {"train": 180, "dev": 20}
    assert held[0] == held[1]


def test_what_is_made_of_the_texts_alone_is_made_once(tmp_path: Path, logged: list[str]) -> None:
    texts = {f"q{number}": f"question {number}" for number in range(20)}
    train = {name: {"p": 1} for name in texts}
    whole = collection_from_dicts({"p": "text", "other": "text"}, texts, {"train": train}, cache=tmp_path)
    assert Copies.of(whole).count == Copies.of(whole.held_out(0.1)).count == 1
    assert not logged
    assert whole.held_out(0.1).texts == whole.texts != whole.held_out(0.1).fingerprint != whole.held_out(2).texts


def test_queries_of_one_text_stay_on_one_side(tmp_path: Path) -> None:
    queries = {f"q{number}": f"text {number % 20}{' ' * (number // 20)}" for number in range(60)}
    qrels = {"train": {query: {"d": 1} for query in queries}}
    found = collection_from_dicts({"d": "a"}, queries, qrels, cache=tmp_path).held_out(0.3)
    sides = [{found.queries[row]["text"].strip() for row in found.qrels[split].queries} for split in ("train", "dev")]
    assert not sides[0] & sides[1] and len(found.qrels["dev"]) == 18


@pytest.mark.parametrize(
    ("hold_out", "splits", "fragment"),
    [
        (0.1, ["train", "dev"], "a dev split is there already"),
        (0.1, ["test"], "no qrels for split 'train'"),
        (0.0, ["train"], "must be a share such as 0.1"),
        (1.5, ["train"], "must be a share such as 0.1"),
        (4, ["train"], "there are 4 training queries"),
        (float("nan"), ["train"], "must be a share such as 0.1"),
    ],
)
def test_what_cannot_be_held_out(tmp_path: Path, hold_out: float, splits: list[str], fragment: str) -> None:
    queries = {f"q{number}": f"text {number}" for number in range(4)}
    qrels = {split: {query: {"d": 1} for query in queries} for split in splits}
    found = collection_from_dicts({"d": "a"}, queries, qrels, cache=tmp_path)
    with pytest.raises(UserError, match=fragment):
        found.held_out(hold_out)


def test_one_text_alone_cannot_be_held_out(tmp_path: Path) -> None:
    qrels = {"train": {"q": {"d": 1}, "r": {"d": 1}}}
    found = collection_from_dicts({"d": "a"}, {"q": "x", "r": " x"}, qrels, cache=tmp_path)
    with pytest.raises(UserError, match="leaves none of the 2 training queries"):
        found.held_out(0.5)
    with pytest.raises(UserError, match=r"has no qrels for split 'test'; it has: train; .*--hold_out 0\.1"):
        found.split("test")


def test_recipe_and_collection_agree(tmp_path: Path) -> None:
    qrels = {"train": {f"q{number}": {"d": 1} for number in range(10)}}
    whole = collection_from_dicts({"d": "a"}, {f"q{n}": f"t{n}" for n in range(10)}, qrels, cache=tmp_path)
    part, recipe = whole.held_out(0.2), Recipe("x")
    assert agreeing(recipe, whole) == (recipe, whole)
    assert agreeing(recipe, part)[0].episode.hold_out == 0.2
    assert agreeing(recipe.with_settings(hold_out=0.2), whole)[1].fingerprint == part.fingerprint
    with pytest.raises(UserError, match="was held out already"):
        agreeing(recipe.with_settings(hold_out=0.3), part)


def test_a_run_on_training_queries_alone_and_what_opens_it(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    (data / "qrels").mkdir(parents=True)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv"):
        (data / name).write_bytes((toy / name).read_bytes())
    out = tmp_path / "run"
    command = ["run", "bm25", "--data", str(data), "--out", str(out)]
    assert main(command) == 2
    assert "--hold_out 0.1" in capsys.readouterr().err
    assert main([*command, "--hold_out", "0.25"]) == 0
    printed = capsys.readouterr().out
    assert "54 train, 18 dev" in printed and "held out as dev: 18 training queries; there is no test split" in printed
    assert read_settings(out)["hold_out"] == 0.25 and read_settings(out)["split"] == "dev"
    opened = open_run(out).collection
    assert opened.hold_out == 0.25 and len(opened.qrels["dev"]) == 18
    assert main([*command, "--hold_out", "0.5"]) == 2
    assert "hold_out was 0.25, is 0.5" in capsys.readouterr().err


@pytest.mark.parametrize(("splits", "recipe", "more"), [
    (["train"], "ance-tele", ["--hold_out", "0.25"]),
    (["train", "dev"], "ance-tele", []),
    (["test"], "zero-shot", []),
])  # fmt: skip
def test_a_plan_takes_the_splits_that_a_run_takes(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], splits: list[str], recipe: str, more: list[str]
) -> None:
    data = tmp_path / "data"
    (data / "qrels").mkdir(parents=True)
    for name in ("corpus.jsonl", "queries.jsonl"):
        (data / name).write_bytes((toy / name).read_bytes())
    for split in splits:
        (data / f"qrels/{split}.tsv").write_bytes((toy / "qrels/train.tsv").read_bytes())
    assert main(["run", recipe, "--plan", "--data", str(data), "--model", "bert-base-uncased", *more]) == 0
    assert "Time in all" in capsys.readouterr().out


def test_copies_are_described_without_any_judgement(tmp_path: Path) -> None:
    found = collection_from_dicts({"a": "one text", "b": "one text"}, {"q": "what"}, {}, cache=tmp_path)
    assert any("1 passages have the text of an earlier one; 0 have that" in line for line in describe(found))
