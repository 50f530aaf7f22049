"""Whole runs by the command line, carried out by several ranks: what one process finds, they find.

With a model without dropout: ranks draw different masks. Ids, shares and metrics are equal; sums are formed in another
order, so that scores and losses differ in their last digits.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from toy import run_command, without_dropout

SETTINGS = {
    "episodes": 2,
    "shard_passages": 50,
    "batch_queries": 7,
    "refresh_fraction": 0.5,
    "logging_steps": 2,
    "language": "none",
    "save_steps": 2,
}
pytestmark = pytest.mark.slow  # each rank of each training is a process that loads torch anew

CONSOLE = [sys.executable, "-c", "import sys; from ance_tele.cli.main import main; sys.exit(main())"]


@pytest.fixture(scope="module")
def scene(toy: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model without dropout and the run of one process."""
    folder = tmp_path_factory.mktemp("whole")
    without_dropout(tiny_model, folder / "model")
    (folder / "toy").symlink_to(toy)
    assert start(folder, "alone").wait(240) == 0
    return folder


def start(folder: Path, out: str, *flags: str, launcher: tuple[str, ...] = ()) -> "subprocess.Popen[bytes]":
    """Start the run; what it prints goes to a file next to its folder."""
    command = run_command(folder / "toy", folder / "model", folder / out, **SETTINGS)
    own = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ANCE_TELE_CACHE": str(folder / "cache")}
    with (folder / f"{out}.txt").open("wb") as file:
        return subprocess.Popen(
            [*launcher, *CONSOLE, *command, *flags], env={**os.environ, **own}, stdout=file, stderr=file
        )


def assert_same(one: Path, other: Path) -> None:
    """Check that two runs found the same: lists, pools, shares and metrics equal, scores and losses nearly."""
    lists = sorted(str(path.relative_to(one)) for path in one.glob("**/*.parquet"))
    assert {"episode-1/candidates.parquet", "episode-2/pool.parquet", "episode-2/training_lists.parquet"} <= set(lists)
    assert lists == sorted(str(path.relative_to(other)) for path in other.glob("**/*.parquet"))
    for name in lists:
        first, second = pq.read_table(one / name), pq.read_table(other / name)
        assert first.column_names == second.column_names
        for column in first.column_names:
            assert_equal(first[column].to_pylist(), second[column].to_pylist(), f"{name} {column}")
    for name in ("summary.json", "episode-1/training_log.json", "episode-2/training_log.json"):
        assert_equal(*(without_times(json.loads((run / name).read_text("utf-8"))) for run in (one, other)), name)


def assert_equal(one: Any, other: Any, where: str) -> None:
    """Check that two JSON values are equal, numbers with a fraction to 1e-3."""
    if isinstance(one, Mapping):
        assert list(one) == list(other), where
        for name in one:
            assert_equal(one[name], other[name], f"{where} {name}")
    elif isinstance(one, list) and all(isinstance(value, float) for value in one):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=2e-5, err_msg=where)
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for number, pair in enumerate(zip(one, other, strict=True)):
            assert_equal(*pair, f"{where} {number}")
    elif isinstance(one, float):
        assert other == pytest.approx(one, rel=1e-3, abs=2e-5), where
    else:
        assert one == other, where


def without_times(value: Any) -> Any:
    if isinstance(value, Mapping):
        times = ("seconds", "weights", "model", "key")
        return {name: without_times(each) for name, each in value.items() if name not in times}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def test_two_ranks_one_of_them_killed(scene: Path) -> None:
    """Killed in the second episode, when a checkpoint is there; what is left of the run is the same."""
    process, killed = start(scene, "killed", "--processes=2"), list[int]()

    def kill() -> None:
        while process.poll() is None and not list(scene.glob("killed/episode-2/checkpoints/*.manifest.json")):
            time.sleep(0.02)
        killed.extend(ranks_of(process.pid)[:1])
        for rank in killed:
            os.kill(rank, signal.SIGKILL)

    killer = Thread(target=kill, daemon=True)
    killer.start()
    code = process.wait(240)
    printed = (scene / "killed.txt").read_text("utf-8")
    assert code == 0 and killed, printed
    assert "a training process was killed: all start again from the last checkpoint (1)" in printed
    assert_same(scene / "alone", scene / "killed")


def test_three_ranks(scene: Path) -> None:
    assert start(scene, "three", "--processes=3").wait(400) == 0, (scene / "three.txt").read_text("utf-8")
    assert_same(scene / "alone", scene / "three")


def test_two_ranks_of_torchrun(scene: Path) -> None:
    launcher = (sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", "--no-python")
    code = start(scene, "torchrun", launcher=launcher).wait(400)
    assert code == 0, (scene / "torchrun.txt").read_text("utf-8")
    assert_same(scene / "alone", scene / "torchrun")


def ranks_of(parent: int) -> list[int]:
    """Return the processes of training ranks that a process has started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words, status = (process / "cmdline").read_bytes(), (process / "status").read_text()
        except OSError:
            continue
        if b"ance_tele.engine.rank" in words and f"\nPPid:\t{parent}\n" in status:
            found.append(int(process.name))
    return sorted(found)
