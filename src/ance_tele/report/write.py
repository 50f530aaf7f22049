"""Reading finished runs and writing their report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ance_tele.console.errors import UserError
from ance_tele.paper.curves import reference
from ance_tele.paper.figures import benchmark_of
from ance_tele.report.drawing import SUFFIXES, Drawing, image, save
from ance_tele.report.figures_learning import overview
from ance_tele.report.gallery import FIGURES, gallery
from ance_tele.report.load import RunData, named_apart, read_run
from ance_tele.report.markdown import report, report_of_several
from ance_tele.report.page import page
from ance_tele.report.style import RUNS, plain, the_style
from ance_tele.report.verdict import side_by_side
from ance_tele.store.files import atomic

MOST_RUNS = len(RUNS)
"""As many runs as there are colours that stay apart."""


def write_report(run: Path, paper: bool = False, figures: bool = False) -> Path:
    """Write curves.png, report.html and report.md into a run folder and return the path of report.md.

    The paper's curves are shown with ``paper``, on MS MARCO anyway; with ``figures`` each figure is also written into
    ``figures/`` as PNG, SVG and CSV.

    Raises:
        UserError: A file is missing or broken; the message says which, and what to do.
    """
    run = Path(run)
    (data,) = named_apart([read_run(run)])
    html, drawings = _page([data], paper)
    _write(run / "curves.png", curves(data))
    _write(run / "report.html", html)
    if figures:
        _figures(run / "figures", drawings)
    # Last, since report.md refers to the picture.
    _write(run / "report.md", report(data.summary))
    return run / "report.md"


def write_reports(runs: Sequence[Path], out: Path, paper: bool = False) -> tuple[Path, list[str]]:
    """Write one report of several runs, report.html and report.md; the run folders stay as they are.

    Returns:
        The path of report.html, and the sentences that compare the runs.

    Raises:
        UserError: A run cannot be read, is named twice, or there are too many; or ``out`` cannot be written to.
    """
    out, folders = Path(out), [Path(run).resolve() for run in runs]
    twice = next((run for place, run in enumerate(folders) if run in folders[:place]), None)
    if twice is not None:
        raise UserError(f"{twice} is named twice; name each run once.")
    if len(runs) > MOST_RUNS:
        raise UserError(f"{len(runs)} runs are too many for one report; give at most {MOST_RUNS}.")
    if any(path.exists() and not path.is_dir() for path in (out, *out.parents)):
        raise UserError(f"{out} is no folder; --out takes the folder of the report.")
    if (out / "run.json").exists() or (out / "summary.json").exists():
        raise UserError(f"{out} is a run folder; give --out another one, for the report of several runs.")
    several = named_apart([read_run(Path(run), by_query=True) for run in runs])
    compared = side_by_side(several) if len(several) > 1 else []
    html, drawings = _page(several, paper, compared)
    _figures(out / "figures", drawings)
    _write(out / "report.html", html)
    _write(out / "report.md", report_of_several(several, compared))
    return out / "report.html", compared


def curves(run: RunData) -> bytes:
    """Return the overview of a run as PNG."""
    summary = run.summary
    title = f"{plain(summary.recipe or '')} on {plain(summary.collection or '')}"
    if summary.episodes or "zero-shot" in summary.untrained:
        title += f", {plain(summary.model or '')}"
    with the_style():
        return image(overview(run), "png", title)


def _page(runs: Sequence[RunData], paper: bool, compared: Sequence[str] = ()) -> tuple[str, dict[str, Drawing]]:
    known = paper or all(benchmark_of(str(run.summary.collection)) == "msmarco" for run in runs)
    shown = reference() if known else None
    drawings = gallery(runs, shown)
    return page(runs, drawings, shown, compared), drawings


def _figures(folder: Path, drawings: dict[str, Drawing]) -> None:
    """Write the figures, and remove stale ones of an earlier report."""
    folder.mkdir(parents=True, exist_ok=True)
    with the_style():
        for drawing in drawings.values():
            save(drawing, folder)
    for figure in FIGURES:
        if figure.name not in drawings:
            for suffix in SUFFIXES:
                (folder / f"{figure.name}{suffix}").unlink(missing_ok=True)


def _write(path: Path, content: str | bytes) -> None:
    # JSON may contain lone surrogates, which UTF-8 cannot encode.
    with atomic(path) as temporary:
        temporary.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
