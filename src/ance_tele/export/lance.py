"""LanceDB, in a folder."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from ance_tele.export.target import MARK, Batch, Description, described, package, padded

# Rows from which on an index is built: fewer are searched faster without.
INDEXED = 1024


class Lance:
    """A table with row, id, title, text and vector; the metadata of its schema is the description.

    ``lancedb:PLACE``, where the place is a folder or what else lancedb.connect takes.
    """

    batch = 8192

    def __init__(self, place: str, table: str) -> None:
        self.lancedb, self.kinds = package("lancedb", "lancedb"), package("lancedb.index", "lancedb")
        self.place, self.table = place.removeprefix("lancedb:"), table
        self.database = self.lancedb.connect(self.place)

    @property
    def _open(self) -> Any:
        return self.database.open_table(self.table)

    def found(self) -> Mapping[str, Any] | None:
        """Return what the schema's metadata say."""
        if self.table not in self.database.list_tables(limit=1 << 20).tables:
            return None
        metadata = self._open.schema.metadata or {}
        return described(metadata.get(MARK.encode(), b"").decode())

    def create(self, what: Description) -> None:
        """Create the table."""
        fields = [("row", pa.int64()), *((name, pa.string()) for name in _names(what.texts))]
        fields.append(("vector", pa.list_(pa.float32(), what.dimension)))
        self.database.create_table(self.table, schema=pa.schema(fields, {MARK: what.dumps()}))

    def drop(self) -> None:
        """Drop the table."""
        self.database.drop_table(self.table)

    def count(self) -> int:
        """Count the rows."""
        return int(self._open.count_rows())

    def write(self, batch: Batch) -> None:
        """Add a batch, which is one version of the table: all of it or nothing."""
        table = self._open
        vectors = pa.FixedSizeListArray.from_arrays(batch.vectors.ravel(), batch.vectors.shape[1])
        columns = {"row": pa.array(batch.rows, pa.int64()), **batch.columns, "vector": vectors}
        table.add(pa.table(columns, schema=table.schema))

    def build(self) -> str | None:
        """Build an inverted index of whole vectors; none for small tables."""
        table = self._open
        if table.count_rows() < INDEXED:
            return None
        if not table.list_indices():
            table.create_index("vector", config=self.kinds.IvfFlat(distance_type="dot"))
        return "inverted lists of whole vectors (IVF_FLAT)"

    def search(self, queries: np.ndarray, k: int, exact: bool) -> np.ndarray:
        """Search query by query."""
        table, found = self._open, []
        for query in queries:
            asked = table.search(query).distance_type("dot").select(["row", "_distance"]).limit(k)
            asked = asked.bypass_vector_index() if exact else asked
            found.append(asked.to_arrow()["row"].to_pylist())
        return padded(found, k)

    def code(self) -> tuple[list[str], str]:
        """Return lines with lancedb; without the name of the distance it would take another one."""
        return (
            ["import lancedb"],
            f"table = lancedb.connect({self.place!r}).open_table({self.table!r})\n"
            "found = table.search(query).distance_type('dot').select(['id', '_distance']).limit(10)\n"
            "for passage in found.to_list():\n"
            "    print(passage['id'], 1 - passage['_distance'])",
        )

    def close(self) -> None:
        """Nothing is held."""


def _names(texts: bool) -> tuple[str, ...]:
    return ("id", "title", "text") if texts else ("id",)
