"""Worker processes: the same results as in process, whatever happens to them."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from ance_tele.console.errors import UserError
from ance_tele.encode.vectors import Vectors
from ance_tele.engine.executor import IN_PROCESS
from ance_tele.engine.processes import Processes, Worker, WorkerDied, variables
from ance_tele.search import grid
from ance_tele.search.topk import exact_topk


@pytest.fixture(scope="module")
def two() -> Iterator[Processes]:
    processes = Processes(2)
    yield processes
    processes.close()


@pytest.fixture
def on_disk(tmp_path: Path) -> Vectors:
    rng = np.random.default_rng(3)
    for number in range(3):
        vectors = rng.standard_normal((500, 16)).astype(np.float32)
        vectors[400:] = vectors[:100]  # copies: ties go to the lower id
        np.save(tmp_path / f"passages-{number}.npy", vectors)
    return Vectors(tuple(np.load(tmp_path / f"passages-{n}.npy", mmap_mode="r") for n in range(3)), "key")


@pytest.fixture(autouse=True)
def _however_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "FEW_SCORES", 0)


@pytest.mark.parametrize("queries", [5, 200])
def test_a_search_in_two_processes_is_that_of_one(
    queries: int, two: Processes, on_disk: Vectors, tmp_path: Path
) -> None:
    rng = np.random.default_rng(4)
    asked, rank = rng.standard_normal((queries, 16)).astype(np.float32), rng.permutation(len(on_disk))
    alone = exact_topk(asked, on_disk, 40, id_rank=rank)
    found = grid.grid_topk(asked, on_disk, 40, rank, "cpu", "searching", two, tmp_path)
    assert (found.rows == alone.rows).all() and found.engine == alone.engine
    np.testing.assert_allclose(found.scores, alone.scores, rtol=1e-6)
    assert not list(tmp_path.glob("search-*"))


def test_a_killed_worker_is_replaced(two: Processes, on_disk: Vectors, tmp_path: Path, logged: list[str]) -> None:
    asked, rank = np.ones((40, 16), dtype=np.float32), np.arange(len(on_disk))
    before = grid.grid_topk(asked, on_disk, 5, rank, "cpu", "searching", two, tmp_path)
    for worker in two._workers:
        assert worker._process is not None
        os.kill(worker._process.pid, signal.SIGKILL)
    after = grid.grid_topk(asked, on_disk, 5, rank, "cpu", "searching", two, tmp_path)
    assert (after.rows == before.rows).all()
    assert [line for line in logged if "ended by signal 9" in line and "done again" in line]


def test_a_worker_that_dies_again_and_again_ends_in_a_sentence(
    on_disk: Vectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(UserError, match=r"ended with exit code 1 for the 4th time .*--processes"):
        grid.grid_topk(np.ones((9, 16), np.float32), on_disk, 5, np.arange(1500), "cpu", "", Processes(2), tmp_path)


def test_an_error_of_a_unit_is_not_tried_again(
    two: Processes, on_disk: Vectors, tmp_path: Path, logged: list[str]
) -> None:
    (tmp_path / "passages-1.npy").unlink()
    with pytest.raises(UserError, match=r"No such file.*passages-1\.npy"):
        grid.grid_topk(np.ones((9, 16), np.float32), on_disk, 5, np.arange(1500), "cpu", "", two, tmp_path)
    assert logged == []


def test_a_worker_may_be_closed_while_it_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that waits for its answer finds it gone at any point of being closed."""
    worker = Worker({})
    with pytest.raises(RuntimeError):
        worker.do('{"job": "os:system", "values": {}}', (0,))
    process = worker._process
    assert process is not None
    whole = process.wait

    def waiting(*given: Any) -> int:
        worker._process = None  # as the other thread does once the answer does not come
        return whole(*given)

    monkeypatch.setattr(process, "wait", waiting)
    worker.close()
    assert worker._process is None and process.stdin is not None and process.stdin.closed
    worker.close()


def test_a_job_that_cannot_be_opened_says_so(two: Processes) -> None:
    with pytest.raises(RuntimeError, match="no module of ance_tele"):
        Worker({}).do('{"job": "os:system", "values": {}}', (0,))


def test_a_worker_without_a_program_has_died(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with pytest.raises(WorkerDied, match="exit code 0"):
        Worker({}).do("{}", (0,))


def test_each_process_gets_its_gpu_and_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert variables(3, 4, 4) == {"OMP_NUM_THREADS": "4", "CUDA_VISIBLE_DEVICES": "3"}
    assert variables(3, 4, 2)["CUDA_VISIBLE_DEVICES"] == "1", "two processes share a GPU"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert variables(1, 2, 2)["CUDA_VISIBLE_DEVICES"] == "7", "of those that it may use"
    assert variables(0, 32, 0) == {"OMP_NUM_THREADS": "1"}


def test_in_process_does_units_one_by_one_and_opens_nothing_for_none() -> None:
    class Recorded:
        __dataclass_fields__: ClassVar[dict[str, object]] = {}

        def open(self):  # type: ignore[no-untyped-def]
            return lambda unit: {"unit": unit}

    seen: list[object] = []
    IN_PROCESS.run(Recorded(), [(1,), (2,)], lambda unit, facts: seen.append((unit, facts)))  # type: ignore[arg-type]
    assert seen == [((1,), {"unit": (1,)}), ((2,), {"unit": (2,)})]
