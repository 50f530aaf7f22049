"""A Ray cluster: actors that hold a model once pull units and write artefacts; Ray Train starts the training ranks.

Only the ids of units, row counts and seconds pass through Ray: vectors and lists go to the shared folder, so that
nothing spills. Faults of Ray itself (an actor, a worker, a node or an object lost) are retried; an exception of a unit
ends the run with its sentence. A unit is given to an actor that has started, never to one that waits for a place in the
cluster: nodes may go, and others come. Ray Core and not Ray Data: see docs/decisions.md.
"""

import logging
import re
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.engine.executor import Done
from ance_tele.engine.processes import RETRIES
from ance_tele.engine.ray_connect import connect
from ance_tele.engine.work import Facts, Job, Unit, describe, opened
from ance_tele.engine.worker import attempt, facts_of

log = logging.getLogger(__name__)

# Seconds without any actor after which a line says so, and after which the run ends: an autoscaler takes minutes.
QUIET, PATIENCE = 30.0, 600.0


class RayCluster:
    """Actors of a Ray cluster, one a GPU, or one a CPU core where there is none.

    Args:
        address: Of a cluster that runs already; None starts one on this machine, and ends it afterwards.
        actors: How many at most; None for one a GPU of the cluster, or one a core where it has none.

    Raises:
        UserError: No cluster answers at the address.
    """

    def __init__(self, address: str | None = None, actors: int | None = None) -> None:
        import ray

        self.ray, self.own, self.asked = ray, not ray.is_initialized(), actors
        if self.own:
            connect(address)
        self.gpu = ray.cluster_resources().get("GPU", 0) >= 1
        self.workers = self.ranks = actors or max(1, self._places())
        self._idle: deque[Any] = deque()
        self._busy: dict[Any, tuple[Any, Unit, int]] = {}
        self._starting: dict[Any, Any] = {}

    def run(self, job: Job, units: Sequence[Unit], done: Done = lambda unit, facts: None) -> None:
        """Do all units of a job; one whose actor is lost is done again by another, at most three times."""
        description, waiting = describe(job), deque((unit, 0) for unit in units)
        failed, quiet = 0, 0.0
        try:
            while waiting or self._busy:
                self._start(len(waiting) + len(self._busy))
                while waiting and self._idle:
                    actor, (unit, tried) = self._idle.popleft(), waiting.popleft()
                    self._busy[actor.do.remote(description, unit)] = actor, unit, tried
                ready, _ = self.ray.wait([*self._busy, *self._starting], num_returns=1, timeout=QUIET)
                quiet = 0.0 if ready or self._busy else self._waited(quiet)
                for one in ready:
                    if one in self._starting:
                        failed = self._started(one, failed)
                        continue
                    actor, unit, tried = self._busy.pop(one)
                    try:
                        found = self.ray.get(one)
                    except self._lost() as error:
                        self._lose(actor, unit, tried, error)
                        waiting.append((unit, tried + 1))
                        continue
                    self._idle.append(actor)
                    done(unit, facts_of(found, "a unit on Ray"))
        except BaseException:
            self.close()
            raise

    def train(self, job: Job) -> Facts:
        """Have Ray Train start the ranks, fewer of them once nodes are lost; where one is lost all start again.

        The job finds its last whole checkpoint by itself.
        """
        from ance_tele.engine.ray_train import RanksLost, train

        self.close()
        ranks = self.ranks
        for tried in range(1 + RETRIES):
            try:
                return train(job, ranks, self.gpu)
            except RanksLost as lost:
                if tried == RETRIES:
                    raise UserError(
                        f"Ray has lost the training ranks {tried + 1} times ({lost}); look at its logs, then run the "
                        "same command again: it goes on from the last checkpoint."
                    ) from None
                ranks = max(1, min(self.ranks, self._places()))
                log.warning(f"Ray has lost a training rank ({lost}): {ranks} start again from the last checkpoint")
        raise AssertionError

    def close(self) -> None:
        """End the actors."""
        for actor in (*self._idle, *self._starting.values(), *(actor for actor, _, _ in self._busy.values())):
            self.ray.kill(actor)
        self._idle.clear()
        self._starting.clear()
        self._busy.clear()

    def end(self) -> None:
        """End the actors, and the cluster that was started for this run."""
        self.close()
        if self.own:
            self.ray.shutdown()

    def _places(self) -> int:
        """Count what the nodes have that are there now: GPUs, or cores."""
        return int(self.ray.cluster_resources().get("GPU" if self.gpu else "CPU", 0))

    def _start(self, units: int) -> None:
        """Start actors in place of lost ones, and on nodes that have come: no more than there are units."""
        self.workers = self.ranks = self.asked or max(1, self._places())
        there = len(self._idle) + len(self._busy) + len(self._starting)
        share = {"num_gpus": 1, "num_cpus": 0} if self.gpu else {"num_cpus": 1}
        for _ in range(min(self.workers, units) - there):
            # Never restarted by Ray, which would have a unit wait for the place of a node that is gone.
            actor = self.ray.remote(max_restarts=0, scheduling_strategy="SPREAD", **share)(Unitary).remote()
            self._starting[actor.ready.remote()] = actor

    def _started(self, one: Any, failed: int) -> int:
        """Take an actor that has started, or has failed to; return how many in a row have."""
        actor = self._starting.pop(one)
        try:
            self.ray.get(one)
        except self._lost() as error:
            if failed == RETRIES:
                raise UserError(f"Ray cannot start an actor ({in_short(error)}); look at its logs.") from None
            return failed + 1
        self._idle.append(actor)
        return 0

    def _lose(self, actor: Any, unit: Unit, tried: int, error: Exception) -> None:
        self.ray.kill(actor)  # where it is only out of reach
        if tried == RETRIES:
            raise UserError(
                f"Ray has lost the actor of unit {unit} {tried + 1} times ({in_short(error)}); look at its "
                "logs, then run the same command again: what is finished is kept."
            )
        log.warning(f"Ray has lost an actor ({in_short(error)}); its unit {unit} is done again")

    def _waited(self, quiet: float) -> float:
        what = f"no place for an actor: {self._places()} {'GPUs' if self.gpu else 'cores'} in the cluster"
        if quiet + QUIET >= PATIENCE:
            raise UserError(f"Ray has had {what}, none of them free for {PATIENCE:.0f} s; what is finished is kept.")
        if not quiet:
            log.warning(f"Ray has {what}, none of them free; waiting")
        return quiet + QUIET

    def _lost(self) -> tuple[type[Exception], ...]:
        errors = self.ray.exceptions
        names = ("RayActorError", "WorkerCrashedError", "ObjectLostError", "NodeDiedError", "OutOfMemoryError")
        return tuple(getattr(errors, name) for name in names)


class Unitary:
    """What an actor holds: the last job it has opened."""

    def __init__(self) -> None:
        self.open_job = lru_cache(maxsize=1)(opened)

    def ready(self) -> None:
        """Return once the actor has started."""

    def do(self, description: str, unit: Unit) -> dict[str, Any]:
        """Do one unit; return its facts, or the error in words."""
        return attempt(self.open_job, description, unit)


def in_short(error: BaseException) -> str:
    """Return what an error of Ray comes to, without the colours, traceback and remedies it adds.

    Example:
        >>> in_short(ValueError("The actor died.\\n\\tactor_id: 7"))
        'The actor died'
    """
    lines = re.sub(r"\x1b\[[0-9;]*m|The actor [0-9a-f]{16,} is unavailable: ", "", str(error)).strip().splitlines()
    if not lines:
        return type(error).__name__
    if "creation task" in lines[0]:
        return lines[-1].strip()  # the exception itself
    return re.split(r": RpcError|\. ", lines[0])[0].strip().rstrip(".:")
