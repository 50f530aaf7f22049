"""Triplets as sentence-transformers has them: a column of anchors, one of positives, and any number of negatives."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.data.formats.examples import Example, Read, read_folder, text_id
from ance_tele.data.formats.fields import prompt_of, score_of, scores_of, unread
from ance_tele.data.formats.objects import items, need, text
from ance_tele.data.formats.tables import ROWS, read_rows
from ance_tele.data.raw import Record

ANCHORS = ("anchor", "query", "question")
# What sentence-transformers takes for labels.
LABELS = ("label", "labels", "score", "scores")
_NEGATIVE = re.compile(r"negative([_-]?\d+)?")
_WHOLE = re.compile(r"\s*[01]\s*")


def read_triplets(place: Path) -> Read:
    """Read a folder of training files (or one file) with a triplet a row.

    Args:
        place: Files of ``anchor`` (or ``query``, ``question``), ``positive``, and, where there are any, ``negative``
            or ``negative_1`` to ``negative_n``, the query's instruction (``prompt``) and a teacher's scores; .jsonl,
            .csv, .tsv or .parquet. The corpus is the passages met, each once, under a hash of its text. Rows of the
            same anchor and instruction in a split are one query with several positives.

            The scores are in ``label``, ``labels``, ``score`` or ``scores``: a list for the positive and each
            negative, or for each negative the margin between the two (MarginMSE); a number that is the margin where
            there is one negative, or the score of the pair where there is none. A pair with the label 0, or a list of
            passages in ``positive`` with ``labels`` of 0 and 1, has its negatives among the positives, as
            ``mine_hard_negatives`` writes labelled pairs and lists.
    """
    wanted = "training file, such as train.jsonl, train.csv or train.parquet"
    return read_folder(place, ROWS, read_rows, parse, wanted)


def parse(row: Mapping[str, Any], where: str, key: str, line: int) -> Example:
    """Parse a row."""
    query = Record(key, "", text(need(row, where, *ANCHORS), where, "anchor"), line, prompt_of(row, where))
    anchor = next(name for name in ANCHORS if name in row)
    named = [name for name in row if _NEGATIVE.fullmatch(name)]
    label = next((name for name in LABELS if row.get(name) not in (None, "", [])), None)
    plain = {anchor, "positive", *named}
    known = plain | {label or ""}
    given = need(row, where, "positive")
    if isinstance(given, list):
        passages = [_passage(one, where, "positive", line) for one in items(given, where, "positive", str)]
        return _labelled_list(row, where, label, Example(query, passages, [], unread=unread(row, known)))
    positive = _passage(given, where, "positive", line)
    negatives = [_passage(row[name], where, name, line) for name in named]
    scores, margins, used = _scores(row, where, label, len(negatives))
    unused = unread(row, known if used else plain)
    if label is not None and not named and _is_verdict(row[label]):
        pair = ([positive], []) if float(row[label]) else ([], [positive])
        return Example(query, *pair, unread=unread(row, known))
    kept = [not place or bool(one.text) for place, one in enumerate([positive, *negatives])]
    scores = [score for score, keep in zip(scores, kept, strict=True) if keep] if scores else []
    bad = [one for one in negatives if one.text]
    graded = bool(scores) and not named
    return Example(query, [positive], bad, scores=tuple(scores), margins=margins, graded=graded, unread=unused)


def _scores(row: Mapping[str, Any], where: str, label: str | None, negatives: int) -> tuple[list[float], bool, bool]:
    """Return the scores of the positive and the negatives, whether they are margins, and whether they are usable."""
    if label is None or (not negatives and _is_verdict(row[label])):
        return [], False, label is not None
    value = row[label]
    if isinstance(value, list) or (isinstance(value, str) and value.lstrip().startswith("[")):
        found = scores_of(value, where, label)
        if len(found) == negatives + 1:
            return found, False, True
        if len(found) == negatives:
            return [0.0, *(-margin for margin in found)], True, True
        raise UserError(
            f"{where} has {len(found)} numbers in '{label}' for {negatives} negatives; {negatives + 1} scores are "
            f"needed (the positive's first), or {negatives} margins."
        )
    if negatives > 1 or (negatives and _is_class(value)):  # one number for several passages says nothing of each
        return [], False, False
    score = score_of(value, where, label)
    return ([0.0, -score], True, True) if negatives else ([score], False, True)


def _is_class(value: Any) -> bool:
    """Return whether a label is a class, 0 or 1, rather than a score."""
    return (isinstance(value, int) and value in (0, 1)) or (isinstance(value, str) and bool(_WHOLE.fullmatch(value)))


def _is_verdict(value: Any) -> bool:
    """Return whether the label of a pair states its relevance: a class, or 0 in any notation."""
    try:
        return _is_class(value) or float(value) == 0
    except (TypeError, ValueError):
        return False


def _labelled_list(row: Mapping[str, Any], where: str, label: str | None, example: Example) -> Example:
    """Split a labelled list of passages into positives and negatives."""
    passages, numbers = example.positives, scores_of(row[label], where, label) if label else []
    if len(numbers) != len(passages):
        raise UserError(
            f"{where} has a list of {len(passages)} passages in 'positive', and {len(numbers)} labels; each needs "
            "one, 0 or 1, in 'labels', or a score in 'scores', the positive's first."
        )
    if label == "scores":
        return example._replace(positives=passages[:1], negatives=passages[1:], scores=tuple(numbers))
    if not set(numbers) <= {0, 1}:
        raise UserError(f"{where}: '{label}' must hold 0 or 1 for each passage, got {json.dumps(numbers):.60}.")
    pairs = list(zip(passages, numbers, strict=True))
    good, bad = ([one for one, number in pairs if number == wanted] for wanted in (1, 0))
    return example._replace(positives=good, negatives=bad)


def _passage(value: Any, where: str, name: str, line: int) -> Record:
    body = text(value, where, name)
    return Record(text_id(body), "", body, line)
