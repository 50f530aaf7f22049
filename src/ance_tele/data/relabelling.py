"""Verdicts as relabelling projects write them: words or grades, of people or language models, and lists by query.

CSV, TSV, JSON lines or Parquet. A row holds one passage of a query, with a word or a grade; or, as RLHN's data in
Tevatron's format, the passages that are relevant after all (``positive_passages``) and those that are not.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.data.formats.objects import identifier, items, need
from ance_tele.data.formats.tables import ROWS, read_rows, unit_of
from ance_tele.data.grades import plain_number
from ance_tele.data.review import Verdict

QUERY = ("query_id", "query-id", "qid")
PASSAGE = ("passage_id", "corpus-id", "corpus_id", "docid", "doc_id", "pid")
JUDGED = ("verdict", "grade", "relevance", "label", "score")
LISTS = {"positive_passages": "relevant", "negative_passages": "negative"}


@dataclass(frozen=True)
class Scale:
    """From which grades on a passage is relevant, and from which on doubtful.

    Example:
        >>> scale = Scale(relevant=2, doubtful=1)
        >>> [scale.verdict(grade) for grade in (0, 1, 3)], scale.words
        (['negative', 'unsure', 'relevant'], 'relevant from grade 2 on, doubtful from 1 on')
    """

    relevant: float
    doubtful: float

    @classmethod
    def of(cls, given: Sequence[float], grades: Sequence[float], where: str) -> "Scale":
        """Return the scale that was given, or the usual one of the grades of a file.

        Raises:
            UserError: It is none, or the grades are fractions, which have no usual one.
        """
        if given:
            if len(given) > 2 or (len(given) == 2 and given[1] > given[0]):
                shown = " ".join(f"{grade:g}" for grade in given)
                raise UserError(
                    f"review_grades is {shown}; it takes the grade from which on a passage is relevant, and a lower "
                    "one from which on it is doubtful, such as 2 1."
                )
            return cls(given[0], given[-1])
        broken = next((grade for grade in grades if grade != int(grade)), None)
        if broken is not None:
            raise UserError(
                f"{where} holds the grade {broken:g}, a fraction: say from which on a passage is relevant, and from "
                "which on it is doubtful, such as --review_grades 0.8 0.5."
            )
        return cls(1, 1) if max(grades) <= 1 else cls(2, 1)

    def verdict(self, grade: float) -> str:
        """Return the verdict of a grade."""
        return "relevant" if grade >= self.relevant else "unsure" if grade >= self.doubtful else "negative"

    @property
    def words(self) -> str:
        """Description for a log line."""
        doubtful = f", doubtful from {self.doubtful:g} on" if self.doubtful < self.relevant else ""
        return f"relevant from grade {self.relevant:g} on{doubtful}"


@dataclass(frozen=True)
class Relabelled:
    """The verdicts of a file; ``scale`` is None where it holds no grades."""

    verdicts: list[Verdict]
    scale: Scale | None


def is_relabelling(path: Path) -> bool:
    """Return whether a file is read as one of a relabelling project: anything but a CSV with the column verdict."""
    name = path.name.removesuffix(".gz")
    if not name.endswith(ROWS):
        return False
    if name.endswith(".csv"):
        try:
            with path.open("rb") as file:
                header = file.readline(1 << 20).decode("utf-8-sig").strip().split(",")
        except (OSError, UnicodeDecodeError):
            return False  # what is wrong, the reader of reviews says
        return "verdict" not in header and any(column in header for column in JUDGED)
    return True


def read_relabelled(path: Path, grades: Sequence[float] = ()) -> Relabelled:
    """Read the verdicts of a file.

    Args:
        path: ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet``, with fields for query, passage and a word or grade (the
            first of :data:`JUDGED` that is there), or with lists of passages.
        grades: From which on a passage is relevant, and from which on doubtful; by default 2 and 1, or 1 where no
            grade is higher.

    Raises:
        UserError: Names file and place, what was found, and what is needed.
    """
    if not path.is_file():
        raise UserError(f"{path} cannot be read: there is no such file.")
    found: dict[tuple[str, str], tuple[int, str | float]] = {}
    unit = unit_of(path)
    for number, query, passage, value in _judged(path):
        before = found.setdefault((query, passage), (number, value))
        if before[1] != value:
            raise UserError(
                f"{path} {unit} {number} calls passage '{passage:.60}' {_shown(value)} for query '{query:.60}', and "
                f"{unit} {before[0]} calls it {_shown(before[1])}; leave one of the two out."
            )
    graded = [value for _, value in found.values() if not isinstance(value, str)]
    scale = Scale.of(grades, graded, str(path)) if graded else None
    verdicts = [
        Verdict(*pair, value if isinstance(value, str) else _of(scale, value), line=number)
        for pair, (number, value) in found.items()
    ]
    return Relabelled(verdicts, scale)


def _of(scale: Scale | None, grade: float) -> str:
    assert scale is not None, "grades have a scale"
    return scale.verdict(grade)


def _shown(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _judged(path: Path) -> Iterator[tuple[int, str, str, str | float]]:
    """Yield line, query id, passage id, and a verdict or a grade."""
    unit = unit_of(path)
    for number, row in read_rows(path):
        where = f"{path} {unit} {number}"
        query = _id(need(row, where, *QUERY), where, "query_id")
        if not LISTS.keys().isdisjoint(row):
            for name, verdict in LISTS.items():
                for passage in items(row.get(name), where, name, object):
                    yield number, query, _listed(passage, where, name), verdict
            continue
        passage = _id(need(row, where, *PASSAGE), where, "passage_id")
        yield number, query, passage, _value(need(row, where, *JUDGED), where)


def _id(value: Any, where: str, name: str) -> str:
    found = identifier(value, where, name)
    if not found:
        raise UserError(f"{where} has no {name}; fill it in, or take it out.")
    return found


def _listed(passage: Any, where: str, name: str) -> str:
    """Return the id of a passage of a list: an object with one, or the id itself."""
    if isinstance(passage, Mapping):
        return _id(need(passage, f"{where}, {name}", *PASSAGE, "id", "_id"), where, f"{name} docid")
    return _id(passage, where, name)


# Words for verdicts, in lower case.
WORDS = {
    "relevant": "relevant",
    "unsure": "unsure",
    "doubtful": "unsure",
    "negative": "negative",
    "irrelevant": "negative",
    "not relevant": "negative",
}


def _value(value: Any, where: str) -> str | float:
    """Return a verdict or a grade.

    Raises:
        UserError: It is neither.
    """
    if isinstance(value, str) and value.strip().lower() in WORDS:
        return WORDS[value.strip().lower()]
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        grade = None
    else:
        grade = plain_number(value) if isinstance(value, str) else float(value)
    if grade is None or not abs(grade) < float("inf"):
        raise UserError(f"{where} has the verdict {value!r:.60}; it must be a grade, or one of {', '.join(WORDS)}.")
    return grade
