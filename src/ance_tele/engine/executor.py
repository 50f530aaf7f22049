"""What knows where work units run; whoever has units to do asks an executor and does not know."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ance_tele.engine.work import Facts, Job, Unit

# Called with each unit that is done and what is known of it.
Done = Callable[[Unit, Facts], Any]


class Executor(Protocol):
    """Where work units run.

    Attributes:
        workers: Units that run at the same time.
        ranks: Processes that train together.
    """

    workers: int
    ranks: int

    def run(self, job: Job, units: Sequence[Unit], done: Done = lambda unit, facts: None) -> None:
        """Do all units of a job, in any order.

        Raises:
            UserError: A unit cannot be done, or its process has died again and again.
        """

    def train(self, job: Job) -> Facts:
        """Have all ranks open one job and do its unit ``(rank, ranks)``, in one process group; return rank 0's facts.

        Raises:
            UserError: It cannot be done, or ranks have died again and again.
        """

    def close(self) -> None:
        """Free what the workers hold; the next job starts them anew."""

    def end(self) -> None:
        """Free what they hold, and end what was started."""


class InProcess:
    """This process alone: nothing is started, and what it holds already is used."""

    workers, ranks = 1, 1

    def run(self, job: Job, units: Sequence[Unit], done: Done = lambda unit, facts: None) -> None:
        """Do all units of a job, one after the other."""
        if units:
            work = job.open()
            for unit in units:
                done(unit, work(unit))

    def train(self, job: Job) -> Facts:
        """Do the job's only unit."""
        return job.open()((0, 1))

    def close(self) -> None:
        """Nothing was started."""

    end = close


IN_PROCESS = InProcess()
