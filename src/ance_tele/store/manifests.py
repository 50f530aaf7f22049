"""Artefacts: what a phase leaves on disk, described by a manifest, and made again where its inputs have changed.

An artefact is a file or a folder; next to it lies ``NAME.manifest.json``, written last. An artefact without its
manifest does not exist; one whose inputs differ from the ones asked for is made again, and a log line gives the reason.
"""

import importlib.metadata
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ance_tele.store.files import atomic, write_json
from ance_tele.store.fingerprints import fingerprint

log = logging.getLogger(__name__)

SCHEMA = 1
# The key under which a manifest has the fingerprint of the rest of it, by which damage is noticed.
_CHECK = "sha256"


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
        reused: The artefact was there already (not written to the file).
    """

    kind: str
    inputs: Mapping[str, Any]
    files: Mapping[str, int]
    facts: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=package_versions)
    schema: int = SCHEMA
    reused: bool = field(default=False, compare=False)

    def save(self, path: Path) -> None:
        """Write the manifest of the artefact at ``path``, which makes the artefact exist."""
        values = asdict(self)
        del values["reused"]
        write_json(manifest_path(path), {**values, _CHECK: _checksum(values)})


def manifest_path(path: Path) -> Path:
    """Return where the manifest of the artefact at ``path`` lies."""
    return path.with_name(path.name + ".manifest.json")


def read_manifest(path: Path) -> Manifest | None:
    """Return the manifest of the artefact at ``path``; None if it has none that can be read, or was damaged."""
    try:
        values = json.loads(manifest_path(path).read_text("utf-8"))
        if _CHECK in values and values.pop(_CHECK) != _checksum(values):  # older manifests have none
            return None
        manifest = Manifest(**values)
        if not all(isinstance(part, dict) for part in (manifest.inputs, manifest.files, manifest.facts)):
            return None
        sizes = {name: (path.parent / name).stat().st_size for name in manifest.files}
    except (OSError, TypeError, ValueError, AttributeError, RecursionError):
        return None
    return manifest if sizes == manifest.files else None


def _checksum(values: Mapping[str, Any]) -> str:
    """Return the fingerprint of a manifest's content, as it is read back."""
    return fingerprint(json.loads(json.dumps(values)))


def file_sizes(path: Path) -> dict[str, int]:
    """Return the sizes in bytes of a file, or of all files of a folder, by name relative to its parent."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path.parent)): file.stat().st_size for file in files}


def adopt(source: Path, target: Path) -> None:
    """Take over all artefacts of one folder into another; linked, not copied, where the file system can.

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
