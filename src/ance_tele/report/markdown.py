"""The report of a run, or of several, as a Markdown file."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from ance_tele.report import run_tables
from ance_tele.report.conditions import description, recorded
from ance_tele.report.load import RunData
from ance_tele.report.page import tables_of, title_of
from ance_tele.report.renderers import Markdown, escape, markdown
from ance_tele.report.sentences import findings, significance
from ance_tele.runs.summary import Summary


def report(summary: Summary) -> str:
    """Return the report of a run as Markdown; it shows curves.png of its folder."""
    tables: dict[str, Any] = {
        name: markdown(getattr(run_tables, name)(summary))
        for name in ("results", "episodes", "pools", "settings", "collection", "machine")
    }
    return _template().render(
        summary=summary,
        title=f"{recorded(summary.recipe, 'recipe')} on {recorded(summary.collection, 'collection')}",
        fingerprint=recorded(summary.data.fingerprint, "fingerprint"),
        description=description(summary),
        findings=findings(RunData("", summary)),
        significance=significance(summary),
        tables=tables,
    )


def report_of_several(runs: Sequence[RunData], compared: Sequence[str]) -> str:
    """Return the report of several runs as Markdown: the sentences that compare them, and their results."""
    tables = tables_of(runs, [run for run in runs if run.summary.episodes])
    parts = [f"# Report: {escape(title_of(runs))}", *(f"- {escape(sentence)}" for sentence in compared)]
    for title, name in (("The runs beside each other", "headlines"), ("Results", "results"), ("Settings", "settings")):
        parts += [f"## {title}", markdown(tables[name])]
    return "\n\n".join([*parts, "Figures and cases are in report.html.\n"])


@cache
def _template() -> Template:
    """Return the template, compiled."""
    template = files("ance_tele.report") / "templates" / "report.md.jinja"
    environment = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Escapes everything that the template prints.
        finalize=lambda value: value if isinstance(value, Markdown) else escape(str(value)),
        autoescape=False,  # which is for HTML
    )
    return environment.from_string(template.read_text(encoding="utf-8"))
