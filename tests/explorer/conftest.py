"""An analysed run of two episodes, and a client of its explorer."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from addresses import HOME, HOSTILE
from columns import settled
from fastapi.testclient import TestClient

from ance_tele.explorer.serve import open_explorer


def analysed(run: Path, queries: list[str]) -> None:
    """Write what an analysis would: the later a query, the more it has forgotten; one suspect."""
    folder = run / "analysis"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    count = np.arange(len(queries))
    mrr = {f"mrr_{checkpoint}": np.zeros(len(queries)) for checkpoint in range(3)}
    found = {"falls": count % 3, "lost": count / len(count), "swings": -count, "suspects": (count == 5).astype(int)}
    # In another order than the run's: positions must not be trusted.
    order = np.roll(count, 7)
    table = pa.table({"query_id": queries, **mrr, **found}).take(pa.array(order))
    pq.write_table(table, folder / "per_query.parquet")
    suspect = {"query_id": [queries[0]], "passage_id": [HOSTILE], "reasons": ["copy,kept"], "score": [2.5]}
    rest = {"sources": ["query"], "overlap": [0.9], "margin": pa.array([None], pa.float64()), "top_rounds": [2]}
    pq.write_table(pa.table({**suspect, **rest}), folder / "suspects.parquet")


@pytest.fixture(scope="module")
def run(explored: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run, analysed."""
    folder = tmp_path_factory.mktemp("copies") / "run"
    shutil.copytree(explored, folder)
    analysed(folder, pq.read_table(folder / "episode-0" / "per_training_query.parquet")["query_id"].to_pylist())
    return folder


@pytest.fixture(scope="module")
def data(explored: Path) -> Path:
    return explored.parent / "data"


@pytest.fixture(scope="module")
def client(run: Path, data: Path) -> Iterator[TestClient]:
    """A client of an explorer all of whose checkpoints answer."""
    with TestClient(open_explorer(run, data), base_url=HOME, headers={"Origin": HOME}) as client:
        assert set(settled(client).values()) == {"ready"}
        yield client


@pytest.fixture
def unmarked(run: Path) -> Iterator[Path]:
    yield run / "review.csv"
    (run / "review.csv").unlink(missing_ok=True)
