"""A table, whatever it is written in: what is in which cell, as text. ``renderers.py`` writes it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ance_tele.console.numbers import DASH


@dataclass(frozen=True)
class Cell:
    """A cell that is more than a text.

    Attributes:
        text: What it holds.
        spread: A standard deviation, after it.
        letters: Of the systems that this one is significantly better than, raised.
        strong: The best of its column, or a value that differs from its neighbours'.
        quiet: For reference only.
    """

    text: str
    spread: str = ""
    letters: str = ""
    strong: bool = False
    quiet: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        heading: Of the columns.
        rows: Their cells; a plain text is a cell without marks.
        text_columns: So many columns from the left are text, the others numbers.
        title: Above it.
        note: Below it.
        groups: Columns that begin a group, set apart from the one before.
    """

    heading: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    text_columns: int = 1
    title: str = ""
    note: str = ""
    groups: Collection[int] = ()


def cell(of: str | Cell) -> Cell:
    """Return a cell with its marks."""
    return of if isinstance(of, Cell) else Cell(of)


def highest_strong(
    heading: Sequence[str], rows: Sequence[Sequence[str]], columns: Collection[str]
) -> list[list[str | Cell]]:
    """Return rows with the highest number of each of the named columns marked; a number alone is not.

    Numbers that read the same are marked together: bold in one of two equal numbers would puzzle.
    """
    marked: list[list[str | Cell]] = [list(row) for row in rows]
    for place, name in enumerate(heading):
        shown = [float(row[place]) for row in rows if name in columns and row[place] != DASH]
        for row, texts in zip(marked, rows, strict=True):
            if len(shown) > 1 and texts[place] != DASH and float(texts[place]) == max(shown):
                row[place] = Cell(texts[place], strong=True)
    return marked


def joined(tables: Sequence[tuple[str, Table]], highest: Collection[str] = ()) -> Table:
    """Put the same table of several runs under each other, with a column that names the run; one is as it is.

    Of all runs together, the highest number of the columns ``highest`` is marked.
    """
    if len(tables) == 1:
        return tables[0][1]
    heading: list[str] = []
    for _, table in tables:
        # Columns that the tables before lack go in front of what follows them in this one.
        place = len(heading)
        for name in reversed(table.heading):
            if name in heading:
                place = heading.index(name)
            else:
                heading.insert(place, name)
    rows = []
    for name, table in tables:
        for row in table.rows:
            cells = dict(zip(table.heading, (cell(one).text for one in row), strict=True))
            rows.append([name, *(cells.get(column, DASH) for column in heading)])
    return Table(["run", *heading], highest_strong(["run", *heading], rows, highest), text_columns=2)


def in_columns(tables: Sequence[tuple[str, Table]], differing_first: bool = False) -> Table:
    """Put tables of names and values next to each other, a column for each run; values that differ are marked."""
    if len(tables) == 1:
        return tables[0][1]
    known = [{cell(row[0]).text: cell(row[1]).text for row in table.rows} for _, table in tables]
    names = list(dict.fromkeys(name for values in known for name in values))
    lines = [(name, [values.get(name, DASH) for values in known]) for name in names]
    if differing_first:
        lines.sort(key=lambda line: len(set(line[1])) == 1)
    rows: list[list[str | Cell]] = [
        [name, *(Cell(value, strong=len(set(values)) > 1) for value in values)] for name, values in lines
    ]
    heading = [tables[0][1].heading[0], *(name for name, _ in tables)]
    return Table(heading, rows, text_columns=len(tables) + 1)
