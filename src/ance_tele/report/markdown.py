"""The report of a run as a Markdown file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from ance_tele.report.findings import findings
from ance_tele.report.run_tables import (
    Cells,
    collection,
    description,
    dynamics,
    machine,
    pools,
    results,
    settings,
)
from ance_tele.report.summary import Summary, episodes, part, text
from ance_tele.report.tables import significance_lines


class Markup(str):
    """Markdown that the report itself wrote; every other text is escaped."""

    __slots__ = ()


def markdown(summary: Summary) -> str:
    """Write the report of a run; it shows curves.png from the folder it lies in."""
    environment = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Whatever the template prints passes here, so no name can be forgotten.
        finalize=lambda value: value if isinstance(value, Markup) else escape(str(value)),
        autoescape=False,  # It would escape for HTML, which is not what is written here.
    )
    template = files("ance_tele.report") / "templates" / "report.md.jinja"
    trained, model = episodes(summary), summary.get("model")
    data = part(summary, "data")
    significance = significance_lines(summary)
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        collection=text(summary, "collection"),
        sentence=description(summary),
        results=_cells(results(summary)),
        trained=bool(trained),
        last=trained[-1]["number"] if trained else None,
        findings=findings(summary),
        picture=_picture(summary),
        significance=significance,
        episodes=_cells(dynamics(summary)),
        pool=_cells(pools(summary)),
        settings=_cells(settings(summary)),
        has_settings=bool(part(summary, "settings")),
        environment=_cells(machine(summary)),
        data=_cells(collection(summary)),
        review=part(data, "review"),
        fingerprint=text(data, "fingerprint"),
        recipe=text(summary, "recipe"),
        model=model,
    )


def escape(plain: str) -> str:
    """Escape a text for Markdown, for a table's cell too, so that it is shown as it is."""
    line = " ".join("".join(char if char.isprintable() else " " for char in plain).split())
    # As entities, because not every renderer knows these after a backslash. Before a space "<" opens nothing,
    # and "p < 0.001" should stay legible in the file.
    line = re.sub(r"<(?! )", "&lt;", line.replace("&", "&amp;").replace(">", "&gt;"))
    line = re.sub(r"([\\`*\[\]|~$])", r"\\\1", line)
    # Only these start something at the beginning of a line: a heading or a list.
    line = re.sub(r"^([#+-])(?=[#\s])", r"\\\1", line)
    # Inside a word an underscore stands for itself, and batch_size should stay legible in the file.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", line)


def table(heading: Sequence[str], body: Iterable[Sequence[str]], left: int = 1) -> Markup:
    """Write a Markdown table; so many columns from the left are text, the others numbers."""
    rule = ["---" if column < left else "---:" for column in range(len(heading))]
    lines = [[escape(name) for name in heading], rule]
    lines += [[cell if isinstance(cell, Markup) else escape(cell) for cell in row] for row in body]
    return Markup("\n".join("| " + " | ".join(line) + " |" for line in lines))


def _cells(of: Cells) -> Markup:
    """Write a table in Markdown, what is best in bold."""
    body = [
        [Markup(f"**{cell}**") if (row, column) in of.best else cell for column, cell in enumerate(line)]
        for row, line in enumerate(of.body)
    ]
    return table(of.heading, body, left=of.left)


def _picture(summary: Summary) -> str:
    """Describe the picture for those who do not see it."""
    if not episodes(summary):
        return "Scores of the systems that were measured."
    return "By episode: scores, training queries that did better or worse, sources of negatives, training loss."
