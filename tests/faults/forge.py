"""Runs the command line with a fault in it, many times: torch is imported once, and each run is a process forked off.

As a script it is the server: it reads a request per line, forks, waits, and answers a line. ``Forge`` is its client.
"""

import contextlib
import ctypes
import gc
import json
import mmap
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
# What the story calls, and what encodes, by phase.
PHASES = {
    "ance_tele.cli.main": {"_main": "start"},
    "ance_tele.runs.acquire": {"write_json": "start"},
    "ance_tele.runs.measure": {"measure": "evaluate"},
    "ance_tele.search.dense": {"encode_corpus": "encode"},
    "ance_tele.episode": {"mine": "mine", "mix": "mix", "train": "train", "search": "mine", "finish": "report"},
}


@dataclass(frozen=True)
class Fault:
    """What happens to a run, and when.

    Attributes:
        kind: A signal, or one of ``ACTIONS``.
        boundary: Just before the n-th file or folder takes its place (os.replace), from 1; 0 for never.
        step: Just before the n-th step of training, from 1.
        seconds: After so long.
        amount: Bytes of the largest file ("limit").
        path: What is removed, or may not be written.
    """

    kind: str
    boundary: int = 0
    step: int = 0
    seconds: float | None = None
    amount: int = 0
    path: str = ""


@dataclass(frozen=True)
class Ended:
    """How a run ended: exit code (negative: killed by a signal), output, and what it was at when the fault came.

    ``left`` is how long after the fault it ended, in seconds; None where it has not come. ``stopped`` is the process
    where it waits to be continued.
    """

    code: int
    out: str
    err: str
    phase: str
    left: float | None
    stopped: int | None = None


class Forge:
    """The client: ``with Forge.started(folder, argv) as forge: forge.run(argv, fault)``.

    The server writes a toy collection and a model for it into ``folder/toy`` and ``folder/model``; the runs' cache is
    ``folder/cache``. It carries out a first run itself: what is imported and prepared for it, every other one has.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    @classmethod
    @contextlib.contextmanager
    def started(cls, folder: Path, first: list[str]) -> Iterator["Forge"]:
        """Start the server; it ends with the block."""
        cache = {"ANCE_TELE_CACHE": str(folder / "cache")}
        alone = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        environment = {**os.environ, **alone, **cache}
        command = [sys.executable, str(Path(__file__)), str(folder), *first]
        with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=environment) as process:
            assert process.stdout is not None and process.stdin is not None
            try:
                assert process.stdout.readline() == "ready\n"
                yield cls(process)
            finally:
                process.stdin.close()
                process.wait(30)

    def run(self, argv: list[str], fault: Fault | None = None, timeout: float = 120.0) -> Ended:
        """Run a command line, and wait for its end."""
        return self._ask({"argv": argv, "fault": fault and asdict(fault), "timeout": timeout})

    def resume(self, stopped: int) -> Ended:
        """Continue a process that was stopped, and wait for its end."""
        return self._ask({"resume": stopped, "timeout": 120.0})

    def _ask(self, request: dict[str, Any]) -> Ended:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))


# ---- the server ----------------------------------------------------------------------------------


class Note:
    """What a run lets its server know through shared memory: its phase, and when the fault came."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 64)

    def write(self, phase: str) -> None:
        if not self.read()[1]:
            self._memory[8:64] = phase.encode().ljust(56)

    def came(self) -> None:
        self._memory[:8] = struct.pack("d", time.monotonic())

    def read(self) -> tuple[str, float]:
        return self._memory[8:64].decode().strip("\0 "), struct.unpack("d", self._memory[:8])[0]


def limit(fault: Fault) -> None:
    """Let no file grow beyond so many bytes: what a full disk does, to files of this size and more."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (fault.amount, resource.RLIM_INFINITY))


def forbid(fault: Fault) -> None:
    """Withdraw the right to write into all folders below a path."""
    for folder in (path for path in (Path(fault.path), *Path(fault.path).rglob("*")) if path.is_dir()):
        folder.chmod(0o555)


ACTIONS: dict[str, Callable[[Fault], None]] = {
    "limit": limit,
    "forbid": forbid,
    "remove": lambda fault: shutil.rmtree(fault.path),
}


def inject(fault: Fault, note: Note) -> None:
    """Let the fault come when its time is there, in this process."""
    counts = {"boundary": 0, "step": 0}

    def count(what: str) -> None:
        counts[what] += 1
        if counts[what] == getattr(fault, what):
            note.came()
            if fault.kind in ACTIONS:
                ACTIONS[fault.kind](fault)
            else:
                os.kill(os.getpid(), signal.Signals[fault.kind])

    def audit(event: str, arguments: Any) -> None:
        if event == "os.rename":
            count("boundary")

    from ance_tele.training.loss import TeleportationLoss

    whole = TeleportationLoss.forward

    def stepping(self: Any, *args: Any, **options: Any) -> Any:
        count("step")
        return whole(self, *args, **options)

    TeleportationLoss.forward = stepping  # type: ignore[method-assign]
    sys.addaudithook(audit)


def watch_phases(note: Note) -> None:
    """Write down which phase a run is at."""
    import importlib

    def watched(whole: Callable[..., Any], phase: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            before = note.read()[0]
            note.write(phase)
            try:
                return whole(*args, **options)
            finally:
                note.write(before)

        return call

    for module, functions in PHASES.items():
        for name, phase in functions.items():
            owner = importlib.import_module(module)
            setattr(owner, name, watched(getattr(owner, name), phase))


def drop_privileges() -> None:
    """Obey permissions as other users do, if this is root: give up all capabilities."""
    if os.geteuid() == 0:
        header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        assert ctypes.CDLL(None).capset(header, data) == 0


@dataclass(frozen=True)
class Started:
    """A run: its process, what it lets know, and the pipes of what it prints; those hold 64 kB, a run prints less."""

    process: int
    note: Note
    out: int
    err: int


def start(request: dict[str, Any]) -> Started:
    """Fork a process and let it run the command line."""
    note, (out, to_out), (err, to_err) = Note(), os.pipe(), os.pipe()
    process = os.fork()
    if not process:
        os.dup2(to_out, 1)
        os.dup2(to_err, 2)
        os._exit(child(request, note))
    os.close(to_out)
    os.close(to_err)
    return Started(process, note, out, err)


def child(request: dict[str, Any], note: Note) -> int:
    """Run a command line in this process, which was forked off for it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from ance_tele.cli import main

    watch_phases(note)
    if request["fault"]:
        inject(Fault(**request["fault"]), note)
    drop_privileges()
    try:
        return main.main(request["argv"])
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()


def wait_for(run: Started, fault: Fault | None, timeout: float) -> Ended:
    """Wait for the end of a run; send the signal when its time has come."""
    process, note, begin = run.process, run.note, time.monotonic()
    while True:
        ended, status = os.waitpid(process, os.WNOHANG | os.WUNTRACED)
        now = time.monotonic()
        if ended:
            break
        phase, came = note.read()
        if not phase:  # it has not begun yet, or is at its end
            begin = now
        elif fault and fault.seconds is not None and now - begin > fault.seconds and not came:
            note.came()
            os.kill(process, signal.Signals[fault.kind])
        if now - begin > timeout:  # of a run that hangs
            os.kill(process, signal.SIGKILL)
        time.sleep(0.002)
    phase, came = note.read()
    if os.WIFSTOPPED(status):
        return Ended(0, "", "", phase, now - came, process)
    printed = []
    for pipe in (run.out, run.err):
        with os.fdopen(pipe, encoding="utf-8", errors="replace") as file:
            printed.append(file.read())
    return Ended(os.waitstatus_to_exitcode(status), printed[0], printed[1], phase, now - came if came else None)


def serve(folder: Path, first: list[str]) -> None:
    """Carry out the first run, then answer requests until there are none."""
    sys.path.insert(0, str(TESTS))
    from conftest import _without_pictures
    from toy import write_model, write_toy

    from ance_tele.cli.main import main
    from ance_tele.evaluate import statistics

    statistics.permutation_test = lambda *given, **options: 1.0  # a third of a toy run
    os.fsync = lambda file: None  # type: ignore[assignment] # files of tests need not outlive the machine
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    write_toy(folder / "toy")
    write_model(folder / "model")
    answers = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    with _without_pictures():
        assert main(first) == 0
    gc.collect()
    gc.freeze()  # or each training begins with a garbage collection of all of torch
    os.write(answers, b"ready\n")
    stopped: dict[int, Started] = {}
    with _without_pictures():
        for line in sys.stdin:
            request = json.loads(line)
            if "resume" in request:
                run, fault = stopped.pop(request["resume"]), None
                os.kill(run.process, signal.SIGCONT)
            else:
                run, fault = start(request), request["fault"] and Fault(**request["fault"])
            ended = wait_for(run, fault, request["timeout"])
            if ended.stopped is not None:
                stopped[ended.stopped] = run
            os.write(answers, (json.dumps(asdict(ended)) + "\n").encode())
    os._exit(0)  # torch takes its time to end


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2:])
