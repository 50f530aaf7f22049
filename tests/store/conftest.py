"""An empty object store: fsspec's memory file system."""

from collections.abc import Iterator

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from ance_tele.store import holder


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryFileSystem]:
    """An empty object store; nobody waits in it."""
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    monkeypatch.setattr(holder, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr("ance_tele.store.mirror.LAST_PAUSES", (0.0, 0.0))
    yield MemoryFileSystem()
