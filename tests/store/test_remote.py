"""A folder and a URL that hold the same, on fsspec's memory file system; nothing half-uploaded is taken for whole."""

import json
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from ance_tele.console.errors import UserError
from ance_tele.store import holder
from ance_tele.store.artefacts import cached, writing
from ance_tele.store.files import remove
from ance_tele.store.manifests import Manifest, checksums, damaged, file_sizes, manifest_path, read_manifest
from ance_tele.store.mirror import mirrored
from ance_tele.store.remote import Remote
from ance_tele.store.tree import scan

URL = "memory://bucket/runs/mine"


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryFileSystem]:
    """An empty object store; nobody waits in it."""
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    monkeypatch.setattr(holder, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr("ance_tele.store.mirror.LAST_PAUSES", (0.0, 0.0))
    yield MemoryFileSystem()


def at(folder: Path) -> Remote:
    return Remote.of(URL, folder)


def note(path: Path, text: str) -> None:
    """Write a folder artefact of two files, of which the second is empty."""
    with writing(path, "note", {"text": text}) as made:
        (made.target / "part").mkdir(parents=True)
        (made.target / "part" / "note.txt").write_text(text)
        (made.target / "empty").write_bytes(b"")


def checkpoint(work: Path, step: int) -> None:
    """Write a checkpoint as the trainer does, and remove those before."""
    folder = work / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(bytes(50) + bytes([step]))
    (folder / "state.json").write_text("{}")
    files = file_sizes(folder)
    Manifest("checkpoint", {"step": step}, files, checksums=checksums(work, files)).save(folder)
    for older in work.glob("checkpoint-*"):
        if not older.name.startswith(folder.name):
            remove(older)


def a_run(folder: Path, text: str = "one") -> None:
    """Write two artefacts, one of them spread, a checkpoint, loose files, and what does not belong at a URL."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"text": text}))
    note(folder / "episode-1" / "model", text)
    with writing(folder / "episode-1" / "evaluation", "evaluation", {"text": text}, spread=True) as made:
        made.target.mkdir()
        (made.target / "metrics.json").write_text(text)
    checkpoint(folder / "episode-2" / "checkpoints", 2)
    (folder / ".lock").write_text("held")
    (folder / "episode-1" / ".pool.parquet.tmp-host-1").write_text("half")
    (folder / "episode-1" / "pool.parquet").write_text("no manifest yet")
    (folder / "episode-2" / "checkpoints" / "checkpoint-4").mkdir()
    (folder / "episode-2" / "checkpoints" / "checkpoint-4" / "state.json").write_text("{")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def whole(folder: Path) -> dict[str, Any]:
    """Return the inputs of every artefact that counts; all of them hold what was written."""
    names = [path.with_name(path.name.removesuffix(".manifest.json")) for path in folder.rglob("*.manifest.json")]
    found = {str(name.relative_to(folder)): read_manifest(name) for name in names}
    assert not [name for name, one in found.items() if one is not None and damaged(folder / name, one)]
    return {name: one.inputs for name, one in found.items() if one is not None}


ALL = {"episode-1/model", "episode-1/evaluation", "episode-2/checkpoints/checkpoint-2"}


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
    assert [path.removeprefix("/bucket/runs/mine/") for path in sent] == ["log.txt", ".files.json"]


class Lost(Exception):
    """The network, or the machine."""


def failing_after(calls: int, monkeypatch: pytest.MonkeyPatch, half: bool = False) -> list[int]:
    """Let so many changes of the store pass, and fail from then on; the first that fails may be half done."""
    left = [calls]
    for name in ("pipe_file", "put_file", "rm_file"):
        real = getattr(MemoryFileSystem, name)

        def change(self: Any, *given: Any, real: Any = real, name: str = name) -> None:
            if left[0] == 0 and half and name != "rm_file":
                path, content = given if name == "pipe_file" else (given[1], Path(given[0]).read_bytes())
                MemoryFileSystem.open(self, path, "wb", data=content[: len(content) // 2])
            left[0] -= 1
            if left[0] < 0:
                raise Lost
            real(self, *given)

        monkeypatch.setattr(MemoryFileSystem, name, change)
    return left


def changes_of_a_push(folder: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        left = failing_after(10_000, patch)
        at(folder).push()
        return 10_000 - left[0]


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
    name = "/bucket/runs/mine/episode-1/model/part/note.txt"
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
        if len(got) == 3:
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
    store.pipe_file("/bucket/runs/mine/episode-2/checkpoints/checkpoint-3/state.json", b"{")  # of a dead machine
    note(a / "episode-2" / "note", "made before")
    checkpoint(work, 4)
    sent: list[str] = []
    real = MemoryFileSystem.put_file
    monkeypatch.setattr(
        MemoryFileSystem, "put_file", lambda self, local, path: (sent.append(path), real(self, local, path))
    )
    at(a).push()
    assert ["checkpoints" in path for path in sent] == [True, True, False, False]
    steps = {path.split("/")[6].partition(".")[0] for path in store.find("/bucket/runs/mine/episode-2/checkpoints")}
    assert steps == {"checkpoint-4"}
    at(tmp_path / "b").pull()
    assert "episode-2/checkpoints/checkpoint-4" in whole(tmp_path / "b")
    remove(work)
    at(a).push()
    assert store.find("/bucket/runs/mine/episode-2/checkpoints") == []


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


@pytest.mark.parametrize("name", ["../escaped.txt", "/escaped.txt", "a/../../escaped.txt"])
def test_names_from_a_url_stay_in_the_folder(tmp_path: Path, store: MemoryFileSystem, name: str) -> None:
    content = b"stolen"
    (tmp_path / "x").write_bytes(content)
    Manifest("note", {}, {name: len(content)}, checksums={name: zlib.crc32(content)}).save(tmp_path / "x")
    store.pipe_file("/bucket/runs/mine/x.manifest.json", manifest_path(tmp_path / "x").read_bytes())
    store.pipe_file("/bucket/runs/mine/.files.json", json.dumps({name: zlib.crc32(content)}).encode())
    store.pipe_file(f"/bucket/runs/mine/{name}", content)
    at(tmp_path / "inner" / "run").pull()
    assert [path.name for path in tmp_path.rglob("escaped.txt")] == []
    assert contents(tmp_path / "inner" / "run") == {}


def test_the_end_of_a_block_uploads_also_after_an_error(tmp_path: Path, store: MemoryFileSystem) -> None:
    for error in (None, ValueError, KeyboardInterrupt):
        store.store.clear()
        folder = tmp_path / str(error)
        try:
            with mirrored(URL, folder):
                a_run(folder)
                if error is not None:
                    raise error
        except (ValueError, KeyboardInterrupt) as found:
            assert type(found) is error
        at(tmp_path / f"{error}-read").pull()
        assert set(whole(tmp_path / f"{error}-read")) == ALL
        assert not store.exists("/bucket/runs/mine/.holder.json")


def test_the_network_may_be_away_while_the_block_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    monkeypatch.setattr("ance_tele.store.mirror.PUSH_SECONDS", 0.01)
    with mirrored(URL, tmp_path / "a"):
        with pytest.MonkeyPatch.context() as patch:
            failing_after(0, patch)
            a_run(tmp_path / "a")
            while not any("cannot be written now" in line for line in logged):
                time.sleep(0.01)
        while not any("up to date again" in line for line in logged):
            time.sleep(0.01)
        assert "/bucket/runs/mine/run.json" in MemoryFileSystem.store  # before the end of the block
    assert sum("cannot be written now" in line for line in logged) == 1


def test_what_cannot_be_uploaded_at_the_end_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = r"is not up to date \(Lost\); all there is lies in .*/a, and the same"
    with pytest.raises(UserError, match=sentence), mirrored(URL, tmp_path / "a"):
        a_run(tmp_path / "a")
        failing_after(0, monkeypatch)
    assert set(whole(tmp_path / "a")) == ALL


def test_a_file_system_of_folders_does_as_well(tmp_path: Path) -> None:
    a_run(tmp_path / "a")
    url = f"file://{tmp_path}/there/mine"
    with mirrored(url, tmp_path / "a"):
        pass
    Remote.of(url, tmp_path / "b").pull()
    assert scan(tmp_path / "b") == scan(tmp_path / "a")
