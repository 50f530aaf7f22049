"""Grades of relevance, and the uses of a review."""

from contextlib import suppress
from typing import Any, Literal

from ance_tele.console.errors import UserError

# Passages judged relevant by a review are excluded from the negatives, or become positives.
ReviewAs = Literal["exclude", "positives"]


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


def _whole(value: Any) -> int | None:
    if isinstance(value, bytes | bytearray):
        return None
    try:
        if isinstance(value, str):
            with suppress(ValueError):
                return int(value)
            value = float(value)
        return int(value) if float(value).is_integer() else None  # not int(float(value)): large integers are no floats
    except (TypeError, ValueError, OverflowError):
        return None
