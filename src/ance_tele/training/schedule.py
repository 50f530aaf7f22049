"""The learning rate of an episode, and the batches it takes: a pure function of settings and episode."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Where an episode is in its learning-rate schedule and in the order of batches.

    Attributes:
        steps: Steps that the episode takes.
        total: Steps that the schedule spans: linear warm-up, then linear decay to zero.
        warmup: Steps of warm-up.
        peak: Highest learning rate.
        begin: Place in the schedule where the episode begins.
        first_step: Place in the order of batches where it begins.
    """

    steps: int
    total: int
    warmup: int
    peak: float
    begin: int = 0
    first_step: int = 0

    def share(self, step: int) -> float:
        """Return the learning rate at a step of the schedule (from 0), as a share of the peak.

        The usual linear schedule, but for its very first step: there transformers' has rate 0, at which a step changes
        no weight, and an episode of one step would be none at all. It takes half the rate of the second.
        """
        if step < self.warmup:
            return max(step, 0.5) / self.warmup
        return max(0.0, (self.total - step) / max(1, self.total - self.warmup))
