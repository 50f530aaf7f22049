"""The files of a folder of documents, read and decoded; what cannot be read is counted with its reason."""

import codecs
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ance_tele.console.errors import UserError, printable
from ance_tele.console.progress import progress
from ance_tele.data.documents.blocks import Document
from ance_tele.data.documents.html import read_html
from ance_tele.data.documents.left_out import OTHER_KIND, LeftOut
from ance_tele.data.documents.markdown import read_markdown
from ance_tele.data.documents.plain import read_rst, read_text

LARGEST = 1 << 24
"""Bytes of a file."""

KINDS: Mapping[str, Callable[[str], Document]] = {
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".html": read_html,
    ".htm": read_html,
    ".xhtml": read_html,
    ".rst": read_rst,
    ".txt": read_text,
    ".text": read_text,
}
"""Reader by the end of a file's name."""

_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?([\w-]{1,40})", re.IGNORECASE)
_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class Unreadable(ValueError):
    """Why a file is left out."""


def read_documents(folder: Path, left_out: LeftOut) -> Iterator[tuple[str, Document]]:
    """Yield the documents below a folder with their paths in it, in the order of these.

    Hidden files and folders, symbolic links and files of other kinds are not read.

    Args:
        folder: Where they are.
        left_out: Counts what is not read, by reason, and keeps the first paths.
    """
    names = sorted(_names(folder, left_out))
    with progress("reading documents", len(names), "files") as advance:
        for name in names:
            try:
                path = folder / name
                yield name, KINDS[path.suffix.lower()](decoded(path))
            except OSError as error:
                left_out.add(f"files that cannot be opened: {error.strerror}", name)
            except (Unreadable, UserError) as error:
                left_out.add(f"files: {error}", name)
            advance(1)


def _names(folder: Path, left_out: LeftOut) -> Iterator[str]:
    """Yield the paths, relative to the folder and with slashes, of the files whose kind is known."""

    def unopened(error: OSError) -> None:
        left_out.add(f"folders that cannot be opened: {error.strerror}", _within(folder, Path(error.filename)))

    for base, folders, files in os.walk(folder, onerror=unopened):
        folders[:] = [name for name in folders if not _hidden_or_linked(folder, Path(base, name), left_out)]
        for name in files:
            path = Path(base, name)
            if _hidden_or_linked(folder, path, left_out):
                continue
            if path.suffix.lower() not in KINDS:
                left_out[f"{OTHER_KIND}{path.suffix.lower()[:12] or 'no suffix'}"] += 1
            elif not stat.S_ISREG(path.lstat().st_mode):
                left_out.add("special files (pipes, devices)", _within(folder, path))
            elif not path.relative_to(folder).as_posix().isprintable():
                left_out.add("files with an unprintable name", _within(folder, path))
            else:
                yield path.relative_to(folder).as_posix()


def _hidden_or_linked(folder: Path, path: Path, left_out: LeftOut) -> bool:
    if path.name.startswith("."):
        left_out.add("hidden folders" if path.is_dir() else "hidden files", _within(folder, path))
    elif path.is_symlink():
        left_out.add("symbolic links", _within(folder, path))
    else:
        return False
    return True


def _within(folder: Path, path: Path) -> str:
    """Return a path relative to the folder, printable."""
    return printable(path.relative_to(folder).as_posix(), 120)


def decoded(path: Path) -> str:
    """Return the text of a file: UTF-8, UTF-16 with its mark, or of a page what it declares.

    Raises:
        Unreadable: It is empty, too large, binary, or of another encoding.
    """
    with path.open("rb") as file:
        raw = file.read(LARGEST + 1)
    if len(raw) > LARGEST:
        raise Unreadable(f"larger than {LARGEST >> 20} MiB")
    if not raw.strip():
        raise Unreadable("empty")
    encoding = next((name for bom, name in _BOMS.items() if raw.startswith(bom)), "")
    if not encoding and b"\0" in raw:
        raise Unreadable("binary")
    declared = _CHARSET.search(raw[:2048]) if KINDS[path.suffix.lower()] is read_html else None
    for name in (encoding or "utf-8", declared[1].decode("ascii") if declared and not encoding else ""):
        try:
            text = raw.decode(name) if name else None
        except (UnicodeError, LookupError):
            continue
        if text is not None and "\0" not in text:
            return text
    raise Unreadable("not UTF-8")
