"""Detect the format of a folder or of a training file from the names of files and the fields of the first row."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.data.formats.examples import find, split_of
from ance_tele.data.formats.objects import read_array
from ance_tele.data.formats.tables import ROWS, read_rows
from ance_tele.data.formats.triplets import ANCHORS


def detect(place: Path) -> str:
    """Return the format of a folder or of one training file.

    Raises:
        UserError: It is none of the known ones; names what was found, and what is known.
    """
    files = find(place, *ROWS, ".json")
    names = {path.name.removesuffix(".gz") for path in files}
    if place.is_dir():
        if sum((place / "qrels").is_dir() if name == "qrels" else name in names for name in _BEIR) >= 2:
            return "beir"
        if "collection.tsv" in names:
            return "marco"
        if any(name.startswith("psgs") or name.endswith(".qa.csv") for name in names):
            return "dpr"
        files = [path for path in files if not path.name.startswith("corpus")]
        files = [path for path in files if ".json" not in path.suffixes or split_of(path)]
    shown = ""
    for path in files:
        row = _first(path)
        if not row:
            shown = shown or f"{path.name}, which has no rows"
            continue
        if found := format_of(row):
            return found
        shown = shown or f"{path.name} with the fields {', '.join(map(str, row))}"
    if place.is_dir():
        shown = shown or ", ".join(sorted(path.name for path in place.iterdir())[:8]) or "nothing"
    raise UserError(
        f"{place} is in no format that is known (found: {shown or 'a ' + (place.suffix or 'file without suffix')}); "
        "known are BEIR (corpus.jsonl, queries.jsonl, qrels/), MS MARCO (collection.tsv), DPR (psgs*.tsv, "
        "*train*.json), Tevatron (query_id, positive_passages), FlagEmbedding (query, pos, neg) "
        "and triplets (anchor, positive). Pairs of texts under other names: rename the columns to anchor and positive."
    )


_BEIR = ("corpus.jsonl", "queries.jsonl", "qrels")


def format_of(row: Mapping[str, Any]) -> str | None:
    """Return the format of a training row by its fields; None if they are those of no known one."""
    if "positive_passages" in row or "positive_document_ids" in row:
        return "tevatron"
    if "query" in row and "pos" in row:
        return "flagembedding"
    if "positive" in row and any(name in row for name in ANCHORS):
        return "triplets"
    return "dpr" if "question" in row and "positive_ctxs" in row else None


def _first(path: Path) -> Mapping[str, Any]:
    rows = read_array(path) if path.name.removesuffix(".gz").endswith(".json") else read_rows(path)
    return next((row for _, row in rows), {})
