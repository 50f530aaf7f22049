"""Fields of training rows of any format: passages, queries, instructions, teacher scores, unused fields."""

import json
import math
from collections.abc import Container, Mapping
from contextlib import suppress
from typing import Any

from ance_tele.console.errors import UserError, printable
from ance_tele.data.formats.objects import identifier, need, text
from ance_tele.data.grades import INFINITE, plain_number
from ance_tele.data.raw import Record

# Names of a query's instruction: FlagEmbedding's, others', mteb's.
PROMPTS = ("prompt", "query_prompt", "instruction", "query_instruction")


def passage_of(row: Mapping[str, Any], where: str, line: int, *ids: str) -> Record:
    """Return a passage: its id (the first existing one of the fields ``ids``), ``text`` and optional ``title``."""
    key = identifier(need(row, where, *ids), where, ids[0])
    title = text(row.get("title"), where, "title")
    return Record(key, title, text(need(row, where, "text"), where, "text"), line)


def query_of(row: Mapping[str, Any], where: str, line: int, *ids: str) -> Record:
    """Return a query: its id (likewise), ``text`` and optional instruction."""
    key = identifier(need(row, where, *ids), where, ids[0])
    return Record(key, "", text(need(row, where, "text"), where, "text"), line, prompt_of(row, where))


def prompt_of(row: Mapping[str, Any], where: str) -> str:
    """Return the instruction of the query of a row, "" without."""
    name = next((name for name in PROMPTS if row.get(name)), None)
    return text(row[name], where, name) if name else ""


def unread(row: Mapping[str, Any], known: Container[str]) -> tuple[str, ...]:
    """Return the non-empty fields of a row that are neither known nor instructions."""
    return tuple(
        printable(name, 60)
        for name, value in row.items()
        if name not in known and name not in PROMPTS and value not in (None, "", [], {})
    )


def scores_of(value: Any, where: str, name: str) -> list[float]:
    """Return a list of scores, [] for null, with NaN for null entries; CSV holds lists as JSON."""
    if isinstance(value, str):
        with suppress(ValueError, RecursionError):
            value = json.loads(value) if value.strip() else None
    if value is None:
        return []
    if not isinstance(value, list):
        raise UserError(f"{where}: '{name}' must be a list of numbers, got {value!r:.60}.")
    return [score_of(one, where, name) for one in value]


def score_of(value: Any, where: str, name: str) -> float:
    """Return a finite score; NaN for null."""
    if value is None or value == "":
        return math.nan
    try:
        score = math.nan if isinstance(value, bool) else float(value)
        if isinstance(value, str) and plain_number(value) is None:
            score = math.nan
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    if not abs(score) < INFINITE:
        raise UserError(f"{where}: '{name}' must hold numbers, got {value!r:.60}.")
    return score
