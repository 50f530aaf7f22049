"""Trackers: one run of theirs for one of ours, one axis of steps over episodes, nothing logged twice."""

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from processes import started
from toy import run_command

from ance_tele.training.tracking import Tracking

Curves = Mapping[str, list[tuple[int, float]]]

SETTINGS = {"episodes": 2, "epochs": 2, "logging_steps": 4, "save_steps": 4, "refresh_fraction": 0.5}


def noting(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Return the list to which a tracker adds what it is called with."""
    from transformers import TrainerCallback, integrations

    seen: list[tuple[str, int]] = []

    class Noting(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            seen.append((args.run_name, -1))

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
            seen.extend((name, state.global_step) for name in logs)

    monkeypatch.setattr(integrations, "get_reporting_integration_callbacks", lambda names: [Noting])
    return seen


def test_a_step_of_a_series_is_logged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = noting(monkeypatch)
    folder = str(tmp_path / "run" / "tracking")
    for first, steps in ((0, (1, 2)), (0, (2, 3)), (3, (1,))):  # killed after 2, resumed from 1; the next episode
        with Tracking(["mine"], folder, first).opened() as track:
            for step in steps:
                track("training", step, {"loss": 1.0})
    with Tracking(["mine"], folder).opened() as track:
        track("training", 3, {"loss": 1.0})
        assert seen[-1] == ("loss", 4)  # not even opened
        track("evaluation", 3, {"metric": 1.0})
    assert [one for one in seen if one[1] >= 0] == [("loss", 1), ("loss", 2), ("loss", 3), ("loss", 4), ("metric", 3)]
    (name,) = {one for one, step in seen if step < 0}
    assert name.startswith("run-") and not {"WANDB_RUN_ID", "TENSORBOARD_LOGGING_DIR"} & os.environ.keys()


def expected(out: Path) -> tuple[list[int], dict[str, float]]:
    """Return the last steps of the checkpoints of a run, and figures that must be on its curves."""
    summary = json.loads((out / "summary.json").read_text())
    first, second = summary["episodes"]
    steps = [0, first["steps"], first["steps"] + second["steps"]]
    return steps, {
        "eval_MRR@10": second["metrics"]["MRR@10"],
        "eval_forgotten": second["forgetting_rate"],
        "test_MRR@10": summary["final"]["MRR@10"],
    }


def check(curves: Curves, out: Path, read: Any = lambda name: name) -> None:
    steps, figures = expected(out)
    for name in ("loss", *figures):
        at = [step for step, _ in curves[read(name)]]
        assert at == sorted(set(at)), f"{name}: {at}"
    assert [step for step, _ in curves[read("eval_MRR@10")]] == steps
    assert [step for step, _ in curves[read("eval_forgotten")]] == steps[1:]
    losses = [step for step, _ in curves[read("loss")]]
    assert losses[0] == 1 and losses[-1] == steps[-1] and {steps[1], steps[1] + 1} <= set(losses)
    for name, value in figures.items():
        assert curves[read(name)][-1] == (steps[-1], pytest.approx(value, abs=1e-6)), name


def of_tensorboard(out: Path) -> Curves:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / "tracking"))
    events.Reload()
    return {name: [(one.step, one.value) for one in events.Scalars(name)] for name in events.Tags()["scalars"]}


def of_mlflow() -> Curves:
    from mlflow import MlflowClient

    client = MlflowClient()
    (run,) = client.search_runs(["0"])
    assert run.info.status == "FINISHED" and run.data.params["recipe"] == "q-neg"
    history = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {name: [(one.step, one.value) for one in points] for name, points in history.items()}


def of_trackio(folder: Path) -> Curves:
    import sqlite3

    (file,) = folder.glob("*.db")
    rows = sqlite3.connect(file).execute("select run_name, metrics from metrics order by id").fetchall()
    assert len({name for name, _ in rows}) == 1
    curves: dict[str, list[tuple[int, float]]] = {}
    for _, text in rows:
        values = json.loads(text)
        for name, value in values.items():
            curves.setdefault(name, []).append((values["train/global_step"], value))
    return curves


def slashed(name: str) -> str:
    """Return a name as TensorBoard, Trackio and Weights & Biases have it."""
    kind, under, rest = name.partition("_")
    return f"{kind}/{rest}" if under else f"train/{name}"


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("tracker", ["tensorboard", "trackio", "mlflow"])
def test_one_run_also_after_a_kill(
    tracker: str, toy: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the second episode, between a checkpoint and the next."""
    pytest.importorskip(tracker)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlflow").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    out, errors = tmp_path / "run", tmp_path / "errors.txt"
    words = run_command(toy, tiny_model, out, "q-neg", **SETTINGS, report_to=f"[{tracker}]")
    child = started(words, errors, ("ance_tele.training.trainer", "finite", 6))
    child.join()
    assert child.exitcode == -signal.SIGKILL, errors.read_text()
    child = started(words, errors)  # of its own: what a tracker reads of the environment, it reads once
    child.join()
    assert child.exitcode == 0, errors.read_text()
    if tracker == "tensorboard":
        check(of_tensorboard(out), out, slashed)
    elif tracker == "mlflow":
        check(of_mlflow(), out, lambda name: name.replace("@", "_"))
    else:
        until = time.monotonic() + 20  # its server writes in the background
        while "test/MRR@10" not in of_trackio(tmp_path / "trackio") and time.monotonic() < until:
            time.sleep(0.5)
        check(of_trackio(tmp_path / "trackio"), out, slashed)
