"""TREC judgements and runs: fields separated by white space."""

import math
from collections.abc import Iterator
from pathlib import Path

from ance_tele.console.errors import UserError
from ance_tele.data.formats.lines import read_fields
from ance_tele.data.grades import INFINITE, plain_number, whole_grade
from ance_tele.data.raw import Judgement


def read_trec_qrels(path: Path) -> Iterator[Judgement]:
    """Yield the judgements of a file of four fields: query id, anything, passage id, grade (graded or not)."""
    for number, parts in read_fields(path, 4, "four are needed: query id, 0, passage id, grade"):
        yield Judgement(parts[0], parts[2], whole_grade(parts[3], f"{path.name} line {number}"), number)


def read_trec_run(path: Path) -> Iterator[tuple[int, str, str, float]]:
    """Yield line, query id, passage id and score (finite) of a run: query id, Q0, passage id, rank, score, tag."""
    for number, parts in read_fields(path, 6, "six are needed: query id, Q0, passage id, rank, score, tag"):
        score = plain_number(parts[4])
        if score is None or math.isnan(score):
            raise UserError(f"{path.name} line {number}: the score '{parts[4]:.60}' is no number.")
        if abs(score) >= INFINITE:
            raise UserError(f"{path.name} line {number}: the score {parts[4]:.60} is too large for 32 bits.")
        if "\0" in f"{parts[0]}{parts[2]}":
            raise UserError(f"{path.name} line {number}: an id holds the character NUL; take it out.")
        yield number, parts[0], parts[2], score
