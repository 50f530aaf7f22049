"""What a folder holds, as far as another place may hold it too: whole artefacts, and loose files that have no manifest.

Left out are hidden files (locks, temporary files) and what is not finished: arrays and checkpoints without a manifest.
"""

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from ance_tele.store.files import write_json
from ance_tele.store.manifests import parse_manifest

MANIFEST = ".manifest.json"

# These have a manifest as soon as they are finished.
_ARRAYS = (".npy", ".npz", ".parquet", ".safetensors")


@dataclass(frozen=True)
class Entry:
    """An artefact: CRC-32 of its manifest, kind, and the sizes and CRC-32 of its files by name within the tree."""

    crc: int
    kind: str
    files: Mapping[str, int]
    checksums: Mapping[str, int]

    @classmethod
    def of(cls, name: str, content: bytes) -> "Entry | None":
        """Return what a manifest of the artefact ``name`` says; None if it is none, or names files outside the tree."""
        manifest = parse_manifest(content.decode("utf-8", "replace"))
        if manifest is None:
            return None
        parent = PurePosixPath(name).parent
        files, sums = (
            {str(parent / one): value for one, value in of.items()} for of in (manifest.files, manifest.checksums)
        )
        if not all(map(inside, files)):
            return None
        return cls(zlib.crc32(content), manifest.kind, files, sums)


@dataclass(frozen=True)
class Tree:
    """Artefacts by name, and the CRC-32 of loose files by name; names have slashes, relative to the folder."""

    artefacts: dict[str, Entry] = field(default_factory=dict)
    loose: dict[str, int] = field(default_factory=dict)

    def covers(self, name: str) -> bool:
        """Return whether a file belongs to an artefact."""
        return any(name in entry.files for entry in self.artefacts.values())

    def save(self, path: Path) -> None:
        """Write the tree to a JSON file."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> "Tree":
        """Read a tree back; an empty one if there is none, or none that can be read."""
        try:
            found = json.loads(path.read_text("utf-8"))
            return cls({name: Entry(**entry) for name, entry in found["artefacts"].items()}, dict(found["loose"]))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return cls()


def inside(name: str) -> bool:
    """Return whether a name stays within the tree."""
    return not {"", ".", ".."} & set(name.split("/")) and "\\" not in name


def hidden(name: str) -> bool:
    """Return whether a file, or a folder that it is in, is hidden."""
    return any(part.startswith(".") for part in name.split("/"))


def is_manifest(name: str) -> bool:
    """Return whether a file is a manifest."""
    return name.endswith(MANIFEST) and not hidden(name)


def scan(folder: Path) -> Tree:
    """Return what a folder holds, while others may work in it."""
    sizes = dict(sorted(_files(folder)))
    artefacts: dict[str, Entry] = {}
    for name in sizes:
        if not is_manifest(name):
            continue
        artefact = name.removesuffix(MANIFEST)
        try:
            entry = Entry.of(artefact, (folder / name).read_bytes())
        except FileNotFoundError:  # being made again
            continue
        if entry is not None and all(sizes.get(one) == size for one, size in entry.files.items()):
            artefacts[artefact] = entry
    covered = {one for entry in artefacts.values() for one in entry.files}
    loose: dict[str, int] = {}
    for name in sizes:
        if name not in covered and is_loose(name):
            try:
                loose[name] = zlib.crc32((folder / name).read_bytes())
            except FileNotFoundError:
                continue
    return Tree(artefacts, loose)


def is_loose(name: str) -> bool:
    """Return whether a file outside all artefacts is one that never has a manifest."""
    unfinished = "checkpoints" in name.split("/") or name.endswith((MANIFEST, *_ARRAYS))
    return inside(name) and not hidden(name) and not unfinished


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the name and size of every file."""
    for where, _, files in os.walk(folder):  # which passes over folders that are removed meanwhile
        for file in files:
            path = Path(where, file)
            try:
                yield path.relative_to(folder).as_posix(), path.stat().st_size
            except FileNotFoundError:
                continue
