"""What happens while a command works, for what shows it.

It is announced as records of the logger ``EVENTS``, which carry a :class:`Bar` or a phase. A handler that
shows bars sets ``taken`` (:class:`ance_tele.console.display.Display`).
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ance_tele.console.numbers import duration

# Not part of the package's log: its records are for what shows progress, whatever is muted.
EVENTS = logging.getLogger(__name__)
EVENTS.propagate = False
EVENTS.setLevel(logging.DEBUG)

# Seconds before a pace is known well enough to say what is left.
SETTLED = 2.0


@dataclass(frozen=True)
class ToCome:
    """Seconds to come of a run, and those of them that come after the training that is next."""

    seconds: float
    afterwards: float


@dataclass
class Bar:
    """How far a loop is.

    Attributes:
        what: What it does.
        total: Units in all.
        unit: Their name.
        done: Units done.
        resumed: Those of them that were done before, which say nothing about the pace.
        begun: When it began, in seconds of ``time.monotonic``.
        ended: Whether it is over.
        taken: Whether somebody shows it.
    """

    what: str
    total: float
    unit: str
    done: float = 0.0
    resumed: float = 0.0
    begun: float = field(default_factory=time.monotonic)
    ended: bool = False
    taken: bool = False

    @property
    def rate(self) -> float:
        """Units a second so far; 0 while there are none."""
        return max(0.0, self.done - self.resumed) / max(time.monotonic() - self.begun, 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds left at that pace; None while it is not known."""
        if time.monotonic() - self.begun < SETTLED or self.rate <= 0:
            return None
        return max(0.0, self.total - self.done) / self.rate

    def line(self) -> str:
        """Return it in words.

        Example:
            >>> Bar("training", 500, "steps", done=120).line()
            'training 120 of 500 steps'
            >>> Bar("training", 500, "steps", done=120, begun=time.monotonic() - 60).line()
            'training 120 of 500 steps, 3m10s left'
        """
        left = f", {duration(self.left)} left" if self.left is not None else ""
        return f"{self.what} {self.done:,.0f} of {self.total:,.0f} {self.unit}{left}"


@dataclass(frozen=True)
class Finished:
    """A phase that has ended.

    Attributes:
        where: "zero-shot", "episode 2".
        phase: "train".
        seconds: Time of what was made now; None where all of it was cached.
        metrics: Of an evaluation.
    """

    where: str
    phase: str
    seconds: float | None
    metrics: Mapping[str, float] = field(default_factory=dict)


def announce(what: str, **carried: Any) -> None:
    """Log a record of ``EVENTS``, which a display of progress reads if there is one; ``carried`` are its attributes."""
    EVENTS.debug(what, extra=carried)


def leave_bars() -> None:
    """Draw no bar in this process: the terminal is another's."""

    class Taking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if (bar := vars(record).get("bar")) is not None:
                bar.taken = True

    EVENTS.addHandler(Taking())


def pace(rate: float) -> str:
    """Format units a second.

    Example:
        >>> pace(0.43), pace(4.26), pace(12345.6)
        ('0.43/s', '4.3/s', '12,346/s')
    """
    return f"{rate:,.{2 if rate < 1 else 1 if rate < 100 else 0}f}/s"
