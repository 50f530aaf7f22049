"""Trackers (TensorBoard, Trackio, MLflow, Weights & Biases ...): those of transformers, which know their settings.

A run of ours is one run of theirs, with one axis of steps over all episodes. It is opened again by its name or id for
each phase that logs, in whichever process that is, also after a kill; what was logged is noted, and not logged twice.
"""

import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

from ance_tele.console.errors import UserError
from ance_tele.store.files import write_json

# Logs what is known of a step; the first argument names the series, of which no step is logged twice.
Track = Callable[[str, int, Mapping[str, float]], None]

NOTES = "tracking.json"
"""In the folder of a tracking: name and ids of the run, and the last step that was logged of each series."""


def chosen_trackers(names: Sequence[str]) -> list[str]:
    """Return the trackers of ``report_to``: "auto" is TensorBoard where it is installed, "none" is none."""
    chosen = [name for name in names if name not in ("auto", "none")]
    if "auto" in names and any(map(find_spec, ("tensorboard", "tensorboardX"))):
        chosen.append("tensorboard")
    return chosen


@dataclass(frozen=True)
class Tracking:
    """Where a run is tracked.

    Attributes:
        names: As in ``report_to``.
        folder: Of what is noted of it, and of the files of TensorBoard.
        first: Steps of all earlier episodes.
        settings: Shown as the run's configuration.
    """

    names: Sequence[str]
    folder: str
    first: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def opened(self) -> Iterator[Track]:
        """Yield what logs to all trackers; they are imported only where there are any, and opened by the first value.

        Steps of a series that were logged before are left out.

        Raises:
            UserError: There is no such tracker, or it is not installed.
        """
        chosen = chosen_trackers(self.names)
        if not chosen:
            yield lambda series, step, values: None
            return
        trackers, notes = _made(chosen, self.names), Path(self.folder) / NOTES
        known = _read(notes)
        opened: list[Any] = []

        def track(series: str, step: int, values: Mapping[str, float]) -> None:
            step += self.first
            if step <= known["logged"].get(series, -1):
                return
            if not opened:
                with _quiet(known):
                    opened.append(_open(trackers, Path(self.folder), known, self.settings))
            known["logged"][series] = step
            Path(self.folder).mkdir(parents=True, exist_ok=True)
            write_json(notes, known)
            for tracker in trackers:
                _log(tracker, opened[0], step, values)

        try:
            yield track
        finally:
            if opened:
                with redirect_stdout(io.StringIO()):
                    for tracker in trackers:
                        tracker.on_train_end(*opened[0])
                        _close_wandb(tracker, known)


def _quiet(known: Mapping[str, Any]) -> AbstractContextManager[object]:
    """Leave out what trackers print of a run, but for the first time, when they say where it is."""
    return redirect_stdout(io.StringIO()) if known["logged"] else nullcontext()


def _read(notes: Path) -> dict[str, Any]:
    if notes.is_file():
        found: dict[str, Any] = json.loads(notes.read_text("utf-8"))
        return found
    return {"id": uuid4().hex[:8], "logged": {}}


def _made(chosen: list[str], names: Sequence[str]) -> list[Any]:
    from transformers.integrations import get_reporting_integration_callbacks

    try:
        return [make() for make in get_reporting_integration_callbacks(chosen)]
    except (ValueError, RuntimeError) as error:
        raise UserError(f"report_to {', '.join(names)}: {str(error).rstrip('.')}.") from None


def _log(tracker: Any, opened: tuple[Any, ...], step: int, values: Mapping[str, float]) -> None:
    """Log at a step; Trackio's callback names none, and its dashboard would show how often it was called."""
    arguments, state, control = opened
    state.global_step = step
    if (trackio := getattr(tracker, "_trackio", None)) is None:
        tracker.on_log(arguments, state, control, logs=dict(values))
        return
    from transformers.integrations.integration_utils import rewrite_logs

    trackio.log({**rewrite_logs(dict(values)), "train/global_step": step}, step=step)


def _open(trackers: list[Any], folder: Path, known: dict[str, Any], settings: Mapping[str, Any]) -> tuple[Any, ...]:
    """Begin or go on with the run in all trackers; note the id that MLflow gives it."""
    from transformers import TrainerControl, TrainerState, TrainingArguments

    class Arguments(TrainingArguments):
        """Those of the trackers, which show our settings instead of its own."""

        def to_dict(self) -> dict[str, Any]:
            return dict(settings)

        def to_json_string(self) -> str:
            return json.dumps(dict(settings), indent=2, default=str)

    name = known.setdefault("name", _name(folder, known, settings))
    arguments = Arguments(output_dir=str(folder), run_name=name, report_to="none")
    state, control = TrainerState(), TrainerControl()
    with _variables(folder, known):
        for tracker in trackers:
            if hasattr(tracker, "logging_dir"):  # TensorBoard's was read when it was made
                tracker.logging_dir = os.environ["TENSORBOARD_LOGGING_DIR"]
            _open_wandb(tracker, name, known)
            tracker.on_train_begin(arguments, state, control)
    if "mlflow" in sys.modules and (run := sys.modules["mlflow"].active_run()) is not None:
        known["mlflow"] = run.info.run_id
    return arguments, state, control


def _name(folder: Path, known: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Return what a run is called: its recipe, folder and id; the cells of a comparison have folders of one name.

    Runs that were begun before names were noted are called by folder and id.
    """
    recipe = [str(settings["recipe"])] if "recipe" in settings and not known["logged"] else []
    return "-".join([*recipe, folder.resolve().parent.name, known["id"]])


def _open_wandb(tracker: Any, name: str, known: Mapping[str, Any]) -> None:
    """Begin or go on with the run of Weights & Biases, if this is it; one that is open already is logged to.

    Its variables would do for one run only: it reads them once in a process. Where the run lies is printed once.
    """
    wandb = getattr(tracker, "_wandb", None)
    if wandb is not None and wandb.run is None:
        wandb.init(
            project=os.environ.get("WANDB_PROJECT", "huggingface"),
            name=name,
            id=os.environ.get("WANDB_RUN_ID", known["id"]),
            resume=os.environ.get("WANDB_RESUME", "allow"),
            settings=wandb.Settings(silent=True) if known["logged"] else wandb.Settings(quiet=True),
        )


def _close_wandb(tracker: Any, known: Mapping[str, Any]) -> None:
    """Finish the run of Weights & Biases that was opened here; its callback leaves it to whoever logs next."""
    run = getattr(getattr(tracker, "_wandb", None), "run", None)
    if run is not None and run.id == os.environ.get("WANDB_RUN_ID", known["id"]):
        run.finish()


@contextmanager
def _variables(folder: Path, known: Mapping[str, Any]) -> Iterator[None]:
    """Set the variables by which trackers find a run again, but those that the environment has."""
    wanted = {
        "TENSORBOARD_LOGGING_DIR": str(folder),
        **({"MLFLOW_RUN_ID": known["mlflow"]} if "mlflow" in known else {}),
    }
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
