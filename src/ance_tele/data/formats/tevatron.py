"""Tevatron's training files: with passages inside (version 1), or with ids of a corpus (version 2)."""

import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.data.formats.examples import Example, Read, collect, find, none_found, once, split_parts, stem
from ance_tele.data.formats.fields import passage_of, prompt_of, score_of, unread
from ance_tele.data.formats.objects import identifier, items, need, text
from ance_tele.data.formats.tables import ROWS, read_rows
from ance_tele.data.raw import Record

INSIDE, BY_ID = "positive_passages", "positive_document_ids"
KNOWN = {
    *("query_id", "query", "query_text", "answer", "answers"),
    *(f"{side}_{what}" for side in ("positive", "negative") for what in ("passages", "document_ids")),
}
_CORPUS = re.compile(r"(.*\.)?corpus")


def read_tevatron(place: Path) -> Read:
    """Read a folder of training files (or one file) as Tevatron has them.

    Args:
        place: Files of ``query_id``, ``query`` or ``query_text``, and either ``positive_passages`` and
            ``negative_passages`` (lists of ``docid``, ``title``, ``text`` and, from a teacher, ``score``) or
            ``positive_document_ids`` and ``negative_document_ids``; ``answers`` and the query's instruction
            (``prompt``, ``instruction``) where there are any. The split is found in the name. The corpus is
            in files named ``corpus*`` or ``NAME.corpus*`` (``docid``, ``title``, ``text``), for one file of ids next to
            it; without one it is the passages of the examples.
    """
    files = find(place, *ROWS)
    corpora = [path for path in files if _CORPUS.match(path.name) and path != place]
    examples = [path for path in files if path not in corpora]
    if not examples:
        raise none_found(place, "training file, such as train.jsonl")
    first = {path: row for path in examples for _, row in islice(read_rows(path), 1)}
    by_id = next((path for path, row in first.items() if BY_ID in row and INSIDE not in row), None)
    if by_id and not corpora and place.is_file():
        own = place.with_name(f"{stem(place)}.corpus.jsonl")
        corpora = [own] if own.exists() else [path for path in find(place.parent, *ROWS) if _CORPUS.match(path.name)]
    if by_id and not corpora:
        raise UserError(
            f"{by_id.name} names its passages by '{BY_ID}', and there is no corpus*.jsonl next to it; "
            "put the corpus (docid, text) there."
        )
    parts = split_parts(examples, read_rows, parse)
    corpus = None
    if corpora:
        passages = once(
            passage_of(row, f"{path.name} line {number}", number, "docid")
            for path in corpora
            for number, row in read_rows(path)
        )
        corpus = ", ".join(path.name for path in corpora), passages
    return collect(stem(place), parts, corpus), [*examples, *corpora]


def parse(row: Mapping[str, Any], where: str, key: str, line: int) -> Example:
    """Parse a row of either version."""
    own = identifier(need(row, where, "query_id"), where, "query_id")
    query = Record(own, "", text(need(row, where, "query_text", "query"), where, "query"), line, prompt_of(row, where))
    need(row, where, INSIDE, BY_ID)
    names = (INSIDE, "negative_passages") if INSIDE in row else (BY_ID, "negative_document_ids")
    read = _passages if INSIDE in row else _references
    positives, negatives = (read(row.get(name), where, name, line) for name in names)
    scored = [one for name in names for one in row.get(name) or ()] if INSIDE in row else []
    answers = row.get("answers", row.get("answer"))
    answers = [answers] if isinstance(answers, str) else answers
    return Example(
        query,
        positives,
        negatives,
        answers=tuple(items(answers, where, "answers", str)),
        scores=tuple(score_of(one.get("score"), where, "score") for one in scored),
        unread=unread(row, KNOWN),
        numbered=False,
    )


def _references(value: Any, where: str, name: str, line: int) -> list[Record]:
    return [Record(identifier(one, where, name), "", "", line) for one in items(value, where, name, object)]


def _passages(value: Any, where: str, name: str, line: int) -> list[Record]:
    return [passage_of(row, f"{where}, {name}", line, "docid") for row in items(value, where, name, dict)]
