"""Trackers (TensorBoard, Weights & Biases, MLflow ...): those of transformers, which know their settings."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ance_tele.console.errors import UserError

# Logs what is known of a step.
Track = Callable[[int, dict[str, float]], None]


def chosen_trackers(names: Sequence[str]) -> list[str]:
    """Return the trackers of ``report_to``: "auto" is TensorBoard where it is installed, "none" is none."""
    chosen = [name for name in names if name not in ("auto", "none")]
    if "auto" in names and any(map(find_spec, ("tensorboard", "tensorboardX"))):
        chosen.append("tensorboard")
    return chosen


@contextmanager
def tracked(names: Sequence[str], folder: Path, model: Any, steps: int, done: int = 0) -> Iterator[Track]:
    """Yield what logs to all trackers; they are imported only where there are any.

    Args:
        names: As in ``report_to``.
        folder: Where a tracker that writes files puts them.
        model: What is trained.
        steps: Steps of the episode.
        done: Steps that are done already.

    Raises:
        UserError: There is no such tracker, or it is not installed.
    """
    chosen = chosen_trackers(names)
    if not chosen:
        yield lambda step, values: None
        return
    from transformers import TrainerControl, TrainerState, TrainingArguments
    from transformers.integrations import get_reporting_integration_callbacks

    try:
        trackers = [make() for make in get_reporting_integration_callbacks(chosen)]
    except (ValueError, RuntimeError) as error:
        raise UserError(f"report_to {', '.join(names)}: {str(error).rstrip('.')}.") from None
    arguments = TrainingArguments(output_dir=str(folder), report_to="none", max_steps=steps)
    state, control = TrainerState(max_steps=steps, global_step=done), TrainerControl()
    for tracker in trackers:
        tracker.on_train_begin(arguments, state, control, model=model)

    def track(step: int, values: dict[str, float]) -> None:
        state.global_step = step
        for tracker in trackers:
            tracker.on_log(arguments, state, control, logs=dict(values), model=model)

    try:
        yield track
    finally:
        for tracker in trackers:
            tracker.on_train_end(arguments, state, control, model=model)
