"""Progress of long loops: shown by whoever runs the command, else by a bar of its own in a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ance_tele.console.display import Display
from ance_tele.console.events import Bar, announce

# Called with the number of units done since the last call.
Advance = Callable[[float], None]


@contextmanager
def progress(what: str, total: float, unit: str, done: float = 0.0) -> Iterator[Advance]:
    """Show how far a loop is while the block runs.

    Args:
        what: What it does.
        total: Units in all; with none, nothing is shown.
        unit: Their name.
        done: Units that an earlier process has done.
    """
    bar = Bar(what, total, unit, done, done)

    def advance(units: float) -> None:
        bar.done += units

    if total <= 0:
        yield advance
        return
    announce(what, bar=bar)
    try:
        if bar.taken or not sys.stderr.isatty():
            yield advance
        else:
            with Display(print).showing(bar):
                yield advance
    finally:
        bar.ended = True
        if bar.taken:
            announce(what, bar=bar)
