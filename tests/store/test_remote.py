"""A folder and a URL that hold the same, on fsspec's memory file system; nothing half-uploaded is taken for whole."""

import json
import zlib
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from there import ALL, BASE, Lost, a_run, at, changes_of_a_push, checkpoint, contents, failing_after, note, whole

from ance_tele.store.artefacts import cached, writing
from ance_tele.store.files import remove
from ance_tele.store.manifests import Manifest, manifest_path
from ance_tele.store.mirror import mirrored
from ance_tele.store.remote import Remote
from ance_tele.store.tree import scan

pytestmark = pytest.mark.usefixtures("store")


def test_another_machine_gets_what_is_whole_and_nothing_else(tmp_path: Path) -> None:
    a_run(tmp_path / "a")
    assert at(tmp_path / "a").push()
    fetched = at(tmp_path / "b").pull()
    assert set(whole(tmp_path / "b")) == ALL
    left_out = {
        ".lock",
        "episode-1/.pool.parquet.tmp-host-1",
        "episode-1/pool.parquet",
        "episode-2/checkpoints/checkpoint-4/state.json",
    }
    here, there = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert there == {name: content for name, content in here.items() if name not in left_out}
    manifests = sum(len(content) for name, content in there.items() if name.endswith(".manifest.json"))
    assert fetched == sum(map(len, there.values())) - manifests
    assert at(tmp_path / "b").pull() == 0


def test_what_is_there_already_is_not_uploaded_again(
    tmp_path: Path, store: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_run(tmp_path / "a")
    at(tmp_path / "a").push()
    at(tmp_path / "b").pull()
    (tmp_path / "b" / "log.txt").write_text("new")
    sent: list[str] = []
    pipe = MemoryFileSystem.pipe_file
    monkeypatch.setattr(
        MemoryFileSystem, "pipe_file", lambda self, path, *rest: (sent.append(path), pipe(self, path, *rest))
    )
    monkeypatch.setattr(MemoryFileSystem, "put_file", lambda self, local, path: sent.append(path))
    at(tmp_path / "b").push()
    assert [path.removeprefix(f"{BASE}/") for path in sent] == ["log.txt", ".files.json"]


@pytest.mark.parametrize("half", [False, True])
def test_whatever_ends_an_upload_a_reader_gets_whole_artefacts_only(
    tmp_path: Path, store: MemoryFileSystem, half: bool
) -> None:
    a_run(tmp_path / "count")
    total = changes_of_a_push(tmp_path / "count")
    assert total > 8
    for calls in range(total):
        store.store.clear()
        a, b = tmp_path / f"a{calls}", tmp_path / f"b{calls}"
        a_run(a)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Lost):
            failing_after(calls, patch, half)
            at(a).push()
        at(b).pull()
        assert whole(b).keys() <= ALL
        assert (b / "run.json").exists() or not whole(b)  # what has no run.json is taken for no run
        at(a).push()
        at(b).pull()
        assert whole(b) == whole(a)


@pytest.mark.parametrize("half", [False, True])
def test_an_artefact_that_is_replaced_is_the_old_the_new_or_none(
    tmp_path: Path, store: MemoryFileSystem, half: bool
) -> None:
    a_run(tmp_path / "count")
    at(tmp_path / "count").push()
    note(tmp_path / "count" / "episode-1" / "model", "two")
    total = changes_of_a_push(tmp_path / "count")
    assert total == 4  # the old manifest, two files, the new manifest
    for calls in range(total):
        store.store.clear()
        a, b = tmp_path / f"a{calls}", tmp_path / f"b{calls}"
        a_run(a)
        at(a).push()
        note(a / "episode-1" / "model", "two")  # of the same sizes
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Lost):
            failing_after(calls, patch, half)
            at(a).push()
        at(b).pull()
        found = whole(b).get("episode-1/model")
        assert found == ({"text": "one"} if calls == 0 else None)
        at(a).push()
        at(b).pull()
        assert whole(b)["episode-1/model"] == {"text": "two"}


def test_the_newer_of_both_is_kept(tmp_path: Path) -> None:
    a_run(tmp_path / "a")
    at(tmp_path / "a").push()
    at(tmp_path / "b").pull()
    note(tmp_path / "b" / "episode-1" / "model", "two")
    at(tmp_path / "b").pull()  # not undone by what is older there
    assert whole(tmp_path / "b")["episode-1/model"] == {"text": "two"}
    at(tmp_path / "b").push()
    at(tmp_path / "a").pull()
    assert whole(tmp_path / "a")["episode-1/model"] == {"text": "two"}


def test_files_of_an_artefact_that_the_new_one_lacks_are_removed(tmp_path: Path) -> None:
    a_run(tmp_path / "a")
    at(tmp_path / "a").push()
    at(tmp_path / "b").pull()
    with writing(tmp_path / "a" / "episode-1" / "model", "note", {}) as made:
        made.target.mkdir()
        (made.target / "other.txt").write_text("other")
    at(tmp_path / "a").push()
    at(tmp_path / "b").pull()
    assert list(contents(tmp_path / "b" / "episode-1" / "model")) == ["other.txt"]


@pytest.mark.parametrize("how", ["delete", "truncate", "flip"])
def test_an_object_that_is_damaged_is_noticed_and_made_again(
    tmp_path: Path, store: MemoryFileSystem, how: str, logged: list[str]
) -> None:
    a_run(tmp_path / "a", "first")
    at(tmp_path / "a").push()
    name = f"{BASE}/episode-1/model/part/note.txt"
    if how == "delete":
        store.rm_file(name)
    else:
        store.pipe_file(name, b"fir" if how == "truncate" else b"fIrst")
    at(tmp_path / "b").pull()
    model = tmp_path / "b" / "episode-1" / "model"
    assert set(whole(tmp_path / "b")) == ALL - {"episode-1/model"}
    assert cached(model, {"text": "first"}) is None
    assert any("does not hold what was written" in line for line in logged) == (how == "flip")
    note(model, "first")
    at(tmp_path / "b").push()
    at(tmp_path / "c").pull()
    assert set(whole(tmp_path / "c")) == ALL


def test_a_machine_that_has_it_uploads_what_is_gone(tmp_path: Path, store: MemoryFileSystem) -> None:
    a_run(tmp_path / "a")
    at(tmp_path / "a").push()
    store.store.clear()
    at(tmp_path / "a").pull()
    at(tmp_path / "a").push()
    at(tmp_path / "b").pull()
    assert set(whole(tmp_path / "b")) == ALL and (tmp_path / "b" / "run.json").exists()


def test_a_fetch_that_was_cut_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_run(tmp_path / "a")
    at(tmp_path / "a").push()
    real, got = MemoryFileSystem.get_file, []

    def get_file(self: MemoryFileSystem, path: str, local: str) -> None:
        if len(got) == 2:  # in the middle of the model
            got.append("failed")
            raise Lost
        got.append(path)
        real(self, path, local)

    monkeypatch.setattr(MemoryFileSystem, "get_file", get_file)
    with pytest.raises(Lost):
        at(tmp_path / "b").pull()
    assert whole(tmp_path / "b").keys() < ALL
    at(tmp_path / "b").pull()
    assert set(whole(tmp_path / "b")) == ALL
    fetched = [path for path in got if path != "failed"]
    assert len(fetched) == len(set(fetched)) == 5


def test_checkpoints_go_first_and_those_dropped_here_are_dropped_there(
    tmp_path: Path, store: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, work = tmp_path / "a", tmp_path / "a" / "episode-2" / "checkpoints"
    a_run(a)
    at(a).push()
    remove(work / "checkpoint-4")  # that nobody had finished
    store.pipe_file(f"{BASE}/episode-2/checkpoints/checkpoint-3/state.json", b"{")  # of a dead machine
    note(a / "episode-2" / "note", "made before")
    checkpoint(work, 4)
    sent: list[str] = []
    real = MemoryFileSystem.put_file
    monkeypatch.setattr(
        MemoryFileSystem, "put_file", lambda self, local, path: (sent.append(path), real(self, local, path))
    )
    at(a).push()
    assert ["checkpoints" in path for path in sent] == [True, True, False, False]
    steps = {path.split("/")[6].partition(".")[0] for path in store.find(f"{BASE}/episode-2/checkpoints")}
    assert steps == {"checkpoint-4"}
    at(tmp_path / "b").pull()
    assert "episode-2/checkpoints/checkpoint-4" in whole(tmp_path / "b")
    remove(work)
    at(a).push()
    assert store.find(f"{BASE}/episode-2/checkpoints") == []


def test_deleting_a_working_copy_deletes_nothing_there(tmp_path: Path, store: MemoryFileSystem) -> None:
    a_run(tmp_path / "a")
    at(tmp_path / "a").push()
    before = store.find("/bucket")
    remove(tmp_path / "a")
    (tmp_path / "a").mkdir()
    at(tmp_path / "a").push()
    assert store.find("/bucket") == before


def test_a_loose_file_changed_in_both_places_is_kept_in_both(tmp_path: Path, logged: list[str]) -> None:
    a_run(tmp_path / "a", "one")
    at(tmp_path / "a").push()
    at(tmp_path / "b").pull()
    (tmp_path / "a" / "run.json").write_text("theirs")
    at(tmp_path / "a").push()
    (tmp_path / "b" / "run.json").write_text("ours")
    at(tmp_path / "b").pull()
    assert (tmp_path / "b" / "run.json").read_text() == "theirs"
    assert (tmp_path / "b" / ".run.json.here").read_text() == "ours"
    assert any("changed there, and here too" in line for line in logged)


def test_a_loose_file_changed_here_only_stays(tmp_path: Path) -> None:
    a_run(tmp_path / "a", "one")
    at(tmp_path / "a").push()
    (tmp_path / "a" / "run.json").write_text("newer")
    at(tmp_path / "a").pull()
    assert (tmp_path / "a" / "run.json").read_text() == "newer"
    at(tmp_path / "a").push()
    at(tmp_path / "b").pull()
    assert (tmp_path / "b" / "run.json").read_text() == "newer"


def test_a_loose_file_that_does_not_hold_what_is_listed_does_not_count(tmp_path: Path, store: MemoryFileSystem) -> None:
    a_run(tmp_path / "a")
    at(tmp_path / "a").push()
    store.pipe_file(f"{BASE}/run.json", b"{")
    at(tmp_path / "b").pull()
    assert not (tmp_path / "b" / "run.json").exists()
    assert set(whole(tmp_path / "b")) == ALL


def test_an_artefact_made_again_during_its_upload_waits_for_the_next_one(
    tmp_path: Path, store: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "a" / "episode-1" / "model"
    a_run(tmp_path / "a", "one")
    real = MemoryFileSystem.put_file

    def put_file(self: MemoryFileSystem, local: str, path: str) -> None:
        real(self, local, path)
        if local.endswith("note.txt"):
            note(model, "two")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "put_file", put_file)
        at(tmp_path / "a").push()
    assert not store.exists(f"{BASE}/episode-1/model.manifest.json")
    at(tmp_path / "b").pull()
    assert set(whole(tmp_path / "b")) == ALL - {"episode-1/model"}
    at(tmp_path / "a").push()
    at(tmp_path / "b").pull()
    assert whole(tmp_path / "b")["episode-1/model"] == {"text": "two"}


def test_no_file_of_an_artefact_that_is_being_made_again_is_uploaded_under_the_old_manifest(tmp_path: Path) -> None:
    a_run(tmp_path / "a", "one")
    at(tmp_path / "a").push()
    model = tmp_path / "a" / "episode-1" / "model"
    manifest_path(model).unlink()
    (model / "part" / "note.txt").write_text("two")
    at(tmp_path / "a").push()
    at(tmp_path / "b").pull()
    assert set(whole(tmp_path / "b")) == ALL
    assert (tmp_path / "b" / "episode-1" / "model" / "part" / "note.txt").read_text() == "one"


@pytest.mark.parametrize("name", ["../escaped.txt", "/escaped.txt", "a/../../escaped.txt"])
def test_names_from_a_url_stay_in_the_folder(tmp_path: Path, store: MemoryFileSystem, name: str) -> None:
    content = b"stolen"
    (tmp_path / "x").write_bytes(content)
    Manifest("note", {}, {name: len(content)}, checksums={name: zlib.crc32(content)}).save(tmp_path / "x")
    store.pipe_file(f"{BASE}/x.manifest.json", manifest_path(tmp_path / "x").read_bytes())
    store.pipe_file(f"{BASE}/.files.json", json.dumps({name: zlib.crc32(content)}).encode())
    store.pipe_file(f"{BASE}/{name}", content)
    at(tmp_path / "inner" / "run").pull()
    assert [path.name for path in tmp_path.rglob("escaped.txt")] == []
    assert contents(tmp_path / "inner" / "run") == {}


def test_a_file_system_of_folders_does_as_well(tmp_path: Path) -> None:
    a_run(tmp_path / "a")
    url = f"file://{tmp_path}/there/mine"
    with mirrored(url, tmp_path / "a"):
        pass
    Remote.of(url, tmp_path / "b").pull()
    assert scan(tmp_path / "b") == scan(tmp_path / "a")
