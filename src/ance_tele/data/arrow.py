"""Arrow files: gathered from streams of rows, opened memory-mapped."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from ance_tele.console.errors import UserError

ROWS_PER_BATCH = 8192


def read_arrow(path: Path) -> pa.Table:
    """Open an Arrow file, memory-mapped."""
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def batch_of(block: list[Any], schema: pa.Schema) -> pa.RecordBatch:
    """Turn a list of tuples into columns; they may have more fields than the schema."""
    columns = list(zip(*block, strict=True)) or [()] * len(schema)
    return pa.record_batch([pa.array(column, kind.type) for column, kind in zip(columns, schema, strict=False)], schema)


def table_of(rows: Iterable[Any], schema: pa.Schema, where: str) -> pa.Table:
    """Gather a stream of tuples: in columns it takes a tenth of the room.

    Raises:
        UserError: A text holds half a character, or a number does not fit; names ``where``.
    """
    stream, batches = iter(rows), []
    while block := list(islice(stream, ROWS_PER_BATCH)):
        try:
            batches.append(batch_of(block, schema))
        except UnicodeEncodeError:
            raise UserError(f"{where} holds half a character (a lone surrogate such as \\ud800); mend it.") from None
    return pa.Table.from_batches(batches, schema).combine_chunks()
