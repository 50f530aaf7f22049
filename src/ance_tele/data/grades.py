"""Grades of relevance, and the uses of a review."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from ance_tele.console.errors import UserError

# Scores are kept as float32, in which this and larger numbers are infinite.
INFINITE = 2.0**128 - 2.0**103

# Passages judged relevant by a review are excluded from the negatives, or become positives.
ReviewAs = Literal["exclude", "positives"]


@dataclass(frozen=True)
class ReviewUse:
    """How the pairs of a review are used, by verdict.

    Attributes:
        relevant: They are excluded from the negatives of their query ("exclude"), or become positives ("positives").
        doubtful: They stay as they are ("keep"), are excluded from the negatives ("exclude"), or count as a share of a
            negative in the loss (a number between 0 and 1).
        irrelevant: Pairs that the data has as positives stay such ("keep"), or are dropped ("drop").
        grades: From which on a passage is relevant, and from which on doubtful; () means what is usual.
    """

    relevant: ReviewAs = "exclude"
    doubtful: float | Literal["keep", "exclude"] = "keep"
    irrelevant: Literal["keep", "drop"] = "keep"
    grades: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.doubtful, int | float) and not 0 < self.doubtful < 1:
            raise UserError(
                f"review_doubtful is {self.doubtful:g}; a weight lies between 0 and 1, which are exclude and keep."
            )


def whole_grade(value: Any, where: str) -> int:
    """Return a grade as an integer; 1.0, "1.0" and numpy integers are accepted.

    Raises:
        UserError: It is no whole number, or too large for 64 bits; names ``where``.
    """
    grade = _whole(value)
    if grade is None or not -(1 << 63) <= grade < 1 << 63:
        shown = f"'{value}'" if isinstance(value, str) else repr(value)
        raise UserError(f"{where}: the grade {shown:.60} is not an integer.")
    return grade


def plain_number(text: str) -> float | None:
    """Return the number that a text holds, in ASCII digits; None where it holds none. Python alone reads 1_0 as ten.

    >>> plain_number("-1e-3"), plain_number("1_0"), plain_number("٣")
    (-0.001, None, None)
    """
    try:
        return float(text) if text.isascii() and "_" not in text else None
    except ValueError:
        return None


def _whole(value: Any) -> int | None:
    if isinstance(value, bytes | bytearray):
        return None
    try:
        if isinstance(value, str):
            number = plain_number(value)
            with suppress(ValueError):  # of more than 4,300 digits, or with a fraction
                return None if number is None else int(value)
            value = number
        return int(value) if float(value).is_integer() else None  # not int(float(value)): large integers are no floats
    except (TypeError, ValueError, OverflowError):
        return None
