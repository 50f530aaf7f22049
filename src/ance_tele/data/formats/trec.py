"""TREC judgements and runs: fields separated by white space."""

import math
from collections.abc import Iterator
from pathlib import Path

from ance_tele.console.errors import UserError
from ance_tele.data.formats.lines import read_fields
from ance_tele.data.grades import whole_grade
from ance_tele.data.raw import Judgement


def read_trec_qrels(path: Path) -> Iterator[Judgement]:
    """Yield the judgements of a file of four fields: query id, anything, passage id, grade (graded or not)."""
    for number, parts in read_fields(path, 4, "four are needed: query id, 0, passage id, grade"):
        yield Judgement(parts[0], parts[2], whole_grade(parts[3], f"{path.name} line {number}"), number)


def read_trec_run(path: Path) -> Iterator[tuple[str, str, float]]:
    """Yield query id, passage id and score (no NaN) of a run: query id, Q0, passage id, rank, score, tag."""
    for number, parts in read_fields(path, 6, "six are needed: query id, Q0, passage id, rank, score, tag"):
        try:
            score = float(parts[4])
        except ValueError:
            score = math.nan
        if math.isnan(score):
            raise UserError(f"{path.name} line {number}: the score '{parts[4]}' is no number.")
        yield parts[0], parts[2], score
