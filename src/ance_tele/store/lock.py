"""Locks: one process at a time in a folder, also where several hosts share its file system.

The lock file stays where it is. Who holds it writes a record of itself into it, and renews the file's time as a sign of
life; who is done leaves it empty. On one host flock decides. Some network file systems have no flock, or one that other
hosts do not see: there the record does. It is stale if its process is gone from this host, or if there was no sign of
life for ``STALE_SECONDS``, by the clock of the file system: those of two hosts may differ.
"""

import errno
import fcntl
import json
import logging
import os
import shlex
import signal
import sys
import threading
import time
from _thread import interrupt_main
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from ance_tele.console.errors import UserError
from ance_tele.console.numbers import duration
from ance_tele.store.files import alive, host

log = logging.getLogger(__name__)

BEAT_SECONDS = 30.0
STALE_SECONDS = 300.0
# Where there is no flock, two may write their records at once; after so long both see whose is there.
SETTLE_SECONDS = 1.0

_NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@dataclass(frozen=True)
class Holder:
    """The holder of a lock: process, host, since when, and the command line."""

    process: int
    host: str
    since: str
    command: str

    @classmethod
    def this(cls) -> "Holder":
        """Return this process."""
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        since = datetime.now().astimezone().isoformat(sep=" ", timespec="milliseconds")
        return cls(os.getpid(), host(), since, command if len(command) <= 300 else command[:299] + "…")

    def __str__(self) -> str:
        return f"Process {self.process} on {self.host}"


@contextmanager
def lock(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock file while the block runs.

    Where another process holds it, that is waited for once ``waiting`` was called.

    Raises:
        UserError: Another process holds it, and it is not to be waited for; the sentence says who.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        pause, waits = 0.02, False
        while (refusal := _take(path, file)) is not None:
            if waiting is None:
                raise UserError(refusal)
            if not waits:
                waiting()
            waits, pause = True, min(1.0, 1.5 * pause)
            time.sleep(pause)
        mine, done = _record(path), threading.Event()
        threading.Thread(target=_beat, args=(path, mine, done), daemon=True).start()
        try:
            yield
        finally:
            done.set()
            if _record(path) == mine:
                file.truncate(0)


def _take(path: Path, file: IO[str]) -> str | None:
    """Take a lock if it is free or stale; return None, or why it cannot be had."""
    found = _record(path)  # before flock: so nobody who releases it meanwhile is taken for dead
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        flock = True
    except BlockingIOError:
        return _refusal(path, found)
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise
        flock = False
    if found is not None and found == _record(path):
        gone = found.host == host() and (flock or not alive(found.process))
        age = 0.0 if gone else _age(path)
        if not gone and age <= STALE_SECONDS:
            if flock:
                fcntl.flock(file, fcntl.LOCK_UN)
            return _refusal(path, found, age)
        why = "which is gone" if gone else f"of which there was no sign of life for {duration(age)}"
        log.info(f"{path.parent} is taken over. {found} had it, {why}")
    mine = Holder.this()
    file.truncate(0)
    file.write(json.dumps(asdict(mine)) + "\n")
    file.flush()
    if flock:
        return None
    time.sleep(SETTLE_SECONDS)
    found = _record(path)
    return None if found == mine else _refusal(path, found)


def _refusal(path: Path, holder: Holder | None, age: float | None = None) -> str:
    if holder is None:
        return f"Another process is at work in {path.parent}; wait for it, or give another --out."
    who = f"{holder} has been at work in {path.parent} since {holder.since[:19]} ({holder.command}"
    if age is None or holder.host == host():
        return f"{who}); wait for it, or give another --out."
    return (
        f"{who}; last sign of life {duration(max(0.0, age))} ago); wait for it, or give another --out. If it is dead, "
        f"the same command takes over once that is {duration(STALE_SECONDS)} ago."
    )


def _record(path: Path) -> Holder | None:
    """Return who is written into a lock file; None if it is empty, gone, or of an older version."""
    try:
        return Holder(**json.loads(path.read_text("utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _age(path: Path) -> float:
    """Return how long ago a file was changed, in seconds, by the clock of its file system."""
    fresh = path.with_name(f"{path.name}.now-{host()}-{os.getpid()}")
    try:
        fresh.write_text("now", "utf-8")
        return fresh.stat().st_mtime - path.stat().st_mtime
    finally:
        fresh.unlink(missing_ok=True)


def _beat(path: Path, mine: Holder | None, done: threading.Event) -> None:
    """Renew the time of a lock file until it is released; stop the process if somebody else has taken it over."""
    while not done.wait(BEAT_SECONDS):
        try:
            found = _record(path)
            if found == mine:
                os.utime(path)
                continue
        except OSError as error:  # a network file system that is away for a while
            log.info(f"{path} cannot be renewed: {error.strerror}")
            continue
        if done.is_set():
            return
        if found is None and path.exists():  # somebody else is just writing a record into it
            continue
        what = f"has been taken over. {found} has it" if found else "was deleted or moved away"
        log.warning(f"{path.parent} {what}; this process stops")
        interrupt_main(signal.SIGTERM)  # handled by the command line; where nobody handles it, nothing happens
        return
