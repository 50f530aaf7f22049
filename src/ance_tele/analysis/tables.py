"""Tables of (query, passage) on disk, read a block of queries at a time, their ids turned into numbers.

Nothing but the run folder is needed: ids of a block are numbered within the block, so that memory grows with the block
and neither with the corpus nor with the number of queries.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ance_tele.console.errors import UserError

# Ids that are numbers below this are their own codes: no look-up, which is fifty times faster.
LARGEST_CODE = 1 << 40


class Order:
    """The training queries in the order in which all tables of a run have them."""

    def __init__(self, ids: pa.ChunkedArray) -> None:
        self.ids = ids.combine_chunks().cast(pa.large_string())

    def __len__(self) -> int:
        return len(self.ids)

    def position(self, query: str) -> int:
        """Return the place of one query; -1 where it is none of them."""
        return int(pc.index(self.ids, query).as_py())

    def positions(self, ids: pa.ChunkedArray, path: Path) -> np.ndarray:
        """Return the place of each id, int64 [n].

        Raises:
            UserError: An id is none of the training queries.
        """
        encoded = ids.unify_dictionaries().combine_chunks()
        encoded = encoded if pa.types.is_dictionary(encoded.type) else encoded.dictionary_encode()
        found = pc.index_in(encoded.dictionary.cast(pa.large_string()), value_set=self.ids)
        if found.null_count:
            unknown = encoded.dictionary[int(np.flatnonzero(found.is_null().to_numpy(zero_copy_only=False))[0])]
            raise UserError(
                f"{path} holds the query '{unknown}', which is none of the run's {len(self)} training queries: it is "
                "of another run; run the same command again to have it made anew."
            )
        return found.to_numpy(zero_copy_only=False).astype(np.int64)[encoded.indices.to_numpy()]


@dataclass
class Table:
    """Rows of a block: whose they are (counted from the block's first query), and the columns asked for."""

    owner: np.ndarray
    columns: pa.Table

    @property
    def ids(self) -> pa.ChunkedArray:
        """The passages."""
        return self.columns["passage_id"]

    def numbers(self, name: str) -> np.ndarray:
        """Return a column of numbers."""
        return self.columns[name].to_numpy()


class Stream:
    """A Parquet file ordered by query, read once from front to back.

    Args:
        path: The file.
        order: The training queries.
        columns: What to read beside query_id and passage_id.
        source: Only the row groups of this source, where the file holds several one after another.
    """

    def __init__(self, path: Path, order: Order, columns: Sequence[str] = (), source: str | None = None) -> None:
        self.path, self.order = path, order
        self.columns = ["query_id", "passage_id", *columns]
        # A query id stands in hundreds of rows: read as a dictionary, each is decoded once.
        self.file = pq.ParquetFile(path, read_dictionary=["query_id"])
        groups = range(self.file.num_row_groups)
        self.groups = [group for group in groups if source is None or self._source(group) == source]
        self.held: list[tuple[np.ndarray, pa.Table]] = []
        self.last = -1

    def _source(self, group: int) -> str | None:
        if not self.file.metadata.row_group(group).num_rows:
            return None
        name: str = self.file.read_row_group(group, columns=["source"])["source"][0].as_py()
        return name

    def take(self, start: int, stop: int) -> Table:
        """Return the rows of the queries ``start:stop``; blocks are asked for in their order, without a gap."""
        while self.groups and self.last < stop:
            table = self.file.read_row_group(self.groups.pop(0), columns=self.columns)
            if not len(table):
                continue
            place = self.order.positions(table["query_id"], self.path)
            if place[0] < self.last or (np.diff(place) < 0).any():
                raise UserError(f"{self.path} is not in the order of the training queries; run the same command again.")
            self.last = int(place[-1])
            self.held.append((place, table.drop_columns("query_id")))
        owners, parts, left = [], [], []
        for place, table in self.held:
            cut = int(np.searchsorted(place, stop))
            owners.append(place[:cut] - start)
            parts.append(table.slice(0, cut))
            if cut < len(place):
                left.append((place[cut:], table.slice(cut)))
        self.held = left
        if not parts:
            empty = self.file.schema_arrow.empty_table().select(self.columns[1:])
            return Table(np.empty(0, dtype=np.int64), empty)
        return Table(np.concatenate(owners), pa.concat_tables(parts))


@dataclass(frozen=True)
class Coded:
    """Passages of several tables as numbers: equal ids have equal codes, in all of the tables.

    Attributes:
        parts: Codes of each table's rows, int64.
        names: The id of each code; None where an id is its own code.
    """

    parts: list[np.ndarray]
    names: pa.Array | None

    def ids(self, codes: np.ndarray) -> pa.Array:
        """Return the ids of codes."""
        return pa.array(codes).cast(pa.large_string()) if self.names is None else self.names.take(pa.array(codes))


def coded(tables: Sequence[pa.ChunkedArray]) -> Coded:
    """Number the ids of some columns together.

    Args:
        tables: Columns of ids.
    """
    numbers = [_plain_numbers(column) for column in tables]
    if all(part is not None for part in numbers):
        return Coded([part for part in numbers if part is not None], None)
    whole = pa.chunked_array([chunk.cast(pa.large_string()) for column in tables for chunk in column.chunks])
    encoded = whole.combine_chunks().dictionary_encode()
    indices, ends = encoded.indices.to_numpy().astype(np.int64), np.cumsum([len(column) for column in tables])
    return Coded(np.split(indices, ends[:-1]), encoded.dictionary)


def _plain_numbers(column: pa.ChunkedArray) -> np.ndarray | None:
    """Read ids as whole numbers; None unless each is one, written without sign or leading zeros, and not too large."""
    try:
        numbers = column.cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid:
        return None
    if not len(numbers):
        return numbers
    if numbers.min() < 0 or numbers.max() >= LARGEST_CODE:
        return None
    # A sign or a leading zero makes a text longer than its number, and nothing makes it shorter.
    digits = len(numbers) + sum(int((numbers >= 10**power).sum()) for power in range(1, 13))
    return numbers if digits == pc.sum(pc.binary_length(column)).as_py() else None


def spans(queries: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the first and the one after the last query of each block."""
    for start in range(0, queries, size):
        yield start, min(start + size, queries)
