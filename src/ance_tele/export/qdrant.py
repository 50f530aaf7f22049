"""Qdrant: a server, or the local mode of its client."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ance_tele.console.errors import UserError
from ance_tele.export.target import MARK, Batch, Description, described, package, padded

PORT = 6333

# Seconds between looks at an index that a server builds.
PATIENCE = 1.0

# Bytes of a request, about: a server refuses more than 32 MiB, unless set otherwise. Of a number, a character in JSON.
REQUEST, NUMBER, CHARACTER = 16 << 20, 24, 6


class Qdrant:
    """A collection of Qdrant: points are numbered by row, the payload holds id, title and text.

    ``qdrant://HOST[:PORT]`` (http) and ``qdrant+https://HOST[:PORT]`` are servers, which get $QDRANT_API_KEY;
    ``qdrant:FOLDER`` is the local mode, which searches exactly.
    """

    batch = 256

    def __init__(self, place: str, table: str) -> None:
        self.client_module, self.models = package("qdrant_client", "qdrant"), package("qdrant_client.models", "qdrant")
        self.table = table
        scheme, server, host = place.partition("://")
        self.options: dict[str, Any] = {"path": place.removeprefix("qdrant:")}
        if server:
            host = host.rstrip("/")
            protocol = "https" if scheme == "qdrant+https" else "http"
            port = "" if ":" in host.rpartition("]")[2] else f":{PORT}"
            self.options = {"url": f"{protocol}://{host}{port}"}
        key = os.environ.get("QDRANT_API_KEY") if server else None
        self.secret = {"api_key": key} if key else {}
        self.client = self.client_module.QdrantClient(**self.options, **self.secret, timeout=60)
        self.local = not server
        if self.local:
            self._commit_cheaply()

    def _store(self) -> Any:
        """Return the SQLite connection of the local mode's collection; None if it cannot be found."""
        collections = getattr(getattr(self.client, "_client", None), "collections", {})
        return getattr(getattr(collections.get(self.table), "storage", None), "storage", None)

    def _commit_cheaply(self) -> None:
        """Have the local mode, which commits every single point, not wait for the disk each time.

        A write-ahead log keeps the file whole all the same. Where the client is another one, it is slow.
        """
        if (store := self._store()) is not None:
            store.execute("PRAGMA journal_mode=WAL")
            store.execute("PRAGMA synchronous=NORMAL")

    def found(self) -> Mapping[str, Any] | None:
        """Return the metadata of the collection."""
        if not self.client.collection_exists(self.table):
            return None
        metadata = getattr(self.client.get_collection(self.table).config, "metadata", None) or {}
        return described(metadata.get(MARK))

    def create(self, what: Description) -> None:
        """Create the collection; its metric is the dot product."""
        vectors = self.models.VectorParams(size=what.dimension, distance=self.models.Distance.DOT)
        self.client.create_collection(self.table, vectors_config=vectors, metadata={MARK: what.dumps()})
        if self.local:
            self._commit_cheaply()
        elif not self.found():
            self.drop()
            raise UserError("The server keeps no metadata of a collection, as Qdrant before 1.16; update it.")

    def drop(self) -> None:
        """Delete the collection."""
        self.client.delete_collection(self.table)

    def count(self) -> int:
        """Return the exact count."""
        return int(self.client.count(self.table, exact=True).count)

    def write(self, batch: Batch) -> None:
        """Upsert points, in requests that a server takes."""
        columns = batch.columns
        payloads = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        for part in _requests(batch):
            ids, vectors = [batch.rows[row] for row in part], batch.vectors[part.start : part.stop].tolist()
            points = self.models.Batch(ids=ids, vectors=vectors, payloads=payloads[part.start : part.stop])
            self.client.upsert(self.table, points, wait=True)

    def build(self) -> str | None:
        """Wait until a server has built its index; below its indexing threshold it builds none.

        Raises:
            UserError: It could not.
        """
        if self.local:
            return None
        from time import sleep

        status = self.models.CollectionStatus
        while (info := self.client.get_collection(self.table)).status in (status.YELLOW, status.GREY):
            if info.status == status.GREY:  # after a restart a server waits for a change before it goes on
                self.client.update_collection(self.table, optimizers_config=self.models.OptimizersConfigDiff())
            sleep(PATIENCE)
        if info.status == status.RED:
            raise UserError(f"The server could not build its index: {info.optimizer_status}.")
        return "HNSW, as the server is set" if info.indexed_vectors_count else None

    def search(self, queries: np.ndarray, k: int, exact: bool) -> np.ndarray:
        """Search all queries in one request."""
        params = None if self.local else self.models.SearchParams(exact=exact)
        asked = [self.models.QueryRequest(query=query.tolist(), limit=k, params=params) for query in queries]
        found = self.client.query_batch_points(self.table, asked)
        return padded([[int(point.id) for point in one.points] for one in found], k)

    def code(self) -> tuple[list[str], str]:
        """Return lines with qdrant-client."""
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        key = ", api_key=os.environ['QDRANT_API_KEY']" if self.secret else ""
        return (
            [*(["import os"] if key else []), "from qdrant_client import QdrantClient"],
            f"client = QdrantClient({options}{key})\n"
            f"for point in client.query_points({self.table!r}, query=query.tolist(), limit=10).points:\n"
            "    print(point.payload['id'], point.score)\n"
            "client.close()",
        )

    def close(self) -> None:
        """Close the client; the local mode's file becomes one without a log."""
        if self.local and (store := self._store()) is not None:
            store.execute("PRAGMA journal_mode=DELETE")
        self.client.close()


def _requests(batch: Batch) -> Iterator[range]:
    """Yield the passages of each request, by place in the batch: as many as about REQUEST bytes hold, at least one.

    Example:
        >>> one = Batch(0, ["a", "b", "c"], None, ["", "x" * (2 << 20), ""], np.zeros((3, 4), np.float32))
        >>> list(_requests(one)), list(_requests(Batch(0, ["a", "b"], None, None, np.zeros((2, 4), np.float32))))
        ([range(0, 2), range(2, 3)], [range(0, 2)])
    """
    texts = zip(*batch.columns.values(), strict=True)
    sizes = [NUMBER * batch.vectors.shape[1] + CHARACTER * sum(map(len, values)) for values in texts]
    first, size = 0, 0
    for place, one in enumerate(sizes):
        if size and size + one > REQUEST:
            yield range(first, place)
            first, size = place, 0
        size += one
    yield range(first, len(sizes))
