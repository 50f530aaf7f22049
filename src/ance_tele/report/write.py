"""Read finished runs and write their report."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ance_tele.console.errors import UserError
from ance_tele.paper.figures import benchmark_of
from ance_tele.report.drawing import SUFFIXES, Drawing, save, the_style
from ance_tele.report.figures import curves
from ance_tele.report.gallery import NAMES, gallery
from ance_tele.report.markdown import markdown
from ance_tele.report.page import page
from ance_tele.report.paper_curves import reference
from ance_tele.report.reading import read_logs, read_summary
from ance_tele.report.runs import RunData, named_apart, read_run
from ance_tele.report.style import RUN_COLOURS

__all__ = ["read_logs", "read_summary", "write_report", "write_reports"]

MOST_RUNS = len(RUN_COLOURS)
"""As many runs as there are colours that stay apart."""


def write_report(run: Path, paper: bool = False, figures: bool = False) -> Path:
    """Write curves.png, report.html and report.md into a run folder and return the path of report.md.

    Args:
        run: The run folder.
        paper: Show the paper's curves beside the run's; on MS MARCO they are shown anyway.
        figures: Write each figure into ``figures/`` too, as PNG, SVG and CSV.

    Raises:
        UserError: A file is missing or broken; the message says which, and what to do.
    """
    run = Path(run)
    (data,) = named_apart([read_run(run)])
    report = markdown(data.summary)
    html, drawings = _page([data], paper)
    _replace(run / "curves.png", lambda path: curves(data.summary, data.logs, path))
    _write(run / "report.html", html)
    if figures:
        _figures(run / "figures", drawings)
    # Last, so that a report.md never shows a picture that is not there.
    _write(run / "report.md", report)
    return run / "report.md"


def write_reports(runs: Sequence[Path], out: Path, paper: bool = False) -> Path:
    """Write one report of several runs beside each other, and return its path; the run folders stay as they are.

    Args:
        runs: Run folders.
        out: The folder to write ``report.html`` and ``figures/`` into.
        paper: Show the paper's curves too.

    Raises:
        UserError: A run cannot be read, is named twice, or there are too many; or ``out`` cannot be written to.
    """
    out, folders = Path(out), [Path(run).resolve() for run in runs]
    twice = next((run for place, run in enumerate(folders) if run in folders[:place]), None)
    if twice is not None:
        raise UserError(f"{twice} is named twice; a run stands beside others, not beside itself.")
    if len(runs) > MOST_RUNS:
        raise UserError(f"{len(runs)} runs are too many for one report; give at most {MOST_RUNS}.")
    if any(path.exists() and not path.is_dir() for path in (out, *out.parents)):
        raise UserError(f"{out} is no folder; --out takes the folder of the report.")
    if (out / "run.json").exists() or (out / "summary.json").exists():
        raise UserError(f"{out} is a run folder; give --out another one, for the report of several runs.")
    html, drawings = _page(named_apart([read_run(Path(run)) for run in runs]), paper)
    _figures(out / "figures", drawings)
    _write(out / "report.html", html)
    return out / "report.html"


def _page(runs: Sequence[RunData], paper: bool) -> tuple[str, dict[str, Drawing]]:
    known = paper or all(benchmark_of(str(run.summary["collection"])) == "msmarco" for run in runs)
    shown = reference() if known else None
    drawings = gallery(runs, shown)
    return page(runs, drawings, shown), drawings


def _figures(folder: Path, drawings: dict[str, Drawing]) -> None:
    """Write the figures, and remove those of an earlier report that have nothing to show any more."""
    folder.mkdir(parents=True, exist_ok=True)
    with the_style():
        for drawing in drawings.values():
            save(drawing, folder)
    for name in NAMES:
        if name not in drawings:
            for suffix in SUFFIXES:
                (folder / f"{name}{suffix}").unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    # A lone half of a surrogate pair, which JSON can hold, has no bytes in UTF-8.
    _replace(path, lambda temporary: temporary.write_bytes(text.encode("utf-8", "replace")))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name and move it into place, so that nobody finds half of it."""
    # The suffix stays, because it chooses the format of a picture.
    temporary = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
