import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.store.artefacts import build, cached, writing
from ance_tele.store.files import atomic, host, read_json, temporary_of, write_json
from ance_tele.store.fingerprints import file_sha256, fingerprint
from ance_tele.store.lock import lock
from ance_tele.store.manifests import SCHEMA, Manifest, manifest_path, read_manifest


def names(folder: Path) -> list[str]:
    """Return the names of everything below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


class Maker:
    """Makes a file, or a folder of two files, and counts how often."""

    def __init__(self, text: str = "made", folder: bool = False) -> None:
        self.text, self.folder, self.calls = text, folder, 0

    def __call__(self, target: Path) -> dict[str, Any]:
        self.calls += 1
        if self.folder:
            (target / "sub").mkdir(parents=True)
            (target / "one").write_text(self.text)
            (target / "sub" / "two").write_text(self.text)
        else:
            target.write_text(self.text)
        return {"length": len(self.text)}


# ---- atomic --------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", [False, True])
def test_what_succeeds_takes_its_place_whole(tmp_path: Path, folder: bool) -> None:
    path = tmp_path / "new" / "thing"
    for text in ("first", "second"):  # the second replaces the first
        with atomic(path) as temporary:
            assert temporary.parent == path.parent and not temporary.exists()
            Maker(text, folder)(temporary)
            assert not path.exists() or text == "second"
        assert (path / "one" if folder else path).read_text() == text
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["thing"]


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_what_fails_leaves_nothing_and_what_stood_stands(tmp_path: Path, folder: bool, error: BaseException) -> None:
    path = tmp_path / "thing"
    with pytest.raises(type(error)), atomic(path) as temporary:
        Maker("half", folder)(temporary)
        raise error
    assert names(tmp_path) == []
    with atomic(path) as temporary:
        Maker("whole", folder)(temporary)
    with pytest.raises(type(error)), atomic(path) as temporary:
        Maker("half", folder)(temporary)
        raise error
    assert (path / "one" if folder else path).read_text() == "whole"
    assert not [name for name in names(tmp_path) if "tmp" in name]


def a_process() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


@pytest.mark.parametrize("name", ["thing", "thing [1]*"])
def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path, name: str) -> None:
    living = a_process()
    try:
        dead = a_process()
        dead.communicate(b"\n")
        theirs, left = (temporary_of(tmp_path / name, host(), process.pid) for process in (living, dead))
        reused = tmp_path / f".{name}.tmp-{os.getpid()}"  # by a version that did not write the name of the machine
        elsewhere, long_ago = (temporary_of(tmp_path / name, f"other-{age}", dead.pid) for age in ("new", "old"))
        for folder in (theirs, left, reused, elsewhere, long_ago):
            Maker("half", folder=True)(folder)
        for path in (long_ago, *long_ago.rglob("*")):
            os.utime(path, (1, 1))
        of_another = tmp_path / f".other.tmp-{dead.pid}"
        no_number = tmp_path / f".{name}.tmp-backup"
        for file in (of_another, no_number):
            file.write_text("not ours to remove")
        with atomic(tmp_path / name) as temporary:
            temporary.write_text("whole")
        assert (
            theirs.is_dir()
            and elsewhere.is_dir()
            and not long_ago.exists()
            and of_another.exists()
            and no_number.exists()
        )
        assert not left.exists() and not reused.exists() and (tmp_path / name).read_text() == "whole"
    finally:
        living.communicate(b"\n")


# ---- build ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", [False, True])
def test_what_stands_is_not_made_again(tmp_path: Path, folder: bool, logged: list[str]) -> None:
    make = Maker(folder=folder)
    inputs = {"a": (1, 2), "seed": 42}  # a tuple, which comes back from JSON as a list
    first = build(tmp_path / "thing", "thing", inputs, make)
    assert first.facts == {"length": 4} and first.files and not first.reused
    again = build(tmp_path / "thing", "thing", inputs, make)
    assert again == first and again.reused
    assert make.calls == 1 and logged == []
    assert json.loads(manifest_path(tmp_path / "thing").read_text())["inputs"] == {"a": [1, 2], "seed": 42}


def test_other_inputs_make_it_again_and_one_line_says_why(tmp_path: Path, logged: list[str]) -> None:
    path = tmp_path / "thing"
    build(path, "pool", {"seed": 1, "gone": True, "weights": "a" * 64}, Maker("first"))
    build(path, "pool", {"seed": 2, "new": None, "weights": "b" * 64}, Maker("second"))
    assert path.read_text() == "second"
    (line,) = logged
    assert "\n" not in line and len(line.removeprefix(str(tmp_path))) < 150
    made_again = f"{path} is made again: seed was 1, is 2; gone was true, is null; its weights changed"
    assert line.startswith(made_again)


def test_a_manifest_of_another_schema_is_not_trusted(tmp_path: Path, logged: list[str]) -> None:
    path = tmp_path / "thing"
    build(path, "thing", {}, Maker("first"))
    values = read_json(manifest_path(path))
    del values["checksum"]  # as older versions wrote them
    write_json(manifest_path(path), {**values, "schema": SCHEMA + 1})
    build(path, "thing", {}, Maker("second"))
    assert path.read_text() == "second" and "another version" in logged[0]


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGE = {
    "a file cut short": lambda path: _truncate(path / "sub" / "two"),
    "a file gone": lambda path: (path / "one").unlink(),
    "everything gone": lambda path: shutil.rmtree(path),
    "no manifest": lambda path: manifest_path(path).unlink(),
    "a manifest cut short": lambda path: _truncate_to(manifest_path(path), 20),
    "an empty manifest": lambda path: _truncate_to(manifest_path(path), 0),
    "a manifest of something else": lambda path: manifest_path(path).write_text('{"kind": "x", "colour": "red"}'),
    "a manifest that is a list": lambda path: manifest_path(path).write_text("[1, 2]"),
    "a manifest with another digit": lambda path: _replace(manifest_path(path), '"length": 5', '"length": 6'),
    "a manifest that is no text": lambda path: manifest_path(path).write_bytes(b"\xff\xfe"),
}


def _replace(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def _truncate_to(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_does_not_exist(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "thing"
    build(path, "thing", {"seed": 1}, Maker("first", folder=True))
    assert read_manifest(path) is not None
    DAMAGE[damage](path)
    assert read_manifest(path) is None
    make = Maker("second", folder=True)
    build(path, "thing", {"seed": 1}, make)
    assert make.calls == 1 and (path / "sub" / "two").read_text() == "second" and read_manifest(path) is not None


def test_an_artefact_without_its_manifest_never_passes_for_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "thing"
    build(path, "thing", {"seed": 1}, Maker("first"))

    def fails(target: Path) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        build(path, "thing", {"seed": 2}, fails)
    assert read_manifest(path) is None
    build(path, "thing", {"seed": 1}, Maker("again"))
    assert path.read_text() == "again"


def spread(path: Path, inputs: dict[str, int], make: Callable[[Path], Any]) -> Manifest:
    """Make an artefact of several files next to its name, unless it is there."""
    if found := cached(path, inputs):
        return found
    with writing(path, "evaluation", inputs, spread=True) as made:
        made.facts |= make(made.target) or {}
    return made.manifest


def test_a_spread_artefact_lies_beside_its_name(tmp_path: Path) -> None:
    def make(target: Path) -> dict[str, int]:
        target.mkdir()
        for name in ("run.trec", "metrics.json"):
            (target / name).write_text(name)
        return {"n": 2}

    (tmp_path / "theirs").write_text("stays")
    manifest = spread(tmp_path / "evaluation", {"seed": 1}, make)
    assert names(tmp_path) == ["evaluation.manifest.json", "metrics.json", "run.trec", "theirs"]
    assert manifest.files == {"run.trec": 8, "metrics.json": 12}
    assert spread(tmp_path / "evaluation", {"seed": 1}, pytest.fail) == manifest
    (tmp_path / "run.trec").write_text("")
    assert read_manifest(tmp_path / "evaluation") is None
    spread(tmp_path / "evaluation", {"seed": 1}, make)
    assert (tmp_path / "run.trec").read_text() == "run.trec"
    spread(tmp_path / "evaluation", {"seed": 2}, make)
    assert names(tmp_path) == ["evaluation.manifest.json", "metrics.json", "run.trec", "theirs"]


def test_a_spread_artefact_killed_while_it_was_spread_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "evaluation"
    path.mkdir()  # the folder took its place, one of its files had moved, and then the lights went out
    (path / "metrics.json").write_text("old")
    (tmp_path / "run.trec").write_text("old")

    def make(target: Path) -> None:
        target.mkdir()
        for name in ("run.trec", "metrics.json"):
            (target / name).write_text("new")

    spread(path, {}, make)
    assert names(tmp_path) == ["evaluation.manifest.json", "metrics.json", "run.trec"]
    assert {(tmp_path / name).read_text() for name in ("metrics.json", "run.trec")} == {"new"}


KILLED = """
import sys, time
from pathlib import Path
from ance_tele.store.artefacts import build, cached, writing


def make(target):
    target.mkdir()
    (target / "big").write_text("half of it")
    print("in the middle", flush=True)
    time.sleep(60)

build(Path(sys.argv[1]), "thing", {"seed": 1}, make, shared=sys.argv[2] == "shared")
"""


@pytest.mark.parametrize("shared", [False, True])
def test_a_killed_process_leaves_no_artefact_and_the_next_one_cleans_up(tmp_path: Path, shared: bool) -> None:
    path = tmp_path / "thing"
    command = [sys.executable, "-c", KILLED, str(path), "shared" if shared else "alone"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "in the middle\n"
        leftover = temporary_of(tmp_path / "thing", host(), process.pid)
        assert leftover.is_dir()
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
    assert leftover.is_dir() and not path.exists() and read_manifest(path) is None
    manifest = build(path, "thing", {"seed": 1}, Maker(folder=True), shared=shared)
    assert read_manifest(path) == manifest and not leftover.exists()
    assert not [name for name in names(tmp_path) if "tmp" in name]


def test_of_several_who_want_the_same_one_makes_it_and_the_others_wait(tmp_path: Path, logged: list[str]) -> None:
    calls, found = list[int](), list[Any]()

    def slow(target: Path) -> None:
        calls.append(1)
        time.sleep(0.2)
        Maker(folder=True)(target)

    def want() -> None:
        found.append(build(tmp_path / "thing", "thing", {"seed": 1}, slow, shared=True))

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1 and len(found) == 4 and len({str(manifest.files) for manifest in found}) == 1
    assert sorted(manifest.reused for manifest in found) == [False, True, True, True]
    assert set(logged) == {"waiting for another process: thing"}


def test_a_shared_artefact_that_stands_can_be_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    manifest = build(tmp_path / "thing", "thing", {}, Maker(), shared=True)
    (tmp_path / ".thing.lock").unlink()
    assert build(tmp_path / "thing", "thing", {}, Maker(), shared=True) == manifest
    assert not (tmp_path / ".thing.lock").exists()


def test_a_lock_is_held_by_one_and_free_again(tmp_path: Path) -> None:
    def busy() -> None:
        raise UserError("busy")

    for _ in range(2):
        with lock(tmp_path / ".lock", busy):
            with pytest.raises(UserError, match="busy"), lock(tmp_path / ".lock", busy):
                pytest.fail("two hold the same lock")
            with lock(tmp_path / ".other", busy):
                pass


# ---- a full disk ---------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", folder]).returncode:
        pytest.skip("only root can make a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_really_full(
    toy: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANCE_TELE_CACHE", str(small_disk / "cache"))
    (small_disk / "ballast").write_bytes(bytes(32768))
    assert main(["data", str(toy)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "No space left on device" in error and "free some" in error
    assert [name for name in names(small_disk) if not name.endswith(".lock")] == [
        "ballast",
        "cache",
        "cache/collections",
    ]
    subprocess.run(["mount", "-o", "remount,size=1m", small_disk], check=True)
    assert main(["data", str(toy)]) == 0
    assert "problems          none found" in capsys.readouterr().out


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("4608 requested and 992 written"),  # numpy
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 8768 vs 8660"),  # torch
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),  # safetensors
    ],
)
def test_a_full_disk_in_the_words_of_every_library(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setenv("ANCE_TELE_CACHE", str(tmp_path))
    monkeypatch.setattr("ance_tele.data.importing._write_qrels", full)
    assert main(["data", str(toy)]) == 2
    error_line = capsys.readouterr().err
    assert error_line.startswith(f"ance-tele: No space left on device ({tmp_path}/collections/")
    assert error_line.endswith("; free some and run the same command again: what is finished is kept.\n")
    assert not [name for name in names(tmp_path) if not name.endswith(".lock") and name != "collections"]
    monkeypatch.setattr("ance_tele.data.importing._write_qrels", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # a fault of ours is not dressed up as one of the disk's
        main(["data", str(toy)])


# ---- small things --------------------------------------------------------------------------------


def test_fingerprints(tmp_path: Path) -> None:
    assert fingerprint({"a": 1, "b": [2, "é"]}) == fingerprint({"b": (2, "é"), "a": 1})
    assert len({fingerprint(value) for value in ({"a": 1}, {"a": "1"}, {"a": 1.5}, [], {}, "\ud800")}) == 6
    (tmp_path / "file").write_bytes(b"abc")
    assert file_sha256(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_json_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.json does not exist; is this the folder of a finished run"):
        read_json(tmp_path / "x.json")
    for damage in (b'{"a": ', b"\xff"):
        (tmp_path / "x.json").write_bytes(damage)
        with pytest.raises(UserError, match=r"x\.json is not valid JSON .*: delete it"):
            read_json(tmp_path / "x.json")
