"""Progress bars, shown only in a terminal."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Called with the number of units done since the last call.
Advance = Callable[[float], None]


@contextmanager
def progress(what: str, total: float, unit: str) -> Iterator[Advance]:
    """Show a progress bar, labelled ``what``, on standard error while the block runs, if that is a terminal."""
    if not sys.stderr.isatty() or total <= 0:
        yield lambda units: None
        return

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("  {task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} {task.fields[unit]}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    # Transient: what stays in the scroll-back is the one line that each finished phase prints.
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4) as bar:
        task = bar.add_task(what, total=total, unit=unit, rate="")
        start, done = time.perf_counter(), 0.0

        def advance(units: float) -> None:
            nonlocal done
            done += units
            rate = done / max(time.perf_counter() - start, 1e-9)
            bar.update(task, advance=units, rate=f"{rate:,.0f}/s")

        yield advance
