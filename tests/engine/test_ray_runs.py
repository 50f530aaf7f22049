"""Whole runs on Ray end in the figures of a run in process, whatever is killed on the way. Minutes on two cores."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from ance_tele.cli.main import main

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

from test_ray import kill_one, nodes  # noqa: E402, F401 (a fixture)
from toy import run_command, without_dropout  # noqa: E402

SETTINGS = {"episodes": 1, "shard_passages": 10, "logging_steps": 4, "save_steps": 3, "language": "none"}


@pytest.fixture(scope="module")
def run(toy: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory, undrawn: None) -> Callable[..., Path]:
    """Carries out a run of a model without dropout, where the flags say."""
    folder = tmp_path_factory.mktemp("on-ray")
    model = without_dropout(tiny_model, folder / "model")

    def carry_out(name: str, *flags: str) -> Path:
        out = folder / name
        assert main([*run_command(toy, model, out, **SETTINGS), *flags]) == 0
        return out

    return carry_out


@pytest.fixture(scope="module")
def alone(run: Callable[..., Path]) -> Path:
    return run("alone")


def assert_same(out: Path, alone: Path) -> None:
    """The same candidates, pool and metrics; losses and scores of the trained model but for their last digits."""
    for name in ("candidates.parquet", "pool.parquet"):
        assert pq.read_table(out / "episode-1" / name).equals(pq.read_table(alone / "episode-1" / name)), name
    found, whole = (json.loads((each / "episode-1" / "training_log.json").read_text()) for each in (out, alone))
    assert found["learning_rate"] == whole["learning_rate"]
    np.testing.assert_allclose(found["loss"], whole["loss"], rtol=1e-4)
    found, whole = (json.loads((each / "summary.json").read_text()) for each in (out, alone))
    assert [metrics(each) for each in found["episodes"]] == [metrics(each) for each in whole["episodes"]]
    assert not list(out.rglob("*.answers*")) and not list(out.rglob("checkpoints"))


def metrics(episode: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in episode.items() if name != "seconds"}


def begun(out: Path, wait_for: str, act: Callable[[], object]) -> Thread:
    """Do something as soon as a file is there."""

    def wait() -> None:
        while not list(out.glob(wait_for)):
            time.sleep(0.01)
        act()

    thread = Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_a_run_on_ray_is_that_in_process(
    run: Callable[..., Path], alone: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    assert_same(run("undisturbed", "--engine=ray", "--processes=2"), alone)
    printed, errors = capfd.readouterr()
    assert errors == ""
    assert "(raylet)" not in printed and "Warning" not in printed


def test_an_actor_and_a_rank_killed(run: Callable[..., Path], alone: Path, logged: list[str]) -> None:
    out = alone.parent / "killed"
    encoding = begun(out, "episode-0/**/passages-00001.npy", kill_one)
    training = begun(out, "episode-1/checkpoints/checkpoint-*.manifest.json", lambda: kill_one(b"ray::RayTrain"))
    assert_same(run("killed", "--engine=ray", "--processes=2"), alone)
    assert not encoding.is_alive() and not training.is_alive()
    assert [line for line in logged if "Ray has lost an actor" in line]
    assert [line for line in logged if "Ray has lost a training rank" in line]


def test_a_node_lost_in_training(
    run: Callable[..., Path],
    alone: Path,
    nodes: Any,  # noqa: F811
    logged: list[str],
) -> None:
    out = alone.parent / "node-lost"
    lost = begun(
        out,
        "episode-1/checkpoints/checkpoint-*.manifest.json",
        lambda: nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False),
    )
    assert_same(run("node-lost", "--engine=ray", f"--address={nodes.address}"), alone)
    assert not lost.is_alive()
    assert [line for line in logged if "1 start again" in line]
