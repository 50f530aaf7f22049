"""Text files, UTF-8, plain or gzipped, read line by line with errors that name file and line."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.console.progress import progress

# Bytes of a line, or of an element of an array: beyond it is no text, and would fill the memory.
LONGEST = 1 << 27


def read_fields(path: Path, count: int, needed: str, separator: str | None = None) -> Iterator[tuple[int, list[str]]]:
    """Yield line numbers and the ``count`` fields of each line; ``needed`` describes them for the error."""
    for number, line in read_lines(path):
        parts = line.split(separator)
        if len(parts) != count:
            kind = "tab-separated fields" if separator else "fields"
            raise UserError(f"{path.name} line {number} has {len(parts)} {kind}; {needed}.")
        yield number, parts


def read_lines(path: Path, blank: bool = False) -> Iterator[tuple[int, str]]:
    """Yield line numbers (from 1) and the lines of a text file in UTF-8, plain or gzipped; ``blank`` ones, too."""
    number = 0
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as file, progress(f"reading {path.name}", path.stat().st_size, "bytes") as advance:
        seen = 0
        try:
            while raw := file.readline(LONGEST + 1):
                number += 1
                _check_end(path, number, raw)
                if number % 4096 == 0:
                    position = (file.fileobj if path.suffix == ".gz" else file).tell()
                    advance(position - seen)
                    seen = position
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if blank or line.strip():
                    yield number, line
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path.name} line {number} is not UTF-8 (byte 0x{error.object[error.start]:02x} at position "
                f"{error.start}); convert the file to UTF-8."
            ) from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError(
                f"{path.name} is a damaged gzip file after line {number} ({error}); fetch it again."
            ) from None


def _check_end(path: Path, number: int, raw: bytes) -> None:
    """Refuse a line that does not end, and a file whose only line ends are those of the first Macs."""
    if len(raw) > LONGEST:
        raise UserError(f"{path.name} line {number} is longer than {LONGEST >> 20} MiB; is it a text file of rows?")
    if number == 1 and not raw.endswith(b"\n") and b"\r" in raw.rstrip(b"\r"):
        raise UserError(f"{path.name} ends its lines with CR alone; convert them to LF or CR LF.")
