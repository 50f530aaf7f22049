"""FlagEmbedding's training files, JSON lines: a query, the texts that fit it, and texts that do not."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ance_tele.data.collection import RawCollection, Record
from ance_tele.data.errors import UserError
from ance_tele.data.formats.examples import Example, read_folder, text_id
from ance_tele.data.formats.objects import identifier, items, need, text
from ance_tele.data.formats.tables import ROWS, read_rows


def read_flagembedding(place: Path) -> tuple[RawCollection, list[Path]]:
    """Read a folder of training files (or one file) as FlagEmbedding has them.

    Args:
        place: Files of ``query``, ``pos`` and ``neg`` (lists of texts), with or without ``pos_id`` and ``neg_id``. The
            corpus is the passages met, each once; one without an id gets a hash of its text. Each line is a query of
            its own, also where another has the same text.

    Returns:
        The streams, and the files that they read.

    Raises:
        UserError: A field is missing or of another kind; names file and line.
    """
    return read_folder(place, ROWS, read_rows, parse, "training file, such as train.jsonl")


def parse(row: Mapping[str, Any], where: str, key: str, line: int) -> Example:
    """Make an example of a row."""
    query = Record(key, "", text(need(row, where, "query"), where, "query"), line)
    need(row, where, "pos")
    return Example(query, _passages(row, where, "pos", line), _passages(row, where, "neg", line))


def _passages(row: Mapping[str, Any], where: str, name: str, line: int) -> list[Record]:
    texts = items(row.get(name), where, name, str)
    given = items(row.get(f"{name}_id"), where, f"{name}_id", object)
    if given and len(given) != len(texts):
        raise UserError(f"{where} has {len(texts)} texts in '{name}' and {len(given)} ids in '{name}_id'.")
    ids = [identifier(one, where, f"{name}_id") for one in given] or list(map(text_id, texts))
    return [Record(one, "", body, line) for one, body in zip(ids, texts, strict=True)]
