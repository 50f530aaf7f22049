"""JSON objects and their fields, streamed from files of any size, with errors that name file and place."""

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ance_tele.console.errors import UserError, printable
from ance_tele.console.progress import progress
from ance_tele.data.formats.lines import LONGEST, read_lines

CHUNK = 1 << 20  # bytes
_BETWEEN = re.compile(r"[\s,]*")  # what separates objects


class _Flaw(ValueError):
    """What the format allows, and no reader could make sense of."""


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that has a field twice, of which Python's reader drops the first."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        name = next(name for place, name in enumerate(names) if name in names[:place])
        raise _Flaw(f"the field '{printable(name, 60)}' stands in it twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_distinct)


def _why(error: ValueError | RecursionError) -> str:
    """Return in words why JSON could not be read; Python refuses numbers of more than 4,300 digits."""
    if isinstance(error, json.JSONDecodeError):
        return error.msg
    return "nested too deep" if isinstance(error, RecursionError) else str(error).partition(";")[0]


def read_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line numbers (from 1) and the objects of a file that has one JSON object per line."""
    for number, line in read_lines(path):
        try:
            row = _DECODER.decode(line)
        except _Flaw as error:
            raise UserError(f"{path.name} line {number} is ambiguous: {error}; leave one of the two out.") from None
        except (ValueError, RecursionError) as error:
            why = f"{_why(error)} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else _why(error)
            raise UserError(f"{path.name} line {number} is not JSON ({why}).") from None
        if not isinstance(row, dict):
            raise UserError(f"{path.name} line {number} is a JSON {type(row).__name__}; an object is needed.")
        yield number, row


def read_array(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a JSON array, or of JSON lines, numbered from 1, streaming."""
    chunks = _read_chunks(path)
    buffer, at, number = "", 0, 0
    nested: bool | None = None  # whether there is an array around the objects
    closed = False
    while True:
        at = _BETWEEN.match(buffer, at).end()  # type: ignore[union-attr]  # it matches the empty string, too
        if at == len(buffer):
            buffer, at = next(chunks, ""), 0
            if buffer:
                continue
            if nested and not closed:
                raise UserError(f"{path.name} ends after element {number} without ']'; fetch it again.")
            return
        if nested is None:
            nested = buffer[at] == "["
            at += nested
            continue
        if nested and not closed and buffer[at] == "]":
            closed, at = True, at + 1
            continue
        number += 1
        try:
            row, end = _DECODER.raw_decode(buffer, at)
        except _Flaw as error:
            raise UserError(f"{path.name}, element {number} is ambiguous: {error}; leave one of the two out.") from None
        except (ValueError, RecursionError) as error:
            why, place = _why(error), error.pos if isinstance(error, json.JSONDecodeError) else 0
            # Parsing may fail because the object is incomplete: read more. The buffer doubles, so that a long object is
            # not parsed once per chunk.
            cut = why.startswith("Unterminated string") or place >= len(buffer) - 16
            more = _more(chunks, len(buffer) - at) if cut else ""
            if len(buffer) - at + len(more) > LONGEST:
                raise UserError(
                    f"{path.name}, element {number} is longer than {LONGEST >> 20} MiB, or never ends; mend it."
                ) from None
            if not more:
                raise UserError(f"{path.name}, element {number} is not JSON ({why}), or is cut short.") from None
            buffer, at, number = buffer[at:] + more, 0, number - 1
            continue
        if closed or not isinstance(row, dict):
            kind = "behind the end of the array" if closed else f"a JSON {type(row).__name__}"
            raise UserError(f"{path.name}, element {number} is {kind}; an array of objects is needed.")
        yield number, row
        at = end


def _more(chunks: Iterator[str], least: int) -> str:
    """Return the next chunks, together at least so long where there are as many."""
    found: list[str] = []
    while sum(map(len, found)) < least and (chunk := next(chunks, "")):
        found.append(chunk)
    return "".join(found)


def _read_chunks(path: Path) -> Iterator[str]:
    packed = path.suffix == ".gz"
    decode = codecs.getincrementaldecoder("utf-8-sig")().decode
    with path.open("rb") as file, progress(f"reading {path.name}", path.stat().st_size, "bytes") as advance:
        stream: Any = gzip.GzipFile(fileobj=file) if packed else file
        seen = 0
        try:
            while block := stream.read(CHUNK):
                advance(file.tell() - seen)
                seen = file.tell()
                if text := decode(block):
                    yield text
            decode(b"", final=True)
        except UnicodeDecodeError as error:
            raise UserError(f"{path.name} is not UTF-8 ({error.reason}); convert the file to UTF-8.") from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError(f"{path.name} is a damaged gzip file ({error}); fetch it again.") from None


def need(row: Mapping[str, Any], where: str, *names: str) -> Any:
    """Return the value of the first existing field of ``names``."""
    for name in names:
        if name in row:
            return row[name]
    wanted = " or ".join(f"'{name}'" for name in names)
    raise UserError(f"{where} has no field {wanted} (its fields: {', '.join(map(str, row)) or 'none'}).")


def identifier(value: Any, where: str, name: str) -> str:
    """Return an id as a string; integers are converted."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UserError(f"{where}: '{name}' must be a string, got {value!r:.60}.")
    return str(value)


def text(value: Any, where: str, name: str) -> str:
    """Return a text; "" for null."""
    if not isinstance(value, str | None):
        raise UserError(f"{where}: '{name}' must be a string, got {value!r:.60}.")
    return value or ""


def items(value: Any, where: str, name: str, kind: type) -> list[Any]:
    """Return a list with elements of one type; [] for null."""
    if value is None:
        return []
    wrong = [element for element in value if not isinstance(element, kind)] if isinstance(value, list) else [value]
    if wrong:
        of = "strings" if kind is str else "objects" if kind is dict else "ids"
        raise UserError(f"{where}: '{name}' must be a list of {of}, got {wrong[0]!r:.60}.")
    return value
