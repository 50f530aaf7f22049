"""Triplets as sentence-transformers has them: a column of anchors, one of positives, and any number of negatives."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ance_tele.data.collection import RawCollection, Record
from ance_tele.data.formats.examples import Example, read_folder, text_id
from ance_tele.data.formats.objects import need, text
from ance_tele.data.formats.tables import ROWS, read_rows

ANCHORS = ("anchor", "query", "question")
_NEGATIVE = re.compile(r"negative([_-]?\d+)?")


def read_triplets(place: Path) -> tuple[RawCollection, list[Path]]:
    """Read a folder of training files (or one file) with a triplet a row.

    Args:
        place: Files of ``anchor`` (or ``query``, ``question``), ``positive``, and, where there are any, ``negative``
            or ``negative_1`` to ``negative_n``; .jsonl, .csv, .tsv or .parquet. The corpus is the passages met, each
            once, under a hash of its text. Each row is a query of its own, also where another has the same text.

    Returns:
        The streams, and the files that they read.

    Raises:
        UserError: A column is missing or does not hold texts; names file and row.
    """
    wanted = "training file, such as train.jsonl, train.csv or train.parquet"
    return read_folder(place, ROWS, read_rows, parse, wanted)


def parse(row: Mapping[str, Any], where: str, key: str, line: int) -> Example:
    """Make an example of a row."""
    query = Record(key, "", text(need(row, where, *ANCHORS), where, "anchor"), line)
    positive = _passage(need(row, where, "positive"), where, "positive", line)
    others = [_passage(row[name], where, name, line) for name in row if _NEGATIVE.fullmatch(name)]
    return Example(query, [positive], [other for other in others if other.text])


def _passage(value: Any, where: str, name: str, line: int) -> Record:
    body = text(value, where, name)
    return Record(text_id(body), "", body, line)
