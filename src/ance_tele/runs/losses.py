"""The training logs of a run, read back."""

from pathlib import Path
from typing import Any

from ance_tele.console.numbers import number
from ance_tele.runs.summary import Summary
from ance_tele.store.files import read_json_object


def read_losses(run: Path, summary: Summary) -> dict[int, list[tuple[float, float]]]:
    """Read the loss by step of each episode that has a training log."""
    losses = {}
    for one in summary.episodes:
        path = run / f"episode-{one.number}" / "training_log.json"
        if path.exists():
            log = read_json_object(path, "restore it, or delete it to have the report without its loss curve")
            losses[one.number] = _points(log.get("loss"))
    return losses


def _points(logged: Any) -> list[tuple[float, float]]:
    """Read [[step, value], …], leaving out what is no number: a loss can be NaN."""
    pairs = [pair for pair in logged if isinstance(pair, list) and len(pair) == 2] if isinstance(logged, list) else []
    points = [(number(step), number(value)) for step, value in pairs]
    return sorted((step, value) for step, value in points if step is not None and value is not None)
