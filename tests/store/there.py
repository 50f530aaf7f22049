"""A run folder to be uploaded to fsspec's memory file system, and ways for that to fail."""

import json
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from ance_tele.store.artefacts import writing
from ance_tele.store.files import remove
from ance_tele.store.manifests import Manifest, checksums, damaged, file_sizes, read_manifest
from ance_tele.store.remote import Remote

URL, BASE = "memory://bucket/runs/mine", "/bucket/runs/mine"


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
