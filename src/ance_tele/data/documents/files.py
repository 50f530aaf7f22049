"""The files of a folder of documents, read and decoded; what cannot be read is counted with its reason."""

import codecs
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ance_tele.console.errors import UserError
from ance_tele.console.progress import progress
from ance_tele.data.documents.blocks import Document
from ance_tele.data.documents.html import read_html
from ance_tele.data.documents.markdown import read_markdown
from ance_tele.data.documents.plain import read_rst, read_text

OTHER_KIND = "files of another kind: "
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


def read_documents(folder: Path, left_out: Counter[str]) -> Iterator[tuple[str, Document]]:
    """Yield the documents below a folder with their paths in it, in the order of these.

    Hidden files and folders, symbolic links and files of other kinds are not read.

    Args:
        folder: Where they are.
        left_out: Counts of what is not read, by reason.
    """
    names = sorted(_names(folder, left_out))
    with progress("reading documents", len(names), "files") as advance:
        for name in names:
            try:
                path = folder / name
                yield name, KINDS[path.suffix.lower()](decoded(path))
            except OSError as error:
                left_out[f"files that cannot be opened ({error.strerror})"] += 1
            except (Unreadable, UserError) as error:
                left_out[f"files: {error}"] += 1
            advance(1)


def _names(folder: Path, left_out: Counter[str]) -> Iterator[str]:
    """Yield the paths, relative to the folder and with slashes, of the files whose kind is known."""

    def unopened(error: OSError) -> None:
        left_out[f"folders that cannot be opened ({error.strerror})"] += 1

    for base, folders, files in os.walk(folder, onerror=unopened):
        folders[:] = [name for name in folders if not _hidden_or_linked(Path(base, name), left_out)]
        for name in files:
            path = Path(base, name)
            if _hidden_or_linked(path, left_out):
                continue
            if path.suffix.lower() not in KINDS:
                left_out[f"{OTHER_KIND}{path.suffix.lower()[:12] or 'no suffix'}"] += 1
            elif not stat.S_ISREG(path.lstat().st_mode):
                left_out["files that are none (pipes, devices)"] += 1
            elif not path.relative_to(folder).as_posix().isprintable():
                left_out["files whose names are not printable"] += 1
            else:
                yield path.relative_to(folder).as_posix()


def _hidden_or_linked(path: Path, left_out: Counter[str]) -> bool:
    if path.name.startswith("."):
        left_out["hidden files and folders"] += 1
    elif path.is_symlink():
        left_out["symbolic links"] += 1
    else:
        return False
    return True


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
        raise Unreadable("binary (they hold NUL)")
    declared = _CHARSET.search(raw[:2048]) if KINDS[path.suffix.lower()] is read_html else None
    for name in (encoding or "utf-8", declared[1].decode("ascii") if declared and not encoding else ""):
        try:
            text = raw.decode(name) if name else None
        except (UnicodeError, LookupError):
            continue
        if text is not None and "\0" not in text:
            return text
    raise Unreadable("not UTF-8")
