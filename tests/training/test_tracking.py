"""Trackers: one run of theirs for one of ours, one axis of steps over episodes, nothing logged twice."""

import json
import os
import signal
import struct
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from processes import called, started
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


def check(curves: Curves, out: Path, read: Any = lambda name: name, sent_later: bool = False) -> None:
    """Check the curves of a run; what is sent later was lost if it was logged just before the kill."""
    steps, figures = expected(out)
    for name in ("loss", *figures):
        at = [step for step, _ in curves[read(name)]]
        assert at == sorted(set(at)), f"{name}: {at}"
    assert [step for step, _ in curves[read("eval_MRR@10")]] == steps
    assert [step for step, _ in curves[read("eval_forgotten")]] == steps[1:]
    losses = [step for step, _ in curves[read("loss")]]
    assert losses[0] == 1 and losses[-1] == steps[-1] and steps[1] in losses
    assert sent_later or steps[1] + 1 in losses
    for name, value in figures.items():
        assert curves[read(name)][-1] == (steps[-1], pytest.approx(value, abs=1e-6)), name


def of_tensorboard(folder: Path) -> dict[str, Curves]:
    """Return curves by run: each is a folder of files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for run in {file.parent for file in folder.rglob("events.out.*")}:
        events = EventAccumulator(str(run))
        events.Reload()
        names = events.Tags()["scalars"]
        found[str(run)] = {name: [(one.step, one.value) for one in events.Scalars(name)] for name in names}
    return found


def of_mlflow(folder: Path) -> dict[str, Curves]:
    """Return curves by id of the run."""
    from mlflow import MlflowClient

    client, found = MlflowClient(), {}
    for run in client.search_runs(["0"]):
        assert run.info.status == "FINISHED" and run.data.params["recipe"] == "q-neg"
        history = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
        found[run.info.run_id] = {name: [(one.step, one.value) for one in points] for name, points in history.items()}
    return found


def of_trackio(folder: Path) -> dict[str, Curves]:
    """Return curves by run."""
    import sqlite3

    (file,) = folder.glob("trackio/*.db")
    rows = sqlite3.connect(file).execute("select run_name, step, metrics from metrics order by id").fetchall()
    curves: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for run, step, text in rows:
        values = json.loads(text)
        assert values["train/global_step"] == step
        for name, value in values.items():
            curves.setdefault(run, {}).setdefault(name, []).append((step, value))
    return dict(curves)


def of_wandb(folder: Path) -> dict[str, Curves]:
    """Return curves by id of the run, of all files that were written offline, in the order of their writing."""
    from wandb.proto.wandb_internal_pb2 import Record

    curves: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda file: file.stat().st_mtime_ns):
        records = [Record.FromString(part) for part in logged_parts(file.read_bytes())]
        if not records:  # of a process that was killed: less than a block
            continue
        (run,) = (one.run.run_id for one in records if one.HasField("run"))
        axes = {one.metric.glob_name: one.metric.step_metric for one in records if one.HasField("metric")}
        assert axes["*"] == "train/global_step"
        for one in records:
            if one.HasField("history"):
                keys = {item.key or ".".join(item.nested_key): item.value_json for item in one.history.item}
                step = int(keys.pop("train/global_step"))
                for name, value in keys.items():
                    curves.setdefault(run, {}).setdefault(name, []).append((step, float(value)))
    return dict(curves)


def logged_parts(data: bytes) -> Iterator[bytes]:
    """Yield the records of a file of Weights & Biases: a header of 7 bytes, and LevelDB's log in blocks of 32 KiB."""
    at, part = 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        size, kind = struct.unpack("<4xHB", data[at : at + 7])
        part += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, last
            yield part
            part = b""


def slashed(name: str) -> str:
    """Return a name as TensorBoard, Trackio and Weights & Biases have it."""
    kind, under, rest = name.partition("_")
    return f"{kind}/{rest}" if under else f"train/{name}"


READERS: Mapping[str, Callable[[Path], dict[str, Curves]]] = {
    "tensorboard": of_tensorboard, "trackio": of_trackio, "mlflow": of_mlflow, "wandb": of_wandb,
}  # fmt: skip


@pytest.fixture
def trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The trackers that are installed; they write into the test's folder, without a network."""
    installed = [name for name in READERS if find_spec(name)]
    if not installed:
        pytest.skip("no tracker is installed")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlflow").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    return installed


def plain(name: str) -> str:
    """Return a name as MLflow has it."""
    return name.replace("@", "_")


@pytest.mark.usefixtures("undrawn")
def test_one_run_also_after_a_kill(trackers: list[str], toy: Path, tiny_model: Path, tmp_path: Path) -> None:
    """Killed in the second episode, between a checkpoint and the next."""
    out, errors = tmp_path / "run", tmp_path / "errors.txt"
    words = run_command(toy, tiny_model, out, "q-neg", **SETTINGS, report_to=f"[{','.join(trackers)}]")
    child = started(words, errors, ("ance_tele.training.trainer", "finite", 6))
    child.join()
    assert child.exitcode == -signal.SIGKILL, errors.read_text()
    child = started(words, errors)  # of its own: what a tracker reads of the environment, it reads once
    child.join()
    assert child.exitcode == 0, errors.read_text()
    for tracker in trackers:
        (curves,) = READERS[tracker](tmp_path).values()
        check(curves, out, plain if tracker == "mlflow" else slashed, sent_later=tracker in ("trackio", "wandb"))


def logging_two_runs(trackers: list[str], folder: str) -> int:
    for first in (0, 10):
        for run in (1, 2):
            where, settings = f"{folder}/{run}/tracking", {"recipe": "q-neg"}
            with Tracking(trackers, where, first, settings).opened() as track:
                track("training", run, {"loss": float(run)})
    return 0


def test_two_runs_of_a_process_are_two_runs(trackers: list[str], tmp_path: Path) -> None:
    """As the cells of a comparison are."""
    child = called(tmp_path / "errors", logging_two_runs, trackers, str(tmp_path))
    child.join()
    assert child.exitcode == 0, (tmp_path / "errors").read_text()
    for tracker in trackers:
        loss = "loss" if tracker == "mlflow" else "train/loss"
        found = sorted(curves[loss] for curves in READERS[tracker](tmp_path).values())
        assert found == [[(1, 1.0), (11, 1.0)], [(2, 2.0), (12, 2.0)]], tracker
    notes = [json.loads((tmp_path / str(run) / "tracking" / "tracking.json").read_text()) for run in (1, 2)]
    assert [note["name"] for note in notes] == [f"q-neg-{run}-{note['id']}" for run, note in enumerate(notes, 1)]
    if "trackio" in trackers:
        assert of_trackio(tmp_path).keys() == {note["name"] for note in notes}
