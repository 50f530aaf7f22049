"""A collection: corpus, queries and relevance judgements, checked once, memory-mapped ever after."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ance_tele.data.artefacts import Say, build, read_manifest, silent
from ance_tele.data.errors import UserError

ROWS_PER_BATCH = 8192


class Record(NamedTuple):
    """One passage or query as a source gives it; ``line`` is where it stands, counted from 1."""

    id: str
    title: str
    text: str
    line: int


class Judgement(NamedTuple):
    """One line of the qrels; ``line`` is where it stands, counted from 1."""

    query: str
    passage: str
    grade: int
    line: int


@dataclass(frozen=True)
class RawCollection:
    """What a reader hands over: streams that are read once, and the names to use in messages.

    ``qrels`` holds, by split, the name to use in messages and the stream.
    """

    name: str
    corpus: Iterable[Record]
    queries: Iterable[Record]
    qrels: Mapping[str, tuple[str, Iterable[Judgement]]]
    corpus_name: str = "the corpus"
    queries_name: str = "the queries"


class Texts:
    """Ids, titles and texts of a corpus or of queries, in memory-mapped Arrow; rows are numbered from 0."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __len__(self) -> int:
        return self.table.num_rows

    @cached_property
    def ids(self) -> pa.Array:
        """All ids, in row order."""
        return self.table["id"].combine_chunks()

    @cached_property
    def id_rank(self) -> np.ndarray:
        """Position of each row's id among all ids in ascending order, int64 [rows]: the breaker of ties."""
        rank = np.empty(len(self), dtype=np.int64)
        rank[pc.sort_indices(self.ids).to_numpy()] = np.arange(len(self))
        return rank

    def rows(self, ids: Any) -> np.ndarray:
        """Return the row of each id, int64, -1 where it is unknown."""
        found = pc.index_in(pa.array(ids, pa.large_string()), value_set=self.ids)
        return found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)

    def take_ids(self, rows: np.ndarray) -> pa.Array:
        """Return the ids of the given rows."""
        return self.ids.take(pa.array(rows))

    def __getitem__(self, row: int) -> dict[str, str]:
        return {name: self.table[name][int(row)].as_py() for name in ("id", "title", "text")}

    def batches(self, rows: np.ndarray | None = None, size: int = 16384) -> Iterator[tuple[list[str], list[str]]]:
        """Yield titles and texts in row order, ``size`` at a time; of ``rows`` only, where given."""
        count = len(self) if rows is None else len(rows)
        for start in range(0, count, size):
            part = self.table.slice(start, size) if rows is None else self.table.take(rows[start : start + size])
            yield part["title"].to_pylist(), part["text"].to_pylist()


@dataclass(frozen=True)
class Qrels:
    """Judgements of one split as row numbers, grouped by query (ragged).

    Attributes:
        queries: Rows of the judged queries, int64 [q], ascending.
        offsets: int64 [q + 1]; the judgements of ``queries[i]`` are ``offsets[i]:offsets[i + 1]``.
        passages: Rows of the judged passages, int64 [n].
        grades: int64 [n]; above zero means relevant.
    """

    queries: np.ndarray
    offsets: np.ndarray
    passages: np.ndarray
    grades: np.ndarray

    @classmethod
    def from_arrays(cls, queries: np.ndarray, passages: np.ndarray, grades: np.ndarray) -> "Qrels":
        """Group judgements (parallel arrays) by query; the order within a query is kept."""
        order = np.argsort(queries, kind="stable")
        unique, counts = np.unique(queries, return_counts=True)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return cls(unique, offsets, passages[order], grades[order])

    def __len__(self) -> int:
        return len(self.queries)

    def relevant(self) -> "Qrels":
        """Return only the judgements above zero, and only the queries that have one."""
        keep = self.grades > 0
        owner = np.repeat(self.queries, np.diff(self.offsets))
        return Qrels.from_arrays(owner[keep], self.passages[keep], self.grades[keep])

    def select(self, queries: np.ndarray) -> "Qrels":
        """Return only the judgements of the given query rows."""
        owner = np.repeat(self.queries, np.diff(self.offsets))
        keep = np.isin(owner, queries)
        return Qrels.from_arrays(owner[keep], self.passages[keep], self.grades[keep])


@dataclass(frozen=True)
class Collection:
    """Corpus, queries and qrels by split.

    Attributes:
        name: Short name, for reports.
        corpus: The passages.
        queries: The queries of all splits.
        qrels: Judgements by split, e.g. ``qrels["train"]``.
        fingerprint: sha-256 of all ids, texts and judgements.
        problems: Count of what was left out on reading, by kind (empty where all was well).
        folder: Where the Arrow files lie.
    """

    name: str
    corpus: Texts
    queries: Texts
    qrels: dict[str, Qrels]
    fingerprint: str
    folder: Path
    problems: dict[str, int] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path) -> "Collection":
        """Open a folder that :func:`store` has written; nothing but the ids is read into memory."""
        manifest = read_manifest(folder)
        if manifest is None:
            raise UserError(f"{folder} holds no whole collection; delete it and import the data again.")
        judgements = _read_arrow(folder / "qrels.arrow")
        splits: dict[str, Qrels] = {}
        for split in manifest.facts["splits"]:
            part = judgements.filter(pc.equal(judgements["split"], split))
            arrays = (part[name].to_numpy() for name in ("query", "passage", "grade"))
            splits[split] = Qrels.from_arrays(*arrays)
        return cls(
            manifest.facts["name"],
            Texts(_read_arrow(folder / "corpus.arrow")),
            Texts(_read_arrow(folder / "queries.arrow")),
            splits,
            manifest.facts["fingerprint"],
            folder,
            dict(manifest.facts["problems"]),
        )

    def split(self, name: str) -> Qrels:
        """Return the judgements of a split.

        Raises:
            UserError: There is no such split.
        """
        if name not in self.qrels:
            have = ", ".join(self.qrels) or "none"
            raise UserError(f"Collection '{self.name}' has no qrels for split '{name}'; it has: {have}.")
        return self.qrels[name]


def _read_arrow(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def store(raw: RawCollection, folder: Path, inputs: Mapping[str, Any], strict: bool, say: Say = silent) -> Collection:
    """Check a collection and write it as Arrow files, streaming; reuse it where it stands already.

    Args:
        raw: The streams to read.
        folder: Where the Arrow files belong.
        inputs: What identifies the source, for the manifest.
        strict: Refuse duplicate ids, empty texts and judgements of unknown ids; otherwise leave them out
            and count them.
        say: Gets one line where a collection that stood is imported again.

    Raises:
        UserError: A problem in strict mode, or no corpus or queries at all.
    """

    def make(target: Path) -> dict[str, Any]:
        target.mkdir()
        check = _Check(strict)
        digest = hashlib.sha256()
        corpus = _write_texts(raw.corpus, target / "corpus.arrow", raw.corpus_name, "passages", check, digest)
        queries = _write_texts(raw.queries, target / "queries.arrow", raw.queries_name, "queries", check, digest)
        parts = []
        for split, (where, judgements) in raw.qrels.items():
            part = _resolve(judgements, corpus, queries, where, check)
            if not len(part[0]):  # metrics over no query would all be zero
                check.none_left(where)
                continue
            digest.update(f"{split}\0{len(part[0])}\0".encode() + b"".join(column.tobytes() for column in part))
            parts.append((split, part))
        _write_qrels(target / "qrels.arrow", parts)
        return {
            "name": raw.name,
            "fingerprint": digest.hexdigest(),
            "splits": [split for split, _ in parts],
            "problems": check.counts,
        }

    build(folder, "collection", inputs, make, say, shared=True)
    return Collection.open(folder)


class _Check:
    """Counts problems; in strict mode the first kind found is refused in one sentence."""

    def __init__(self, strict: bool) -> None:
        self.strict, self.counts = strict, dict[str, int]()

    def report(self, kind: str, where: str, count: int, example: str) -> None:
        if not count:
            return
        if self.strict:
            raise UserError(
                f"{where} holds {kind} ({count:,}; first {example}); mend it, or pass --lenient (strict=False) to "
                "leave them out."
            )
        self.counts[f"{where}: {kind}"] = count

    def none_left(self, where: str) -> None:
        if self.strict:
            raise UserError(f"{where} holds no judgements; delete it, or pass --lenient (strict=False) to ignore it.")
        self.counts[f"{where}: no judgements left, so no such split"] = 1


def _write_texts(records: Iterable[Record], path: Path, where: str, unit: str, check: _Check, digest: Any) -> Texts:
    schema = pa.schema([(name, pa.large_string()) for name in ("id", "title", "text")] + [("line", pa.int64())])
    flawed: dict[str, tuple[int, str]] = {}
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        block: list[Record] = []
        for record in records:
            if flaw := _flaw(record):
                count, example = flawed.get(flaw, (0, f"id '{record.id}' in line {record.line}"))
                flawed[flaw] = (count + 1, example)
                continue
            block.append(record)
            if len(block) == ROWS_PER_BATCH:
                writer.write_batch(_batch(block, schema))
                block = []
        writer.write_batch(_batch(block, schema))
    for flaw, (count, example) in flawed.items():
        check.report(f"{unit} {flaw}", where, count, example)

    table = _read_arrow(path)
    first = pc.index_in(table["id"], value_set=table["id"].combine_chunks()).to_numpy()
    again = np.flatnonzero(first != np.arange(len(first)))
    if len(again):
        example = table.slice(int(again[0]), 1).to_pylist()[0]
        before = table["line"][int(first[again[0]])].as_py()
        shown = f"'{example['id']}' in lines {before} and {example['line']}"
        check.report(f"{unit} with an id that stood before", where, len(again), shown)
        kept = table.take(np.flatnonzero(first == np.arange(len(first))))
        rewritten = path.with_suffix(".unique")
        with pa.OSFile(str(rewritten), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            writer.write_table(kept, max_chunksize=ROWS_PER_BATCH)
        rewritten.replace(path)
        table = _read_arrow(path)
    if not table.num_rows:
        raise UserError(f"{where} holds no {unit}; at least one is needed.")
    for start in range(0, table.num_rows, ROWS_PER_BATCH):
        for name in ("id", "title", "text"):
            column = table[name].slice(start, ROWS_PER_BATCH).combine_chunks()
            digest.update(pc.binary_length(column).to_numpy().tobytes())
            digest.update("".join(column.to_pylist()).encode())
    return Texts(table)


def _flaw(record: Record) -> str | None:
    """Say what is wrong with a passage or query by itself; None if nothing is."""
    if not record.text.strip() and not record.title.strip():
        return "without text"
    if record.id.split() != [record.id]:
        return "whose id is empty or holds white space, which no TREC run can carry"
    try:
        f"{record.id}{record.title}{record.text}".encode()
    except UnicodeEncodeError:
        return "with half a character (a lone surrogate such as \\ud800)"
    return None


def _batch(block: list[Record], schema: pa.Schema) -> pa.RecordBatch:
    columns = list(zip(*block, strict=True)) or [(), (), (), ()]
    return pa.record_batch([pa.array(column, kind.type) for column, kind in zip(columns, schema, strict=True)], schema)


def _resolve(
    judgements: Iterable[Judgement], corpus: Texts, queries: Texts, where: str, check: _Check
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turn judgements into row numbers (three parallel int64 arrays), checking every reference."""
    rows = list(judgements)
    query = queries.rows([row.query for row in rows])
    passage = corpus.rows([row.passage for row in rows])
    grade = np.array([row.grade for row in rows], dtype=np.int64)
    for found, kind, names in ((query, "queries", "query"), (passage, "passages", "passage")):
        unknown = np.flatnonzero(found < 0)
        if len(unknown):
            row = rows[unknown[0]]
            shown = f"'{getattr(row, names)}' in line {row.line}"
            check.report(f"judgements of unknown {kind}", where, len(unknown), shown)
    keep = (query >= 0) & (passage >= 0)
    known = np.flatnonzero(keep)
    _, first = np.unique(query[known] * len(corpus) + passage[known], return_index=True)
    single = np.zeros(len(rows), dtype=bool)
    single[known[first]] = True
    again = np.flatnonzero(keep & ~single)
    if len(again):
        row = rows[again[0]]
        check.report("pairs judged twice", where, len(again), f"'{row.query}' '{row.passage}' in line {row.line}")
    keep &= single
    return query[keep], passage[keep], grade[keep]


def _write_qrels(path: Path, parts: list[tuple[str, tuple[np.ndarray, np.ndarray, np.ndarray]]]) -> None:
    schema = pa.schema([("split", pa.string()), ("query", pa.int64()), ("passage", pa.int64()), ("grade", pa.int64())])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for split, (query, passage, grade) in parts:
            columns = [pa.array([split] * len(query), pa.string()), *map(pa.array, (query, passage, grade))]
            writer.write_batch(pa.record_batch(columns, schema))
