"""A folder and a URL that hold the same artefacts; the folder is worked in, since memory maps need local files.

An object store has no rename. So the files of an artefact are uploaded first and its manifest last, and the manifest of
one that is replaced is removed before: whatever ends an upload, a manifest never describes other files. Files without
a manifest are listed in an object of their own, with their CRC-32, likewise last.
"""

import json
import logging
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ance_tele.store.files import atomic
from ance_tele.store.manifests import file_crc32
from ance_tele.store.tree import MANIFEST, Entry, Tree, is_loose, is_manifest, scan
from ance_tele.store.urls import file_system

log = logging.getLogger(__name__)

# The object that lists the loose files.
LOOSE = ".files.json"

# What a run itself removes once it is not needed any more; nothing else is deleted at the URL.
DROPPED = ("checkpoint", "vectors", "partial lists", "lists around positives")


@dataclass(frozen=True)
class Remote:
    """A folder and a URL.

    What lay at the URL when it was last seen is kept next to the folder: so what has changed here is told from what has
    changed there.

    Attributes:
        url: As given.
        fs: The fsspec file system.
        base: Path in it.
        folder: The working copy.
    """

    url: str
    fs: Any
    base: str
    folder: Path

    @classmethod
    def of(cls, url: str, folder: Path) -> "Remote":
        """Return the pair of a URL and its working copy; errors as of :func:`ance_tele.store.urls.file_system`."""
        return cls(url, *file_system(url), folder)

    @property
    def seen(self) -> Path:
        """The file that holds what lay at the URL when it was last seen."""
        return self.folder.with_name(f"{self.folder.name}.seen.json")

    def at(self, name: str) -> str:
        """Return the path of an object."""
        return f"{self.base}/{name}"

    def listing(self) -> dict[str, int]:
        """Return the sizes of all objects, by name."""
        self.fs.invalidate_cache()
        try:
            found = self.fs.find(self.base, detail=True)
        except FileNotFoundError:
            return {}
        start = len(self.base) + 1
        return {path[start:]: int(info["size"]) for path, info in found.items() if path.startswith(self.base + "/")}

    # From there to here

    def pull(self) -> int:
        """Fetch what is whole at the URL, and not here or older here; return the bytes fetched.

        What has changed here since the last time, and not there, stays. A loose file that has changed in both places
        is fetched, and the one that was here is kept as ``.NAME.here``.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        there, contents = self._whole()
        here, seen, fetched = scan(self.folder), Tree.load(self.seen), 0
        for name, entry in list(there.artefacts.items()):
            ours, known = here.artefacts.get(name), seen.artefacts.get(name)
            if ours is not None and entry.crc in (ours.crc, known and known.crc):
                continue
            try:
                fetched += self._fetch(name, entry, contents[name])
            except (_Damaged, FileNotFoundError) as damage:
                log.info(f"{self.url}/{name} is not whole there ({damage}) and does not count")
                del there.artefacts[name]
        for name, crc in list(there.loose.items()):
            if here.covers(name) or (name in here.loose and crc in (here.loose[name], seen.loose.get(name))):
                continue
            content = self._read(name)
            if content is None or zlib.crc32(content) != crc:
                log.info(f"{self.url}/{name} is not whole there and does not count")
                del there.loose[name]
                continue
            self._keep(name, here.loose.get(name), seen.loose.get(name))
            with atomic(self.folder / name) as temporary:
                temporary.write_bytes(content)
            fetched += len(content)
        there.save(self.seen)
        return fetched

    def _whole(self) -> tuple[Tree, dict[str, bytes]]:
        """Return what is whole at the URL, as far as sizes tell, and the content of its manifests."""
        sizes = self.listing()
        names = [name for name in sizes if is_manifest(name)]
        with ThreadPoolExecutor(8) as pool:
            read = dict(zip(names, pool.map(self._read, names), strict=True))
        contents = {name.removesuffix(MANIFEST): content for name, content in read.items() if content is not None}
        entries = {name: Entry.of(name, content) for name, content in contents.items()}
        artefacts = {
            name: entry
            for name, entry in entries.items()
            if entry is not None and all(sizes.get(one) == size for one, size in entry.files.items())
        }
        try:
            listed = json.loads(self._read(LOOSE) or b"{}")
        except ValueError:  # cut short
            listed = {}
        loose = {name: crc for name, crc in listed.items() if is_loose(name) and name in sizes}
        return Tree(artefacts, loose), contents

    def _read(self, name: str) -> bytes | None:
        """Return the content of an object; None if there is none."""
        try:
            content: bytes = self.fs.cat_file(self.at(name))
        except FileNotFoundError:
            return None
        return content

    def _fetch(self, name: str, entry: Entry, manifest: bytes) -> int:
        """Fetch an artefact, its manifest last; return the bytes fetched."""
        target, fetched = self.folder / (name + MANIFEST), 0
        target.unlink(missing_ok=True)
        for file, size in entry.files.items():
            path, crc = self.folder / file, entry.checksums.get(file)
            if path.is_file() and path.stat().st_size == size and crc is not None and file_crc32(path) == crc:
                continue  # fetched before something ended
            with atomic(path) as temporary:
                self.fs.get_file(self.at(file), str(temporary))
                if temporary.stat().st_size != size or (crc is not None and file_crc32(temporary) != crc):
                    raise _Damaged(f"{file} does not hold what was written")
            fetched += size
        for path in (self.folder / name).rglob("*"):  # of the one before
            if path.is_file() and path.relative_to(self.folder).as_posix() not in entry.files:
                path.unlink()
        with atomic(target) as temporary:
            temporary.write_bytes(manifest)
        return fetched

    def _keep(self, name: str, ours: int | None, seen: int | None) -> None:
        """Keep a loose file that is about to be replaced, if it has changed here."""
        if ours is not None and ours != seen:
            path = self.folder / name
            kept = path.with_name(f".{path.name}.here")
            path.replace(kept)
            log.info(f"{self.url}/{name} was changed there, and here too: what was here is kept as {kept}")

    # From here to there

    def push(self, halted: Callable[[], bool] = lambda: False) -> bool:
        """Upload what has changed here, and drop at the URL what a run has dropped; return whether all of it is there.

        Checkpoints go first: they are what a stopped run needs, which has seconds left. ``halted`` is asked between
        files.
        """
        here, seen = scan(self.folder), Tree.load(self.seen)
        changed = [
            name
            for name, entry in here.artefacts.items()
            if name not in seen.artefacts or seen.artefacts[name].crc != entry.crc
        ]
        changed.sort(key=self._made)
        first = [name for name in reversed(changed) if here.artefacts[name].kind == "checkpoint"]
        try:
            if not seen.loose:  # without its run.json, what is there is no run
                seen = self._put_loose(here, seen, halted)
            for name in first:
                seen = self._put(name, here.artefacts[name], seen, halted)
            seen = self._put_loose(here, seen, halted)
            for name in changed:
                if name not in first:
                    seen = self._put(name, here.artefacts[name], seen, halted)
            self._drop(here, seen)
        except _Halted:
            return False
        return True

    def _made(self, name: str) -> tuple[float, str]:
        """Return when an artefact was made, so that they are uploaded in that order."""
        try:
            return (self.folder / (name + MANIFEST)).stat().st_mtime, name
        except FileNotFoundError:
            return 0.0, name

    def _put_loose(self, here: Tree, seen: Tree, halted: Callable[[], bool]) -> Tree:
        """Upload the loose files that have changed, then the list of all; return what is at the URL."""
        loose = {name: crc for name, crc in seen.loose.items() if not here.covers(name)}
        for name, crc in here.loose.items():
            if loose.get(name) == crc or seen.covers(name):  # an artefact that is being made again
                continue
            try:
                content = (self.folder / name).read_bytes()
            except FileNotFoundError:
                continue
            _unless(halted)
            self.fs.pipe_file(self.at(name), content)
            loose[name] = zlib.crc32(content)
        if loose != seen.loose:
            self.fs.pipe_file(self.at(LOOSE), json.dumps(loose, indent=1).encode())
        return self._saw(replace(seen, loose=loose))

    def _put(self, name: str, entry: Entry, seen: Tree, halted: Callable[[], bool]) -> Tree:
        """Upload an artefact, unless it is made again meanwhile; return what is at the URL."""
        _unless(halted)
        artefacts = {other: one for other, one in seen.artefacts.items() if other != name}
        seen = self._saw(replace(seen, artefacts=artefacts))
        self._delete(name + MANIFEST)
        try:
            for file in entry.files:
                _unless(halted)
                self.fs.put_file(str(self.folder / file), self.at(file))
            manifest = (self.folder / (name + MANIFEST)).read_bytes()
        except FileNotFoundError:
            if all((self.folder / file).exists() for file in (name + MANIFEST, *entry.files)):
                raise  # it is there that something is missing, such as the bucket
            for file in entry.files if entry.kind in DROPPED else ():
                self._delete(file)
            return seen
        if zlib.crc32(manifest) != entry.crc:
            return seen
        self.fs.pipe_file(self.at(name + MANIFEST), manifest)
        return self._saw(replace(seen, artefacts={**artefacts, name: entry}))

    def _drop(self, here: Tree, seen: Tree) -> None:
        """Delete at the URL what was dropped here, and checkpoints of which a part was uploaded once."""
        gone = [
            name
            for name, entry in seen.artefacts.items()
            if name not in here.artefacts and entry.kind in DROPPED and here.loose
        ]
        for name in gone:
            for file in (name + MANIFEST, *seen.artefacts[name].files):
                self._delete(file)
            seen = self._saw(replace(seen, artefacts={one: of for one, of in seen.artefacts.items() if one != name}))
        if any("checkpoints" in name.split("/") for name in gone):
            kept = {file for name, entry in here.artefacts.items() for file in (name + MANIFEST, *entry.files)}
            for file in self.listing():
                if "checkpoints" in file.split("/") and file not in kept:
                    self._delete(file)

    def _delete(self, name: str) -> None:
        if self.fs.exists(self.at(name)):
            self.fs.rm_file(self.at(name))

    def _saw(self, seen: Tree) -> Tree:
        seen.save(self.seen)
        return seen


def _unless(halted: Callable[[], bool]) -> None:
    if halted():
        raise _Halted


class _Halted(Exception):
    """There is no time for the next file."""


class _Damaged(Exception):
    """A file at a URL is not what its manifest says."""
