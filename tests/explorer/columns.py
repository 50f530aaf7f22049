"""Columns of the explorer, by client: which checkpoints answer, and waiting until all that can do."""

import time

from fastapi.testclient import TestClient


def states(client: TestClient) -> dict[int, str]:
    """Return the state of each checkpoint."""
    return {column["checkpoint"]: column["state"] for column in client.get("/api/columns").json()["columns"]}


def settled(client: TestClient, seconds: float = 90.0) -> dict[int, str]:
    """Return the states once nothing is being encoded any more."""
    until = time.monotonic() + seconds
    while {"waiting", "encoding"} & set(found := states(client).values()):
        assert time.monotonic() < until, found
        time.sleep(0.1)
    return states(client)
