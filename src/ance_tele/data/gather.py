"""Texts of scattered rows, out of a memory-mapped column of any size."""

import numpy as np
import pyarrow as pa


def gather(column: pa.ChunkedArray, rows: np.ndarray) -> list[str]:
    """Return the values of a column at the given rows, which ascend.

    Arrow's own ``take`` on a chunked column first copies the whole of it; here memory grows with the rows alone.

    Args:
        column: E.g. ``texts.table["text"]``.
        rows: int [n], ascending.
    """
    starts = np.cumsum([0, *(len(chunk) for chunk in column.chunks)])
    assert not len(rows) or rows[-1] < starts[-1], "a row beyond the end of the column"
    bounds = np.searchsorted(rows, starts)
    values: list[str] = []
    for number in np.flatnonzero(np.diff(bounds)).tolist():
        inside = rows[bounds[number] : bounds[number + 1]] - starts[number]
        values += column.chunk(number).take(pa.array(inside)).to_pylist()
    return values
