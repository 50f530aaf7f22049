"""Manifests of artefacts, which decide whether these are reused.

An artefact is a file or a folder with a ``NAME.manifest.json`` next to it, written last. Without manifest it does not
count; with other inputs it is made anew, and the reason is logged.
"""

import importlib.metadata
import json
import logging
import os
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ance_tele.store.files import atomic, write_json

log = logging.getLogger(__name__)

SCHEMA = 1

# Larger files are known by their size alone: a corpus of gigabytes is opened by every command.
CHECKED_BYTES = 1 << 30


@cache
def package_versions() -> dict[str, str]:
    """Return the versions of the packages that affect results."""
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
    """Inputs, files and facts of an artefact.

    Attributes:
        kind: What it is, e.g. ``"pool"``.
        inputs: Everything that decides its content: fingerprints, settings, seed.
        files: Relative name and size in bytes of every file of it.
        facts: Counts and the like, readable without opening it.
        seconds: Wall-clock time of making it.
        versions: Of the packages that affect results.
        schema: Of the manifest.
        checksums: CRC-32 of every file of at most ``CHECKED_BYTES``; none in manifests of older versions.
        reused: The artefact was there already (not written to the file).
    """

    kind: str
    inputs: Mapping[str, Any]
    files: Mapping[str, int]
    facts: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=package_versions)
    schema: int = SCHEMA
    checksums: Mapping[str, int] = field(default_factory=dict)
    reused: bool = field(default=False, compare=False)

    def save(self, path: Path) -> None:
        """Write the manifest of the artefact at ``path``, which completes it."""
        values = asdict(self)
        del values["reused"]
        write_json(manifest_path(path), {**values, "checksum": _checksum(values)})


def manifest_path(path: Path) -> Path:
    """Return the path of the manifest of an artefact."""
    return path.with_name(path.name + ".manifest.json")


def read_manifest(path: Path) -> Manifest | None:
    """Return the manifest of the artefact at ``path``; None if that is missing, unreadable or incomplete."""
    try:
        manifest = parse_manifest(manifest_path(path).read_text("utf-8"))
        sizes = manifest and {name: (path.parent / name).stat().st_size for name in manifest.files}
    except (OSError, TypeError, ValueError):
        return None
    return manifest if manifest is not None and sizes == manifest.files else None


def parse_manifest(text: str) -> Manifest | None:
    """Return what a manifest's text holds; None if it is no manifest, or not as it was written."""
    try:
        values = json.loads(text)
        if (known := values.pop("checksum", None)) is not None and known != _checksum(values):
            return None
        manifest = Manifest(**values)
    except (TypeError, ValueError, AttributeError, RecursionError):
        return None
    parts = (manifest.inputs, manifest.files, manifest.facts, manifest.checksums)
    return manifest if all(isinstance(part, dict) for part in parts) else None


def checksums(folder: Path, files: Mapping[str, int]) -> dict[str, int]:
    """Return the CRC-32 of files, named relative to ``folder`` and given with their sizes, that are not too large."""
    return {name: file_crc32(folder / name) for name, size in files.items() if size <= CHECKED_BYTES}


def damaged(path: Path, manifest: Manifest) -> list[str]:
    """Return the names of files of the artefact at ``path`` that do not hold the bytes that were written."""
    return [name for name, known in manifest.checksums.items() if file_crc32(path.parent / name) != known]


def file_crc32(path: Path) -> int:
    """Return the CRC-32 of a file's bytes."""
    found = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found = zlib.crc32(block, found)
    return found


def _checksum(values: Mapping[str, Any]) -> int:
    """Return the CRC-32 of a manifest's own content: it holds metrics."""
    return zlib.crc32(json.dumps(values, sort_keys=True).encode())


def file_sizes(path: Path) -> dict[str, int]:
    """Return the sizes in bytes of a file, or of all files of a folder, by name relative to its parent."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path.parent)): file.stat().st_size for file in files}


def adopt(source: Path, target: Path) -> None:
    """Link (or copy) all artefacts of one folder into another, except those that exist there.

    Safe because artefacts are replaced, never changed in place.
    """
    manifests = {path for path in source.rglob("*.manifest.json") if not path.name.startswith(".")}
    files = {path for path in source.rglob("*") if path.is_file() and not _passing(path.relative_to(source))}
    for path in [*sorted(files - manifests), *sorted(manifests & files)]:  # manifests last
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
    """Return whether a path belongs to work in progress: locks, temporary files, checkpoints."""
    return any(part.startswith(".") or part == "checkpoints" for part in path.parts)


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return in a few words which inputs differ."""
    parts = []
    for key in _unequal(old, new):
        was, now = old.get(key), new.get(key)
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            parts.append(f"{', '.join(_unequal(was, now))} changed")
        elif all(isinstance(one, str) and len(one) == 64 for one in (was, now)):  # fingerprints
            parts.append(f"its {key} changed")
        else:
            parts.append(f"{key} was {_short(was)}, is {_short(now)}")
    return "; ".join(parts) or "it was written by another version"


def _unequal(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [key for key in {**old, **new} if old.get(key) != new.get(key)]


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:16] + "…" + text[-8:]
