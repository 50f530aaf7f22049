"""Learning rate and order of batches of an episode, as a pure function of settings and episode."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """The place of an episode in its learning-rate schedule and in the order of batches.

    Attributes:
        steps: Steps that the episode takes.
        total: Steps that the schedule spans: linear warm-up, then linear decay to zero.
        warmup: Steps of warm-up.
        peak: Highest learning rate.
        begin: First step of the episode in the schedule.
        first_step: First step of the episode in the order of batches.
    """

    steps: int
    total: int
    warmup: int
    peak: float
    begin: int = 0
    first_step: int = 0

    def share(self, step: int) -> float:
        """Return the learning rate at a step of the schedule (from 0), as a share of the peak.

        The linear schedule of transformers, except that its first step has half the rate of the second instead of 0, so
        that an episode of one step trains.
        """
        if step < self.warmup:
            return max(step, 0.5) / self.warmup
        return max(0.0, (self.total - step) / max(1, self.total - self.warmup))
