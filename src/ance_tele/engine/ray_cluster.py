"""A Ray cluster: actors that hold a model once pull units and write artefacts; Ray Train starts the training ranks.

Only the ids of units, row counts and seconds pass through Ray: vectors and lists go to the shared folder, so that
nothing spills. Faults of Ray itself (an actor, a worker, a node or an object lost) are retried; an exception of a unit
ends the run with its sentence. Ray Core and not Ray Data: see docs/decisions.md.
"""

import logging
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.engine.executor import Done
from ance_tele.engine.processes import RETRIES
from ance_tele.engine.work import Facts, Job, Unit, describe, opened
from ance_tele.engine.worker import attempt, facts_of

log = logging.getLogger(__name__)


class RayCluster:
    """Actors of a Ray cluster, one a GPU, or one a CPU core where there is none.

    Args:
        address: Of a cluster that runs already; None starts one on this machine, and ends it afterwards.
        actors: How many; None for one a GPU of the cluster, or one a core where it has none.
    """

    def __init__(self, address: str | None = None, actors: int | None = None) -> None:
        import ray

        self.ray, self.own = ray, not ray.is_initialized()
        if self.own:
            options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
            try:
                ray.init(address=address, include_dashboard=False if address is None else None, **options)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise UserError(f"No Ray cluster answers at {address} ({str(error).splitlines()[0]}).") from None
        resources = ray.cluster_resources()
        self.gpus = int(resources.get("GPU", 0))
        self.workers = self.ranks = actors or self.gpus or max(1, int(resources.get("CPU", 1)))
        self._actors: list[Any] = []

    def run(self, job: Job, units: Sequence[Unit], done: Done = lambda unit, facts: None) -> None:
        """Do all units of a job; one whose actor is lost is done again by another, at most three times."""
        errors = self.ray.exceptions
        lost = (errors.RayActorError, errors.WorkerCrashedError, errors.ObjectLostError, errors.NodeDiedError)
        description, waiting = describe(job), deque((unit, 0) for unit in units)
        self._start()
        idle, running = deque(self._actors[: len(units)]), dict[Any, tuple[Any, Unit, int]]()
        while waiting or running:
            while waiting and idle:
                actor, (unit, tried) = idle.popleft(), waiting.popleft()
                running[actor.do.remote(description, unit)] = actor, unit, tried
            ready, _ = self.ray.wait(list(running), num_returns=1)
            actor, unit, tried = running.pop(ready[0])
            try:
                found = self.ray.get(ready[0])
            except lost as error:
                if tried == RETRIES:
                    raise UserError(
                        f"Ray has lost the actor of unit {unit} {tried + 1} times ({_first_line(error)}); look at its "
                        "logs, then run the same command again: what is finished is kept."
                    ) from None
                log.warning(f"Ray has lost an actor ({_first_line(error)}); its unit {unit} is done again")
                waiting.append((unit, tried + 1))
                idle.append(self._another(actor))
                continue
            idle.append(actor)
            done(unit, facts_of(found, "a unit on Ray"))

    def train(self, job: Job) -> Facts:
        """Have Ray Train start the ranks; the job finds its last whole checkpoint by itself."""
        from ance_tele.engine.ray_train import train

        self.close()
        return train(job, self.ranks, self.gpus > 0)

    def close(self) -> None:
        """End the actors."""
        for actor in self._actors:
            self.ray.kill(actor)
        self._actors = []

    def end(self) -> None:
        """End the actors, and the cluster that was started for this run."""
        self.close()
        if self.own:
            self.ray.shutdown()

    def _start(self) -> None:
        while len(self._actors) < self.workers:
            self._actors.append(self._actor())

    def _actor(self) -> Any:
        share = {"num_gpus": 1, "num_cpus": 0} if self.gpus else {"num_cpus": 1}
        options = {"max_restarts": -1, "max_task_retries": 0, "scheduling_strategy": "SPREAD", **share}
        return self.ray.remote(**options)(Unitary).remote()

    def _another(self, actor: Any) -> Any:
        """Return an actor in place of one that was lost: Ray's own restart may wait for a node that is gone."""
        self.ray.kill(actor)
        self._actors.remove(actor)
        self._actors.append(self._actor())
        return self._actors[-1]


class Unitary:
    """What an actor holds: the last job it has opened."""

    def __init__(self) -> None:
        self.open_job = lru_cache(maxsize=1)(opened)

    def do(self, description: str, unit: Unit) -> dict[str, Any]:
        """Do one unit; return its facts, or the error in words."""
        return attempt(self.open_job, description, unit)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
