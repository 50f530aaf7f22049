"""One machine at a time at a URL: who is there is told, and who is dead is taken over."""

import json
import os
import re
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from ance_tele.console.errors import UserError
from ance_tele.console.extras import install
from ance_tele.store import holder
from ance_tele.store.files import host
from ance_tele.store.holder import NAME, held
from ance_tele.store.mirror import mirrored

URL, BASE = "memory://bucket/run", "/bucket/run"
pytestmark = pytest.mark.usefixtures("store")


def record(store: MemoryFileSystem, process: int, where: str, age: float = 0.0) -> bytes:
    """Write the record of another process, some seconds old."""
    of = {"process": process, "host": where, "since": "2026-11-28 01:02:03.456+00:00", "command": "ance-tele run x"}
    content = json.dumps(of).encode()
    store.pipe_file(f"{BASE}/{NAME}", content)
    store.store[f"{BASE}/{NAME}"].modified -= timedelta(seconds=age)
    return content


@pytest.mark.parametrize("where, age", [("elsewhere", 299.0), (host(), 10.0)])
def test_who_is_at_work_is_told(store: MemoryFileSystem, where: str, age: float) -> None:
    before = record(store, os.getppid(), where, age)
    with pytest.raises(UserError) as refused, held(store, BASE, URL):
        pass
    sentence = str(refused.value)
    assert sentence.startswith(f"Process {os.getppid()} on {where} has been at work at {URL} since 2026-11-28 01:02:03")
    assert "(ance-tele run x; last sign of life " in sentence
    assert store.cat_file(f"{BASE}/{NAME}") == before
    assert store.find(BASE) == [f"{BASE}/{NAME}"]


@pytest.mark.parametrize("process, where, age", [(1, "elsewhere", 301.0), (2**22 + 5, host(), 0.0)])
def test_who_is_dead_is_taken_over(
    store: MemoryFileSystem, logged: list[str], process: int, where: str, age: float
) -> None:
    record(store, process, where, age)
    with held(store, BASE, URL):
        assert json.loads(store.cat_file(f"{BASE}/{NAME}"))["process"] == os.getpid()
    assert any(f"{URL} is taken over. Process {process} on {where} had it" in line for line in logged)
    assert store.find(BASE) == []


def test_of_two_that_begin_at_once_one_goes_on(store: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holder.time, "sleep", lambda seconds: record(store, 77, "elsewhere"))
    with pytest.raises(UserError, match="Process 77 on elsewhere has just begun to work"), held(store, BASE, URL):
        pass
    assert json.loads(store.cat_file(f"{BASE}/{NAME}"))["process"] == 77


def test_signs_of_life_are_given_and_a_takeover_stops_the_process(
    store: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = threading.Event()
    monkeypatch.setattr(holder, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(holder, "interrupt_main", lambda number: stopped.set())
    with held(store, BASE, URL) as lost:
        store.store[f"{BASE}/{NAME}"].modified -= timedelta(seconds=400)
        renewed = threading.Event()
        while not renewed.wait(0.01):
            if holder._age(store, f"{BASE}/{NAME}") < 100:
                renewed.set()
        assert not lost.is_set()
        theirs = record(store, 77, "elsewhere")
        assert stopped.wait(10) and lost.is_set()
    assert store.cat_file(f"{BASE}/{NAME}") == theirs


def test_who_was_taken_over_uploads_nothing(
    store: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(holder, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(holder, "interrupt_main", lambda number: stopped.set())
    stopped = threading.Event()
    with pytest.raises(UserError, match="somebody else has taken it over"), mirrored(URL, tmp_path / "run"):
        record(store, 77, "elsewhere")
        assert stopped.wait(10)
        (tmp_path / "run" / "run.json").write_text("{}")
    assert store.find(BASE) == [f"{BASE}/{NAME}"]


@pytest.mark.parametrize(
    "url, says",
    [
        ("nowhere://bucket/run", "is no URL that fsspec knows"),
        ("memory://", "names no folder"),
    ],
)
def test_urls_that_cannot_be_used(url: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says), mirrored(url, tmp_path / "run"):
        pass


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(_registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    sentence = re.escape(f"needs a package that is not installed: {install('s3')}.")
    with pytest.raises(UserError, match=sentence), mirrored("s3://bucket/run", tmp_path / "run"):
        pass
