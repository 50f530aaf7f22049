"""Import of a collection: check the streams of a reader and write them as Arrow files."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ance_tele.console.errors import UserError
from ance_tele.data.arrow import CHARACTERS_PER_BATCH, ROWS_PER_BATCH, batches_of, read_arrow, table_of, write_arrow
from ance_tele.data.collection import UNJUDGED, Collection, Texts
from ance_tele.data.importing_negatives import joined, resolve, write_listed
from ance_tele.data.raw import ANY_SPLIT, Answered, Judgement, RawCollection, Record
from ance_tele.data.splits import split_order
from ance_tele.store.artefacts import build
from ance_tele.store.fingerprints import fingerprint

JUDGED = pa.schema(
    [("query", pa.large_string()), ("passage", pa.large_string()), ("grade", pa.int64()), ("line", pa.int64())]
)
ANSWERED = pa.schema([("query", pa.large_string()), ("answers", pa.list_(pa.large_string())), ("line", pa.int64())])
WRITTEN = pa.schema([("query", pa.int64()), ("answers", pa.list_(pa.large_string()))])

# Characters: the ids of every list are held in memory, each as long as the longest.
LONGEST_ID = 1000

# Query row, passage row and grade of each judgement: parallel int64 arrays.
Columns = tuple[np.ndarray, ...]


class Check:
    """Counts problems; in strict mode the first one is an error."""

    def __init__(self, strict: bool) -> None:
        self.strict, self.counts = strict, dict[str, int]()

    def report(self, kind: str, where: str, count: int, example: str) -> None:
        """Count problems of a kind, or refuse them."""
        if self.strict:
            raise UserError(
                f"{where} holds {kind} ({count:,}; first {example}); mend it, or pass --lenient (strict=False) to "
                "leave them out."
            )
        self.counts[f"{where}: {kind}"] = count

    def none_left(self, where: str) -> None:
        """Report a split without judgements."""
        if self.strict:
            raise UserError(f"{where} holds no judgements; delete it, or pass --lenient (strict=False) to ignore it.")
        self.counts[f"{where}: no judgements left, so no such split"] = 1


def store(raw: RawCollection, folder: Path, inputs: Mapping[str, Any], strict: bool) -> Collection:
    """Check a collection and write it as Arrow files, streaming; a cached import is reused.

    Args:
        raw: The streams to read.
        folder: Where the Arrow files belong.
        inputs: What identifies the source, for the manifest.
        strict: Refuse duplicate ids, empty texts and judgements of unknown ids; otherwise leave them out
            and count them.
    """

    def make(target: Path) -> dict[str, Any]:
        target.mkdir()
        check = Check(strict)
        digest = hashlib.sha256()
        corpus = _write_texts(raw.corpus, target / "corpus.arrow", raw.corpus_name, "passages", check, digest)
        queries = _write_texts(raw.queries, target / "queries.arrow", raw.queries_name, "queries", check, digest)
        parts: list[tuple[str, Columns]] = []
        answered: list[pa.Table] = []
        for split in sorted({*raw.qrels, *raw.answers} - {ANY_SPLIT}, key=split_order):
            where, judgements = raw.qrels.get(split, (split, ()))
            part = _resolve(judgements, corpus, queries, where, check, raw.repeats)
            others = np.empty(0, dtype=np.int64)
            if split in raw.answers:
                place, rows = raw.answers[split]
                where = where if split in raw.qrels else place
                answered.append(_resolve_answers(rows, queries, place, check))
                others = np.setdiff1d(answered[-1]["query"].to_numpy(), part[0])
            if not len(part[0]) and not (len(others) and _any_answer(answered[-1], raw)):  # there is nothing to measure
                check.none_left(where)
                continue
            digest.update(f"{split}\0{len(part[0])}\0".encode() + b"".join(column.tobytes() for column in part))
            if len(others):
                digest.update(f"{split}\0unjudged\0".encode() + others.tobytes())
            blank = (others, np.full(len(others), UNJUDGED), np.zeros(len(others), dtype=np.int64))
            parts.append((split, tuple(np.concatenate(pair) for pair in zip(part, blank, strict=True))))
        if ANY_SPLIT in raw.answers:
            where, rows = raw.answers[ANY_SPLIT]
            answered.append(_resolve_answers(rows, queries, where, None))
        _write_qrels(target / "qrels.arrow", parts)
        _write_answers(target / "answers.arrow", answered, digest)
        listed = joined([resolve(rows, corpus, queries, where, raw.notes) for where, rows in raw.listed.values()])
        none = np.empty((3, 0), dtype=np.int64)
        query, passage, grade = np.concatenate([none, *(np.stack(part) for _, part in parts)], axis=1)
        relevant = query[grade > 0], passage[grade > 0]
        write_listed(listed, relevant, target, raw.queries_name, digest, raw.notes)
        return {
            "name": raw.name,
            "fingerprint": digest.hexdigest(),
            "splits": [split for split, _ in parts],
            "problems": check.counts,
            "notes": {note: count for note, count in raw.notes.items() if count},
        }

    build(folder, "collection", inputs, make, shared=True)
    return Collection.open(folder)


def _write_texts(records: Iterable[Record], path: Path, where: str, unit: str, check: Check, digest: Any) -> Texts:
    names = ("id", "title", "text", "line", *(("prompt",) if unit == "queries" else ()))
    schema = pa.schema([(name, pa.int64() if name == "line" else pa.large_string()) for name in names])
    flawed: dict[str, tuple[int, str]] = {}

    def sound() -> Iterator[Record]:
        for record in records:
            if flaw := _flaw(record):
                count, example = flawed.get(flaw, (0, f"id '{record.id}' in line {record.line}"))
                flawed[flaw] = (count + 1, example)
            else:
                yield record

    write_arrow(path, schema, batches_of(sound(), schema))
    for flaw, (count, example) in flawed.items():
        check.report(f"{unit} {flaw}", where, count, example)

    table = read_arrow(path)
    first = pc.index_in(table["id"], value_set=table["id"].combine_chunks()).to_numpy()
    again = np.flatnonzero(first != np.arange(len(first)))
    if len(again):
        example = table.slice(int(again[0]), 1).to_pylist()[0]
        before = table["line"][int(first[again[0]])].as_py()
        shown = f"'{example['id']}' in lines {before} and {example['line']}"
        check.report(f"{unit} with an id that stood before", where, len(again), shown)
        kept = table.take(np.flatnonzero(first == np.arange(len(first))))
        rewritten = path.with_suffix(".unique")
        write_arrow(rewritten, schema, kept.to_batches(ROWS_PER_BATCH))
        rewritten.replace(path)
        table = read_arrow(path)
    if not table.num_rows:
        raise UserError(f"{where} holds no {unit}; at least one is needed.")
    texts = Texts(table)
    _digest_texts(digest, *(table[name] for name in ("id", "title", "text")))
    if texts.prompts is not None:
        digest.update(b"prompts\0")
        _digest_texts(digest, texts.prompts)
    return texts


def _digest_texts(digest: Any, *columns: pa.ChunkedArray) -> None:
    for start in range(0, len(columns[0]), ROWS_PER_BATCH):
        for column in columns:
            part = column.slice(start, ROWS_PER_BATCH).combine_chunks()
            digest.update(pc.binary_length(part).to_numpy().tobytes())
            # A hash of the whole, in pieces: one text may be as long as all others together.
            most = max(1, pc.max(pc.binary_length(part)).as_py())
            rows = max(1, CHARACTERS_PER_BATCH // most)
            for first in range(0, len(part), rows):
                digest.update("".join(part.slice(first, rows).to_pylist()).encode())


def _flaw(record: Record) -> str | None:
    """Return what is wrong with a passage or query, or None."""
    if not record.text.strip() and not record.title.strip():
        return "without text"
    if record.id.split() != [record.id]:
        return "whose id is empty or holds white space, which no TREC run can carry"
    if "\0" in record.id:
        return "whose id holds the character NUL, at which many programs end a text"
    if len(record.id) > LONGEST_ID:
        return f"whose id has more than {LONGEST_ID:,} characters"
    try:
        f"{record.id}{record.title}{record.text}{record.prompt}".encode()
    except UnicodeEncodeError:
        return "with half a character (a lone surrogate such as \\ud800)"
    return None


def _resolve(
    judgements: Iterable[Judgement], corpus: Texts, queries: Texts, where: str, check: Check, repeats: bool
) -> Columns:
    """Resolve judgements to rows (query, passage, grade), checking every id; ``repeats`` allows repeated pairs."""
    rows = table_of(judgements, JUDGED, where)
    query, passage = queries.rows(rows["query"]), corpus.rows(rows["passage"])

    def show(row: int, *names: str) -> str:
        ids = " ".join(f"'{rows[name][row].as_py()}'" for name in names)
        return f"{ids} in line {rows['line'][row].as_py()}"

    for found, kind, name in ((query, "queries", "query"), (passage, "passages", "passage")):
        unknown = np.flatnonzero(found < 0)
        if len(unknown):
            check.report(f"judgements of unknown {kind}", where, len(unknown), show(int(unknown[0]), name))
    keep = (query >= 0) & (passage >= 0)
    known = np.flatnonzero(keep)
    _, first = np.unique(query[known] * len(corpus) + passage[known], return_index=True)
    single = np.zeros(len(query), dtype=bool)
    single[known[first]] = True
    again = np.flatnonzero(keep & ~single)
    if len(again) and not repeats:
        check.report("pairs judged twice", where, len(again), show(int(again[0]), "query", "passage"))
    keep &= single
    return query[keep], passage[keep], rows["grade"].to_numpy()[keep]


def _resolve_answers(answered: Iterable[Answered], queries: Texts, where: str, check: Check | None) -> pa.Table:
    """Return query rows and answer lists; unknown queries are reported, or ignored without ``check``."""
    rows = table_of(answered, ANSWERED, where)
    query = queries.rows(rows["query"])
    unknown = np.flatnonzero(query < 0)
    if len(unknown) and check is not None:
        row = int(unknown[0])
        shown = f"'{rows['query'][row].as_py()}' in line {rows['line'][row].as_py()}"
        check.report("answers to unknown queries", where, len(unknown), shown)
    known = np.flatnonzero(query >= 0)
    return pa.table({"query": query[known], "answers": rows["answers"].take(known)})


def _any_answer(answered: pa.Table, raw: RawCollection) -> bool:
    """Return whether queries of a split may have answers; those of ``ANY_SPLIT`` are resolved later."""
    strings = pc.utf8_trim_whitespace(pc.list_flatten(answered["answers"]))
    return ANY_SPLIT in raw.answers or bool(pc.any(pc.not_equal(strings, "")).as_py())


def _write_qrels(path: Path, parts: list[tuple[str, Columns]]) -> None:
    schema = pa.schema([("split", pa.string()), ("query", pa.int64()), ("passage", pa.int64()), ("grade", pa.int64())])
    columns = ([pa.array([split] * len(part[0]), pa.string()), *map(pa.array, part)] for split, part in parts)
    write_arrow(path, schema, (pa.record_batch(each, schema) for each in columns))


def _write_answers(path: Path, answered: list[pa.Table], digest: Any) -> None:
    """Write the answers by query row, lists of one query joined; no file without answers."""
    rows = pa.concat_tables([pa.Table.from_batches([], WRITTEN), *answered]).sort_by("query")
    if not pc.sum(pc.list_value_length(rows["answers"])).as_py():
        return

    def joined() -> Iterator[tuple[int, list[str]]]:
        """Yield the distinct non-blank answers of each query."""
        pairs = zip(rows["query"], rows["answers"], strict=True)
        for query, group in groupby(((query.as_py(), given.as_py()) for query, given in pairs), key=itemgetter(0)):
            answers = list(dict.fromkeys(answer for _, given in group for answer in given if answer.strip()))
            if answers:
                digest.update(fingerprint([query, answers]).encode())
                yield query, answers

    write_arrow(path, WRITTEN, batches_of(joined(), WRITTEN))
