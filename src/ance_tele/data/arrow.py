"""Arrow files: written from streams of rows, opened memory-mapped, read at scattered rows."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ance_tele.console.errors import UserError
from ance_tele.store.files import reading

ROWS_PER_BATCH = 8192
# Characters of a batch, but for its last row: bounds the memory where texts are whole books.
CHARACTERS_PER_BATCH = 1 << 26


def read_arrow(path: Path) -> pa.Table:
    """Open an Arrow file, memory-mapped.

    Raises:
        UserError: It is damaged or missing.
    """
    with reading(path), pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def write_arrow(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write a stream of batches as an Arrow file."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def batches_of(rows: Iterable[Any], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield record batches from a stream of tuples, which may have more fields than the schema."""
    stream = iter(rows)
    while block := _block(stream):
        columns = zip(zip(*block, strict=True), schema, strict=False)
        yield pa.record_batch([pa.array(column, kind.type) for column, kind in columns], schema)


def _block(stream: Iterator[Any]) -> list[Any]:
    block, room = [], CHARACTERS_PER_BATCH
    for row in islice(stream, ROWS_PER_BATCH):
        block.append(row)
        room -= sum(len(value) for value in row if isinstance(value, str))
        if room < 0:
            break
    return block


def table_of(rows: Iterable[Any], schema: pa.Schema, where: str) -> pa.Table:
    """Return a table of a stream of tuples, which takes a tenth of the memory.

    Raises:
        UserError: A text contains a lone surrogate, or a number does not fit; names ``where``.
    """
    try:
        batches = list(batches_of(rows, schema))
    except UnicodeEncodeError:
        raise UserError(f"{where} holds half a character (a lone surrogate such as \\ud800); mend it.") from None
    return pa.Table.from_batches(batches, schema).combine_chunks()


def gather(column: pa.ChunkedArray, rows: np.ndarray) -> list[str]:
    """Return the values of a column at ascending rows.

    Arrow's ``take`` on a chunked column copies the whole column first; this one reads the chunks concerned.
    """
    starts = np.cumsum([0, *(len(chunk) for chunk in column.chunks)])
    assert not len(rows) or rows[-1] < starts[-1], "a row beyond the end of the column"
    bounds = np.searchsorted(rows, starts)
    values: list[str] = []
    for number in np.flatnonzero(np.diff(bounds)).tolist():
        inside = rows[bounds[number] : bounds[number + 1]] - starts[number]
        values += column.chunk(number).take(pa.array(inside)).to_pylist()
    return values
