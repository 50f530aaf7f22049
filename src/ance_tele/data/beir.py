"""Read a folder in BEIR layout: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv, each plain or gzipped."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ance_tele.data.artefacts import Say, fingerprint, silent
from ance_tele.data.collection import Collection, Judgement, RawCollection, Record, store
from ance_tele.data.errors import UserError
from ance_tele.data.progress import progress


def load_beir(folder: Path, cache: Path, strict: bool = True, say: Say = silent) -> Collection:
    """Read a folder in BEIR layout, checked, into the cache (once), and open it.

    Args:
        folder: Holds ``corpus.jsonl`` (``_id``, ``title``, ``text``), ``queries.jsonl`` (``_id``, ``text``) and
            ``qrels/*.tsv`` (query id, passage id, grade; with or without a header), each plain or ``.gz``.
        cache: Folder for the Arrow files.
        strict: Refuse what does not add up, rather than leave it out and count it.
        say: Gets one line where the data is imported again.

    Raises:
        UserError: A file is missing, or holds what it should not; the sentence names file and line.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; --data takes a folder in BEIR layout, or 'demo'.")
    corpus, queries = (_find(folder, name) for name in ("corpus.jsonl", "queries.jsonl"))
    qrels = _find_qrels(folder)
    files = [corpus, queries, *qrels.values()]
    stamps = {str(file.relative_to(folder)): [file.stat().st_size, file.stat().st_mtime_ns] for file in files}
    inputs = {"reader": "beir", "files": stamps, "strict": strict}
    name = folder.resolve().name
    raw = RawCollection(
        name,
        read_jsonl(corpus, title=True),
        read_jsonl(queries, title=False),
        {split: (f"qrels/{path.name}", read_qrels(path)) for split, path in qrels.items()},
        corpus.name,
        queries.name,
    )
    # The full path is part of the key, not of the manifest: the same folder is read once, and two that
    # share a name do not evict each other.
    key = fingerprint([str(folder.resolve()), strict])[:12]
    return store(raw, cache / "collections" / f"{name}-{key}", inputs, strict, say)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    raise UserError(f"{folder} holds no {name} or {name}.gz (found: {found}); a BEIR-layout folder needs it.")


def _find_qrels(folder: Path) -> dict[str, Path]:
    """Return the qrels files by split, train, dev and test first."""
    files: dict[str, Path] = {}
    for path in sorted((folder / "qrels").glob("*.tsv*")):
        if path.name.endswith((".tsv", ".tsv.gz")) and not path.name.startswith("."):
            files.setdefault(path.name.split(".tsv")[0], path)
    if not files:
        raise UserError(
            f"{folder / 'qrels'} holds no .tsv or .tsv.gz file; at least one split of judgements is needed."
        )
    order = {"train": 0, "dev": 1, "test": 2}
    return dict(sorted(files.items(), key=lambda item: (order.get(item[0], 3), item[0])))


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line numbers (from 1) and the non-blank lines of a text file in UTF-8, plain or gzipped.

    Raises:
        UserError: A line is not UTF-8, or the gzip stream is damaged.
    """
    number = 0
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as file, progress(f"reading {path.name}", path.stat().st_size, "bytes") as advance:
        seen = 0
        try:
            for number, raw in enumerate(file, 1):
                if number % 4096 == 0:
                    position = (file.fileobj if path.suffix == ".gz" else file).tell()
                    advance(position - seen)
                    seen = position
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if line.strip():
                    yield number, line
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path.name} line {number} is not UTF-8 (byte 0x{error.object[error.start]:02x} at position "
                f"{error.start}); convert the file to UTF-8."
            ) from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError(
                f"{path.name} is a damaged gzip file after line {number} ({error}); fetch it again."
            ) from None


def read_jsonl(path: Path, title: bool) -> Iterator[Record]:
    """Yield the records of a corpus (with ``title``) or of queries.

    Raises:
        UserError: A line is not a JSON object, or a field is missing or not text; names file and line.
    """
    for number, line in read_lines(path):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path.name} line {number} is not JSON ({error.msg} at column {error.colno}).") from None
        if not isinstance(row, dict):
            raise UserError(f"{path.name} line {number} is a JSON {type(row).__name__}; an object is needed.")
        for name in ("_id", "text"):
            if name not in row:
                fields = ", ".join(map(str, row)) or "none"
                raise UserError(f"{path.name} line {number} has no field '{name}' (its fields: {fields}).")
        if isinstance(row["_id"], bool) or not isinstance(row["_id"], str | int):
            raise UserError(f"{path.name} line {number}: '_id' must be a string, got {row['_id']!r:.60}.")
        heading = row.get("title") if title else ""
        text = row["text"]
        if not isinstance(text, str | None) or not isinstance(heading, str | None):
            name, value = ("title", heading) if isinstance(text, str | None) else ("text", text)
            raise UserError(f"{path.name} line {number}: '{name}' must be a string, got {value!r:.60}.")
        yield Record(str(row["_id"]), heading or "", text or "", number)


def read_qrels(path: Path) -> Iterator[Judgement]:
    """Yield the judgements of a tab-separated file: query id, passage id, grade; a header is passed over.

    Raises:
        UserError: A line has not three fields, or its grade is no integer; names file and line.
    """
    first = True
    for number, line in read_lines(path):
        parts = line.split("\t")
        if len(parts) != 3:
            raise UserError(
                f"{path.name} line {number} has {len(parts)} tab-separated fields; three are needed: "
                "query id, passage id, grade."
            )
        try:
            grade = int(parts[2])
        except ValueError:
            if first and not _is_number(parts[2]):  # the header
                first = False
                continue
            raise UserError(f"{path.name} line {number}: the grade '{parts[2]}' is not an integer.") from None
        first = False
        yield Judgement(parts[0].strip(), parts[1].strip(), grade, number)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
