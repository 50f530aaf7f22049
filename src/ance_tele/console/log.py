"""Log lines: the package logs to the logger "ance_tele"; whoever wants its lines writes them somewhere.

As a library nothing is printed. The command line prints every line of level INFO and above as it is.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOGGER = logging.getLogger("ance_tele")


class _Writer(logging.Handler):
    """Hands each message, without level, time or name, to a function."""

    def __init__(self, write: Callable[[str], object]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        self._write(record.getMessage())


@contextmanager
def log_to(write: Callable[[str], object]) -> Iterator[None]:
    """Write every line of level INFO and above while the block runs, and nowhere else but to handlers of "ance_tele".

    Args:
        write: Gets the bare message.
    """
    handler, level, propagate = _Writer(write), LOGGER.level, LOGGER.propagate
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False  # a library that gives the root logger a handler would print each line twice
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
        LOGGER.propagate = propagate


@contextmanager
def muted(mute: bool = True) -> Iterator[None]:
    """Log no line below WARNING while the block runs; ``mute=False`` leaves everything as it is."""
    level = LOGGER.level
    if mute:
        LOGGER.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        LOGGER.setLevel(level)
