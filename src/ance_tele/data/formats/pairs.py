"""A table of pairs, a query and a passage a row, to a collection in BEIR layout; its columns are named by the user."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np

from ance_tele.console.errors import UserError, nearest
from ance_tele.console.values import check_fields
from ance_tele.data.describe import describe
from ance_tele.data.documents.how import Share, check_shares
from ance_tele.data.formats.examples import Example, collect, part, stem, text_id
from ance_tele.data.formats.fields import score_of
from ance_tele.data.formats.objects import identifier, need, text
from ance_tele.data.formats.tables import ROWS, read_rows
from ance_tele.data.formats.write import check_free, write_beir
from ance_tele.data.importing import store
from ance_tele.data.raw import Record
from ance_tele.store.files import atomic

DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}


@dataclass(frozen=True)
class Pairs:
    """Which columns hold what, and how rows are divided.

    Attributes:
        query: Column of the query.
        passage: Column of the passage.
        title: Column of its title, if any.
        score: Column of a number that says how relevant the passage is, if any.
        query_id: Column of an id of the query; by default queries of the same text are one.
        passage_id: Column of an id of the passage; by default passages of the same title and text are one.
        relevant_from: The score from which on a passage is relevant; one below is given as a negative.
        delimiter: What separates the columns of CSV; by default a comma, of TSV a tab.
        dev: Share of the queries that is dev.
        test: Share that is test.

    Example:
        >>> Pairs("question", "answer", score="stars", relevant_from=4).columns
        ['question', 'answer', 'stars']
    """

    query: str
    passage: str
    title: str | None = None
    score: str | None = None
    query_id: str | None = None
    passage_id: str | None = None
    relevant_from: Annotated[float, (-1e30, 1e30)] = 1.0
    delimiter: str | None = None
    dev: Share = 0.1
    test: Share = 0.1

    @property
    def columns(self) -> list[str]:
        """All columns that are read."""
        named = (self.query, self.passage, self.title, self.score, self.query_id, self.passage_id)
        return [name for name in named if name is not None]


def write_pairs(path: Path, out: Path, how: Pairs, strict: bool = True) -> list[str]:
    """Write the rows of a file as a collection in BEIR layout; return lines that describe it.

    Which queries are dev and test is decided by the hashes of their texts, whatever the order of the rows.

    Args:
        path: .csv, .tsv, .jsonl or .parquet, plain or (but for Parquet) gzipped.
        out: Must not be there yet, or be empty.
        how: Columns, scores, splits.
        strict: Refuse rows without text and ids with two texts, rather than leave out and count them.

    Raises:
        UserError: There is no such file or column, the rows are inconsistent, or ``out`` holds something.

    Example:
        >>> rows = ["question;answer"] + [f"what is {n}?;the number {n}" for n in range(10)]
        >>> _ = Path("faq.csv").write_text("\\n".join(rows) + "\\n")
        >>> lines = write_pairs(Path("faq.csv"), Path("my-pairs"), Pairs("question", "answer", delimiter=";"))
        >>> sorted(path.name for path in Path("my-pairs/qrels").iterdir())
        ['dev.tsv', 'test.tsv', 'train.tsv']
    """
    check_table(path, how)
    check_free(out)
    bounds = _bounds(path, how)
    # One pass over the rows for each split, with numbers that are those of the rows in the file.
    parts = [
        part(split, [path], partial(_rows_of, how=how, low=low, high=high), partial(_parse, how=how))
        for split, (low, high) in bounds.items()
    ]
    with TemporaryDirectory() as folder:
        collection = store(collect(stem(path), parts), Path(folder) / "collection", {"pairs": path.name}, strict)
        write_beir(collection, out)
        lines = list(describe(collection))[1:]
    columns = ", ".join(f"`{name}`" for name in how.columns)
    relevant = f" Relevant is a pair with a {how.score} of at least {how.relevant_from:g}." if how.score else ""
    about = f"Made by `ance-tele data from-csv` of `{path.name}`, columns {columns}.{relevant} dev and test by hashes."
    counts = "\n".join(f"- {' '.join(line.split())}" for line in lines)
    with atomic(out / "SOURCE.md") as note:
        note.write_text(f"# Source\n\n{about}\n\n{counts}\n", "utf-8")
    return lines


def check_table(path: Path, how: Pairs) -> None:
    """Refuse what is not such a file, and columns that it has not.

    Raises:
        UserError: Names the file, and what is wrong with it.
    """
    if not path.is_file():
        raise UserError(f"{path} is not a file; data from-csv takes a {', '.join(ROWS)} file.")
    if not path.name.removesuffix(".gz").endswith(ROWS) or path.name.endswith(".parquet.gz"):
        raise UserError(f"{path.name} ends in none of {', '.join(ROWS)} (.gz); save a spreadsheet as CSV in UTF-8.")
    check_fields(how)
    check_shares(how.dev, how.test, "queries")
    if how.query == how.passage:
        raise UserError(f"Query and passage are both the column '{how.query}'; name two columns.")
    if how.delimiter is not None:
        if len(how.delimiter.encode()) != 1 or how.delimiter in '"\r\n':
            hint = r"; for a tab pass --delimiter $'\t'" if how.delimiter == r"\t" else ", such as ';'"
            raise UserError(f"The delimiter is {how.delimiter!r}; it must be one character{hint}.")
        if not path.name.removesuffix(".gz").endswith((".csv", ".tsv")):
            raise UserError(f"{path.name} has no delimiter; leave --delimiter out.")
    row = next((row for _, row in read_rows(path, how.delimiter)), None)
    if row is None:
        raise UserError(f"{path.name} holds no rows.")
    for name in how.columns:
        if name in row:
            continue
        if len(row) == 1 and (found := [one for one in DELIMITERS if one in next(iter(row))]):
            shown = r"$'\t'" if found[0] == "\t" else f"'{found[0]}'"
            raise UserError(
                f"{path.name} has one column, '{next(iter(row)):.200}', which {DELIMITERS[found[0]]} seems to divide; "
                f"pass --delimiter {shown}."
            )
        near = nearest(name, row)
        hint = f"did you mean '{near}'?" if near else f"it has: {', '.join(row)}."
        raise UserError(f"{path.name} has no column '{name}'; {hint}")


def _bounds(path: Path, how: Pairs) -> dict[str, tuple[int, int]]:
    """Return the splits, and the hashes of the texts of queries from and to which each reaches."""
    relevant = how.score is None

    def read() -> Iterator[int]:
        nonlocal relevant
        for _, row in read_rows(path, how.delimiter):
            relevant = relevant or not _below(row, how)
            yield _hash(_query(row, how))

    hashes = np.unique(np.fromiter(read(), np.uint64))
    if not relevant:
        raise UserError(
            f"No row of {path.name} has a '{how.score}' of at least {how.relevant_from:g}, so nothing is relevant; "
            "lower --relevant_from."
        )
    sizes = {
        name: max(1, round(share * len(hashes))) for name, share in (("test", how.test), ("dev", how.dev)) if share
    }
    if sum(sizes.values()) >= len(hashes):
        raise UserError(
            f"{path.name} has {len(hashes)} different queries, too few to divide; add rows, or pass --dev 0 --test 0."
        )
    bounds, start, low = dict[str, tuple[int, int]](), 0, 0
    for name, size in sizes.items():
        start += size
        bounds[name] = low, int(hashes[start])
        low = int(hashes[start])
    return {"train": (low, 1 << 64), **dict(reversed(bounds.items()))}


def _rows_of(path: Path, how: Pairs, low: int, high: int) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, row in read_rows(path, how.delimiter):
        if low <= _hash(_query(row, how)) < high:
            yield number, row


def _query(row: Mapping[str, Any], how: Pairs) -> str:
    value = row.get(how.query)
    return value.strip() if isinstance(value, str) else ""  # of another type: refused when it is parsed


def _below(row: Mapping[str, Any], how: Pairs) -> bool:
    """Return whether the score of a row is too low; one that is no number is refused when it is parsed."""
    try:
        return float(row[how.score or ""]) < how.relevant_from
    except (KeyError, TypeError, ValueError):
        return False


def _hash(query: str) -> int:
    digest = hashlib.blake2b(query.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _parse(row: Mapping[str, Any], where: str, key: str, line: int, how: Pairs) -> Example:
    """Parse a row; ``key`` is the id of a query without one."""
    own = identifier(need(row, where, how.query_id), where, how.query_id) if how.query_id else key
    query = Record(own, "", text(need(row, where, how.query), where, how.query), line)
    body = text(need(row, where, how.passage), where, how.passage)
    title = text(need(row, where, how.title), where, how.title) if how.title else ""
    of = identifier(need(row, where, how.passage_id), where, how.passage_id) if how.passage_id else text_id(body, title)
    passage, numbered = Record(of, title, body, line), how.query_id is None
    if how.score:
        score = score_of(need(row, where, how.score), where, how.score)
        if math.isnan(score):
            raise UserError(f"{where}: '{how.score}' is empty; every row needs a number.")
        if score < how.relevant_from:
            return Example(query, [], [passage], numbered=numbered)
    return Example(query, [passage], [], numbered=numbered)
