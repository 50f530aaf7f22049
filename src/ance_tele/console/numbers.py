"""Number formats of terminal, report and files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

DASH = "–"
"""Shown where there is no value."""

SIGNIFICANT = 0.05
"""A p-value above this is reported as no significant difference."""


def number(value: Any) -> float | None:
    """Return a finite number, or None for anything else (null, NaN, text, a boolean)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def score(value: Any) -> str:
    """Format a metric between 0 and 1: 0.710."""
    read = number(value)
    return DASH if read is None else f"{read:.3f}"


def percent(value: Any) -> str:
    """Format a share as a percentage without sign: 0.123 is 12.3."""
    read = number(value)
    return DASH if read is None else f"{100 * read:.1f}"


def count(value: Any) -> str:
    """Format an integer with thousands separators: 9,012."""
    read = number(value)
    return DASH if read is None else f"{round(read):,}"


def counted(value: float, singular: str, plural: str) -> str:
    """Format a number with its noun: 1 query, 14 queries."""
    return f"{count(value)} {singular if value == 1 else plural}"


def duration(seconds: Any) -> str:
    """Format a duration in at most six characters: 3.1s, 1m42s, 2h05m, 4d06h."""
    read = number(seconds)
    if read is None or read < 0:
        return DASH
    if 0 < read < 0.05:
        return "<0.1s"
    # Thresholds allow for rounding: 59.97 s would otherwise be written 60.0s.
    if read < 59.95:
        return f"{read:.1f}s"
    if round(read) < 3600:
        return f"{round(read) // 60}m{round(read) % 60:02d}s"
    minutes = round(read / 60)
    if minutes < 100 * 60:
        return f"{minutes // 60}h{minutes % 60:02d}m"
    hours = round(read / 3600)
    return f"{hours // 24}d{hours % 24:02d}h"


def magnitude(value: float) -> str:
    """Format an absolute difference with three decimals, or as many as it takes not to show zero."""
    size = abs(value)
    decimals = 3
    while size > 0 and float(f"{size:.{decimals}f}") == 0 and decimals < 6:
        decimals += 1
    return f"{size:.{decimals}f}"


def signed(value: float) -> str:
    """Format a difference with its sign: +0.050, -0.004, 0.000."""
    size = magnitude(value)
    if float(size) == 0:
        return size
    return ("+" if value > 0 else "-") + size


def p_value(p: float) -> str:
    """Format a p-value: p < 0.001, p = 0.031, p = 0.31."""
    if p < 0.001:
        return "p < 0.001"
    if p >= 0.0995:
        return f"p = {p:.2f}"
    text = f"{p:.3f}"
    # Near 0.05 three decimals may show 0.050 on either side.
    if float(text) == SIGNIFICANT and p != SIGNIFICANT:
        text = f"{p:.4f}"
        if float(text) == SIGNIFICANT:
            return "p just above 0.05" if p > SIGNIFICANT else "p just below 0.05"
    return f"p = {text}"


def words(items: Sequence[str]) -> str:
    """Join words as in a sentence: a, b and c."""
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + " and " + items[-1]
