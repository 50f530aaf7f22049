"""Artefacts as values: the output of a phase in memory, or on disk with a function to read it."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from ance_tele.console.errors import UserError
from ance_tele.store.files import atomic, remove
from ance_tele.store.lock import lock
from ance_tele.store.manifests import (
    SCHEMA,
    Manifest,
    checksums,
    damaged,
    difference,
    file_sizes,
    manifest_path,
    read_manifest,
)

log = logging.getLogger(__name__)


T = TypeVar("T")


@dataclass(frozen=True)
class Artefact(Generic[T]):
    """An artefact of a run folder, made now or cached.

    Attributes:
        manifest: Its inputs and facts.
        read: Reads it from disk.
        value: Its content if made now; None if cached.
    """

    manifest: Manifest
    read: Callable[[], T]
    value: T | None = None

    def load(self) -> T:
        """Return the content, from memory or disk."""
        return self.read() if self.value is None else self.value

    def on_disk(self) -> "Artefact[T]":
        """Return the artefact without its content in memory."""
        return replace(self, value=None)


@dataclass
class Writing:
    """An artefact being written to a temporary path; it gets its manifest at the end of the block.

    ``earlier_seconds`` are what an interrupted start has spent on it, which this one need not do again.
    """

    target: Path
    facts: dict[str, Any] = field(default_factory=dict)
    earlier_seconds: float = 0.0
    manifest: Manifest = field(init=False)

    def artefact(self, read: Callable[[], T], value: T | None = None) -> Artefact[T]:
        """Return the artefact, after the end of the block."""
        return Artefact(self.manifest, read, value)


def cached(path: Path, inputs: Mapping[str, Any]) -> Manifest | None:
    """Return the manifest of an artefact that is whole and made of the same inputs; None where there is none.

    Its bytes are compared with their checksums; the manifest of a damaged one is removed, so that nobody else reads it.
    """
    found = read_manifest(path)
    if found is None or found.inputs != as_read_back(inputs) or found.schema != SCHEMA:
        return None
    if wrong := damaged(path, found):
        log.info(f"{path.parent / wrong[0]} is damaged: it does not hold what was written, and is made again")
        manifest_path(path).unlink(missing_ok=True)
        return None
    return replace(found, reused=True)


def check_whole(path: Path, manifest: Manifest) -> None:
    """Refuse an artefact that does not hold what was written.

    Raises:
        UserError: One of its files is damaged.
    """
    for name in damaged(path, manifest)[:1]:
        raise UserError(f"{path.parent / name} is damaged: delete it; the command that made it makes it again.")


def as_read_back(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return inputs as in a manifest: tuples as lists, keys as strings."""
    plain: dict[str, Any] = json.loads(json.dumps(inputs))
    return plain


@contextmanager
def writing(path: Path, kind: str, inputs: Mapping[str, Any], spread: bool = False) -> Iterator[Writing]:
    """Write the artefact at ``path`` atomically, and its manifest last.

    With ``spread`` it is several files: those that the block writes into a folder are moved next to ``path``, which
    only names the manifest.
    """
    inputs, before = as_read_back(inputs), read_manifest(path)
    if before is not None:
        log.info(f"{path} is made again: {difference(before.inputs, inputs)}")
    manifest_path(path).unlink(missing_ok=True)
    start = time.perf_counter()
    with atomic(path) as temporary:
        made = Writing(temporary)
        yield made
    files = file_sizes(path)
    sums = checksums(path.parent, files)
    if spread:
        files, sums = ({name.partition("/")[2]: one for name, one in of.items()} for of in (files, sums))
        for name in files:
            (path / name).replace(path.parent / name)
        remove(path)
    seconds = round(made.earlier_seconds + time.perf_counter() - start, 3)
    made.manifest = Manifest(kind, inputs, files, made.facts, seconds, checksums=sums)
    made.manifest.save(path)


def build(
    path: Path,
    kind: str,
    inputs: Mapping[str, Any],
    make: Callable[[Path], Mapping[str, Any] | None],
    shared: bool = False,
) -> Manifest:
    """Make the artefact at ``path`` unless a complete one with the same inputs exists; return its manifest.

    ``make`` writes the file or folder to a temporary path and returns facts for the manifest. With ``shared``, only one
    of several processes makes it, and the others wait.
    """
    if found := cached(path, inputs):
        return found
    if shared:
        with lock(path.with_name(f".{path.name}.lock"), lambda: log.info(f"waiting for another process: {kind}")):
            return build(path, kind, inputs, make)
    with writing(path, kind, inputs) as made:
        made.facts |= make(made.target) or {}
    return made.manifest
