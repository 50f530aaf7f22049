"""What a command shows while it works: its phases and bars in a terminal, a line a minute anywhere else.

A terminal (standard error) has one region below the lines: the phases of all episodes, the bar of what is running, the
last figures, the time left of the run. A file or pipe gets lines alone; where none came for a minute, one says how far
the running loop is.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ance_tele.console.events import EVENTS, Bar, Finished, ToCome, pace
from ance_tele.console.log import log_to
from ance_tele.console.numbers import duration

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

# Seconds without a line after which one says how far a loop is.
SILENCE = 60.0

# Episodes that a terminal shows around the running one.
MOST_ROWS = 5

# Marks of a phase that is done, running, to come; for terminals that know no more than ASCII, the second ones.
_MARKS = {"done": ("✓", "+"), "running": ("▸", ">"), "to come": ("·", ".")}
_STYLES = {"done": "green", "running": "bold", "to come": "dim"}


Phases = Sequence[tuple[str, Sequence[str]]]
"""The phases of a run in their order, by episode: ``[("zero-shot", ["evaluate"]), ("episode 1", ["mine", ...])]``."""


class Display(logging.Handler):
    """Shows bars and phases, and passes lines on.

    Args:
        write: Gets each line that the package logs.
        silence: Seconds without a line after which one says how far a loop is.
        terminal: Whether standard error is a terminal, where bars are drawn.
    """

    def __init__(self, write: Callable[[str], object], silence: float = SILENCE, terminal: bool | None = None) -> None:
        super().__init__()
        self._write, self._silence = write, silence
        self._terminal = sys.stderr.isatty() if terminal is None else terminal
        self._bars: list[Bar] = []
        self._phases: Phases = ()
        self._finished: list[Finished] = []
        self._ends: float | None = None
        self._afterwards = 0.0
        self._live: Live | None = None
        self._spoke = time.monotonic()
        self._changed = threading.RLock()

    @contextmanager
    def shown(self) -> Iterator["Display"]:
        """Show what happens while the block runs."""
        ended = threading.Event()
        if not self._terminal:
            threading.Thread(target=self._beat, args=(ended,), daemon=True).start()
        EVENTS.addHandler(self)
        try:
            with log_to(self.line):
                yield self
        finally:
            ended.set()
            EVENTS.removeHandler(self)
            self._stop()

    @contextmanager
    def showing(self, bar: Bar) -> Iterator[None]:
        """Show one bar alone while the block runs, in a terminal."""
        self._bar(bar)
        try:
            yield
        finally:
            bar.ended = True
            self._bar(bar)

    def line(self, text: str) -> None:
        """Write a line, above the region where there is one."""
        with self._changed:
            self._spoke = time.monotonic()
            live = self._live
            if live is None or not sys.stdout.isatty():
                self._write(text)
            else:
                from rich.text import Text

                live.console.print(Text(text), soft_wrap=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Take what a record carries: a bar, the phases of a run, the end of one, the seconds to come."""
        carried: dict[str, Any] = vars(record)
        with self._changed:
            if (bar := carried.get("bar")) is not None:
                bar.taken = True
                self._bar(bar)
            if (phases := carried.get("phases")) is not None:
                self._phases, self._finished, self._ends = phases, [], None
                if phases:
                    self._start()
                elif not self._bars:
                    self._stop()
            if (finished := carried.get("finished")) is not None:
                self._finished.append(finished)
                if finished.phase == "train" and self._ends is not None:
                    self._ends = time.monotonic() + self._afterwards  # it has taken what it took
            to_come: ToCome | None = carried.get("to_come")
            if to_come is not None:
                self._ends, self._afterwards = time.monotonic() + to_come.seconds, to_come.afterwards

    def _bar(self, bar: Bar) -> None:
        self._bars = [one for one in self._bars if one is not bar] + ([] if bar.ended else [bar])
        if self._bars:
            self._start()
        elif not self._phases:
            self._stop()

    def _start(self) -> None:
        """Draw the region, in a terminal."""
        if self._live is None and self._terminal:
            from rich.console import Console
            from rich.live import Live

            console = Console(stderr=True, highlight=False)
            # Transient: what stays in the scroll-back is the one line that each finished phase prints.
            self._live = Live(
                console=console,
                transient=True,
                refresh_per_second=4,
                get_renderable=lambda: self.region(console),
                redirect_stdout=sys.stdout.isatty(),
            )
            self._live.start(refresh=True)

    def _stop(self) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def _beat(self, ended: threading.Event) -> None:
        """Write a line whenever none came for a while, as long as a loop or a phase runs."""
        while not ended.wait(max(0.05, self._spoke + self._silence - time.monotonic())):
            with self._changed:
                if time.monotonic() - self._spoke >= self._silence:
                    self._spoke = time.monotonic()
                    if (text := self.status()) and not ended.is_set():
                        self._write(text)

    def status(self) -> str:
        """Return in one line what is running, how far it is, and the time left of the run; "" for nothing known."""
        where, phase = self._running()
        bar = self._bars[-1] if self._bars else None
        if bar is not None:
            text = bar.line()
        elif phase:
            text = "at work"
        else:
            return ""
        left = self._left()
        run = f"; about {duration(left)} left of the run" if left else ""
        return f"{where:<10}  {phase:<9} {'...':>7}   {text}{run}" if phase else f"{text}{run}"

    def _running(self) -> tuple[str, str]:
        """Return where and which phase is running; empty where the phases are not known, or all are done."""
        done = {(one.where, one.phase) for one in self._finished}
        last = self._finished[-1] if self._finished else None
        order = [(where, phase) for where, phases in self._phases for phase in phases]
        # What comes before the last one that has ended was left out.
        begun = order.index((last.where, last.phase)) + 1 if last and (last.where, last.phase) in order else 0
        return next((one for one in order[begun:] if one not in done), ("", ""))

    def _left(self) -> float | None:
        """Return seconds left of the run; never less than the running loop takes, and nothing in its last phases."""
        where, phase = self._running()
        if self._ends is None or where == "run":
            return None
        bar = self._bars[-1].left if self._bars else None
        if phase == "train" and bar is not None:
            return bar + self._afterwards  # at the pace that it has
        return max(self._ends - time.monotonic(), bar or 0.0) or None

    def region(self, console: "Console") -> "RenderableType":
        """Return what is drawn below the lines, none of it wider than the console."""
        from rich.console import Group

        plain = not console.encoding.startswith("utf")
        bar = _drawn(self._bars[-1], console.width) if self._bars else _cut("  ...")
        if not self._phases:
            return Group(bar)
        left, figures = self._left(), self._figures()
        below = ", ".join([*([f"about {duration(left)} left of the run"] if left else []), *figures])
        return Group(*self._rows(plain), bar, _cut(f"  {below}"))  # always as many rows, so that nothing jumps

    def _rows(self, plain: bool) -> list["RenderableType"]:
        """Return a row for each episode: its phases, done, running or to come."""
        from rich.text import Text

        where_now, phase_now = self._running()
        names = [where for where, _ in self._phases]
        at = names.index(where_now) if where_now in names else len(names)
        first = max(0, min(at - MOST_ROWS // 2, len(names) - MOST_ROWS))
        ended = {(one.where, one.phase): one for one in self._finished}
        rows: list[RenderableType] = []
        for number, (where, phases) in enumerate(self._phases[first : first + MOST_ROWS], first):
            row = Text("  ", no_wrap=True, overflow="ellipsis")
            row.append(f"{where:<11}", "bold" if where == where_now else "")
            for phase in phases:
                running = (where, phase) == (where_now, phase_now)
                state = "running" if running else "to come"
                if number < at or (where, phase) in ended:
                    state = "done"
                row.append(f"{_MARKS[state][plain]} {phase:<9}", _STYLES[state])
            rows.append(row)
        return rows

    def _figures(self) -> list[str]:
        """Return the main metric of the last checkpoints."""
        measured = [one.metrics for one in self._finished if one.metrics and one.where != "bm25"]
        if not measured:
            return []
        name = next(iter(measured[-1]))
        return [f"{name} " + " > ".join(f"{found[name]:.3f}" for found in measured[-4:] if name in found)]


def _cut(text: str) -> "RenderableType":
    from rich.text import Text

    return Text(text, "dim", no_wrap=True, overflow="ellipsis")


def _drawn(bar: Bar, width: int) -> "RenderableType":
    """Return the row of a bar: what, how far, pace, time left; the bar itself takes what is left of the width."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    left = "" if bar.left is None else f"{duration(bar.left)} left"
    table = Table.grid(padding=(0, 1), expand=False)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(12, width // 3))
    table.add_column()
    for _ in range(3):
        table.add_column(no_wrap=True, justify="right")
    drawn = ProgressBar(bar.total, min(bar.done, bar.total), width=max(6, min(30, width - 66)))
    amount = f"{bar.done:,.0f}/{bar.total:,.0f} {bar.unit}"
    table.add_row(f"  {bar.what}", drawn, amount, pace(bar.rate), left)
    return table
