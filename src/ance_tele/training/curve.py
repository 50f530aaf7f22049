"""The loss curve across a resume: a checkpoint keeps the sum of the point that is not complete yet."""

import json
from pathlib import Path

import torch

_FILE = "curve.json"


class OpenPoint:
    """The next point of the loss curve: the mean loss since the last point, also where a checkpoint lies in between.

    The trainer averages on its own, and forgets the sum when it is resumed.
    """

    def __init__(self) -> None:
        self._sum: torch.Tensor | float = 0.0
        self._steps, self._resumed = 0, False

    def add(self, loss: torch.Tensor) -> None:
        """Add the loss of a step."""
        self._sum, self._steps = self._sum + loss.detach(), self._steps + 1

    def close(self, mean: float) -> float:
        """End the point; return its mean loss: as the trainer has it, unless the sum began before it was resumed."""
        if self._resumed:
            mean = float(self._sum) / self._steps
        self._sum, self._steps, self._resumed = 0.0, 0, False
        return mean

    def save(self, checkpoint: Path) -> None:
        """Write the sum so far into a checkpoint."""
        content = {"sum": float(self._sum), "steps": self._steps}
        (checkpoint / _FILE).write_text(json.dumps(content), "utf-8")

    def resume(self, checkpoint: str | None) -> None:
        """Go on from what a checkpoint holds; versions that saved only where a point ended wrote nothing."""
        path = None if checkpoint is None else Path(checkpoint, _FILE)
        if path is not None and path.is_file():
            content = json.loads(path.read_text("utf-8"))
            self._sum, self._steps, self._resumed = content["sum"], content["steps"], content["steps"] > 0
