"""Logging: the package logs to "ance_tele"; the command line prints messages of level INFO and above."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOGGER = logging.getLogger("ance_tele")


class _Writer(logging.Handler):
    """Passes each bare message to a function."""

    def __init__(self, write: Callable[[str], object]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        self._write(record.getMessage())


@contextmanager
def log_to(write: Callable[[str], object]) -> Iterator[None]:
    """Pass messages of level INFO and above to ``write`` while the block runs."""
    handler, level, propagate = _Writer(write), LOGGER.level, LOGGER.propagate
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False  # a handler of the root logger would print each line twice
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
