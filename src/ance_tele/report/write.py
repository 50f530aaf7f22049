"""Read a finished run and write its report into it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ance_tele.report.figures import curves
from ance_tele.report.markdown import markdown
from ance_tele.report.reading import read_logs, read_summary


def write_report(run: Path) -> Path:
    """Write curves.png and report.md into a run folder and return the path of report.md.

    Raises:
        UserError: the summary is missing or broken, or a training log is; the message says what to do.
    """
    run = Path(run)
    summary = read_summary(run)
    logs = read_logs(run, summary)
    report = markdown(summary)
    _replace(run / "curves.png", lambda path: curves(summary, logs, path))
    # Last, so that a report.md never shows a picture that is not there.
    _replace(run / "report.md", lambda path: path.write_text(report, encoding="utf-8", newline="\n"))
    return run / "report.md"


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name and move it into place, so that nobody finds half of it."""
    # The suffix stays, because it chooses the format of a picture.
    temporary = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
