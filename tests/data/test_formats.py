"""Collections in the formats of the field: what is read, what is refused, and that the traps of peers are none here."""

import gzip
import json
import random
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection
from ance_tele.data.formats import objects
from ance_tele.data.formats import write as writing
from ance_tele.data.formats.examples import split_of, text_id
from ance_tele.data.formats.objects import read_array
from ance_tele.data.formats.tables import is_quoted, read_rows, read_tsv
from ance_tele.data.formats.trec import read_trec_qrels, read_trec_run
from ance_tele.data.formats.write import write_beir
from ance_tele.data.load import READERS_VERSION, collection_from_dicts, load_collection
from ance_tele.store.manifests import read_manifest

Files = Mapping[str, "str | bytes | list[Any] | pa.Table"]


def write(folder: Path, files: Files) -> Path:
    """Write files: text, bytes, a Parquet table, or a list that becomes JSON lines."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        path = folder / name
        if isinstance(value, pa.Table):
            pq.write_table(value, path)
            continue
        if isinstance(value, list):
            value = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in value)
        raw = value.encode() if isinstance(value, str) else value
        path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return folder


class Content(NamedTuple):
    corpus: dict[str, tuple[str, str]]
    queries: dict[str, str]
    qrels: dict[str, dict[str, dict[str, int]]]
    answers: dict[str, list[str]]


def content(found: Collection) -> Content:
    """Return everything that a collection holds; a query without a judgement has an empty dictionary."""
    corpus, queries = found.corpus, found.queries
    qrels: dict[str, dict[str, dict[str, int]]] = {}
    for split, judged in found.qrels.items():
        qrels[split] = {}
        for place, query in enumerate(judged.queries):
            part = slice(judged.offsets[place], judged.offsets[place + 1])
            ids = corpus.take_ids(judged.passages[part]).to_pylist()
            qrels[split][queries[query]["id"]] = dict(zip(ids, judged.grades[part].tolist(), strict=True))
    return Content(
        {corpus[row]["id"]: (corpus[row]["title"], corpus[row]["text"]) for row in range(len(corpus))},
        {queries[row]["id"]: queries[row]["text"] for row in range(len(queries))},
        qrels,
        {queries[row]["id"]: found.answers.of(row) for row in found.answers.queries},
    )


def read(data: str | Path, cache: Path, strict: bool = True) -> Content:
    return content(load_collection(data, cache, strict))


def refused(data: str | Path, cache: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_collection(data, cache)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence


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


# ---- the readers under it ------------------------------------------------------------------------

cells = st.text(st.sampled_from("ab\"', "), max_size=8)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["1", "x"]), cells, cells), min_size=1, max_size=6), st.booleans())
def test_a_table_is_read_as_written_where_its_quoting_can_be_told(rows: list[tuple[str, str, str]], raw: bool) -> None:
    def quote(cell: str) -> str:
        return cell if raw or '"' not in cell else '"' + cell.replace('"', '""') + '"'

    lines = ["\t".join(map(quote, row)) for row in rows]
    # One sure sign for either kind, such as any real file has.
    lines += ['9\t"a ""b"" c"\td'] * 20 if not raw else ['9\ta "b" c\td'] * 20
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "x.tsv"
        path.write_text("\n".join(lines) + "\n", "utf-8", newline="\n")
        assert is_quoted(path) is not raw
        found = [(number, tuple(cells)) for number, cells in read_tsv(path)]
    assert found[: len(rows)] == list(enumerate(rows, 1))
    assert found[-1] == (len(lines), ("9", 'a "b" c', "d"))


def test_a_quoted_field_may_run_over_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text('1\t"a ""b"""\n2\t"one\ntwo"\n3\t"c"\n4\t"d"\n', "utf-8")
    assert list(read_tsv(path)) == [(1, ["1", 'a "b"']), (2, ["2", "one\ntwo"]), (4, ["3", "c"]), (5, ["4", "d"])]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('anchor,positive\nq1,"unclosed p\nq2,p two\n', 2),
        ('anchor,positive\nq,"ok"\n\nq2,"x\n', 4),
        ('anchor,positive\nq1,"a\nb"\nq2,"c', 4),
        ('anchor,positive\nq1,5" pipe\nq2,p two\n', 0),
        ('anchor,positive\nq1,"a\n"\nx,5" y\n', 0),
    ],
)
def test_a_file_that_ends_inside_a_quoted_field_is_refused(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text, "utf-8")
    if line:
        with pytest.raises(UserError, match=f"ends inside a quoted field that opens in line {line};"):
            list(read_rows(path))
    else:
        assert len(list(read_rows(path))) == 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.dictionaries(st.text(max_size=4), json_values, max_size=4), max_size=5),
    st.integers(1, 40),
    st.sampled_from([None, 0, 2]),
    st.booleans(),
    st.booleans(),
)
def test_an_array_is_read_the_same_wherever_its_pieces_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[Any], chunk: int, indent: Any, lines: bool, packed: bool
) -> None:
    text = "\n".join(map(json.dumps, rows)) if lines else json.dumps(rows, indent=indent, ensure_ascii=False)
    raw = text.encode("utf-8", "surrogatepass")
    path = tmp_path / ("x.json" + ".gz" * packed)
    path.write_bytes(gzip.compress(raw) if packed else raw)
    monkeypatch.setattr(objects, "CHUNK", chunk)
    assert list(read_array(path)) == list(enumerate(rows, 1))


def test_a_long_array_is_never_held_whole(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    row = json.dumps({"text": "x" * 20_000})
    with path.open("w") as file:
        file.write("[" + row)
        for _ in range(1000):
            file.write("," + row)
        file.write("]")
    tracemalloc.start()
    count = sum(1 for _ in read_array(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 1001 and path.stat().st_size > 20_000_000 > 8_000_000 > peak


def test_broken_json_is_refused_before_the_rest_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    path.write_text('[{"a": 1}, {"b" 2' + " " * 5000)
    monkeypatch.setattr(objects, "CHUNK", 64)
    with pytest.raises(UserError, match="element 2 is not JSON"):
        for _ in read_array(path):
            pass
    path.write_text("[" + "[" * 100_000)
    with pytest.raises(UserError, match="element 1"):
        next(read_array(path))


def test_trec_files(tmp_path: Path) -> None:
    write(tmp_path, {"q.txt": "q1 0 d1 3\nq1\t0\td2\t-1\n", "r.trec": "q1 Q0 d1 1 2.5 x\nq1 Q0 d2 2 -1e-3 x\n"})
    assert [tuple(row) for row in read_trec_qrels(tmp_path / "q.txt")] == [("q1", "d1", 3, 1), ("q1", "d2", -1, 2)]
    assert list(read_trec_run(tmp_path / "r.trec")) == [("q1", "d1", 2.5), ("q1", "d2", -0.001)]
    for line, fragment in (("q1 Q0 d1 1 2.5", "has 5 fields"), ("q Q0 d 1 x t", "'x'"), ("q Q0 d 1 nan t", "'nan'")):
        (tmp_path / "r.trec").write_text(line)
        with pytest.raises(UserError, match=f"r.trec line 1.*{fragment}"):
            list(read_trec_run(tmp_path / "r.trec"))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("nq-train.json", "train"),
        ("biencoder-trivia-dev.json.gz", "dev"),
        ("validation-00000-of-00001.parquet", "dev"),
        ("nq_test.jsonl", "test"),
        ("contest.jsonl", None),
        ("train_eval.csv", "dev"),
    ],
)
def test_the_split_that_a_file_name_speaks_of(name: str, split: str | None) -> None:
    assert split_of(Path(name)) == split


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
        ({"train.csv": "anchor,answer\nx,y\n"}, ["train.csv line 1", "no field 'positive'", "anchor, answer"]),
        ({"train.csv": "anchor,positive\nx\n"}, ["train.csv cannot be read", "Expected 2 columns"]),
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


# ---- ir_datasets ---------------------------------------------------------------------------------


class Doc(NamedTuple):
    doc_id: str
    text: str
    title: str


class Page(NamedTuple):
    doc_id: str
    url: str
    body: str

    def default_text(self) -> str:
        return self.body


class Picture(NamedTuple):
    doc_id: str
    pixels: bytes


class Query(NamedTuple):
    query_id: str
    text: str
    answers: tuple[str, ...] = ()


class Qrel(NamedTuple):
    query_id: str
    doc_id: str
    relevance: int
    iteration: str = "0"


class Dataset:
    """As much of a dataset of ir_datasets as is used."""

    def __init__(self, docs: list[Any], queries: list[Query] | None = None, qrels: list[Qrel] | None = None) -> None:
        self.parts = {"docs": docs, "queries": queries or [], "qrels": qrels or []}

    def __getattr__(self, name: str) -> Callable[[], Any]:
        if name.startswith("has_"):
            return lambda: bool(self.parts[name.removeprefix("has_")])
        return lambda: iter(self.parts[name.removesuffix("_iter")])


DOCS = [Doc("d1", "one", "T"), Doc("d2", "two", "")]
DATASETS = {
    "plain": Dataset(DOCS),
    "plain/train": Dataset(DOCS, [Query("1", "x"), Query("2", "x")], [Qrel("1", "d1", 1), Qrel("2", "d2", 1)]),
    "plain/dev": Dataset(DOCS, [Query("3", "all")], [Qrel("3", "d1", 1)]),
    "plain/dev/small": Dataset(DOCS, [Query("4", "few")], [Qrel("4", "d2", 3), Qrel("4", "d1", 0)]),
    "open/x/dev": Dataset([Page("p", "u", "body")], [Query("5", "who", ("A",))], [Qrel("5", "p", 2)]),
    "none": Dataset(DOCS),
    "pictures": Dataset([Picture("p", b"x")], [Query("1", "x")], [Qrel("1", "p", 1)]),
    "questions": Dataset([], [Query("1", "x")], [Qrel("1", "p", 1)]),
}


@pytest.fixture
def irds(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("ir_datasets")
    module.load = lambda name: DATASETS[name]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ir_datasets", module)


@pytest.mark.usefixtures("irds")
def test_a_dataset_of_ir_datasets_with_the_splits_below_it(tmp_path: Path) -> None:
    assert read("irds:plain", tmp_path) == Content(
        {"d1": ("T", "one"), "d2": ("", "two")},
        {"1": "x", "2": "x", "4": "few"},
        {"train": {"1": {"d1": 1}, "2": {"d2": 1}}, "dev": {"4": {"d2": 3, "d1": 0}}},
        {},
    )
    assert read("irds:plain/dev/small", tmp_path).qrels == {"dev": {"4": {"d2": 3, "d1": 0}}}
    opened = Content({"p": ("", "body")}, {"5": "who"}, {"dev": {"5": {"p": 2}}}, {"5": ["A"]})
    assert read("irds:open/x", tmp_path) == read("irds:open/x/dev", tmp_path) == opened


@pytest.mark.usefixtures("irds")
@pytest.mark.parametrize(
    ("name", "fragments"),
    [
        ("nothing", ["no dataset 'nothing'", "irds:beir/scifact"]),
        ("none", ["'none'", "no judgements"]),
        ("pictures", ["'p'", "no text", "doc_id, pixels"]),
        ("questions", ["'questions'", "no passages"]),
    ],
)
def test_datasets_of_ir_datasets_that_are_refused(tmp_path: Path, name: str, fragments: list[str]) -> None:
    sentence = refused(f"irds:{name}", tmp_path)
    assert all(fragment in sentence for fragment in fragments), sentence


def test_without_ir_datasets_the_sentence_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    assert "pip install ir_datasets" in refused("irds:plain", tmp_path)


def test_what_is_named_is_fetched_once(tmp_path: Path, irds: None, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_collection("irds:plain", tmp_path)
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    assert load_collection("irds:plain", tmp_path).fingerprint == first.fingerprint
    stood = read_manifest(first.folder)
    assert stood is not None and stood.inputs["reader"] == "irds" and stood.inputs["name"] == "plain"


# ---- the hub -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def offline() -> Iterator[None]:
    """Datasets come from local folders; its cache is a temporary one, and the network is left alone."""
    with tempfile.TemporaryDirectory() as cache, pytest.MonkeyPatch.context() as patch:
        import datasets

        patch.setattr("datasets.config.HF_DATASETS_CACHE", Path(cache))
        patch.setattr("datasets.config.HF_HUB_OFFLINE", True)
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        datasets.disable_progress_bars()
        yield


def beir_on_the_hub(folder: Path, qrels: Mapping[str, list[dict[str, Any]]], config: str | None = "default") -> Path:
    """Write a dataset with the configs corpus, queries and, with a name, one of judgements."""
    tables: dict[str, dict[str, list[dict[str, Any]]]] = {
        "corpus": {"corpus": [{"_id": "d1", "title": "T", "text": "one"}, {"_id": "2", "title": "", "text": "two"}]},
        "queries": {"queries": [{"_id": "7", "title": "", "text": "x"}, {"_id": "8", "title": "", "text": "x"}]},
    }
    if config:
        tables[config] = dict(qrels)
    card = ["---", "configs:"]
    for name, splits in tables.items():
        card += [f"- config_name: {name}", "  data_files:"]
        for split, rows in splits.items():
            write(folder / name, {f"{split}.parquet": pa.Table.from_pylist(rows)})
            card += [f"  - split: {split}", f"    path: {name}/{split}.parquet"]
    (folder / "README.md").write_text("\n".join([*card, "---", ""]))
    return folder


HUB_QRELS: dict[str, list[dict[str, Any]]] = {
    "train": [{"query-id": "7", "corpus-id": "d1", "score": 1}, {"query-id": "8", "corpus-id": "2", "score": 2}],
    "validation": [{"query-id": "7", "corpus-id": "2", "score": 0}],
}
HUB_CONTENT = Content(
    {"d1": ("T", "one"), "2": ("", "two")},
    {"7": "x", "8": "x"},
    {"train": {"7": {"d1": 1}, "8": {"2": 2}}, "dev": {"7": {"2": 0}}},
    {},
)


@pytest.mark.usefixtures("offline")
def test_a_dataset_of_the_hub_in_beir_layout(tmp_path: Path) -> None:
    folder = beir_on_the_hub(tmp_path / "one", HUB_QRELS)
    assert read(f"hub:{folder}", tmp_path / "cache") == HUB_CONTENT


@pytest.mark.usefixtures("offline")
def test_judgements_in_a_dataset_of_their_own(tmp_path: Path) -> None:
    folder = beir_on_the_hub(tmp_path / "two", {}, config=None)
    write(tmp_path / "two-qrels", {"test.tsv": "query-id\tcorpus-id\tscore\n7\t2\t1\n"})
    assert read(f"hub:{folder}", tmp_path / "cache").qrels == {"test": {"7": {"2": 1}}}


@pytest.mark.usefixtures("offline")
def test_training_rows_of_the_hub(tmp_path: Path) -> None:
    folder = write(tmp_path / "rows", {"train.jsonl": TRIPLETS, "validation.jsonl": TRIPLETS[1:]})
    found = read(f"hub:{folder}", tmp_path / "cache")
    assert found.qrels == {**TRIPLETS_CONTENT.qrels, "dev": {"dev-1": {text_id("n"): 1}}}
    assert found.corpus == TRIPLETS_CONTENT.corpus
    flag = write(tmp_path / "flag", {"train.jsonl": [{"query": "same", "pos": ["a", "b"], "neg": ["c"]}, FLAG[1]]})
    assert read(f"hub:{flag}", tmp_path / "cache") == FLAG_CONTENT


@pytest.mark.usefixtures("offline")
def test_datasets_of_the_hub_that_are_refused(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert "'nobody/nothing' cannot be read" in refused("hub:nobody/nothing", cache)
    odd = write(tmp_path / "odd", {"train.jsonl": [{"input": "x", "target": "y"}]})
    assert "fields input, target; known are" in refused(f"hub:{odd}", cache)
    several = beir_on_the_hub(tmp_path / "several", HUB_QRELS, config="pairs")
    (several / "README.md").write_text((several / "README.md").read_text().replace("name: corpus", "name: texts"))
    sentence = refused(f"hub:{several}", cache)
    assert "texts, queries, pairs; name one" in sentence


# ---- finding the format --------------------------------------------------------------------------


def test_a_folder_of_no_known_format_is_named_with_what_it_holds(tmp_path: Path) -> None:
    sentence = refused(write(tmp_path / "a", {"notes.txt": "x", "data.bin": b"y"}), tmp_path / "cache")
    assert "found: data.bin, notes.txt" in sentence and "MS MARCO (collection.tsv)" in sentence
    assert "found: nothing" in refused(write(tmp_path / "b", {}), tmp_path / "cache")
    sentence = refused(write(tmp_path / "c", {"train.jsonl": [{"q": "x", "d": "y"}]}), tmp_path / "cache")
    assert "found: train.jsonl with the fields q, d" in sentence


def test_a_word_that_is_no_format_is_taken_for_a_path(tmp_path: Path) -> None:
    sentence = refused("wikipedia:nq", tmp_path)
    assert "wikipedia:nq is not a folder" in sentence
    assert "beir, marco, dpr, tevatron, flagembedding, triplets, irds, hub" in sentence
    assert "is not a folder" in refused(f"marco:{tmp_path / 'none'}", tmp_path)
    folder = write(tmp_path / "a:b", {"train.jsonl": FLAG})
    assert read(folder, tmp_path / "cache") == FLAG_CONTENT


def test_one_folder_read_in_two_ways_is_two_collections(tmp_path: Path) -> None:
    rows = [{**FLAG[0], "positive": "p"}]
    folder = write(tmp_path / "d", {"train.jsonl": rows})
    flag = load_collection(folder, tmp_path / "cache")
    triplets = load_collection(f"triplets:{folder}", tmp_path / "cache")
    assert flag.folder != triplets.folder and flag.fingerprint != triplets.fingerprint
    stood = read_manifest(flag.folder)
    assert (
        stood is not None and stood.inputs["reader"] == "flagembedding" and stood.inputs["version"] == READERS_VERSION
    )
    assert list(stood.inputs["files"]) == ["train.jsonl"]


# ---- out as BEIR ---------------------------------------------------------------------------------

filled = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(lambda text: bool(text.strip()))
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5).filter(
    lambda name: name.split() == [name] and name[0] != "\ufeff"
)


@st.composite
def collections(draw: st.DrawFn) -> tuple[Any, Any, Any, Any]:
    corpus = draw(st.dictionaries(names, st.tuples(filled | st.just(""), filled), min_size=1, max_size=6))
    queries = draw(st.dictionaries(names, filled, min_size=1, max_size=5))
    pairs = st.tuples(st.sampled_from(sorted(queries)), st.sampled_from(sorted(corpus)))
    qrels: dict[str, Any] = {}
    answers: dict[str, Any] = {}
    for split in draw(st.sets(st.sampled_from(["train", "dev", "test", "a.b"]), min_size=1)):
        judged = draw(st.lists(st.tuples(pairs, st.integers(-1, 3)), unique_by=lambda item: item[0], max_size=6))
        for (query, passage), grade in judged:  # in any order: the queries may be mixed
            qrels.setdefault(split, {}).setdefault(query, {})[passage] = grade
        some = st.lists(filled, min_size=not judged, max_size=2)  # a split needs something to measure
        keys = st.dictionaries(st.sampled_from(sorted(queries)), some, min_size=not judged)
        if given_answers := draw(keys):
            answers[split] = given_answers
    return corpus, queries, qrels, answers


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(collections())
def test_what_is_written_as_beir_is_read_back_with_the_same_fingerprint(whole: Any) -> None:
    corpus, queries, qrels, answers = whole
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        first = collection_from_dicts(corpus, queries, qrels, cache=base / "cache", answers=answers)
        write_beir(first, base / "out")
        again = load_collection(base / "out", base / "cache")
        assert content(again) == content(first)
        assert again.fingerprint == first.fingerprint


@pytest.mark.parametrize(
    "files",
    [
        MARCO,
        {"psgs.tsv": PSGS_QUOTED, "train.json": json.dumps(DPR_TRAIN), "test.qa.csv": QA},
        {"train.jsonl": TEVATRON_1, "test.jsonl": TEVATRON_TEST},
    ],
    ids=["marco", "dpr", "tevatron"],
)
def test_every_format_goes_out_as_beir(tmp_path: Path, files: Files) -> None:
    first = load_collection(write(tmp_path / "in", files), tmp_path / "cache")
    out = tmp_path / "out"
    write_beir(first, out)
    again = load_collection(out, tmp_path / "cache")
    assert content(again) == content(first) and again.fingerprint == first.fingerprint
    assert (out / "questions.jsonl").exists() == bool(len(first.answers))
    assert not list(tmp_path.glob(".out*"))


def test_nothing_is_overwritten_and_nothing_half_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = load_collection(write(tmp_path / "marco", MARCO), tmp_path / "cache")
    taken = write(tmp_path / "taken", {"precious.txt": "x"})
    for place in (taken, taken / "precious.txt"):
        with pytest.raises(UserError, match="is there already"):
            write_beir(found, place)
    assert (taken / "precious.txt").read_text() == "x"

    def fail(*_: object) -> Iterator[str]:
        yield "1\t"
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr(writing, "_judgements", fail)
    with pytest.raises(RuntimeError):
        write_beir(found, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.undo()
    write_beir(found, empty)
    assert (empty / "corpus.jsonl").is_file()


def test_a_split_that_no_file_can_be_named_after_is_refused(tmp_path: Path) -> None:
    found = collection_from_dicts({"d": "x"}, {"q": "x"}, {"dev/small": {"q": {"d": 1}}}, cache=tmp_path)
    with pytest.raises(UserError, match="'dev/small'"):
        write_beir(found, tmp_path / "out")


def test_real_questions_go_out_and_come_back(tmp_path: Path, shared_data: Path) -> None:
    first = load_collection(shared_data / "wiki-open", tmp_path / "cache")
    assert len(first.answers) == 19_618 and first.problems == {}
    row = int(random.Random(1).choice(first.answers.queries))
    write_beir(first, tmp_path / "out")
    again = load_collection(tmp_path / "out", tmp_path / "cache")
    assert again.fingerprint == first.fingerprint and again.answers.of(row) == first.answers.of(row) != []
