"""Tables of (query, passage) on disk, read a block of queries at a time, their ids turned into numbers.

Nothing but the run folder is needed: ids of a block are numbered within the block, so that memory grows with the block
and neither with the corpus nor with the number of queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ance_tele.console.errors import UserError
from ance_tele.store.tables import open_parquet, reading

# Ids that are numbers below this are their own codes: no look-up, which is fifty times faster.
LARGEST_CODE = 1 << 40

Entries = tuple[np.ndarray, np.ndarray]
"""Query (counted from the block's first) and passage code of each row, int64 [n] each."""


class Order:
    """The training queries in the order in which all tables of a run have them."""

    def __init__(self, ids: pa.ChunkedArray) -> None:
        self.ids = ids.combine_chunks().cast(pa.large_string())

    def __len__(self) -> int:
        return len(self.ids)

    def position(self, query: str) -> int:
        """Return the position of one query; -1 where it is not a training query."""
        return int(pc.index(self.ids, pa.scalar(query, pa.large_string())).as_py())

    def positions(self, ids: pa.ChunkedArray, path: Path) -> np.ndarray:
        """Return the position of each id, int64 [n].

        Raises:
            UserError: An id is not a training query; names ``path``, which holds it.
        """
        encoded = ids.unify_dictionaries().combine_chunks()
        encoded = encoded if pa.types.is_dictionary(encoded.type) else encoded.dictionary_encode()
        found = pc.index_in(encoded.dictionary.cast(pa.large_string()), value_set=self.ids)
        if found.null_count:
            unknown = encoded.dictionary[found.to_pylist().index(None)]
            raise UserError(
                f"{path} holds the query '{unknown}', which is none of the run's {len(self)} training queries: it is "
                "of another run; run the same command again to have it made anew."
            )
        return found.to_numpy().astype(np.int64)[encoded.indices.to_numpy()]


@dataclass(frozen=True)
class Table:
    """The rows of a block of queries.

    Attributes:
        owner: The query of each row, counted from the block's first, int64 [n].
        columns: The columns asked for.
        codes: The passage of each row, int64 [n]; empty until :func:`coded` numbers them.
    """

    owner: np.ndarray
    columns: pa.Table
    codes: np.ndarray

    @property
    def entries(self) -> Entries:
        """Query and passage of each row."""
        return self.owner, self.codes

    def numbers(self, name: str) -> np.ndarray:
        """Return a column of numbers."""
        return self.columns[name].to_numpy()

    def at_most(self, rank: int) -> Entries:
        """Return query and passage of the rows up to a rank."""
        keep = self.numbers("rank") <= rank
        return self.owner[keep], self.codes[keep]


class Stream:
    """A Parquet file ordered by query, read once from front to back.

    Args:
        path: The file.
        order: The training queries.
        columns: What to read besides query_id and passage_id.
        source: Only the row groups of this source, where the file holds several one after another.
    """

    def __init__(self, path: Path, order: Order, columns: Sequence[str] = (), source: str | None = None) -> None:
        self.path, self.order = path, order
        self.columns = ["query_id", "passage_id", *columns]
        # A query id is repeated in hundreds of rows: read as a dictionary, each is decoded once.
        self.file = open_parquet(path, read_dictionary=["query_id"])
        groups = (group for group in range(self.file.num_row_groups) if self.file.metadata.row_group(group).num_rows)
        self.groups = [group for group in groups if source is None or self._source(group) == source]
        self.held: list[tuple[np.ndarray, pa.Table]] = []
        self.last = -1

    def _source(self, group: int) -> str:
        with reading(self.path):
            return str(self.file.read_row_group(group, columns=["source"])["source"][0])

    def take(self, start: int, stop: int) -> Table:
        """Return the rows of the queries ``start:stop``; blocks are asked for in their order, without a gap."""
        while self.groups and self.last < stop:
            with reading(self.path):
                table = self.file.read_row_group(self.groups.pop(0), columns=self.columns)
            positions = self.order.positions(table["query_id"], self.path)
            if positions[0] < self.last or (np.diff(positions) < 0).any():
                raise UserError(f"{self.path} is not in the order of the training queries; run the same command again.")
            self.last = int(positions[-1])
            self.held.append((positions, table.drop_columns("query_id")))
        owners, parts = [_NONE], [self.file.schema_arrow.empty_table().select(self.columns[1:])]
        held, self.held = self.held, []
        for positions, table in held:
            cut = int(np.searchsorted(positions, stop))
            owners.append(positions[:cut] - start)
            parts.append(table.slice(0, cut))
            if cut < len(positions):
                self.held.append((positions[cut:], table.slice(cut)))
        return Table(np.concatenate(owners), pa.concat_tables(parts), _NONE)


_NONE = np.empty(0, dtype=np.int64)


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


def coded(columns: Sequence[pa.ChunkedArray]) -> Coded:
    """Number the ids of some columns together."""
    numbers = [_plain_numbers(column) for column in columns]
    if all(part is not None for part in numbers):
        return Coded([part for part in numbers if part is not None], None)
    whole = pa.chunked_array([chunk.cast(pa.large_string()) for column in columns for chunk in column.chunks])
    encoded = whole.combine_chunks().dictionary_encode()
    indices, ends = encoded.indices.to_numpy().astype(np.int64), np.cumsum([len(column) for column in columns])
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
