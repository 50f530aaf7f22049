"""The readers under the formats: tables, JSON arrays, TREC files, the splits in file names."""

import gzip
import json
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from format_files import write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ance_tele.console.errors import UserError
from ance_tele.data.formats import objects
from ance_tele.data.formats.examples import split_of
from ance_tele.data.formats.objects import read_array
from ance_tele.data.formats.tables import is_quoted, read_rows, read_tsv
from ance_tele.data.formats.trec import read_trec_qrels, read_trec_run

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
    assert list(read_trec_run(tmp_path / "r.trec")) == [(1, "q1", "d1", 2.5), (2, "q1", "d2", -0.001)]
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
