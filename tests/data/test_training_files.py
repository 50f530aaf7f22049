"""Training files of Tevatron, of FlagEmbedding and of triplets."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from format_files import Content, Files, read, refused, write

from ance_tele.data.formats.examples import text_id

# ---- Tevatron ------------------------------------------------------------------------------------


def doc(key: Any, text: str = "", **fields: Any) -> dict[str, Any]:
    return {"docid": key, "title": f"t{key}", "text": text or f"text {key}", **fields}


TEVATRON_1: list[dict[str, Any]] = [
    {"query_id": "7", "query": "same", "positive_passages": [doc("1"), doc("2")], "negative_passages": [doc("3")]},
    {"query_id": "8", "query": "same", "positive_passages": [doc("2")], "negative_passages": [doc("1")]},
]
TEVATRON_2 = [
    {"query_id": "7", "query_text": "same", "positive_document_ids": ["1", "2"], "negative_document_ids": ["3"]},
    {"query_id": "8", "query_text": "same", "positive_document_ids": ["2"], "negative_document_ids": []},
]
TEVATRON_TEST = [{"query_id": "9", "query": "open", "positive_passages": [], "answers": ["x"]}]
TEVATRON_CONTENT = Content(
    {key: (f"t{key}", f"text {key}") for key in "123"},
    {"7": "same", "8": "same"},
    {"train": {"7": {"1": 1, "2": 1}, "8": {"2": 1}}},
    {},
)


def test_tevatron_with_passages_inside(tmp_path: Path) -> None:
    folder = write(tmp_path / "v1", {"train.jsonl": TEVATRON_1})
    assert read(folder, tmp_path / "cache") == TEVATRON_CONTENT
    assert read(folder / "train.jsonl", tmp_path / "cache") == TEVATRON_CONTENT


def test_tevatron_with_ids_of_a_corpus(tmp_path: Path) -> None:
    files: Files = {"corpus.jsonl.gz": [doc(key) for key in "123"], "train.jsonl": TEVATRON_2}
    assert read(write(tmp_path / "v2", files), tmp_path / "cache") == TEVATRON_CONTENT


def test_tevatron_test_questions_with_answers_only(tmp_path: Path) -> None:
    found = read(write(tmp_path / "v1", {"train.jsonl": TEVATRON_1, "test.jsonl": TEVATRON_TEST}), tmp_path / "cache")
    assert found.qrels["test"] == {"9": {}} and found.answers == {"9": ["x"]}


@pytest.mark.parametrize(
    ("files", "fragments"),
    [
        ({"train.jsonl": TEVATRON_2}, ["'positive_document_ids'", "no corpus*.jsonl", "docid, text"]),
        (
            {"train.jsonl": TEVATRON_2, "corpus.jsonl": [{"docid": "1", "contents": "x"}]},
            ["corpus.jsonl line 1", "'text'", "docid, contents"],
        ),
        (
            {"train.jsonl": [*TEVATRON_1, {**TEVATRON_1[0], "query_id": "9", "positive_passages": [{"docid": "1"}]}]},
            ["train.jsonl line 3, positive_passages", "'text'", "docid"],
        ),
        (
            {"train.jsonl": [*TEVATRON_1, {**TEVATRON_1[0], "query_id": "9", "positive_passages": [doc("1", "new")]}]},
            ["train.jsonl", "stood before", "'1' in lines 1 and 3"],
        ),
        ({"train.jsonl": [TEVATRON_1[0], {"query_id": "9", "query": "x"}]}, ["line 2", "or 'positive_document_ids'"]),
        ({"train.jsonl": [{"query": "x", "positive_passages": []}]}, ["line 1", "no field 'query_id'"]),
    ],
)
def test_tevatron_files_that_are_refused(tmp_path: Path, files: Files, fragments: list[str]) -> None:
    sentence = refused(write(tmp_path / "data", files), tmp_path / "cache")
    assert all(fragment in sentence for fragment in fragments), sentence


# ---- FlagEmbedding and triplets ------------------------------------------------------------------

FLAG: list[dict[str, Any]] = [
    {"query": "same", "pos": ["a", "b"], "neg": ["c"]},
    {"query": "same", "pos": ["b"], "neg": ["a", "c"], "pos_scores": [1.0]},
]
FLAG_CONTENT = Content(
    {text_id(text): ("", text) for text in "abc"},
    {"train-1": "same"},
    {"train": {"train-1": {text_id("a"): 1, text_id("b"): 1}}},
    {},
)


def test_flagembedding_files(tmp_path: Path) -> None:
    file = write(tmp_path / "d", {"toy_finetune_data.jsonl": FLAG}) / "toy_finetune_data.jsonl"
    assert read(file, tmp_path / "cache") == read(f"flagembedding:{file}", tmp_path / "cache") == FLAG_CONTENT
    assert read(file.parent, tmp_path / "cache") == FLAG_CONTENT


def test_flagembedding_files_of_one_split_are_numbered_through(tmp_path: Path) -> None:
    other = [{**FLAG[1], "query": "other"}]
    folder = write(tmp_path / "d", {"a.jsonl": FLAG, "b.jsonl": other, "x-dev.jsonl": FLAG[:1]})
    found = read(folder, tmp_path / "cache")
    judged = {text_id("a"): 1, text_id("b"): 1}
    assert found.qrels == {"train": {"train-1": judged, "train-3": {text_id("b"): 1}}, "dev": {"dev-1": judged}}


def test_flagembedding_ids_are_taken_where_there_are_any(tmp_path: Path) -> None:
    rows = [{**FLAG[0], "pos_id": [5, "x"], "neg_id": ["7"]}]
    found = read(write(tmp_path / "d", {"train.jsonl": rows}), tmp_path / "cache")
    assert found.corpus == {"5": ("", "a"), "x": ("", "b"), "7": ("", "c")}
    assert found.qrels["train"] == {"train-1": {"5": 1, "x": 1}}


@pytest.mark.parametrize(
    ("row", "fragments"),
    [
        ({"query": "x", "positives": ["y"]}, ["train.jsonl line 1", "no field 'pos'", "query, positives"]),
        ({"query": "x", "pos": "y"}, ["line 1", "'pos' must be a list of strings", "'y'"]),
        ({"query": "x", "pos": ["y"], "pos_id": []}, []),
        ({"query": "x", "pos": ["y"], "pos_id": ["1", "2"]}, ["line 1", "1 texts in 'pos' and 2 ids"]),
        ({"query": "x", "pos": [""]}, ["train.jsonl", "without text"]),
        ({"query": None, "pos": ["y"]}, ["train.jsonl", "queries without text", "'train-1' in line 1"]),
    ],
)
def test_flagembedding_files_that_are_refused(tmp_path: Path, row: dict[str, Any], fragments: list[str]) -> None:
    data = f"flagembedding:{write(tmp_path / 'd', {'train.jsonl': [row]})}"
    if not fragments:
        assert len(read(data, tmp_path / "cache").corpus) == 1
        return
    sentence = refused(data, tmp_path / "cache")
    assert all(fragment in sentence for fragment in fragments), sentence


TRIPLETS = [
    {"anchor": "same", "positive": 'a, "b"\nc', "negative_1": "n", "negative_2": "m"},
    {"anchor": "same", "positive": "n", "negative_1": "m", "negative_2": ""},
]
TRIPLETS_CONTENT = Content(
    {text_id(text): ("", text) for text in ('a, "b"\nc', "n", "m")},
    {"train-1": "same"},
    {"train": {"train-1": {text_id('a, "b"\nc'): 1, text_id("n"): 1}}},
    {},
)


def as_csv(rows: list[dict[str, str]]) -> str:
    def quote(cell: str) -> str:
        return '"' + cell.replace('"', '""') + '"' if set(cell) & set(',"\n') else cell

    return "".join(",".join(map(quote, line)) + "\n" for line in [list(rows[0]), *(row.values() for row in rows)])


@pytest.mark.parametrize(
    "files",
    [
        {"train.jsonl": TRIPLETS},
        {"train.csv": as_csv(TRIPLETS)},
        {"train.csv.gz": as_csv(TRIPLETS)},
        {"train-00000-of-00001.parquet": pa.Table.from_pylist(TRIPLETS)},
    ],
    ids=lambda files: next(iter(files)),
)
def test_triplets_are_the_same_in_every_kind_of_file(tmp_path: Path, files: Files) -> None:
    folder = write(tmp_path / "d", files)
    assert read(folder, tmp_path / "cache") == TRIPLETS_CONTENT
    assert read(f"triplets:{folder / next(iter(files))}", tmp_path / "cache") == TRIPLETS_CONTENT


def test_raw_tabs_and_numbers_stay_text(tmp_path: Path) -> None:
    table = 'query\tpositive\tnegative\n007\t"12"\t1.50\nx "y\tTrue\tNA\n'
    found = read(write(tmp_path / "d", {"train.tsv": table}), tmp_path / "cache")
    assert list(found.queries.values()) == ["007", 'x "y']
    assert {text for _, text in found.corpus.values()} == {'"12"', "1.50", "True", "NA"}


@pytest.mark.parametrize(
    ("files", "fragments"),
    [
        ({"train.jsonl": [{"anchor": "x", "pos": "y"}]}, ["no field 'positive'", "anchor, pos"]),
        ({"train.csv": "anchor,answer\nx,y\n"}, ["train.csv row 1", "no field 'positive'", "anchor, answer"]),
        (
            {"train.csv": "anchor,positive\nx\n"},
            ["train.csv row 1 has 1 columns, but the header has 2 (x); complete the row"],
        ),
        ({"train.csv": ""}, ["train.csv is empty"]),
        ({"train.parquet": b"PAR1 no"}, ["train.parquet cannot be read"]),
        (
            {"train.jsonl": [{"anchor": "x", "positive": ["y"]}]},
            ["line 1", "1 passages in 'positive'", "0 labels"],
        ),
        ({"train.txt": "x"}, ["no training file", "train.txt"]),
    ],
)
def test_triplets_that_are_refused(tmp_path: Path, files: Files, fragments: list[str]) -> None:
    sentence = refused(f"triplets:{write(tmp_path / 'd', files)}", tmp_path / "cache")
    assert all(fragment in sentence for fragment in fragments), sentence
