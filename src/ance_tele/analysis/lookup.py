"""Find one query's rows in a Parquet file of many, without reading the whole of it."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def rows_of_query(path: Path, query: str, position: Callable[[str], int], columns: Sequence[str]) -> pa.Table:
    """Return the rows of one query, in the order of the file.

    A block of queries is cut into several row groups where it has more than 2^20 rows, and ids have no order that the
    groups' statistics could help with. So the groups are searched by bisection: each is asked for its first
    query only.

    Args:
        path: A file ordered by query, with the column query_id.
        query: The id of the query.
        position: Returns where a query stands in the order of the file.
        columns: Which columns to return.
    """
    file, place = pq.ParquetFile(path), position(query)
    stamp = path.stat().st_mtime_ns

    def first(group: int) -> int:
        return position(_first_query(path, stamp, group))

    groups = [group for group in range(file.num_row_groups) if file.metadata.row_group(group).num_rows]
    last = bisect_right(groups, place, key=first) - 1
    start = max(last, 0)
    while start > 0 and first(groups[start]) == place:  # it may begin in the group before
        start -= 1
    parts = []
    for group in groups[start : last + 1]:
        table = file.read_row_group(group, columns=["query_id", *columns])
        parts.append(table.filter(pc.equal(table["query_id"], query)).select(list(columns)))
    return pa.concat_tables(parts) if parts else file.schema_arrow.empty_table().select(list(columns))


@lru_cache(maxsize=8192)
def _first_query(path: Path, stamp: int, group: int) -> str:
    """Return the first query id of a row group; ``stamp`` is the file's time, so that another file is read anew."""
    batches = pq.ParquetFile(path).iter_batches(1, row_groups=[group], columns=["query_id"])
    return str(next(batches)["query_id"][0].as_py())
