"""The format is found, and every collection goes out in BEIR layout and comes back the same."""

import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from format_files import Files, content, read, refused, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_marco_dpr import DPR_TRAIN, MARCO, PSGS_QUOTED, QA
from test_training_files import FLAG, FLAG_CONTENT, TEVATRON_1, TEVATRON_TEST

from ance_tele.console.errors import UserError
from ance_tele.data.formats import write as writing
from ance_tele.data.formats.write import write_beir
from ance_tele.data.load import READERS_VERSION, collection_from_dicts, load_collection
from ance_tele.store.manifests import read_manifest

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
    lambda name: name.split() == [name] and "\0" not in name and name[0] != "\ufeff"
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
