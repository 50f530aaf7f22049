"""Milvus Lite: Milvus in this process, in a file of its own."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from ance_tele.console.errors import UserError
from ance_tele.export.target import MARK, Batch, Description, described, package, padded

# Bytes of a text, of all editions of Milvus; the embedded one does not look.
TEXT_BYTES = 65_535

# Candidates that a search by the index keeps.
EF = 100


class Milvus:
    """A collection with row (primary key), id, title, text and embedding; a property of it is the description.

    ``milvus:PATH.db``.
    """

    batch = 1000

    def __init__(self, place: str, table: str) -> None:
        self.pymilvus = package("pymilvus", "milvus")
        package("milvus_lite", "milvus")
        self.place, self.table = place.removeprefix("milvus:"), table
        if not self.place.endswith(".db"):
            raise UserError(f"{place} must end in .db: that is how Milvus Lite knows its own files.")
        # Raises what failed, and would also log it with a traceback.
        logging.getLogger("milvus_lite.server_manager").setLevel(logging.CRITICAL)
        self.client = self.pymilvus.MilvusClient(self.place)

    def found(self) -> Mapping[str, Any] | None:
        """Return what the property says."""
        if not self.client.has_collection(self.table):
            return None
        return described(self.client.describe_collection(self.table).get("properties", {}).get(MARK))

    def create(self, what: Description) -> None:
        """Create the collection."""
        kind = self.pymilvus.DataType
        schema = self.client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("row", kind.INT64, is_primary=True)
        for name in ("id", "title", "text") if what.texts else ("id",):
            schema.add_field(name, kind.VARCHAR, max_length=TEXT_BYTES)
        schema.add_field("embedding", kind.FLOAT_VECTOR, dim=what.dimension)
        self.client.create_collection(self.table, schema=schema, properties={MARK: what.dumps()})

    def drop(self) -> None:
        """Drop the collection."""
        self.client.drop_collection(self.table)

    def count(self) -> int:
        """Return the count of all rows, also of those just written."""
        found = self.client.query(self.table, output_fields=["count(*)"], consistency_level="Strong")
        return int(found[0]["count(*)"])

    def write(self, batch: Batch) -> None:
        """Upsert a batch; texts are cut to what every Milvus takes."""
        columns = {name: [_cut(value) for value in values] for name, values in batch.columns.items()}
        named = ("row", *columns, "embedding")
        rows = zip(batch.rows, *columns.values(), batch.vectors, strict=True)
        self.client.upsert(self.table, [dict(zip(named, row, strict=True)) for row in rows])

    def build(self) -> str | None:
        """Build an HNSW index for inner products."""
        self._indexed("HNSW", {"M": 16, "efConstruction": 200})
        return f"HNSW, ef {EF}"

    def _indexed(self, kind: str, params: Mapping[str, int]) -> None:
        """Have the collection loaded with an index of this kind; another one is dropped."""
        for name in self.client.list_indexes(self.table):
            if self.client.describe_index(self.table, name)["index_type"] != kind:
                self.client.release_collection(self.table)
                self.client.drop_index(self.table, name)
        if not self.client.list_indexes(self.table):
            wanted = self.client.prepare_index_params()
            wanted.add_index("embedding", index_type=kind, metric_type="IP", params=dict(params))
            self.client.create_index(self.table, wanted)
        self.client.load_collection(self.table)

    def search(self, queries: np.ndarray, k: int, exact: bool) -> np.ndarray:
        """Search by the index; an exact search takes a flat one, which replaces it until it is built again."""
        if exact:
            self._indexed("FLAT", {})
        found = self.client.search(self.table, queries, limit=k, search_params={"params": {"ef": EF}})
        return padded([[int(hit["row"]) for hit in one] for one in found], k)

    def code(self) -> tuple[list[str], str]:
        """Return lines with pymilvus."""
        return (
            ["from pymilvus import MilvusClient"],
            f"client = MilvusClient({self.place!r})\n"
            f"client.load_collection({self.table!r})\n"
            f"params = {{'params': {{'ef': {EF}}}}}\n"
            f"found = client.search({self.table!r}, [query], limit=10, search_params=params, output_fields=['id'])\n"
            "for hit in found[0]:\n"
            "    print(hit['entity']['id'], hit['distance'])\n"
            "client.close()",
        )

    def close(self) -> None:
        """Close the database; another process may open it."""
        self.client.close()


def _cut(text: str) -> str:
    """Cut a text to so many bytes, at a whole character.

    >>> len(_cut("é" * 40_000)), _cut("short")
    (32767, 'short')
    """
    if len(text) * 4 <= TEXT_BYTES:
        return text
    return text.encode()[:TEXT_BYTES].decode(errors="ignore")
