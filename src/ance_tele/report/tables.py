"""Tables, independent of their output format; see ``renderers.py``."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ance_tele.console.numbers import DASH


@dataclass(frozen=True)
class Cell:
    """A cell with marks.

    Attributes:
        text: What it holds.
        spread: Standard deviation.
        letters: Of the systems that are significantly worse, in superscript.
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
        rows: Cells; a text is a cell without marks.
        text_columns: Number of text columns on the left; the others are numbers.
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
    """Return a text as a cell."""
    return of if isinstance(of, Cell) else Cell(of)


def highest_strong(
    heading: Sequence[str], rows: Sequence[Sequence[str]], columns: Collection[str]
) -> list[list[str | Cell]]:
    """Return rows with the highest number in each of the named columns marked, if there are several.

    Numbers that are written the same are all marked.
    """
    marked: list[list[str | Cell]] = [list(row) for row in rows]
    for place, name in enumerate(heading):
        shown = [float(row[place]) for row in rows if name in columns and row[place] != DASH]
        for row, texts in zip(marked, rows, strict=True):
            if len(shown) > 1 and texts[place] != DASH and float(texts[place]) == max(shown):
                row[place] = Cell(texts[place], strong=True)
    return marked


def joined(tables: Sequence[tuple[str, Table]], highest: Collection[str] = ()) -> Table:
    """Concatenate the same table of several runs, with a column for the run; a single one is unchanged.

    The highest number over all runs in the columns ``highest`` is marked.
    """
    if len(tables) == 1:
        return tables[0][1]
    heading: list[str] = []
    for _, table in tables:
        # Columns that previous tables lack are inserted before the column that follows them here.
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
    """Combine tables of names and values, a column per run; differing values are marked."""
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
