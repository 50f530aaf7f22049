"""A stand-in for a Qdrant server: the calls that an export makes of it, over Qdrant's own engine (qdrant-edge).

Storage, HNSW and search are Qdrant's; what comes in over HTTP is checked by the client's models, and its size as the
server's settings have it. The rest of a server (its write-ahead log, its optimisers' threads, clusters) is not here.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import qdrant_edge as engine
from qdrant_client import models

MOST_BYTES = 32 << 20

# KiB of vectors from which on an index is built, and searched by.
INDEXED = 8


@dataclass
class QdrantRest:
    """Collections by name, in folders below one; what was asked, and what is answered next.

    Attributes:
        folder: Where the engine writes.
        statuses: Of a collection, as the next looks at it find it; by itself it is yellow once after a change.
        asked: Method, path and size of each request, and its key.
        metadata: Whether collections keep any, as from 1.16 on.
    """

    folder: Path
    statuses: list[str] = field(default_factory=list)
    asked: list[tuple[str, str, int, str | None]] = field(default_factory=list)
    metadata: bool = True
    changed: bool = False
    collections: dict[str, tuple[Any, models.CreateCollection]] = field(default_factory=dict)

    def answer(self, method: str, path: str, body: Any) -> Any:
        """Return the result of a request.

        Raises:
            LookupError: There is nothing at this path.
        """
        if path == "/":
            return None
        found = re.fullmatch(r"/collections/(\w+)((?:/\w+)*)", path.partition("?")[0])
        name, rest = found.groups() if found else ("", "")
        if rest == "/exists":
            return {"exists": name in self.collections}
        if (method, rest) == ("PUT", ""):
            return self.create(name, models.CreateCollection.model_validate(body))
        shard, created = self.collections[name]
        if (method, rest) == ("DELETE", ""):
            del self.collections[name]
            shard.close()
            return True
        if (method, rest) == ("GET", ""):
            return self.info(shard, created)
        if (method, rest) == ("PATCH", ""):
            return bool(models.UpdateCollection.model_validate(body))
        if (method, rest) == ("PUT", "/points"):
            self.changed = True
            return upsert(shard, models.PointsBatch.model_validate(body).batch)
        if rest == "/points/count":
            return {"count": shard.count(engine.CountRequest(models.CountRequest.model_validate(body).exact))}
        if rest == "/points/query/batch":
            asked = models.QueryRequestBatch.model_validate(body).searches
            return [{"points": search(shard, one)} for one in asked]
        if rest == "/points/query":
            return {"points": search(shard, models.QueryRequest.model_validate(body))}
        raise LookupError(path)

    def create(self, name: str, what: models.CreateCollection) -> bool:
        """Make a collection."""
        assert isinstance(what.vectors, models.VectorParams)
        distance = getattr(engine.Distance, what.vectors.distance.value)
        vectors = engine.EdgeVectorParams(what.vectors.size, distance)
        graph = engine.HnswIndexConfig(16, 100, INDEXED)
        indexed = engine.EdgeOptimizersConfig(indexing_threshold=INDEXED)
        folder = self.folder / f"{name}-{len(self.asked)}"
        folder.mkdir(parents=True)
        config = engine.EdgeConfig(vectors, hnsw_config=graph, optimizers=indexed)
        self.collections[name] = engine.EdgeShard.create(str(folder), config), what
        return True

    def info(self, shard: Any, created: models.CreateCollection) -> dict[str, Any]:
        """Return what a collection is."""
        status = self.statuses.pop(0) if self.statuses else "yellow" if self.changed else "green"
        found, self.changed = shard.info(), False
        told = {
            "status": status,
            "optimizer_status": {"error": "no space left"} if status == "red" else "ok",
            "indexed_vectors_count": found.indexed_vectors_count,
            "points_count": found.points_count,
            "segments_count": found.segments_count,
            "config": {
                "params": {"vectors": created.vectors},
                "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": INDEXED},
                "optimizer_config": {
                    "deleted_threshold": 0.2, "vacuum_min_vector_number": 1000, "flush_interval_sec": 5,
                    "default_segment_number": 0,
                },
                "metadata": created.metadata if self.metadata else None,
            },
            "payload_schema": {},
        }  # fmt: skip
        shard.optimize()
        return told


def upsert(shard: Any, batch: models.Batch) -> dict[str, Any]:
    """Store points."""
    points = zip(batch.ids, batch.vectors, batch.payloads or [], strict=True)
    shard.update(engine.UpdateOperation.upsert_points([engine.Point(*one) for one in points]))
    return {"operation_id": 1, "status": "completed"}


def search(shard: Any, asked: models.QueryRequest) -> list[dict[str, Any]]:
    """Return the points that the engine finds."""
    exact = asked.params is not None and bool(asked.params.exact)
    params, query = engine.SearchParams(exact=exact), engine.Query.Nearest(getattr(asked.query, "nearest", asked.query))
    found = shard.query(engine.QueryRequest(asked.limit, query=query, params=params, with_payload=True))
    return [{"id": one.id, "version": 0, "score": one.score, "payload": one.payload} for one in found]


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, QdrantRest]]:
    """Serve from a thread of this process; yields the address, ``qdrant://127.0.0.1:PORT``, and the server."""
    server = QdrantRest(folder)

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            server.asked.append((self.command, self.path, size, self.headers.get("api-key")))
            body = self.rfile.read(size)
            if size > MOST_BYTES:
                return self.send(413, {"status": {"error": f"JSON payload ({size} bytes) is larger than allowed"}})
            try:
                result = server.answer(self.command, self.path, json.loads(body or "null"))
            except (LookupError, ValueError) as error:
                return self.send(404, {"status": {"error": f"Not found: {error!r}"}})
            self.send(200, {"title": "qdrant", "version": "1.20.0", "result": result, "status": "ok", "time": 0.0})

        def send(self, code: int, content: Any) -> None:
            written = json.dumps(content, default=lambda one: one.model_dump(mode="json")).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(written)))
            self.end_headers()
            self.wfile.write(written)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        try:
            yield f"qdrant://127.0.0.1:{http.server_port}", server
        finally:
            http.shutdown()
