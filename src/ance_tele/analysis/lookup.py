"""The positives, ranks and negatives of one training query, without reading whole files."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ance_tele.analysis.rounds import Rounds
from ance_tele.store.files import reading
from ance_tele.store.tables import open_table, read_group

Ranks = dict[str, list[int | None]]
"""Rank of each passage by round; None where the round's list does not hold it."""


def positives_of(rounds: Rounds, query: str) -> list[str]:
    """Return the ids of a training query's positives."""
    found = rows_of_query(rounds.positives, query, rounds.order.position, ["passage_id"])
    ids: list[str] = found["passage_id"].to_pylist()
    return ids


def ranks_of(rounds: Rounds, query: str) -> Ranks:
    """Return the ranks by round of every passage in a training query's lists, positives included."""
    found: Ranks = {}
    for number, one in enumerate(rounds.rounds):
        table = rows_of_query(one.lists, query, rounds.order.position, ["passage_id", "rank"])
        for row in table.to_pylist():
            found.setdefault(row["passage_id"], [None] * len(rounds.rounds))[number] = row["rank"]
    return found


def pools_of(rounds: Rounds, query: str) -> dict[str, dict[str, list[int]]]:
    """Return, by source and passage, the episodes whose pools hold the passage for a training query."""
    found: dict[str, dict[str, list[int]]] = {}
    for one in rounds.rounds:
        if one.pool is None:
            continue
        table = rows_of_query(one.pool, query, rounds.order.position, ["passage_id", "source"])
        for row in table.to_pylist():
            episodes = found.setdefault(row["passage_id"], {}).setdefault(row["source"], [])
            if one.number not in episodes:  # a pool may hold a passage several times
                episodes.append(one.number)
    return found


def rows_of_query(path: Path, query: str, position: Callable[[str], int], columns: Sequence[str]) -> pa.Table:
    """Return the rows of one query in a file ordered by query; ``position`` gives the place of a query in that order.

    Row groups are found by bisection on their first query, since the order of ids makes their statistics useless.
    """
    with reading(path), open_table(path) as file:
        return _rows_of_query(file, path, query, position, columns)


def _rows_of_query(
    file: pq.ParquetFile, path: Path, query: str, position: Callable[[str], int], columns: Sequence[str]
) -> pa.Table:
    place, stamp = position(query), path.stat().st_mtime_ns

    def first(group: int) -> int:
        return position(_first_query(path, stamp, group))

    groups = [group for group in range(file.num_row_groups) if file.metadata.row_group(group).num_rows]
    last = bisect_right(groups, place, key=first) - 1
    start = max(last, 0)
    while start > 0 and first(groups[start]) == place:  # it may begin in the group before
        start -= 1
    parts = [file.schema_arrow.empty_table().select(list(columns))]
    for group in groups[start : last + 1]:
        table = read_group(path, file, group, ["query_id", *columns])
        parts.append(table.filter(pc.equal(table["query_id"], query)).select(list(columns)))
    return pa.concat_tables(parts)


@lru_cache(maxsize=8192)
def _first_query(path: Path, stamp: int, group: int) -> str:
    """Return the first query id of a row group; ``stamp`` is the file's time, so that another file is read anew."""
    with reading(path), open_table(path) as file:
        batches = file.iter_batches(1, row_groups=[group], columns=["query_id"])
        return str(next(batches)["query_id"][0].as_py())
