"""Candidates and pools on disk: Parquet with ids, one row per candidate or negative, ordered by query."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ance_tele.data.collection import Texts
from ance_tele.mining.candidates import Candidates, Lists
from ance_tele.mining.pool import COLUMNS, Pool
from ance_tele.mining.sources import SOURCES

QUERIES_PER_GROUP = 16384

_NAMES = pa.array(SOURCES)
_SOURCE = pa.dictionary(pa.int8(), pa.string())
_CANDIDATES = pa.schema(
    [
        ("query_id", pa.large_string()),
        ("passage_id", pa.large_string()),
        ("source", _SOURCE),
        ("rank", pa.int16()),
        ("score", pa.float32()),
    ]
)
_POOL = pa.schema(
    [
        ("query_id", pa.large_string()),
        ("passage_id", pa.large_string()),
        ("source", _SOURCE),
        ("origin", _SOURCE),
        ("first_episode", pa.uint8()),
        ("rank", pa.int16()),
        ("score", pa.float32()),
    ]
)


def write_candidates(path: Path, candidates: Candidates, queries: Texts, corpus: Texts) -> None:
    """Write candidates: query_id, passage_id, source, rank, score; source after source."""
    with pq.ParquetWriter(path, _CANDIDATES, compression="zstd") as writer:
        for source, lists in candidates.lists.items():
            for start, stop in _groups(len(candidates.queries)):
                block = lists.block(start, stop)
                code = np.full(len(block.passages), SOURCES.index(source), dtype=np.int8)
                owner = np.repeat(candidates.queries[start:stop], np.diff(block.offsets))
                columns = [
                    queries.take_ids(owner),
                    corpus.take_ids(block.passages),
                    pa.DictionaryArray.from_arrays(code, _NAMES),
                    pa.array(block.ranks),
                    pa.array(block.scores),
                ]
                writer.write_table(pa.table(columns, schema=_CANDIDATES))


def read_candidates(path: Path, rows: np.ndarray, queries: Texts, corpus: Texts) -> Candidates:
    """Read what :func:`write_candidates` wrote, for the same query rows."""
    parts: dict[str, list[dict[str, np.ndarray]]] = {}
    for group in _row_groups(path):
        source = group["source"][0].as_py()
        columns = {
            "query": _positions(group["query_id"], rows, queries),
            "passages": corpus.rows(group["passage_id"].combine_chunks()).astype(np.int32),
            "ranks": group["rank"].to_numpy(),
            "scores": group["score"].to_numpy(),
        }
        parts.setdefault(source, []).append(columns)
    lists = {}
    for source, found in parts.items():
        whole = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
        offsets = np.searchsorted(whole["query"], np.arange(len(rows) + 1))
        lists[source] = Lists(offsets, whole["passages"], whole["scores"], whole["ranks"])
    return Candidates(rows, lists)


def write_pool(path: Path, pool: Pool, queries: Texts, corpus: Texts) -> None:
    """Write a pool: query_id, passage_id, source, origin, first_episode, rank, score."""
    with pq.ParquetWriter(path, _POOL, compression="zstd") as writer:
        for start, stop in _groups(len(pool.queries)):
            part = slice(pool.offsets[start], pool.offsets[stop])
            columns = [
                queries.take_ids(np.repeat(pool.queries[start:stop], pool.sizes[start:stop])),
                corpus.take_ids(pool.passages[part]),
                pa.DictionaryArray.from_arrays(pool.source[part].astype(np.int8), _NAMES),
                pa.DictionaryArray.from_arrays(pool.origin[part].astype(np.int8), _NAMES),
                pa.array(pool.first[part]),
                pa.array(pool.ranks[part]),
                pa.array(pool.scores[part]),
            ]
            writer.write_table(pa.table(columns, schema=_POOL))


def read_pool(path: Path, rows: np.ndarray, queries: Texts, corpus: Texts) -> Pool:
    """Read what :func:`write_pool` wrote, for the same query rows."""
    parts: list[dict[str, np.ndarray]] = []
    for group in _row_groups(path):
        part = {"query": _positions(group["query_id"], rows, queries)}
        part["passages"] = corpus.rows(group["passage_id"].combine_chunks()).astype(np.int32)
        for name in ("source", "origin"):
            column = group[name].combine_chunks()
            translate = np.array([SOURCES.index(value) for value in column.dictionary.to_pylist()], dtype=np.uint8)
            part[name] = translate[column.indices.to_numpy()]
        part["first"] = group["first_episode"].to_numpy()
        part["ranks"], part["scores"] = group["rank"].to_numpy(), group["score"].to_numpy()
        parts.append(part)
    if not parts:
        empty: dict[str, Any] = {name: np.empty(0, dtype=kind) for name, kind in COLUMNS.items()}
        return Pool(rows, np.zeros(len(rows) + 1, dtype=np.int64), **empty)
    whole: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    offsets = np.searchsorted(whole.pop("query"), np.arange(len(rows) + 1))
    return Pool(rows, offsets, **whole)


def write_lists(path: Path, rows: np.ndarray, lists: Lists, queries: Texts, corpus: Texts) -> None:
    """Write the query lists of one checkpoint in the same form as candidates."""
    write_candidates(path, Candidates(rows, {"query": lists}), queries, corpus)


def read_lists(path: Path, rows: np.ndarray, queries: Texts, corpus: Texts) -> Lists:
    """Read what :func:`write_lists` wrote."""
    return read_candidates(path, rows, queries, corpus).lists["query"]


def _groups(count: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, QUERIES_PER_GROUP):
        yield start, min(start + QUERIES_PER_GROUP, count)


def _row_groups(path: Path) -> Iterator[pa.Table]:
    file = pq.ParquetFile(path)
    for number in range(file.num_row_groups):
        group = file.read_row_group(number)
        if len(group):
            yield group


def _positions(ids: pa.ChunkedArray, rows: np.ndarray, queries: Texts) -> np.ndarray:
    """Return the position among ``rows`` (ascending) of each query id."""
    encoded = ids.combine_chunks().dictionary_encode()
    found = queries.rows(encoded.dictionary)
    return np.searchsorted(rows, found)[encoded.indices.to_numpy()]
