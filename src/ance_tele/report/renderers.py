"""Tables for terminal, Markdown and LaTeX; data as CSV. HTML is rendered by the template of the page."""

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from ance_tele.console.numbers import DASH
from ance_tele.report.tables import Cell, Table, cell

_RAISED = str.maketrans("abcdefghijklmnoprstuvwxyz", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ")


class Markdown(str):
    """Markdown written by the report; all other texts are escaped."""

    __slots__ = ()


def terminal(table: Table, width: int = 0) -> RichTable:
    """Return a table for rich; headings wider than their cells are wrapped, unless all fit in ``width`` columns."""
    made = RichTable(
        title=Text(table.title) if table.title else None,
        title_justify="left",
        title_style="",
        caption=Text(table.note) if table.note else None,
        caption_justify="left",
        box=box.SIMPLE,
        show_edge=False,
        padding=0,  # one column between columns: nine of them have to fit in 80
    )
    rows = [[_rich(cell(one)) for one in row] for row in table.rows]
    widths = [max((row[place].cell_len for row in rows), default=0) for place in range(len(table.heading))]
    whole = [max(widest, len(heading)) for heading, widest in zip(table.heading, widths, strict=True)]
    too_wide = sum(whole) + len(whole) - 1 + len(table.groups) > width
    broken = too_wide and any(len(heading) > widest for heading, widest in zip(table.heading, widths, strict=True))
    for place, (heading, widest) in enumerate(zip(table.heading, widths, strict=True)):
        lines = heading.replace(" ", "\n") if broken else heading
        least = max(widest, *map(len, lines.split("\n"))) + (place in table.groups)
        side = "left" if place < table.text_columns else "right"
        made.add_column(Text(lines), justify=side, no_wrap=True, min_width=least)  # type: ignore[arg-type]
    for row in rows:
        made.add_row(*row)
    return made


def _rich(one: Cell) -> Text:
    spread = f"±{one.spread}" if one.spread else ""
    letters = " " + one.letters.translate(_RAISED) if one.letters else ""
    return Text.assemble((one.text, "bold" if one.strong else "dim" if one.quiet else ""), (spread, "dim"), letters)


def markdown(table: Table) -> Markdown:
    """Return a table in Markdown."""
    rule = ["---" if column < table.text_columns else "---:" for column in range(len(table.heading))]
    lines = [[escape(name) for name in table.heading], rule]
    lines += [[_markdown(cell(one)) for one in row] for row in table.rows]
    return Markdown("\n".join("| " + " | ".join(line) + " |" for line in lines))


def _markdown(one: Cell) -> str:
    text = escape(one.text)
    marked = f"**{text}**" if one.strong else f"*{text}*" if one.quiet and text else text
    return marked + (f" ±{one.spread}" if one.spread else "") + (f" <sup>{one.letters}</sup>" if one.letters else "")


def escape(plain: str) -> str:
    """Escape a text for Markdown, also in cells of tables."""
    line = " ".join("".join(char if char.isprintable() else " " for char in plain).split())
    # As entities, since not every renderer supports these after a backslash. "<" before a space needs no escape.
    line = re.sub(r"<(?! )", "&lt;", line.replace("&", "&amp;").replace(">", "&gt;"))
    line = re.sub(r"([\\`*\[\]|~$])", r"\\\1", line)
    # At the beginning of a line these start a heading or a list.
    line = re.sub(r"^([#+-])(?=[#\s])", r"\\\1", line)
    # Underscores within words need no escape.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", line)


def latex(table: Table) -> str:
    """Return a table in LaTeX; it needs the package booktabs."""
    text = table.text_columns
    columns = "l" * text + "r" * (len(table.heading) - text)
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    lines += [" & ".join(map(_tex, table.heading)) + r" \\", r"\midrule"]
    lines += [" & ".join(_latex(cell(one)) for one in row) + r" \\" for row in table.rows]
    return "\n".join([f"% {_tex(table.title)}", *lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex(one: Cell) -> str:
    text = "--" if one.text == DASH else _tex(one.text)
    marked = rf"\textbf{{{text}}}" if one.strong else rf"\textit{{{text}}}" if one.quiet and text else text
    raised = rf"\textsuperscript{{{one.letters}}}" if one.letters else ""
    return marked + raised + (rf" {{\small $\pm${one.spread}}}" if one.spread else "")


_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_TEX |= {sign: f"\\{sign}" for sign in "&%$#_{}"}


def _tex(text: str) -> str:
    return " ".join("".join(_TEX.get(char, char) for char in text).split())


def csv_text(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as CSV; None is an empty field, numbers have all digits."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()
