from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ance_tele.data.collection import Texts
from ance_tele.mining import storage
from ance_tele.mining.candidates import CandidateLists, Candidates
from ance_tele.mining.pool import COLUMNS, Pool
from ance_tele.mining.storage import read_candidates, read_lists, read_pool, write_candidates, write_lists, write_pool

ODD = ["", " ", "a b", "tab\there", "line\nbreak", '"quoted", 1', "ünï", "文書", "0", "00", "007", "1e5", "NaN", "null"]


def texts(ids: Sequence[str]) -> Texts:
    return Texts(pa.table({"id": pa.array(list(ids), pa.large_string())}))


QUERIES = texts([*reversed(ODD), *(f"q{number}" for number in range(30))])
CORPUS = texts([*(f"d{number}" for number in range(40)), *ODD])


def random_lists(rng: np.random.Generator, queries: int, most: int = 6) -> CandidateLists:
    sizes = rng.integers(0, most + 1, queries) * rng.integers(0, 2, queries)
    passages = [rng.permutation(len(CORPUS))[:size] for size in sizes]
    return CandidateLists(
        np.concatenate([[0], np.cumsum(sizes)]),
        np.concatenate([*passages, np.empty(0)]).astype(np.int32),
        rng.standard_normal(sizes.sum()).astype(np.float32),
        np.concatenate([*(np.arange(1, size + 1) for size in sizes), np.empty(0)]).astype(np.int16),
    )


def random_pool(rng: np.random.Generator, rows: np.ndarray) -> Pool:
    lists = random_lists(rng, len(rows))
    codes = {name: rng.integers(0, 5, len(lists.passages)).astype(np.uint8) for name in ("source", "origin")}
    first = rng.integers(1, 256, len(lists.passages)).astype(np.uint8)
    return Pool(rows, lists.offsets, lists.passages, **codes, first=first, ranks=lists.ranks, scores=lists.scores)


def rows_of(rng: np.random.Generator) -> np.ndarray:
    return np.sort(rng.permutation(len(QUERIES))[: rng.integers(1, len(QUERIES) + 1)])


def equal(a: object, b: object, names: Sequence[str]) -> bool:
    pairs = [(getattr(a, name), getattr(b, name)) for name in names]
    return all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in pairs)


LISTS = ("offsets", "passages", "scores", "ranks")


@pytest.fixture(params=[(16384, 1 << 24), (3, 1 << 24), (3, 7), (1, 1)])
def cut(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the file is cut into row groups, and however many of them are read together."""
    monkeypatch.setattr(storage, "QUERIES_PER_GROUP", request.param[0])
    monkeypatch.setattr(storage, "ROWS_PER_LOOKUP", request.param[1])


@pytest.mark.parametrize("seed", range(4))
def test_candidates_come_back_as_they_were(tmp_path: Path, cut: None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rows_of(rng)
    names = ("query", "lookahead", "bm25", "random")[seed:] or ("lookahead",)
    found = Candidates(rows, {source: random_lists(rng, len(rows)) for source in names})
    path = tmp_path / "candidates.parquet"
    write_candidates(path, found, QUERIES, CORPUS)
    back = read_candidates(path, rows, QUERIES, CORPUS)
    assert list(back.lists) == list(names) and np.array_equal(back.queries, rows)
    assert all(equal(back.lists[source], found.lists[source], LISTS) for source in names)


@pytest.mark.parametrize("seed", range(4))
def test_a_pool_comes_back_as_it_was(tmp_path: Path, cut: None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pool = random_pool(rng, rows_of(rng))
    path = tmp_path / "pool.parquet"
    write_pool(path, pool, QUERIES, CORPUS)
    back = read_pool(path, pool.queries, QUERIES, CORPUS)
    assert equal(back, pool, ("queries", "offsets", *COLUMNS))
    assert back.by_source() == pool.by_source()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1 << 20))
def test_any_lists_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rows_of(rng)
    lists, path = random_lists(rng, len(rows)), tmp_path_factory.mktemp("lists") / "lists.parquet"
    write_lists(path, rows, lists, QUERIES, CORPUS)
    assert equal(read_lists(path, rows, QUERIES, CORPUS), lists, LISTS)


def test_nothing_at_all_comes_back_as_nothing(tmp_path: Path) -> None:
    rows = np.array([2, 5, 9])
    none = CandidateLists(np.zeros(4, np.int64), np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0, np.int16))
    one = CandidateLists(np.array([0, 0, 1, 1]), np.array([3], np.int32), np.ones(1, np.float32), np.ones(1, np.int16))
    write_candidates(tmp_path / "some", Candidates(rows, {"bm25": none, "query": one}), QUERIES, CORPUS)
    back = read_candidates(tmp_path / "some", rows, QUERIES, CORPUS)
    assert list(back.lists) == ["bm25", "query"]
    assert equal(back.lists["bm25"], none, LISTS) and equal(back.lists["query"], one, LISTS)

    write_lists(tmp_path / "none", rows, none, QUERIES, CORPUS)
    assert equal(read_lists(tmp_path / "none", rows, QUERIES, CORPUS), none, LISTS)

    pool = Pool(rows, none.offsets, **{name: np.empty(0, kind) for name, kind in COLUMNS.items()})
    write_pool(tmp_path / "pool", pool, QUERIES, CORPUS)
    assert equal(read_pool(tmp_path / "pool", rows, QUERIES, CORPUS), pool, ("queries", "offsets", *COLUMNS))


def small_pool() -> Pool:
    kinds = {"source": [0, 4, 1], "origin": [0, 2, 1], "first": [2, 1, 2], "ranks": [5, 200, 1], "scores": [1.5, -2, 0]}
    columns = {name: np.array(values, dtype=COLUMNS[name]) for name, values in kinds.items()}
    return Pool(np.array([14, 16]), np.array([0, 2, 3]), np.array([3, 40, 3], np.int32), **columns)


def test_the_columns_are_those_of_the_contract(tmp_path: Path) -> None:
    """Others read these files: names, types and values as any reader of Parquet sees them."""
    write_pool(tmp_path / "pool", small_pool(), QUERIES, CORPUS)
    table = pq.read_table(tmp_path / "pool")
    names = pa.dictionary(pa.int8(), pa.string())
    assert [(field.name, field.type) for field in table.schema] == [
        ("query_id", pa.large_string()),
        ("passage_id", pa.large_string()),
        ("source", names),
        ("origin", names),
        ("first_episode", pa.uint8()),
        ("rank", pa.int16()),
        ("score", pa.float32()),
    ]
    assert table.to_pydict() == {
        "query_id": ["q0", "q0", "q2"],
        "passage_id": ["d3", "", "d3"],
        "source": ["query", "momentum", "lookahead"],
        "origin": ["query", "bm25", "lookahead"],
        "first_episode": [2, 1, 2],
        "rank": [5, 200, 1],
        "score": [1.5, -2.0, 0.0],
    }
    one = CandidateLists(
        np.array([0, 1, 1]), np.array([41], np.int32), np.array([2.5], np.float32), np.array([7], np.int16)
    )
    write_candidates(tmp_path / "found", Candidates(np.array([14, 16]), {"lookahead": one}), QUERIES, CORPUS)
    table = pq.read_table(tmp_path / "found")
    assert [(field.name, field.type) for field in table.schema] == [
        ("query_id", pa.large_string()),
        ("passage_id", pa.large_string()),
        ("source", names),
        ("rank", pa.int16()),
        ("score", pa.float32()),
    ]
    assert table.to_pylist() == [
        {"query_id": "q0", "passage_id": " ", "source": "lookahead", "rank": 7, "score": 2.5},
    ]


def test_sources_are_read_by_name_not_by_number(tmp_path: Path) -> None:
    """A file that another program has written again numbers its sources in an order of its own."""
    path, pool = tmp_path / "pool.parquet", small_pool()
    write_pool(path, pool, QUERIES, CORPUS)
    table = pq.read_table(path)
    for name in ("source", "origin"):
        column = table[name].cast(pa.string()).dictionary_encode()
        table = table.set_column(table.column_names.index(name), name, column)
    assert table["source"].chunk(0).dictionary.to_pylist() == ["query", "momentum", "lookahead"]
    pq.write_table(table, path)
    assert equal(read_pool(path, pool.queries, QUERIES, CORPUS), pool, ("queries", "offsets", *COLUMNS))


def test_columns_may_be_wider_but_of_no_other_kind(tmp_path: Path) -> None:
    path, pool = tmp_path / "pool.parquet", small_pool()
    write_pool(path, pool, QUERIES, CORPUS)
    whole = pq.read_table(path)

    def changed(name: str, column: pa.ChunkedArray) -> None:
        pq.write_table(whole.set_column(whole.column_names.index(name), name, column), path)

    changed("rank", whole["rank"].cast(pa.int64()))
    assert equal(read_pool(path, pool.queries, QUERIES, CORPUS), pool, ("queries", "offsets", *COLUMNS))
    for name, column in (
        ("source", whole["source"].cast(pa.string())),
        ("rank", whole["score"]),
        ("first_episode", pa.chunked_array([pa.nulls(len(whole))])),
        ("passage_id", pa.chunked_array([pa.array([["d1"]] * len(whole))])),
    ):
        changed(name, column)
        with pytest.raises(ValueError, match=rf"pool\.parquet has a column {name} of .*; delete it and run the same"):
            read_pool(path, pool.queries, QUERIES, CORPUS)


def test_a_file_of_other_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pool.parquet"
    write_pool(path, small_pool(), QUERIES, CORPUS)
    with pytest.raises(
        ValueError,
        match=r"pool.parquet holds the query 'q2', which is none of the 1 asked for; delete it and run the same",
    ):
        read_pool(path, np.array([14]), QUERIES, CORPUS)
    with pytest.raises(ValueError, match="holds the query 'q2', which is none of"):
        read_pool(path, np.array([14, 15, 17]), QUERIES, CORPUS)
    with pytest.raises(ValueError, match="holds the query 'q0', which is none of"):
        read_pool(path, np.array([0, 1]), texts(["a", "b"]), CORPUS)
    with pytest.raises(ValueError, match="holds the passage 'd3', which the corpus lacks"):
        read_pool(path, np.array([14, 16]), QUERIES, texts(["d0", ""]))
    pq.write_table(pq.read_table(path).take([2, 0, 1]), path)
    with pytest.raises(ValueError, match="not in the order of the queries"):
        read_pool(path, np.array([14, 16]), QUERIES, CORPUS)
