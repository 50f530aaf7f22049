"""The review file: human verdicts on passages, a CSV that the explorer writes and a run reads."""

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path

from ance_tele.console.errors import UserError
from ance_tele.data.reasons import current_reasons
from ance_tele.store.files import atomic

VERDICTS = ("relevant", "negative", "unsure")

# Limit of the csv module; longer texts are cut, since they are only for display.
_LONGEST = 100_000


@dataclass(frozen=True)
class Verdict:
    """A human verdict on a passage for a query; all but the first three fields are for display.

    Attributes:
        verdict: "relevant", "negative" or "unsure".
        query: Text of the query.
        title: Title of the passage.
        text: Text of the passage.
        reasons: Why the pair was suspected, e.g. "near_duplicate,persistently_top".
        sources: How the passage came into pools, e.g. "query,lookahead".
        line: Its line in the file, from 1; 0 for one that was not read from a file.

    Example:
        >>> Verdict("q1", "p7", "relevant").verdict
        'relevant'
    """

    query_id: str
    passage_id: str
    verdict: str
    query: str = ""
    title: str = ""
    text: str = ""
    reasons: str = ""
    sources: str = ""
    line: int = field(default=0, compare=False)


COLUMNS = tuple(column.name for column in fields(Verdict))[:-1]
_NEEDED = COLUMNS[:3]


def write_review(path: str | Path, rows: Iterable[Verdict]) -> None:
    """Write a review file, atomically: UTF-8, with a header; texts over 100,000 characters are cut.

    Raises:
        UserError: A verdict is none of those there are.

    Example:
        >>> write_review("review.csv", [Verdict("q1", "p7", "relevant"), Verdict("q2", "p3", "unsure")])
        >>> [row.passage_id for row in read_review("review.csv")]
        ['p7', 'p3']
    """
    with atomic(Path(path)) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)  # lines end with CR LF: what ends lines is what fields are quoted for
        writer.writerow(COLUMNS)
        for number, row in enumerate(rows, 1):
            _check_verdict(row.verdict, f"Row {number} for {path}")
            writer.writerow([value[:_LONGEST] for value in astuple(row)[:-1]])


def read_review(path: str | Path) -> list[Verdict]:
    """Read a review file; columns other than those of :class:`Verdict` are ignored.

    Args:
        path: A CSV file in UTF-8 with at least the columns query_id, passage_id and verdict, in any order.

    Raises:
        UserError: Names the line and what is wrong.

    Example:
        >>> _ = Path("review.csv").write_text("query_id,passage_id,verdict\\nq1,p7,negative\\n")
        >>> read_review("review.csv")[0].verdict
        'negative'
    """
    path = Path(path)
    lines = csv.reader(io.StringIO(_decoded(path), newline=""), strict=True)
    header: list[str] = []
    found: dict[tuple[str, str], Verdict] = {}
    rows: list[Verdict] = []
    while True:
        first = lines.line_num + 1
        try:
            values = next(lines, None)
        except csv.Error as error:
            raise UserError(f"{path} line {first} is not well-formed CSV ({error}).") from None
        if values is None:
            break
        if not values:
            continue
        if not header:
            header = _header(path, first, values)
            continue
        row = _row(path, first, header, values)
        before = found.setdefault((row.query_id, row.passage_id), row)
        if before.verdict != row.verdict:
            raise UserError(
                f"{path} line {first} calls passage '{row.passage_id}' {row.verdict} for query '{row.query_id}', and "
                f"line {before.line} calls it {before.verdict}; leave one of the two out."
            )
        rows.append(row)
    if not header:
        _header(path, 1, [])
    return rows


def _decoded(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); a review is a CSV file.") from None
    try:
        return content.decode("utf-8-sig")  # spreadsheets write a byte order mark
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(
            f"{path} line {line} is not UTF-8 (byte 0x{error.object[error.start]:02x}); save it as CSV in UTF-8."
        ) from None


def _header(path: Path, line: int, values: list[str]) -> list[str]:
    missing = [name for name in _NEEDED if name not in values]
    if missing:
        what = f"column '{missing[0]}'" if len(missing) == 1 else f"columns {', '.join(missing)}"
        raise UserError(
            f"{path} line {line} lacks the {what}; a review is a CSV file whose first line names at least "
            f"{', '.join(_NEEDED)}, divided by commas."
        )
    return values


def _row(path: Path, line: int, header: list[str], values: list[str]) -> Verdict:
    if len(values) != len(header):
        raise UserError(f"{path} line {line} has {len(values)} fields, and the header {len(header)}; mend the line.")
    row = dict(zip(header, values, strict=True))
    for name in _NEEDED:
        if not row[name]:
            raise UserError(f"{path} line {line} has no {name}; fill it in, or take the line out.")
    _check_verdict(row["verdict"], f"{path} line {line}")
    row["reasons"] = current_reasons(row.get("reasons", ""))
    return Verdict(**{name: row.get(name, "") for name in COLUMNS}, line=line)


def _check_verdict(verdict: str, where: str) -> None:
    if verdict not in VERDICTS:
        raise UserError(f"{where} has the verdict '{verdict}'; it must be one of {', '.join(VERDICTS)}.")
