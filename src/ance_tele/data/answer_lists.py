"""The answer strings of queries, in memory-mapped Arrow."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from ance_tele.data.arrow import read_arrow


class Answers:
    """Answer strings by query row, in memory-mapped Arrow.

    Attributes:
        queries: Rows of the queries that have answers, int64 [n], ascending.
    """

    def __init__(self, queries: np.ndarray, texts: pa.ChunkedArray) -> None:
        self.queries, self._texts = queries, texts

    @classmethod
    def none(cls) -> "Answers":
        """Return the answers of a collection that has none."""
        return cls(np.empty(0, dtype=np.int64), pa.chunked_array([], pa.list_(pa.large_string())))

    @classmethod
    def open(cls, path: Path) -> "Answers":
        """Open a file of query rows and answer lists; where there is no file, there are no answers."""
        if not path.is_file():
            return cls.none()
        table = read_arrow(path)
        return cls(table["query"].to_numpy(), table["answers"])

    def of(self, query_row: int) -> list[str]:
        """Return the answer strings of a query, in the order of the source; none if it has none."""
        place = int(np.searchsorted(self.queries, query_row))
        if place == len(self.queries) or self.queries[place] != query_row:
            return []
        return self._texts[place].as_py()

    def __len__(self) -> int:
        return len(self.queries)

    def __contains__(self, query_row: int) -> bool:
        return bool(np.isin(query_row, self.queries))
