"""Processes of this machine: one a GPU, or some of a CPU's cores each; training ranks start by torch's launcher."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.console.signals import GRACE_SECONDS, Terminated
from ance_tele.engine.executor import Done
from ance_tele.engine.work import Facts, Job, Unit, describe
from ance_tele.engine.worker import facts_of

log = logging.getLogger(__name__)

# A unit, or the ranks of a training, whose process was killed is tried again so often.
RETRIES = 3


class WorkerDied(Exception):
    """A worker process ended before it had done its unit."""


class Worker:
    """One worker process, started when it first has something to do."""

    def __init__(self, variables: dict[str, str]) -> None:
        self.variables, self._process = variables, None

    _process: "subprocess.Popen[str] | None"

    def do(self, description: str, unit: Unit) -> Facts:
        """Do one unit and return its facts.

        Raises:
            UserError: It cannot be done.
            WorkerDied: The process has ended.
        """
        if self._process is None:
            command = [sys.executable, "-m", "ance_tele.engine.worker"]
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self._process = subprocess.Popen(command, env={**os.environ, **self.variables}, **pipes)
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        try:
            print(json.dumps({"job": description, "unit": unit}), file=process.stdin, flush=True)
            line = process.stdout.readline()
        except (BrokenPipeError, ValueError):
            line = ""
        if not line:
            code, self._process = _ended(process), None
            raise WorkerDied(f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}")
        return facts_of(json.loads(line), "a worker process")

    def stop(self) -> None:
        """Have the process end: at once, or where it trains, when its step is saved."""
        if (process := self._process) is not None:  # the thread that serves it may set it to None meanwhile
            process.terminate()

    def close(self) -> None:
        """End the process, and wait for that."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            _ended(process)


def _ended(process: "subprocess.Popen[str]") -> int:
    """Wait for a process, and close the pipes to it; return its exit code."""
    code = process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
    return code


class Processes:
    """Worker processes, each with a GPU or a share of the cores of its own, that pull units from one queue.

    Args:
        count: How many.
        gpus: GPUs of this machine; with fewer than ``count``, several processes share one.
    """

    def __init__(self, count: int, gpus: int = 0) -> None:
        self.workers = self.ranks = count
        self.gpus = gpus
        self._workers = [Worker(variables(number, count, gpus)) for number in range(count)]

    def run(self, job: Job, units: Sequence[Unit], done: Done = lambda unit, facts: None) -> None:
        """Do all units of a job; a unit whose process dies is done again by a new one, at most three times."""
        description, waiting, lock = describe(job), deque(units), threading.Lock()
        stopped = threading.Event()

        def serve(worker: Worker) -> None:
            while True:
                try:
                    unit = waiting.popleft()
                except IndexError:
                    return
                for attempt in range(1 + RETRIES):
                    try:
                        facts = worker.do(description, unit)
                        break
                    except WorkerDied as died:
                        if stopped.is_set():  # closed below, after the error of another unit
                            return
                        if attempt == RETRIES:
                            raise UserError(
                                f"A worker process {died} for the {attempt + 1}th time in the same unit {unit}; if "
                                "memory ran out, give fewer --processes."
                            ) from None
                        log.warning(f"a worker process {died}; its unit {unit} is done again")
                with lock:
                    done(unit, facts)

        with ThreadPoolExecutor(self.workers) as pool:
            running = [pool.submit(serve, worker) for worker in self._workers[: len(units)]]
            try:
                for one in wait(running, return_when=FIRST_COMPLETED).done:
                    one.result()
                for one in running:
                    one.result()
            except BaseException:
                stopped.set()
                waiting.clear()
                self.close()
                raise

    def train(self, job: Job) -> Facts:
        """Start the ranks by torch's elastic launcher; where one dies all start again, at most three times."""
        from torch.distributed.elastic.multiprocessing import SignalException
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.launcher.api import LaunchConfig, elastic_launch

        self.close()  # the memory is needed
        with TemporaryDirectory() as name:
            handed = Path(name) / "job.json"
            handed.write_text(describe(job), "utf-8")
            config = LaunchConfig(
                min_nodes=1,
                max_nodes=1,
                nproc_per_node=self.ranks,
                run_id="ance-tele",
                rdzv_backend="c10d",
                rdzv_endpoint="127.0.0.1:0",
                max_restarts=RETRIES,
                monitor_interval=0.5,
            )
            quiet_launcher()
            try:
                with own_signals():
                    backend = "nccl" if self.gpus >= self.ranks else "gloo"
                    command = ("-m", "ance_tele.engine.rank", str(handed), backend, str(self.gpus))
                    elastic_launch(config, sys.executable)(*command)
            except SignalException as stop:  # the ranks have saved a checkpoint by now
                raise (KeyboardInterrupt if stop.sigval == signal.SIGINT else Terminated) from None
            except ChildFailedError as error:
                raise failed(Path(name), error) from None
            facts: Facts = json.loads((Path(name) / "facts.json").read_text("utf-8"))
            return facts

    def close(self) -> None:
        """End all worker processes."""
        for worker in self._workers:
            worker.stop()
        for worker in self._workers:
            worker.close()

    end = close


def variables(number: int, count: int, gpus: int) -> dict[str, str]:
    """Return the environment of a process: its GPU, and its share of the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = {"OMP_NUM_THREADS": str(max(1, cores // count))}
    if not gpus:
        return threads
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(gpu) for gpu in range(gpus)]
    return {**threads, "CUDA_VISIBLE_DEVICES": names[number % gpus]}


def failed(folder: Path, error: Exception) -> Exception:
    """Return why ranks have failed: in their own words, where one has left any."""
    for path in sorted(folder.glob("error-*.json")):
        left = json.loads(path.read_text("utf-8"))
        return UserError(left["error"]) if "error" in left else RuntimeError(f"a rank failed:\n{left['failure']}")
    return UserError(
        f"The training processes were killed {1 + RETRIES} times ({str(error).splitlines()[0]}); if memory ran out, "
        "lower chunk_tokens or give fewer --processes. The same command goes on from the last checkpoint."
    )


@contextmanager
def own_signals() -> Iterator[None]:
    """Put back the handlers of signals afterwards: the launcher sets its own, and leaves them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT]
    before = [(name, signal.getsignal(name)) for name in names]
    wakeup = signal.set_wakeup_fd(-1)  # nor is it cut short: the ranks save their step first
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        for name, handler in before:
            signal.signal(name, handler)


def quiet_launcher() -> None:
    """Leave out what the launcher logs of itself."""
    for name in ("torch.distributed.elastic", "torch.distributed.launcher"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
