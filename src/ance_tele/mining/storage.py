"""Candidates and pools on disk: Parquet with ids, one row per candidate or negative, ordered by query."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Texts
from ance_tele.data.ragged import offsets_of, spans
from ance_tele.mining.candidates import CandidateLists, Candidates
from ance_tele.mining.pool import COLUMNS, Pool
from ance_tele.mining.sources import SOURCES
from ance_tele.mining.teacher_scores import COLUMNS as SCORED
from ance_tele.mining.teacher_scores import TeacherScores
from ance_tele.store.files import reading
from ance_tele.store.tables import open_table, read_group

QUERIES_PER_GROUP = 16384

_AGAIN = "delete it and run the same command again"

# Rows whose ids are looked up at a time: each look-up first hashes all ids of the corpus (4 s for 8.8 million).
ROWS_PER_LOOKUP = 1 << 24

_SOURCE = pa.dictionary(pa.int8(), pa.string())
_IDS = [("query_id", pa.large_string()), ("passage_id", pa.large_string()), ("source", _SOURCE)]
_PLACE = [("rank", pa.int16()), ("score", pa.float32())]
_CANDIDATES = pa.schema([*_IDS, *_PLACE])
_SCORED = pa.schema([*_IDS[:2], _PLACE[1]])
_POOL = pa.schema([*_IDS, ("origin", _SOURCE), ("first_episode", pa.uint8()), *_PLACE])


def write_candidates(path: Path, candidates: Candidates, queries: Texts, corpus: Texts) -> None:
    """Write candidates: query_id, passage_id, source, rank, score; source after source."""
    # Names are stored too, so that a source without candidates is read back.
    schema = _CANDIDATES.with_metadata({"sources": ",".join(candidates.lists)})
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        for code, lists in enumerate(candidates.lists.values()):
            for start, stop in spans(len(candidates.queries), QUERIES_PER_GROUP):
                block = lists.block(start, stop)
                columns = [
                    queries.take_ids(candidates.queries[start + block.query_positions]),
                    corpus.take_ids(block.passages),
                    _named(np.full(len(block.passages), code), list(candidates.lists)),
                    pa.array(block.ranks),
                    pa.array(block.scores),
                ]
                writer.write_table(pa.table(columns, schema=_CANDIDATES))


def read_candidates(path: Path, rows: np.ndarray, queries: Texts, corpus: Texts) -> Candidates:
    """Read what :func:`write_candidates` wrote, for the same query rows."""
    with reading(path):
        return _read_candidates(path, rows, queries, corpus)


def _read_candidates(path: Path, rows: np.ndarray, queries: Texts, corpus: Texts) -> Candidates:
    names = (open_table(path).schema_arrow.metadata or {}).get(b"sources", b"").decode()
    found = {source: _Ragged(path, len(rows)) for source in names.split(",") if source}
    for table in _tables(path, _CANDIDATES, one_source=True):
        ragged = found.setdefault(table["source"][0].as_py(), _Ragged(path, len(rows)))
        ragged.add(
            _positions(path, table["query_id"], rows, queries),
            passages=_passages(path, table["passage_id"], corpus),
            scores=table["score"].to_numpy(),
            ranks=table["rank"].to_numpy(),
        )
    empty = {"passages": np.int32, "scores": np.float32, "ranks": np.int16}
    return Candidates(rows, {source: CandidateLists(**found[source].whole(empty)) for source in found})


def write_pool(path: Path, pool: Pool, queries: Texts, corpus: Texts) -> None:
    """Write a pool: query_id, passage_id, source, origin, first_episode, rank, score."""
    with pq.ParquetWriter(path, _POOL, compression="zstd", write_page_checksum=True) as writer:
        for start, stop in spans(len(pool.queries), QUERIES_PER_GROUP):
            part = slice(pool.offsets[start], pool.offsets[stop])
            columns = [
                queries.take_ids(np.repeat(pool.queries[start:stop], pool.sizes[start:stop])),
                corpus.take_ids(pool.passages[part]),
                _named(pool.source[part], pool.names),
                _named(pool.origin[part], pool.names),
                pa.array(pool.first[part]),
                pa.array(pool.ranks[part]),
                pa.array(pool.scores[part]),
            ]
            writer.write_table(pa.table(columns, schema=_POOL))


def read_pool(path: Path, rows: np.ndarray, queries: Texts, corpus: Texts) -> Pool:
    """Read what :func:`write_pool` wrote, for the same query rows."""
    with reading(path):
        return _read_pool(path, rows, queries, corpus)


def _read_pool(path: Path, rows: np.ndarray, queries: Texts, corpus: Texts) -> Pool:
    ragged, names = _Ragged(path, len(rows)), list(SOURCES)
    for table in _tables(path, _POOL):
        ragged.add(
            _positions(path, table["query_id"], rows, queries),
            passages=_passages(path, table["passage_id"], corpus),
            source=_codes(table["source"], names),
            origin=_codes(table["origin"], names),
            first=table["first_episode"].to_numpy(),
            ranks=table["rank"].to_numpy(),
            scores=table["score"].to_numpy(),
        )
    return Pool(rows, **ragged.whole(COLUMNS), names=tuple(names))


def write_teacher_scores(path: Path, scored: TeacherScores, queries: Texts, corpus: Texts) -> None:
    """Write scores of a teacher: query_id, passage_id, score."""
    with pq.ParquetWriter(path, _SCORED, compression="zstd", write_page_checksum=True) as writer:
        for start, stop in spans(len(scored.queries), QUERIES_PER_GROUP):
            part = slice(scored.offsets[start], scored.offsets[stop])
            sizes = np.diff(scored.offsets[start : stop + 1])
            columns = [
                queries.take_ids(np.repeat(scored.queries[start:stop], sizes)),
                corpus.take_ids(scored.passages[part]),
                pa.array(scored.scores[part]),
            ]
            writer.write_table(pa.table(columns, schema=_SCORED))


def read_teacher_scores(path: Path, rows: np.ndarray, queries: Texts, corpus: Texts) -> TeacherScores:
    """Read what :func:`write_teacher_scores` wrote, for the same query rows."""
    with reading(path):
        ragged = _Ragged(path, len(rows))
        for table in _tables(path, _SCORED):
            ragged.add(
                _positions(path, table["query_id"], rows, queries),
                passages=_passages(path, table["passage_id"], corpus),
                scores=table["score"].to_numpy(),
            )
        return TeacherScores(rows, **ragged.whole(SCORED))


def write_lists(path: Path, rows: np.ndarray, lists: CandidateLists, queries: Texts, corpus: Texts) -> None:
    """Write the lists of one checkpoint in the format of candidates."""
    write_candidates(path, Candidates(rows, {"query": lists}), queries, corpus)


def read_lists(path: Path, rows: np.ndarray, queries: Texts, corpus: Texts) -> CandidateLists:
    """Read what :func:`write_lists` wrote."""
    with reading(path):
        return _read_candidates(path, rows, queries, corpus).lists["query"]


def _tables(path: Path, schema: pa.Schema, one_source: bool = False) -> Iterator[pa.Table]:
    """Yield consecutive row groups, joined up to ``ROWS_PER_LOOKUP`` rows; refuse columns of other types."""
    file, held = open_table(path), list[pa.Table]()
    for wanted in schema:
        found = file.schema_arrow.field(wanted.name).type
        if _kind(found) != _kind(wanted.type):
            raise UserError(f"{path} has a column {wanted.name} of {found}, not {wanted.type}; {_AGAIN}.")
    for number in range(file.num_row_groups):
        group = read_group(path, file, number)
        if not len(group):
            continue
        full = sum(map(len, held)) + len(group) > ROWS_PER_LOOKUP
        if held and (full or (one_source and held[-1]["source"][0].as_py() != group["source"][0].as_py())):
            yield pa.concat_tables(held)
            held = []
        held.append(group)
    if held:
        yield pa.concat_tables(held)


def _kind(of: pa.DataType) -> str:
    """Return a column's type without its width, which other programs change."""
    if pa.types.is_dictionary(of):
        return f"coded {_kind(of.value_type)}"
    kinds = {"text": ("is_string", "is_large_string"), "integer": ("is_integer",), "float": ("is_floating",)}
    return next((kind for kind, tests in kinds.items() if any(getattr(pa.types, one)(of) for one in tests)), str(of))


class _Ragged:
    """Collects columns that are ordered by query."""

    def __init__(self, path: Path, queries: int) -> None:
        self.path, self.last = path, 0
        self.counts = np.zeros(queries, dtype=np.int64)
        self.parts: list[dict[str, np.ndarray]] = []

    def add(self, positions: np.ndarray, **columns: np.ndarray) -> None:
        if positions[0] < self.last or (np.diff(positions) < 0).any():
            raise UserError(f"{self.path} is not in the order of the queries; {_AGAIN}.")
        self.last = positions[-1]
        self.counts += np.bincount(positions, minlength=len(self.counts))
        self.parts.append(columns)

    def whole(self, kinds: Mapping[str, type]) -> dict[str, Any]:
        """Return the offsets and all columns, of the given types."""
        whole: dict[str, np.ndarray] = {
            name: np.concatenate([part.pop(name) for part in self.parts] or [np.empty(0)]).astype(kind, copy=False)
            for name, kind in kinds.items()
        }
        return {"offsets": offsets_of(self.counts), **whole}


def _positions(path: Path, ids: pa.ChunkedArray, rows: np.ndarray, queries: Texts) -> np.ndarray:
    """Return the position among ``rows`` (ascending) of each query id."""
    encoded = ids.combine_chunks().dictionary_encode()
    found = queries.rows(encoded.dictionary)
    place = np.searchsorted(rows, found)
    unknown = np.flatnonzero(~np.isin(found, rows))
    if len(unknown):
        name = encoded.dictionary[int(unknown[0])].as_py()
        raise UserError(f"{path} holds the query '{name}', which is none of the {len(rows)} asked for; {_AGAIN}.")
    return place[encoded.indices.to_numpy()]


def _passages(path: Path, ids: pa.ChunkedArray, corpus: Texts) -> np.ndarray:
    """Return the corpus row of each passage id, int32."""
    found = corpus.rows(ids.combine_chunks())
    unknown = np.flatnonzero(found < 0)
    if len(unknown):
        name = ids[int(unknown[0])].as_py()
        raise UserError(f"{path} holds the passage '{name}', which the corpus lacks; {_AGAIN}.")
    return found.astype(np.int32)


def _named(codes: np.ndarray, names: Sequence[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(codes.astype(np.int8), pa.array(names))


def _codes(column: pa.ChunkedArray, names: list[str]) -> np.ndarray:
    """Return the index in ``names`` of each source name, uint8; new names are appended."""
    parts = []
    for chunk in column.chunks:  # every chunk has its own dictionary
        own = chunk.dictionary.to_pylist()
        names.extend(name for name in own if name not in names)
        numbers = np.array([names.index(name) for name in own], dtype=np.uint8)
        parts.append(numbers[chunk.indices.to_numpy()])
    return np.concatenate(parts)
