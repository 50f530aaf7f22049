"""The review file: human verdicts on passages, a CSV that the explorer writes and a run reads."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path

import numpy as np

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection
from ance_tele.data.grades import ReviewAs
from ance_tele.data.reasons import current_reasons
from ance_tele.store.files import atomic
from ance_tele.store.fingerprints import fingerprint

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


@dataclass(frozen=True)
class Review:
    """The pairs with the verdict "relevant", as rows of a collection, distinct and ascending.

    Attributes:
        path: Where it was read from.
        use: "exclude" or "positives".
        queries: Rows of the queries, int64 [n].
        passages: Row of the passage of each, int64 [n].
        verdicts: Of these pairs, in the order of the file.
    """

    path: Path
    use: ReviewAs
    queries: np.ndarray
    passages: np.ndarray
    verdicts: tuple[Verdict, ...]

    @property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the queries and of their passages, int64 [n] each."""
        return self.queries, self.passages

    @property
    def fingerprint(self) -> str:
        """sha-256 (hex) of the pairs and their use."""
        return fingerprint([self.use, sorted({(row.query_id, row.passage_id) for row in self.verdicts})])


def load_review(path: str | Path, collection: Collection, use: ReviewAs = "exclude") -> Review:
    """Read a review and resolve its ids in a collection.

    The passages called relevant are never negatives of their query ("exclude"), or further positives ("positives").

    Raises:
        UserError: The file is no review, or not one of this collection's training queries.
    """
    path, rows = Path(path), read_review(path)
    queries = collection.queries.rows([row.query_id for row in rows])
    passages = collection.corpus.rows([row.passage_id for row in rows])
    where = f"collection '{collection.name}'"
    _refuse(path, rows, queries < 0, "query_id", f"no query of {where}")
    _refuse(path, rows, passages < 0, "passage_id", f"no passage of {where}")
    training = collection.split("train").queries
    _refuse(path, rows, ~np.isin(queries, training), "query_id", f"no training query of {where}")
    relevant = np.array([row.verdict == "relevant" for row in rows], dtype=bool)
    pairs = np.unique(np.stack([queries[relevant], passages[relevant]], axis=1), axis=0)
    kept = tuple(row for row in rows if row.verdict == "relevant")
    return Review(path, use, pairs[:, 0], pairs[:, 1], kept)


def _refuse(path: Path, rows: Sequence[Verdict], wrong: np.ndarray, column: str, what: str) -> None:
    if wrong.any():
        first, count = rows[int(np.argmax(wrong))], int(wrong.sum())
        more = "" if count == 1 else f", and {count - 1:,} more like it"
        raise UserError(
            f"{path} line {first.line} has the {column} '{getattr(first, column)}', which is {what}{more} "
            f"({count:,} of {len(rows):,} rows); is this a review of other data?"
        )
