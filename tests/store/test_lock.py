"""Locks: who holds one is known, also on another host, and what the dead have left is taken over."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ance_tele.console.errors import UserError
from ance_tele.store import lock as module
from ance_tele.store.files import host
from ance_tele.store.lock import lock


def leave(path: Path, process: int, host: str, age: float = 0.0) -> None:
    """Write what a process that was killed leaves, or one that is at work holds."""
    record = {"process": process, "host": host, "since": "2026-11-27 10:00:00.000+00:00", "command": "ance-tele run"}
    path.write_text(json.dumps(record), "utf-8")
    os.utime(path, (time.time() - age,) * 2)


@pytest.fixture
def dead() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.01)


def test_the_file_says_who_holds_it_and_is_empty_afterwards(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with lock(path):
        record = json.loads(path.read_text())
        assert (record["process"], record["host"]) == (os.getpid(), host())
        with (
            pytest.raises(UserError, match=rf"^Process {os.getpid()} on .* has been at work in .* since 20") as refused,
            lock(path),
        ):
            pytest.fail("two hold the same lock")
        assert record["command"] in str(refused.value) and record["since"][:19] in str(refused.value)
    assert path.read_text() == ""


@pytest.mark.usefixtures("no_flock")
def test_without_flock_the_record_holds(tmp_path: Path, dead: int, logged: list[str]) -> None:
    path = tmp_path / ".lock"
    with lock(path), pytest.raises(UserError, match="has been at work"), lock(path):
        pytest.fail("two hold the same lock")
    assert path.read_text() == "" and logged == []
    leave(path, dead, host())
    with lock(path):
        pass
    assert logged == [f"{tmp_path} is taken over. Process {dead} on {host()} had it, which is gone"]
    leave(path, os.getppid(), host(), age=400)  # the number is another process's by now
    with lock(path):
        pass
    assert "no sign of life for 6m40s" in logged[1]


@pytest.mark.parametrize("flock", [True, False])
def test_another_host_is_believed_while_it_shows_signs_of_life(
    tmp_path: Path, dead: int, logged: list[str], flock: bool, request: pytest.FixtureRequest
) -> None:
    if not flock:
        request.getfixturevalue("no_flock")
    path = tmp_path / ".lock"
    leave(path, dead, "elsewhere", age=100)
    told = rf"Process {dead} on elsewhere has been .* \(ance-tele run; last sign of life 1m4\ds ago\)"
    with pytest.raises(UserError, match=told.replace("1m4", "1m[34]")), lock(path):
        pytest.fail("it is held")
    leave(path, dead, "elsewhere", age=301)
    with lock(path):
        assert json.loads(path.read_text())["host"] == host()
    assert logged[0].startswith(f"{tmp_path} is taken over. Process {dead} on elsewhere had it, of which there was no")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".lock"]


def test_the_clock_is_the_file_systems(tmp_path: Path, dead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(tmp_path / ".lock", dead, "elsewhere", age=0)
    monkeypatch.setattr(time, "time", lambda: 1e10)  # a host whose clock is centuries ahead
    with pytest.raises(UserError, match="on elsewhere"), lock(tmp_path / ".lock"):
        pytest.fail("it is held")


def test_signs_of_life_and_the_end_of_one_that_was_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    stopped: list[int] = []
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(module, "interrupt_main", stopped.append)
    path = tmp_path / ".lock"
    with lock(path):
        os.utime(path, (1, 1))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > 2 and not stopped
        leave(path, 7, "elsewhere")
        while not stopped and time.monotonic() < deadline:
            time.sleep(0.01)
    assert stopped and "has been taken over. Process 7 on elsewhere has it" in logged[0]
    assert json.loads(path.read_text())["host"] == "elsewhere"  # not ours to empty
