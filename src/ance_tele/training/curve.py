"""The loss curve of an episode: a point every few steps; the sum of the open one outlives an interruption."""

from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass
class Curve:
    """Mean loss and learning rate by step.

    Attributes:
        loss: (step, mean loss since the last point).
        learning_rate: (step, learning rate).
        seconds: Of training up to the last checkpoint, those before an interruption included.
    """

    loss: list[tuple[int, float]] = field(default_factory=list)
    learning_rate: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0
    _sum: torch.Tensor | float = 0.0
    _steps: int = 0

    def add(self, loss: torch.Tensor) -> None:
        """Add the loss of a step, without waiting for it."""
        self._sum, self._steps = self._sum + loss.detach(), self._steps + 1

    def close(self, step: int, rate: float) -> float:
        """End a point at a step; return its mean loss."""
        mean = float(self._sum) / self._steps
        self._sum, self._steps = 0.0, 0
        self.loss.append((step, mean))
        self.learning_rate.append((step, rate))
        return mean

    def content(self) -> dict[str, Any]:
        """Return it as JSON values."""
        points = {"loss": self.loss, "learning_rate": self.learning_rate}
        return {**points, "seconds": self.seconds, "sum": float(self._sum), "steps": self._steps}

    @classmethod
    def of(cls, content: dict[str, Any]) -> "Curve":
        """Return the curve of what :meth:`content` has returned."""
        loss, rate = ([(int(step), value) for step, value in content[name]] for name in ("loss", "learning_rate"))
        return cls(loss, rate, content.get("seconds", 0.0), content["sum"], content["steps"])
