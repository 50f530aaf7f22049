"""What the fuzzer and reading the readers found, each with the right value: a sentence, or what is read."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ance_tele.cli.config_file import read_configs
from ance_tele.console.errors import LONGEST, UserError
from ance_tele.data import arrow
from ance_tele.data.formats import lines, objects
from ance_tele.data.formats.beir import read_qrels
from ance_tele.data.formats.lines import read_lines
from ance_tele.data.formats.objects import read_array, read_objects
from ance_tele.data.formats.tables import read_rows
from ance_tele.data.grades import plain_number, whole_grade
from ance_tele.data.load import collection_from_dicts, load_collection
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.adapters import bare_adapter
from ance_tele.encode.model_kinds import check_kind
from ance_tele.evaluate.run import Run
from ance_tele.plan.facts import ModelFiles, model_files
from ance_tele.runs.identity import read_identity, read_settings
from ance_tele.store.artefacts import build
from ance_tele.store.files import reading
from ance_tele.store.manifests import manifest_path, read_manifest
from ance_tele.store.tables import open_array, read_table, write_parquet

BEIR = {
    "corpus.jsonl": '{"_id": "d1", "text": "one"}\n',
    "queries.jsonl": '{"_id": "q1", "text": "one?"}\n',
    "qrels/test.tsv": "q1\td1\t1\n",
}


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return folder


def test_a_sentence_is_one_printable_line_of_bounded_length() -> None:
    sentence = str(UserError("a\nb \x1b[31m \0 \ud800 \u202e" + "x" * 10_000_000 + " the end."))
    assert sentence.startswith(r"a\nb \x1b[31m \x00 \ud800 \u202e" + "x") and sentence.endswith(" the end.")
    assert len(sentence) < LONGEST + 30 and sentence.isprintable()


# ---- JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "fragment"),
    [
        ('{"_id": "d1", "text": "one", "text": "two"}', "ambiguous: the field 'text' stands in it twice"),
        ('{"_id": "d1", "text": "one", "x": [{"y": 1, "y": 1}]}', "the field 'y' stands in it twice"),
        ('{"_id": "d1", "text": ' + "9" * 5000 + "}", "Exceeds the limit"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_json_that_is_refused(tmp_path: Path, row: str, fragment: str) -> None:
    write(tmp_path, {"x.jsonl": '{"_id": "d0"}\n' + row, "x.json": f'[{{"a": 1}}, {row}]'})
    with pytest.raises(UserError, match=r"x\.jsonl line 2 is ") as caught:
        list(read_objects(tmp_path / "x.jsonl"))
    assert fragment in str(caught.value)
    with pytest.raises(UserError, match=r"x\.json, element 2 is ") as caught:
        list(read_array(tmp_path / "x.json"))
    assert fragment in str(caught.value)


def test_a_long_element_is_read_a_bounded_number_of_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    class Counting(json.JSONDecoder):
        def raw_decode(self, text: str, idx: int = 0) -> tuple[Any, int]:
            read.append(len(text) - idx)
            return super().raw_decode(text, idx)

    monkeypatch.setattr(objects, "CHUNK", 1000)
    monkeypatch.setattr(objects, "_DECODER", Counting())
    path = write(tmp_path, {"x.json": '[{"a": "' + "x" * 1_000_000 + '"}]'}) / "x.json"
    assert len(next(read_array(path))[1]["a"]) == 1_000_000
    assert sum(read) < 4_000_000  # a chunk at a time it would be 500 million


def test_a_line_or_element_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST", 1 << 20)
    monkeypatch.setattr(objects, "LONGEST", 1 << 20)
    packed = gzip.compress(bytes(5 << 20))
    write(tmp_path, {"x.tsv.gz": packed, "x.json": '[{"a": "' + "x" * (5 << 20)})
    with pytest.raises(UserError, match=r"x\.tsv\.gz line 1 is longer than 1 MiB"):
        list(read_lines(tmp_path / "x.tsv.gz"))
    with pytest.raises(UserError, match="element 1 is longer than 1 MiB, or never ends"):
        list(read_array(tmp_path / "x.json"))


# ---- tables and lines ----------------------------------------------------------------------------


def test_line_ends_of_the_first_macs_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"a.tsv": "1\tone\r2\ttwo\r", "b.tsv": "1\tone\r\n2\ttwo\r\n"})
    with pytest.raises(UserError, match=r"a\.tsv ends its lines with CR alone"):
        list(read_lines(tmp_path / "a.tsv"))
    assert list(read_lines(tmp_path / "b.tsv")) == [(1, "1\tone"), (2, "2\ttwo")]


@pytest.mark.parametrize("grade", ["l", "x", "1O", "", "1_0", "nan", "٣", "9" * 30])
def test_a_first_judgement_with_a_broken_grade_is_no_header(tmp_path: Path, grade: str) -> None:
    write(tmp_path, {"x.tsv": f"q1\td1\t{grade}\nq1\td2\t1\n"})
    with pytest.raises(UserError, match=r"x\.tsv line 1: the grade .* is not an integer"):
        list(read_qrels(tmp_path / "x.tsv"))
    for header in ("query-id\tcorpus-id\tscore", "qid\tpid\trelevance", "q\td\tLabel"):
        write(tmp_path, {"x.tsv": f"{header}\nq1\td2\t1\n"})
        assert [tuple(row) for row in read_qrels(tmp_path / "x.tsv")] == [("q1", "d2", 1, 2)]


def test_numbers_are_ascii_without_underscores() -> None:
    assert [plain_number(one) for one in ("1_0", "٣", "x", "", "1e3")] == [None, None, None, None, 1000.0]
    assert whole_grade("7", "here") == 7
    with pytest.raises(UserError, match="here: the grade '1_0' is not an integer"):
        whole_grade("1_0", "here")


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"x.csv": "anchor,positive,negative,negative\na,b,c,d\n", "y.tsv": "a\ta\n1\t2\n"})
    pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 2, ["anchor", "anchor"]), tmp_path / "z.parquet")
    for name, column in (("x.csv", "negative"), ("y.tsv", "a"), ("z.parquet", "anchor")):
        with pytest.raises(UserError, match=f"{name} has two columns '{column}'"):
            list(read_rows(tmp_path / name))


def test_parquet_that_cannot_become_python_is_refused_with_its_row(tmp_path: Path) -> None:
    raw = pa.array([b"fine", b"\xff"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    far = pa.array([9 * 10**18], pa.timestamp("us"))  # the year 287,000
    for name, table in (("text", pa.table({"anchor": text})), ("date", pa.table({"when": far}))):
        pq.write_table(table, tmp_path / f"{name}.parquet")
        with pytest.raises(UserError, match=rf"{name}\.parquet cannot be read behind row 0"):
            list(read_rows(tmp_path / f"{name}.parquet"))


def test_a_header_that_is_no_csv_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"x.csv": '"' + "x" * 200_000 + '",positive\na,b\n'})
    with pytest.raises(UserError, match=r"x\.csv line 1 names no columns"):
        list(read_rows(tmp_path / "x.csv"))


def test_rows_of_tables_are_called_rows(tmp_path: Path) -> None:
    write(tmp_path, {"train.csv": "anchor,positive,score\na,b,1\nc,d,x\n"})
    with pytest.raises(UserError, match=r"train\.csv row 2: 'score' must hold numbers"):
        load_collection(f"triplets:{tmp_path}", tmp_path / "cache")


# ---- runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "fragment"),
    [
        ("q1 Q0 d1 2 0.5 t", "line 2 ranks passage 'd1' for query 'q1', as a line before"),
        ("q1 Q0 d2 2 1e39 t", "line 2: the score 1e39 is too large for 32 bits"),
        ("q1 Q0 d2 2 -inf t", "too large"),
        ("q1 Q0 d2 2 1_0 t", "'1_0' is no number"),
        ("q1 Q0 d\0 2 1 t", "an id holds the character NUL"),
    ],
)
def test_lines_of_a_run_that_are_refused(tmp_path: Path, line: str, fragment: str) -> None:
    write(tmp_path, {"r.trec": f"q1 Q0 d1 1 0.5 t\n{line}\n"})
    with pytest.raises(UserError) as caught:
        Run.read_trec(tmp_path / "r.trec")
    assert fragment in str(caught.value)


def test_ids_keep_every_character_and_one_long_one_costs_no_more_than_itself() -> None:
    long = "x" * 1_000_000
    ranking: dict[str, float] = {f"d{number}": 0.5 for number in range(1000)}
    run = Run.from_dict({"q": {"d\0": 1.0, long: 0.75, **ranking}})  # numpy's array of these takes 4 GB
    assert run.passage_ids[0][:3] == ["d\0", long, "d0"]


# ---- collections ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "fragment"), [("d\\u0000", "whose id holds the character NUL"), ("x" * 1001, "more than 1,000 characters")]
)
def test_ids_that_are_refused_or_left_out_and_counted(tmp_path: Path, key: str, fragment: str) -> None:
    write(tmp_path / "c", {**BEIR, "corpus.jsonl": BEIR["corpus.jsonl"] + f'{{"_id": "{key}", "text": "two"}}\n'})
    with pytest.raises(UserError, match=fragment):
        load_collection(tmp_path / "c", tmp_path / "cache")
    found = load_collection(tmp_path / "c", tmp_path / "cache", strict=False)
    assert len(found.corpus) == 1 and list(found.problems.values()) == [1]


def test_ids_and_names_are_never_paths(tmp_path: Path) -> None:
    corpus, queries = {"../../d": "one", "/etc/passwd": "two"}, {"../q": "one?"}
    found = collection_from_dicts(
        corpus, queries, {"test": {"../q": {"../../d": 1}}}, name="../../../x\0", cache=tmp_path / "a" / "cache"
    )
    assert found.corpus.ids.to_pylist() == list(corpus)
    assert found.folder.parent == tmp_path / "a" / "cache" / "collections"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_field_name_that_no_file_can_hold_is_noted_all_the_same(tmp_path: Path) -> None:
    write(tmp_path, {"train.jsonl": '{"anchor": "a", "positive": "b", "\\ud800\\n": "c"}\n'})
    found = load_collection(f"triplets:{tmp_path}", tmp_path / "cache")
    assert list(found.notes) == ["train.jsonl: rows with a field '\\ud800\\n', which is not used"]


def test_long_texts_are_written_in_small_batches_with_the_same_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {**BEIR, "corpus.jsonl": "".join(f'{{"_id": "d{n}", "text": "{"y" * n} z"}}\n' for n in range(100))}
    first = load_collection(write(tmp_path / "c", files), tmp_path / "one")
    monkeypatch.setattr(arrow, "CHARACTERS_PER_BATCH", 50)
    monkeypatch.setattr("ance_tele.data.importing.CHARACTERS_PER_BATCH", 50)
    second = load_collection(tmp_path / "c", tmp_path / "two")
    assert first.fingerprint == second.fingerprint
    assert second.corpus.table["text"].num_chunks > 10 > first.corpus.table["text"].num_chunks


@pytest.mark.slow
def test_a_million_judgements_of_one_query(tmp_path: Path) -> None:
    count = 1_000_000
    ids = [f"d{number}" for number in range(count)]
    table = pa.table({"id": pa.array(ids, pa.large_string())})
    path = tmp_path / "x.tsv"
    path.write_text("".join(f"q\t{key}\t1\n" for key in ids))
    rows = list(read_qrels(path))
    assert len(rows) == count == len(table) and rows[-1] == ("q", "d999999", 1, count)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2) | st.integers(), inner, max_size=2),
    max_leaves=5,
)
PARTS = ("corpus", "queries", "qrels", "answers", "negatives", "scores", "prompts")


@settings(max_examples=60, deadline=None)
@example("answers", {0: {}})
@example("answers", {0: {"q": ["one"]}})
@given(st.sampled_from(PARTS), anything)
def test_dictionaries_of_anything_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, part: str, value: Any
) -> None:
    given: dict[str, Any] = {"corpus": {"d": "one"}, "queries": {"q": "one?"}, "qrels": {"test": {"q": {"d": 1}}}}
    cache = tmp_path_factory.mktemp("cache")
    try:
        found = collection_from_dicts(**{**given, part: value}, cache=cache)
    except UserError as error:
        assert str(error).isprintable()
        return
    assert (len(found.corpus), len(found.queries)) == (1, 1) or part in ("corpus", "queries")


# ---- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("seed: 1\nseed: 2\n", "line 2 is not valid YAML ('seed' comes twice)"),
        ("a: &x [1, 2]\nb: [*x, *x]\n", "line 2 is not valid YAML (a reference (*) is not taken here)"),
        ("seed: 2001-99-99\n", "is not valid YAML (month must be"),
        ("seed: " + "9" * 5000 + "\n", "is not valid YAML (Exceeds the limit"),
        ("seed: " + "[" * 100_000 + "\n", "nested too deep"),
        ("# " + "x" * (1 << 20) + "\nseed: 1\n", "bytes; a file of settings has a few thousand"),
        ("? [a]\n: 1\n", "found unhashable key"),
    ],
)
def test_settings_that_are_refused(tmp_path: Path, text: str, fragment: str) -> None:
    write(tmp_path, {"config.yaml": text})
    with pytest.raises(UserError) as caught:
        read_configs([str(tmp_path / "config.yaml")])
    assert fragment in str(caught.value)
    with pytest.raises(UserError, match=r"config\.yaml is missing or damaged"):
        read_settings(tmp_path)


# ---- what we wrote ourselves ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[]", b"null", b'"x"', b"{}", b"[" * 100_000, b'{"kind": 1, "inputs": [], "files": {}}',
     b'{"kind": "x", "inputs": {}, "files": {"a\\u0000": 1}}', b'{"kind": "x", "inputs": {}, "files": 5}',
     b'{"kind": "x", "inputs": {}, "files": {"../thing": 7}, "facts": []}'],
)  # fmt: skip
def test_a_broken_manifest_means_made_again(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "thing"
    for text in ("first", "second"):
        build(path, "thing", {"a": 1}, lambda target, text=text: target.write_text(text) and None)
        assert path.read_text() == text
        manifest_path(path).write_bytes(content)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 20), st.integers(0, 7))
def test_no_flipped_bit_of_a_manifest_goes_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    path = tmp_path_factory.mktemp("flip") / "thing"
    before = build(path, "thing", {"a": [1, 2.5], "b": "x"}, lambda target: target.write_text("y") and {"facts": [1]})
    content = bytearray(manifest_path(path).read_bytes())
    content[place % len(content)] ^= 1 << bit
    manifest_path(path).write_bytes(content)
    after = read_manifest(path)
    assert after is None or after == before  # white space


def test_damaged_tables_and_arrays_are_one_sentence(tmp_path: Path) -> None:
    write_parquet(pa.table({"x": np.arange(10_000)}), tmp_path / "x.parquet")
    np.save(tmp_path / "x.npy", np.arange(100))
    for name, read in (("x.parquet", read_table), ("x.npy", open_array)):
        whole = (tmp_path / name).read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 4 if name == "x.parquet" else 60] ^= 1
        for content in (b"", whole[: len(whole) // 2], b"\xff" * len(whole), bytes(flipped)):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(UserError, match=r"is damaged \(.*\): delete it"):
                read(tmp_path / name)


def test_an_error_of_ours_is_not_called_damage(tmp_path: Path) -> None:
    """What damaged files make numpy, pyarrow and zipfile raise is; arrow has a TypeError of its own."""
    for error in (NameError("x"), AttributeError("x"), TypeError("x"), AssertionError("x"), MemoryError()):
        with pytest.raises(type(error)), reading(tmp_path / "x"):
            raise error
    for error in (pa.ArrowTypeError("x"), KeyError("x"), EOFError("x"), OSError("x"), BadZipFile("x"), TokenError("x")):
        with pytest.raises(UserError, match=r"x is damaged \("), reading(tmp_path / "x"):
            raise error


@pytest.mark.parametrize(
    "change",
    [
        {"offsets": np.array([0, 3, 9])}, {"offsets": np.array([0, 6, 5])}, {"offsets": np.array([1, 3, 5])},
        {"offsets": np.array([0, 1 << 60, 5])}, {"offsets": np.zeros(0, np.int64)}, {"offsets": np.array([0.0, 3, 5])},
        {"ids": np.zeros((5, 1), np.uint16)}, {"ids": np.zeros(5)}, {"ids": np.zeros(4, np.uint16)},
    ],
)  # fmt: skip
def test_tokens_that_do_not_fit_together_are_refused(tmp_path: Path, change: dict[str, np.ndarray]) -> None:
    arrays = {"ids": np.arange(5, dtype=np.uint16), "offsets": np.array([0, 3, 5])}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    assert len(TokenStore.open(tmp_path, "key")) == 2
    for name, array in change.items():
        np.save(tmp_path / f"{name}.npy", array)
    with pytest.raises(UserError, match="tokens that do not fit together"):
        TokenStore.open(tmp_path, "key")


@pytest.mark.parametrize(
    "change", [{"fingerprints": []}, {"data": 7}, {"model": []}, {"review": "x", "review_as": "y"}]
)
def test_a_run_of_another_kind_is_no_run_folder(tmp_path: Path, change: dict[str, Any]) -> None:
    whole = {"recipe": "bm25", "data": None, "model": None, "fingerprints": {"data": "x", "model": None}}
    write(tmp_path, {"run.json": json.dumps({**whole, **change})})
    with pytest.raises(UserError, match=r"its run\.json is of something else"):
        read_identity(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "[1]", "7", '{"types": [], "architectures": 5}', "[" * 10_000, '[{"type": 5}]']
)
def test_small_files_of_a_model_are_hints(tmp_path: Path, content: str) -> None:
    names = ("config.json", "modules.json", "router_config.json", "config_sentence_transformers.json")
    write(tmp_path, dict.fromkeys((*names, "sentence_bert_config.json", "tokenizer_config.json"), content))
    files = ModelFiles(model_files(tmp_path))
    assert (files.width, files.most_tokens("query")) == (0, None)
    check_kind(str(tmp_path))
    (tmp_path / "modules.json").unlink()
    write(tmp_path, {"adapter_config.json": content, "tokenizer.json": content})
    assert "of its base model" in str(bare_adapter(tmp_path))
    with pytest.raises(UserError, match=r"tokenizer\.json is no tokenizer"):
        ModelFiles(model_files(tmp_path)).counter()


def test_a_model_names_no_files_outside_its_folder(tmp_path: Path) -> None:
    modules = [{"path": "../outside", "type": "x.Transformer"}, {"path": str(tmp_path / "outside"), "type": "x.Y"}]
    write(tmp_path, {"m/modules.json": json.dumps(modules), "outside/config.json": '{"hidden_size": 9}'})
    assert ModelFiles(model_files(tmp_path / "m")).width == 0
