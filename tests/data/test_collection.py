"""Collections: what is read, what is refused, what is cached."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from beir_files import CONTENT, FILES, HEADER, content, refused, write

from ance_tele.console.errors import UserError
from ance_tele.data import load
from ance_tele.data.collection import Collection
from ance_tele.data.describe import describe
from ance_tele.data.formats import lines, objects
from ance_tele.data.load import cache_folder, collection_from_dicts, load_collection
from ance_tele.store.manifests import read_manifest

# ---- what is read --------------------------------------------------------------------------------


def test_a_folder_is_read_as_it_is_written(tmp_path: Path) -> None:
    found = load_collection(write(tmp_path / "small"), tmp_path / "cache")
    assert content(found) == CONTENT
    assert list(found.qrels) == ["train", "test"] and found.problems == {} and found.name == "small"
    assert content(Collection.open(found.folder)) == CONTENT


DISGUISES: dict[str, Callable[[str], bytes]] = {
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "byte order mark": lambda text: text.encode("utf-8-sig"),
    "blank lines": lambda text: ("\n" + text.replace("\n", "\n \t \n\n")).encode(),
    "no newline at the end": lambda text: text.rstrip("\n").encode(),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_the_same_data_in_another_dress_is_the_same_data(tmp_path: Path, disguise: str) -> None:
    plain = load_collection(write(tmp_path / "plain"), tmp_path / "cache")
    dressed = load_collection(write(tmp_path / "dressed", encode=DISGUISES[disguise]), tmp_path / "cache")
    assert content(dressed) == CONTENT
    assert dressed.fingerprint == plain.fingerprint and dressed.folder != plain.folder


def test_gzipped_files_and_a_header_or_none_change_nothing(tmp_path: Path) -> None:
    plain = load_collection(write(tmp_path / "plain"), tmp_path / "cache")
    names: dict[str, Any] = dict.fromkeys(FILES)
    packed: dict[str, Any] = {f"{name}.gz": lines for name, lines in FILES.items()}
    packed["qrels/train.tsv.gz"] = [HEADER, *FILES["qrels/train.tsv"]]
    packed["qrels/test.tsv.gz"] = FILES["qrels/test.tsv"][1:]
    folder = write(tmp_path / "gz", names | packed, lambda text: gzip.compress(text.encode()))
    assert not list(folder.rglob("*.jsonl")) and not list(folder.rglob("*.tsv"))
    found = load_collection(folder, tmp_path / "cache")
    assert content(found) == CONTENT and found.fingerprint == plain.fingerprint


ODD_IDS = [
    'd"1',
    "d'2",
    "a/b",
    "é日本",
    "#",
    "-1",
    "a,b",
    "NA",
    "null",
    "0012",
    "12",
    "{x}",
    "\\t",
    "../..",
    "a|b%20",
    "😀",
]


def test_ids_are_kept_letter_by_letter(tmp_path: Path) -> None:
    corpus = [json.dumps({"_id": key, "text": "x"}) for key in ODD_IDS if key != "12"] + ['{"_id": 12, "text": "x"}']
    queries = [json.dumps({"_id": key, "text": "x"}, ensure_ascii=False) for key in ODD_IDS]
    lines = [f"{query}\t{passage}\t1" for query, passage in zip(ODD_IDS, reversed(ODD_IDS), strict=True)]
    changes = {"corpus.jsonl": corpus, "queries.jsonl": queries, "qrels/train.tsv": lines, "qrels/test.tsv": lines}
    found = content(load_collection(write(tmp_path / "odd", changes), tmp_path / "cache"))
    assert set(found[0]) == set(found[1]) == set(ODD_IDS)
    assert found[2]["test"] == {query: {passage: 1} for query, passage in zip(ODD_IDS, ODD_IDS[::-1], strict=True)}


def test_quotes_are_raw_everywhere(tmp_path: Path) -> None:
    changes = {
        "corpus.jsonl": ['{"_id": "d\\"1", "title": "\\"", "text": "he said \\"a\\tb"}', *FILES["corpus.jsonl"]],
        "queries.jsonl": [*FILES["queries.jsonl"], '{"_id": "\\"q4", "text": "\\"unbalanced"}'],
        "qrels/test.tsv": ['"q4\td"1\t1', 'q3\td"1\t1'],  # a reader of CSV would take this for one field
    }
    found = content(load_collection(write(tmp_path / "quotes", changes), tmp_path / "cache"))
    assert found[0]['d"1'] == ('"', 'he said "a\tb') and found[1]['"q4'] == '"unbalanced'
    assert found[2]["test"] == {'"q4': {'d"1': 1}, "q3": {'d"1': 1}}


def test_line_separators_inside_a_text_do_not_cut_the_line(tmp_path: Path) -> None:
    text = "a\u2028b\u0085c\x0cd"
    line = json.dumps({"_id": "d4", "text": text}, ensure_ascii=False)
    folder = write(tmp_path / "lines", {"corpus.jsonl": [line, *FILES["corpus.jsonl"]]})
    assert content(load_collection(folder, tmp_path / "cache"))[0]["d4"] == ("", text)


def test_hidden_files_beside_the_qrels_are_no_splits(tmp_path: Path) -> None:
    folder = write(tmp_path / "mac", {"qrels/._test.tsv": b"\x00\x05\x16\x07\xff", "qrels/notes.tsv.txt": ["x"]})
    assert list(load_collection(folder, tmp_path / "cache").qrels) == ["train", "test"]


# ---- what is refused -----------------------------------------------------------------------------

PASSAGES, QUERIES, TEST = FILES["corpus.jsonl"], FILES["queries.jsonl"], FILES["qrels/test.tsv"]
PACKED = gzip.compress("\n".join(PASSAGES * 50).encode())

# Files that are not what they should be: refused whatever the mode, because nobody knows what they mean.
BROKEN: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no corpus": ({"corpus.jsonl": None}, ["corpus.jsonl", "qrels, queries.jsonl"]),
    "no queries": ({"queries.jsonl": None}, ["queries.jsonl", "corpus.jsonl, qrels"]),
    "no qrels": ({"qrels/train.tsv": None, "qrels/test.tsv": None}, ["qrels", "at least one split"]),
    "empty corpus": ({"corpus.jsonl": []}, ["corpus.jsonl", "no passages", "at least one is needed"]),
    "no JSON": ({"corpus.jsonl": [*PASSAGES, "", "{'_id': 1}"]}, ["corpus.jsonl line 5", "not JSON", "column 2"]),
    "JSON, no object": ({"corpus.jsonl": [*PASSAGES, "[1]"]}, ["corpus.jsonl line 4", "JSON list", "object"]),
    "no text": (
        {"corpus.jsonl": [PASSAGES[0], '{"_id": "d4", "contents": "x", "title": "y"}']},
        ["corpus.jsonl line 2", "no field 'text'", "_id, contents, title"],
    ),
    "no _id": ({"queries.jsonl": ['{"id": "q1", "text": "x"}']}, ["queries.jsonl line 1", "'_id'", "id, text"]),
    "id null": ({"corpus.jsonl": ['{"_id": null, "text": "x"}']}, ["corpus.jsonl line 1", "'_id'", "got None"]),
    "text a list": ({"corpus.jsonl": ['{"_id": "d", "text": ["x"]}']}, ["corpus.jsonl line 1", "'text'", "['x']"]),
    "title a number": (
        {"corpus.jsonl": ['{"_id": "d", "text": "x", "title": 7}']},
        ["corpus.jsonl line 1", "'title'", "got 7"],
    ),
    "Latin-1": (
        {"queries.jsonl": "".join(f"{line}\n" for line in QUERIES).encode("latin-1")},
        ["queries.jsonl line 3", "not UTF-8", "0xf6", "convert"],
    ),
    "UTF-16": ({"corpus.jsonl": "\n".join(PASSAGES).encode("utf-16")}, ["corpus.jsonl line 1", "not UTF-8"]),
    "gzip cut short": (
        {"corpus.jsonl": None, "corpus.jsonl.gz": PACKED[: len(PACKED) // 2]},
        ["corpus.jsonl.gz", "damaged gzip", "fetch it again"],
    ),
    "gzip with a wrong byte": (
        {"corpus.jsonl": None, "corpus.jsonl.gz": PACKED[:60] + b"\xff\xff\xff" + PACKED[63:]},
        ["corpus.jsonl.gz", "damaged gzip", "fetch it again"],
    ),
    "no gzip at all": ({"corpus.jsonl": None, "corpus.jsonl.gz": b"{}"}, ["corpus.jsonl.gz", "damaged gzip"]),
    "two fields": ({"qrels/test.tsv": [*TEST, "q1\td1"]}, ["test.tsv line 4", "2 tab-separated fields", "three"]),
    "TREC format": ({"qrels/test.tsv": ["q1\t0\td1\t1"]}, ["test.tsv line 1", "4 tab-separated", "query id, passage"]),
    "blanks for tabs": ({"qrels/test.tsv": ["q1 d1 1"]}, ["test.tsv line 1", "1 tab-separated"]),
    "grade a word": ({"qrels/test.tsv": [*TEST, "q1\td1\tyes"]}, ["test.tsv line 4", "'yes'", "integer"]),
    "grade a fraction": ({"qrels/test.tsv": ["q1\td1\t0.5", "q2\td2\t1"]}, ["test.tsv line 1", "'0.5'", "integer"]),
    "two headers": ({"qrels/test.tsv": [HEADER, *TEST]}, ["test.tsv line 2", "'score'", "integer"]),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_refused_in_one_sentence(tmp_path: Path, kind: str) -> None:
    changes, fragments = BROKEN[kind]
    folder = write(tmp_path / "broken", changes)
    for strict in (True, False):
        sentence = refused(folder, tmp_path / "cache", strict)
        assert all(fragment in sentence for fragment in fragments), sentence


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "data") / "corpus.jsonl"
    sentence = refused(tmp_path / "nowhere", tmp_path / "cache")
    assert "is not a folder" in sentence and "demo" in sentence
    sentence = refused(file, tmp_path / "cache")
    assert "corpus.jsonl with the fields _id, title, text" in sentence and "known are BEIR" in sentence


# Data that does not add up: refused, or left out and counted. With what is left of it.
D1, D2, D3 = CONTENT[0].items()
DUBIOUS: dict[str, tuple[dict[str, Any], list[str], dict[str, int], tuple[Any, Any, Any]]] = {
    "the same passage id twice": (
        {"corpus.jsonl": [*PASSAGES, '{"_id": "d1", "text": "another"}', '{"_id": "d1", "text": "a third"}']},
        ["corpus.jsonl", "'d1' in lines 1 and 4", "(2;", "--lenient"],
        {"corpus.jsonl: passages with an id that stood before": 2},
        CONTENT,
    ),
    "the same query id twice": (
        {"queries.jsonl": [*QUERIES, '{"_id": "q2", "text": "another"}']},
        ["queries.jsonl", "'q2' in lines 2 and 4", "--lenient"],
        {"queries.jsonl: queries with an id that stood before": 1},
        CONTENT,
    ),
    "passages without text": (
        {"corpus.jsonl": ['{"_id": "d0", "text": " ", "title": "\\t"}', *PASSAGES, '{"_id": "d9", "text": null}']},
        ["corpus.jsonl", "without text", "(2;", "'d0' in line 1", "--lenient"],
        {"corpus.jsonl: passages without text": 2},
        CONTENT,
    ),
    "a query without text": (
        {"queries.jsonl": [*QUERIES, '{"_id": "q4", "text": "", "title": "a query has no title"}']},
        ["queries.jsonl", "without text", "'q4' in line 4"],
        {"queries.jsonl: queries without text": 1},
        CONTENT,
    ),
    "ids that no run can carry": (
        {"corpus.jsonl": [*PASSAGES, '{"_id": "New York", "text": "x"}', '{"_id": "", "text": "x"}']},
        ["corpus.jsonl", "white space", "(2;", "'New York' in line 4"],
        {"corpus.jsonl: passages whose id is empty or holds white space, which no TREC run can carry": 2},
        CONTENT,
    ),
    "half a character": (
        {"corpus.jsonl": [*PASSAGES, '{"_id": "d4", "text": "cut \\ud83d"}']},
        ["corpus.jsonl", "lone surrogate", "'d4' in line 4"],
        {"corpus.jsonl: passages with half a character (a lone surrogate such as \\ud800)": 1},
        CONTENT,
    ),
    "judgements of unknown passages": (
        {"qrels/test.tsv": [*TEST, "q3\td8\t1", "q1\td9\t1"]},
        ["qrels/test.tsv", "unknown passages", "(2;", "'d8' in line 4", "--lenient"],
        {"qrels/test.tsv: judgements of unknown passages": 2},
        CONTENT,
    ),
    "judgements of unknown queries": (
        {"qrels/test.tsv": [*TEST, "q8\td1\t1"]},
        ["qrels/test.tsv", "unknown queries", "'q8' in line 4", "--lenient"],
        {"qrels/test.tsv: judgements of unknown queries": 1},
        CONTENT,
    ),
    "pairs judged twice": (
        {"qrels/test.tsv": [*TEST, "q3\td3\t0"]},
        ["qrels/test.tsv", "judged twice", "'q3' 'd3' in line 4", "--lenient"],
        {"qrels/test.tsv: pairs judged twice": 1},
        CONTENT,
    ),
    "a split without judgements": (
        {"qrels/dev.tsv": [HEADER]},
        ["qrels/dev.tsv", "no judgements", "delete it", "--lenient"],
        {"qrels/dev.tsv: no judgements left, so no such split": 1},
        CONTENT,
    ),
    "a passage that goes takes its judgements along": (
        {"corpus.jsonl": [*PASSAGES[:2], '{"_id": "d3", "text": ""}']},
        ["corpus.jsonl", "without text", "'d3' in line 3"],
        {"corpus.jsonl: passages without text": 1, "qrels/test.tsv: judgements of unknown passages": 1},
        (dict([D1, D2]), CONTENT[1], {**CONTENT[2], "test": {"q3": {"d1": 0}}}),
    ),
    # q1 with an unknown passage must not be taken for q0 with the last one: both had the same pair number.
    "an unknown passage before a known one": (
        {"qrels/test.tsv": ["q2\tnone\t1", "q1\td3\t1"]},
        ["qrels/test.tsv", "unknown passages", "'none' in line 1"],
        {"qrels/test.tsv: judgements of unknown passages": 1},
        (CONTENT[0], CONTENT[1], {**CONTENT[2], "test": {"q1": {"d3": 1}}}),
    ),
}


@pytest.mark.parametrize("kind", DUBIOUS)
def test_what_does_not_add_up_is_refused_or_left_out_and_counted(tmp_path: Path, kind: str) -> None:
    changes, fragments, problems, left = DUBIOUS[kind]
    folder, cache = write(tmp_path / "dubious", changes), tmp_path / "cache"
    sentence = refused(folder, cache)
    assert all(fragment in sentence for fragment in fragments), sentence
    found = load_collection(folder, cache, strict=False)
    assert found.problems == problems and content(found) == left
    assert "left out" in "\n".join(describe(found))
    if left is CONTENT:
        assert found.fingerprint == load_collection(write(tmp_path / "clean"), cache).fingerprint
    refused_again = pytest.raises(UserError, match=fragments[0])
    with refused_again:  # what the lenient mode has stored does not slip through
        load_collection(folder, cache)


# ---- the cache -----------------------------------------------------------------------------------


def test_a_folder_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]) -> None:
    folder, cache = write(tmp_path / "data"), tmp_path / "cache"
    first = load_collection(folder, cache)
    for module in (lines, objects):
        monkeypatch.setattr(module, "read_lines", lambda path: pytest.fail(f"{path} is read again"))
    again = load_collection(str(folder) + "/", cache)
    assert again.fingerprint == first.fingerprint and again.folder == first.folder and logged == []


def test_a_changed_file_is_read_again_with_a_word(tmp_path: Path, logged: list[str]) -> None:
    folder, cache = write(tmp_path / "data"), tmp_path / "cache"
    first = load_collection(folder, cache)
    path = folder / "corpus.jsonl"
    before = path.stat()
    path.write_text(path.read_text().replace("third", "THIRD"))  # the same size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    again = load_collection(folder, cache)
    assert again.fingerprint != first.fingerprint and content(again)[0]["d3"] == ("", "THIRD")
    assert len(logged) == 1 and "corpus.jsonl changed" in logged[0]


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    folder, cache = write(tmp_path / "data"), tmp_path / "cache"
    first = load_collection(folder, cache)
    (first.folder / "queries.arrow").write_bytes(b"")
    with pytest.raises(UserError, match="no whole collection"):
        Collection.open(first.folder)
    assert content(load_collection(folder, cache)) == CONTENT


def test_two_folders_of_one_name_do_not_evict_each_other(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    one = load_collection(write(tmp_path / "a" / "data"), cache)
    other = load_collection(write(tmp_path / "b" / "data", {"queries.jsonl": QUERIES[::-1]}), cache)
    assert one.folder != other.folder and read_manifest(one.folder) is not None
    assert one.name == other.name == "data" and one.fingerprint != other.fingerprint


def test_the_fingerprint_sees_where_a_field_ends() -> None:
    def of(title: str, text: str) -> str:
        return collection_from_dicts({"d": (title, text)}, {"q": "x"}, {"test": {"q": {"d": 1}}}).fingerprint

    assert len({of("", "ab"), of("a", "b"), of("ab", ""), of("a", "c")}) == 4


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANCE_TELE_CACHE", "/one")
    monkeypatch.setenv("XDG_CACHE_HOME", "/two")
    assert cache_folder() == Path("/one")
    monkeypatch.delenv("ANCE_TELE_CACHE")
    assert cache_folder() == Path("/two/ance-tele")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "ance-tele"


def test_demo_is_a_word_not_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "load_demo", lambda cache: ("demo", cache))
    monkeypatch.chdir(write(tmp_path / "demo").parent)
    assert load_collection("demo", tmp_path) == ("demo", tmp_path)  # type: ignore[comparison-overlap]
    assert load_collection("./demo", tmp_path / "cache").name == "demo"
