"""Artefacts: what a phase leaves on disk, written atomically, described by a manifest.

An artefact is a file or a folder; beside it lies ``NAME.manifest.json``, written last. An artefact without
its manifest does not exist; one whose inputs differ from the ones asked for is made again, and a line says
why. Nothing half-written is ever taken for whole.
"""

import errno
import hashlib
import importlib.metadata
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from glob import escape
from pathlib import Path
from typing import Any

from ance_tele.console.errors import UserError

log = logging.getLogger(__name__)

SCHEMA = 1


def fingerprint(value: object) -> str:
    """Return the sha-256 (hex) of a JSON-serialisable value, independent of the order of keys."""
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _slow(file)


def _slow(file: Any) -> str:  # Python 3.10 has no hashlib.file_digest
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


@cache
def package_versions() -> dict[str, str]:
    """Return the versions of the packages that can change a number."""
    names = ("ance-tele", "torch", "transformers", "sentence-transformers", "numpy", "faiss-cpu", "bm25s")
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


@dataclass(frozen=True)
class Manifest:
    """What an artefact is made of.

    Attributes:
        kind: What it is, e.g. ``"pool"``.
        inputs: Everything that decides its content: fingerprints, settings, seed.
        files: Relative name and size in bytes of every file of it.
        facts: What is worth knowing without opening it (counts, shortages).
        seconds: Wall-clock time that making it took.
        versions: Of the packages that can change a number.
        schema: Of the manifest.
        stood: The artefact was there already (not written to the file).
    """

    kind: str
    inputs: Mapping[str, Any]
    files: Mapping[str, int]
    facts: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=package_versions)
    schema: int = SCHEMA
    stood: bool = field(default=False, compare=False)

    def save(self, path: Path) -> None:
        """Write the manifest of the artefact at ``path``, which makes the artefact exist."""
        values = asdict(self)
        del values["stood"]
        write_json(manifest_path(path), values)


def manifest_path(path: Path) -> Path:
    """Return where the manifest of the artefact at ``path`` lies."""
    return path.with_name(path.name + ".manifest.json")


def read_manifest(path: Path) -> Manifest | None:
    """Return the manifest of the artefact at ``path``; None if it has none that can be read, or was damaged."""
    try:
        manifest = Manifest(**json.loads(manifest_path(path).read_text("utf-8")))
        sizes = {name: (path.parent / name).stat().st_size for name in manifest.files}
    except (FileNotFoundError, json.JSONDecodeError, TypeError, UnicodeDecodeError):
        return None
    return manifest if sizes == manifest.files else None


def file_sizes(path: Path) -> dict[str, int]:
    """Return the sizes in bytes of a file, or of all files of a folder, by name relative to its parent."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path.parent)): file.stat().st_size for file in files}


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; what is made there takes its place only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".{escape(path.name)}.tmp-*"):
        process = leftover.name.rpartition("-")[2]
        if process.isdigit() and not _alive(int(process)):  # left by a process that was killed
            remove(leftover)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        yield temporary
        for file in [temporary] if temporary.is_file() else [f for f in temporary.rglob("*") if f.is_file()]:
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        if path.is_dir():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        remove(temporary)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()


@contextmanager
def lock(path: Path, busy: Callable[[], None]) -> Iterator[None]:
    """Hold a lock file while the block runs.

    Args:
        path: The lock file; it stays where it is, empty.
        busy: Called where another process holds it; if this does not raise, the lock is waited for.
    """
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy()
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):  # a file system without locks
                raise
        yield


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write a JSON file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: It is missing, or it is not JSON.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; is this the folder of a finished run?") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); delete it and run the same command again.") from None


def build(
    path: Path,
    kind: str,
    inputs: Mapping[str, Any],
    make: Callable[[Path], Mapping[str, Any] | None],
    spread: bool = False,
    shared: bool = False,
) -> Manifest:
    """Make the artefact at ``path`` unless it stands, whole and made of the same inputs.

    Args:
        path: Where the artefact belongs.
        kind: What it is, e.g. ``"pool"``.
        inputs: Everything that decides its content (JSON-serialisable).
        make: Gets a temporary path, makes the file or folder there, returns facts for the manifest.
        spread: The artefact is several files: what ``make`` puts into a folder goes beside ``path``, which
            only names the manifest.
        shared: Other processes may want the same artefact at the same time: one makes it, the others wait.

    Returns:
        The manifest of the artefact, which now stands.
    """
    inputs = json.loads(json.dumps(inputs))  # what will be read back: tuples are lists, keys are strings
    stood = read_manifest(path)
    if stood is not None and stood.inputs == inputs and stood.schema == SCHEMA:
        return replace(stood, stood=True)
    if shared:
        with lock(path.with_name(f".{path.name}.lock"), lambda: log.info(f"waiting for another process: {kind}")):
            return build(path, kind, inputs, make, spread)
    if stood is not None:
        log.info(f"{kind} {path.name} is made again: {difference(stood.inputs, inputs)}")
    manifest_path(path).unlink(missing_ok=True)
    start = time.perf_counter()
    with atomic(path) as temporary:
        facts = make(temporary) or {}
    files = file_sizes(path)
    if spread:
        files = {name.partition("/")[2]: size for name, size in files.items()}
        for name in files:
            (path / name).replace(path.parent / name)
        remove(path)
    manifest = Manifest(kind, inputs, files, facts, round(time.perf_counter() - start, 3))
    manifest.save(path)
    return manifest


def adopt(source: Path, target: Path) -> None:
    """Let all that stands in one folder stand in another too; linked, not copied, where the file system can.

    What the target has already stays. Safe because artefacts are replaced, never changed in place.
    """
    manifests = {path for path in source.rglob("*.manifest.json") if not path.name.startswith(".")}
    files = {path for path in source.rglob("*") if path.is_file() and not _passing(path.relative_to(source))}
    for path in [*sorted(files - manifests), *sorted(manifests & files)]:  # manifests make artefacts exist
        to = target / path.relative_to(source)
        if to.exists():
            continue
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, to)
        except OSError:
            with atomic(to) as temporary:
                shutil.copyfile(path, temporary)


def _passing(path: Path) -> bool:
    """Say whether a path belongs to work in progress: locks, temporary files, checkpoints."""
    return any(part.startswith(".") or part == "checkpoints" for part in path.parts)


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say in a few words which inputs differ."""
    parts = []
    for key in _unequal(old, new):
        was, now = old.get(key), new.get(key)
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            parts.append(f"of {key}, {', '.join(_unequal(was, now))} changed")
        else:
            parts.append(f"{key} was {_short(was)}, is {_short(now)}")
    return "; ".join(parts) or "it was written by another version"


def _unequal(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [key for key in {**old, **new} if old.get(key) != new.get(key)]


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:16] + "…" + text[-8:]
