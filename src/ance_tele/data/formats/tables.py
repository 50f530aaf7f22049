"""Rows of fields from JSON lines, CSV, TSV and Parquet, streamed; quoting is detected."""

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.data.formats.lines import read_lines
from ance_tele.data.formats.objects import read_objects

ROWS = (".jsonl", ".csv", ".tsv", ".parquet")
BLOCK = 1 << 22  # bytes of CSV read at a time; no row may be longer
ENOUGH = 1000  # lines with a quotation mark that decide whether a file is quoted
_FIELD = r'(?:[^"\t]*|"[^"]*(?:""[^"]*)*")'
_RAGGED = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+): (.*)")
_QUOTED = re.compile(rf"{_FIELD}(?:\t{_FIELD})*")


def is_quoted(path: Path) -> bool:
    """Return whether a tab-separated file quotes fields as CSV does, by majority of the first lines with a mark.

    In a quoted file every field with a quotation mark is enclosed in them and has them doubled, which raw text hardly
    ever is.
    """
    marked = islice((line for _, line in read_lines(path) if '"' in line), ENOUGH)
    return sum(1 if _QUOTED.fullmatch(line) else -1 for line in marked) > 0


def read_tsv(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line numbers (from 1) and the fields of a tab-separated file, quoted as CSV or raw."""
    if not is_quoted(path):
        for number, line in read_lines(path):
            yield number, line.split("\t")
        return
    first, last = 0, 0

    def feed() -> Iterator[str]:
        nonlocal first, last
        for last, line in read_lines(path):
            first = first or last
            yield line + "\n"

    rows = csv.reader(feed(), delimiter="\t", strict=True)
    while True:
        first = 0
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(
                f"{path.name} line {first or last} is not well-formed CSV ({error}); its other lines are quoted."
            ) from None
        yield first, row


def read_rows(path: Path, delimiter: str | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a .jsonl, .csv, .tsv or .parquet file with their numbers (JSON: of the line), from 1.

    ``delimiter`` separates the columns; by default those of .csv a comma, of .tsv a tab.
    """
    name = path.name.removesuffix(".gz")
    if name.endswith(".jsonl"):
        yield from read_objects(path)
        return
    number = 0  # of rows read
    try:
        for batch in _batches(path, name, delimiter):
            _check_columns(path, batch.schema.names)
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (UserError, MemoryError):
        raise
    except Exception as error:  # such as a text that is not UTF-8, a date in the year 300,000, a page that is damaged
        why = " ".join(str(error).split())
        if "block size" in why:
            why = f"a row is longer than {BLOCK >> 20} MiB; give it as JSON lines"
        if ragged := _RAGGED.search(why):
            raise UserError(
                f"{path.name} row {int(ragged[1]) - 1:,} has {ragged[3]} columns, but the header has {ragged[2]} "
                f"({ragged[4]:.100}); complete the row, or quote the field that holds the separator."
            ) from None
        raise UserError(f"{path.name} cannot be read behind row {number} ({why:.200}).") from None


def unit_of(path: Path) -> str:
    """Return what the numbers of :func:`read_rows` count: lines of JSON, rows behind the header of anything else."""
    return "line" if path.name.removesuffix(".gz").endswith(".jsonl") else "row"


def _check_columns(path: Path, names: Sequence[str]) -> None:
    """Refuse a table with two columns of one name, of which a row would have the last."""
    for place, name in enumerate(names):
        if name in names[:place]:
            raise UserError(f"{path.name} has two columns '{name:.60}'; rename one of them.")


def _batches(path: Path, name: str, delimiter: str | None) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    if name.endswith(".parquet"):
        from pyarrow.parquet import ParquetFile

        with ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=1024)
        return
    quoted = name.endswith(".csv") or is_quoted(path)
    delimiter = delimiter or ("," if name.endswith(".csv") else "\t")
    if quoted and (line := _left_open(path, delimiter)):
        raise UserError(
            f"{path.name} ends inside a quoted field that opens in line {line}; close it, or double the quotation mark."
        )
    columns = _header(path, quoted, delimiter)
    with arrow_csv.open_csv(
        path,
        read_options=arrow_csv.ReadOptions(use_threads=False, block_size=BLOCK),
        parse_options=arrow_csv.ParseOptions(
            delimiter=delimiter,
            quote_char='"' if quoted else False,
            newlines_in_values=quoted,
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.large_string()), strings_can_be_null=False
        ),
    ) as reader:
        yield from reader


def _left_open(path: Path, delimiter: str) -> int:
    """Return the line in which a quoted field starts that is never closed; 0 if there is none."""
    if not sum(line.count('"') for _, line in read_lines(path)) % 2:
        return 0
    first = 0

    def feed() -> Iterator[str]:
        nonlocal first
        for number, line in read_lines(path):
            first = first or number
            yield line + "\n"

    rows = csv.reader(feed(), delimiter=delimiter, strict=True)
    try:
        while next(rows, None) is not None:
            first = 0
    except csv.Error as error:
        return first if "end of data" in str(error) else 0
    return 0


def _header(path: Path, quoted: bool, delimiter: str) -> list[str]:
    for number, line in read_lines(path):
        try:
            return next(csv.reader([line], delimiter=delimiter)) if quoted else line.split(delimiter)
        except csv.Error as error:
            raise UserError(f"{path.name} line {number} names no columns ({error}).") from None
    raise UserError(f"{path.name} is empty.")
