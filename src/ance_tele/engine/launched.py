"""The ranks that torchrun, accelerate or a batch system has started: rank 0 runs the command, the others wait for work.

What is to be done goes through torch's key-value store, which every rank asks now and then: no rank waits in a
collective operation while another mines. To train, each rank starts a process of its own, so that the memory of a phase
goes with it.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.engine.executor import Done
from ance_tele.engine.processes import failed, variables
from ance_tele.engine.rank import meeting
from ance_tele.engine.work import Facts, Job, Unit, describe, opened
from ance_tele.engine.worker import attempt, facts_of

# Seconds between two questions for work, at most.
PATIENCE = 0.5


@dataclass(frozen=True)
class Place:
    """Where a process stands among those that a launcher has started."""

    rank: int
    ranks: int
    local: int
    local_ranks: int

    @classmethod
    def of_environment(cls) -> "Place | None":
        """Read the launcher's variables; None where this process is alone."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        if not all(os.environ.get(name, "").isdigit() for name in (*names, "MASTER_PORT")):
            return None
        rank, ranks, local = (int(os.environ[name]) for name in names)
        return cls(rank, ranks, local, int(os.environ.get("LOCAL_WORLD_SIZE", ranks))) if ranks > 1 else None


class Ranks:
    """All ranks of a launcher, as rank 0 sees them."""

    def __init__(self, place: Place, gpus: int) -> None:
        self.place, self.gpus, self.jobs = place, take_gpu(place, gpus), 0
        self.workers = self.ranks = place.ranks
        self.store = meeting(place.rank)

    def run(self, job: Job, units: Sequence[Unit], done: Done = lambda unit, facts: None) -> None:
        """Do all units of a job; every rank takes the next that nobody has."""
        if not units:
            return
        key = self._post({"job": describe(job), "units": list(units)})
        work = job.open()  # with what this process holds already
        waiting = set(range(len(units)))
        while (number := self.store.add(f"{key}/next", 1) - 1) < len(units):
            done(units[number], work(units[number]))
            waiting.discard(number)
        while waiting:
            for number in [one for one in waiting if self.store.check([f"{key}/{one}"])]:
                done(units[number], facts_of(json.loads(self.store.get(f"{key}/{number}")), "a rank"))
                waiting.discard(number)
            time.sleep(PATIENCE / 10)

    def train(self, job: Job) -> Facts:
        """Have every rank train in a process of its own."""
        with socket.socket() as free:
            free.bind(("", 0))
            port = free.getsockname()[1]
        description = describe(job)
        key = self._post({"train": description, "port": port})
        facts = train_here(description, self.place, port, self.gpus)
        for rank in range(1, self.ranks):
            while not self.store.check([f"{key}/{rank}"]):
                time.sleep(PATIENCE / 10)
            facts_of(json.loads(self.store.get(f"{key}/{rank}")), "a rank")
        return facts

    def close(self) -> None:
        """Have all ranks free what they hold."""
        self._post({"close": True})

    def end(self) -> None:
        """End the other ranks."""
        self._post({"end": True})

    def _post(self, what: dict[str, Any]) -> str:
        key, self.jobs = f"job-{self.jobs}", self.jobs + 1
        self.store.set(key, json.dumps(what))
        return key


def serve(place: Place, gpus: int) -> None:
    """Do what rank 0 asks for, until it ends."""
    gpus, store, number = take_gpu(place, gpus), meeting(place.rank), 0
    held: dict[str, Any] = {}

    def open_job(description: str) -> Any:
        if held.get("job") != description:
            held.clear()
            held.update(job=description, work=opened(description))
        return held["work"]

    while True:
        key, wait = f"job-{number}", PATIENCE / 50
        while not store.check([key]):
            time.sleep(wait)
            wait = min(PATIENCE, 1.5 * wait)
        asked, number = json.loads(store.get(key)), number + 1
        if "end" in asked:
            return
        if "close" in asked or "train" in asked:
            held.clear()
        if "train" in asked:
            try:
                found: dict[str, Any] = {"facts": train_here(asked["train"], place, asked["port"], gpus)}
            except (UserError, RuntimeError) as error:
                found = {"error": str(error)}
            store.set(f"{key}/{place.rank}", json.dumps(found))
        units = asked.get("units", [])
        while units and (unit := store.add(f"{key}/next", 1) - 1) < len(units):
            store.set(f"{key}/{unit}", json.dumps(attempt(open_job, asked["job"], units[unit])))


def train_here(description: str, place: Place, port: int, gpus: int) -> Facts:
    """Train as one rank, in a process of its own; return what rank 0's has found out, {} for the others."""
    with TemporaryDirectory() as name:
        handed = Path(name) / "job.json"
        handed.write_text(description, "utf-8")
        own = {"MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "False"}
        own |= {"LOCAL_RANK": "0"} if gpus else {}
        backend = "nccl" if gpus >= place.local_ranks else "gloo"
        command = [sys.executable, "-m", "ance_tele.engine.rank", str(handed), backend]
        code = subprocess.run(command, env={**os.environ, **own}, check=False).returncode
        if code:
            raise failed(Path(name), RuntimeError(f"exit code {code}"))
        facts: Facts = json.loads((Path(name) / "facts.json").read_text("utf-8")) if place.rank == 0 else {}
        return facts


def take_gpu(place: Place, gpus: int) -> int:
    """Have this process, and those it starts, see one GPU and use its share of the cores; return the GPUs there are."""
    os.environ.update(variables(place.local, place.local_ranks, gpus))
    return gpus
