"""FlagEmbedding's training files, JSON lines: a query, its positive texts, its negative texts."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.data.formats.examples import Example, Read, read_folder, text_id
from ance_tele.data.formats.fields import prompt_of, scores_of, unread
from ance_tele.data.formats.objects import identifier, items, need, text
from ance_tele.data.formats.tables import ROWS, read_rows
from ance_tele.data.raw import Record

KNOWN = {f"{side}{what}" for side in ("pos", "neg") for what in ("", "_id", "_scores")} | {"query"}


def read_flagembedding(place: Path) -> Read:
    """Read a folder of training files (or one file) as FlagEmbedding has them.

    Args:
        place: Files of ``query``, ``pos`` and ``neg`` (lists of texts), with or without ``pos_id`` and ``neg_id``, a
            teacher's ``pos_scores`` and ``neg_scores``, and ``prompt``, the query's instruction. The corpus is the
            passages met, each once; one without an id gets a hash of its text. Lines of the same query and
            instruction in a split are one query.
    """
    return read_folder(place, ROWS, read_rows, parse, "training file, such as train.jsonl")


def parse(row: Mapping[str, Any], where: str, key: str, line: int) -> Example:
    """Parse a row."""
    query = Record(key, "", text(need(row, where, "query"), where, "query"), line, prompt_of(row, where))
    need(row, where, "pos")
    good, bad = (_passages(row, where, name, line) for name in ("pos", "neg"))
    scores = _scores(row, where, "pos", len(good)) + _scores(row, where, "neg", len(bad))
    return Example(query, good, bad, scores=tuple(scores), unread=unread(row, KNOWN))


def _scores(row: Mapping[str, Any], where: str, name: str, count: int) -> list[float]:
    given = scores_of(row.get(f"{name}_scores"), where, f"{name}_scores")
    if given and len(given) != count:
        raise UserError(f"{where} has {count} texts in '{name}' and {len(given)} scores in '{name}_scores'.")
    return given or [math.nan] * count


def _passages(row: Mapping[str, Any], where: str, name: str, line: int) -> list[Record]:
    texts = items(row.get(name), where, name, str)
    given = items(row.get(f"{name}_id"), where, f"{name}_id", object)
    if given and len(given) != len(texts):
        raise UserError(f"{where} has {len(texts)} texts in '{name}' and {len(given)} ids in '{name}_id'.")
    ids = [identifier(one, where, f"{name}_id") for one in given] or list(map(text_id, texts))
    return [Record(one, "", body, line) for one, body in zip(ids, texts, strict=True)]
