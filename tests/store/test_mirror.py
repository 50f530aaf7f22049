"""Working at a URL: what is uploaded while the block runs, at its end, and when the network is away."""

import time
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from there import ALL, BASE, URL, a_run, at, checkpoint, failing_after, note, whole

from ance_tele.console.errors import UserError
from ance_tele.store.files import remove
from ance_tele.store.mirror import mirrored

pytestmark = pytest.mark.usefixtures("store")


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
        assert not store.exists(f"{BASE}/.holder.json")


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
        assert f"{BASE}/run.json" in MemoryFileSystem.store  # before the end of the block
    assert sum("cannot be written now" in line for line in logged) == 1


def test_what_cannot_be_uploaded_at_the_end_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = r"is not up to date \(Lost\); all there is lies in .*/a, and the same"
    with pytest.raises(UserError, match=sentence), mirrored(URL, tmp_path / "a"):
        a_run(tmp_path / "a")
        failing_after(0, monkeypatch)
    assert set(whole(tmp_path / "a")) == ALL


def test_a_stop_uploads_the_checkpoint_and_leaves_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    monkeypatch.setattr("ance_tele.store.mirror.STOP_SECONDS", 1.0)
    real, clock = MemoryFileSystem.put_file, [0.0]
    monkeypatch.setattr("ance_tele.store.mirror.time.monotonic", lambda: clock[0])

    def slow(self: MemoryFileSystem, local: str, path: str) -> None:
        clock[0] += 0.4
        real(self, local, path)

    folder = tmp_path / "a"
    a_run(folder)
    at(folder).push()
    monkeypatch.setattr(MemoryFileSystem, "put_file", slow)
    with pytest.raises(KeyboardInterrupt), mirrored(URL, folder):
        note(folder / "episode-1" / "model", "two")
        remove(folder / "episode-2" / "checkpoints" / "checkpoint-4")
        checkpoint(folder / "episode-2" / "checkpoints", 4)
        raise KeyboardInterrupt
    at(tmp_path / "b").pull()
    assert "episode-2/checkpoints/checkpoint-4" in whole(tmp_path / "b")
    assert clock[0] < 1.5
    assert any("is not up to date (there was no time)" in line for line in logged)
