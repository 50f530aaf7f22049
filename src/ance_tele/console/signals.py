"""Being stopped: SIGINT and SIGTERM end a command cleanly, and training holds them back until its step is saved.

Nothing is global but what a process's signals are anyway: handlers are installed for a block, and put back after it.
Only the main thread can do so; in any other the blocks change nothing.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

STOPPED = "stopped; the same command goes on from what is finished, such as a checkpoint or a shard of vectors."
STARTS_AGAIN = "stopped; nothing was kept, and the same command starts again."

# A library that is deep in a computation of its own sees no signal. After so long the process ends all the same: what
# is finished is on disk, and what is not would not be used.
GRACE_SECONDS = 8.0

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM has come: it ends a command as Ctrl-C does, with an exit code of its own."""


def exit_code(stop: KeyboardInterrupt) -> int:
    """Return the exit code after a signal, as shells count: 130 after SIGINT, 143 after SIGTERM."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


@contextmanager
def stoppable(sentence: str = STOPPED) -> Iterator[None]:
    """Make SIGINT raise KeyboardInterrupt and SIGTERM :class:`Terminated`, and see to it that the block ends soon.

    After ``GRACE_SECONDS``, and at once at a second SIGINT, the process ends without further ado, with a sentence.
    """
    handlers = _handlers()
    if not handlers:
        yield
        return
    came: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if came.count(signal.SIGINT) > 1:
            _leave(number, sentence)
        if len(came) == 1:
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    ended, (read, write) = threading.Event(), os.pipe()
    os.set_blocking(write, False)
    threading.Thread(target=_leave_in_time, args=(read, ended, sentence), daemon=True).start()
    for number in handlers:
        signal.signal(number, stop)
    before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        yield
    finally:
        ended.set()
        _restore(handlers, before)
        os.close(write)


@contextmanager
def held_signals() -> Iterator[Callable[[], bool]]:
    """Hold SIGINT and SIGTERM back while the block runs; yields a function that returns whether one has come.

    At the end of the block it is raised again, for whoever handled it before. A second SIGINT is not held.
    """
    handlers = _handlers()
    if not handlers:
        yield lambda: False
        return
    came: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if came.count(signal.SIGINT) > 1:
            _restore(handlers, before)
            signal.raise_signal(number)

    before = signal.set_wakeup_fd(-1)  # nor is the block cut short: a step and its checkpoint take what they take
    for number in handlers:
        signal.signal(number, hold)
    try:
        yield lambda: bool(came)
    finally:
        _restore(handlers, before)
    if came:
        signal.raise_signal(came[0])


def _handlers() -> dict[int, Any]:
    """Return the handlers there are, by signal; none of what is ignored (as under nohup), or if they cannot be set."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {number: signal.getsignal(number) for number in _SIGNALS}
    return {number: handler for number, handler in found.items() if handler not in (signal.SIG_IGN, None)}


def _restore(handlers: dict[int, Any], wakeup: int) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
    signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)


def _leave_in_time(read: int, ended: threading.Event, sentence: str) -> None:
    """Leave some time after the first signal whose number comes through the pipe, unless the block has ended."""
    while byte := os.read(read, 1):
        if byte[0] in _SIGNALS and not ended.wait(GRACE_SECONDS):
            _leave(byte[0], sentence)
    os.close(read)


def _leave(number: int, sentence: str) -> NoReturn:
    os.write(2, f"ance-tele: {sentence}\n".encode())  # not through sys.stderr, whose lock may be held
    os._exit(128 + number)
