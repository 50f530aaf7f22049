"""Jobs as text, shares of units, and what cuts encoding and searching into units."""

import errno
import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ance_tele.encode.shards import EncodeJob, shards_of
from ance_tele.engine.work import describe, opened, share
from ance_tele.engine.worker import attempt
from ance_tele.search.grid import SearchJob, grid
from ance_tele.training.together import own_share, shares


@given(st.integers(0, 50), st.integers(1, 9))
def test_shares_of_an_array_cover_all_units_once(units: int, count: int) -> None:
    every = [(number,) for number in range(units)]
    parts = [share(every, index, count) for index in range(count)]
    assert sorted(unit for part in parts for unit in part) == every
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_job_is_described_without_what_this_process_holds() -> None:
    job = EncodeJob("model", "w", "tokens", "key", "query", {"pooling": None}, "float32", "folder", "texts")
    found = json.loads(describe(job))
    assert found["job"] == "ance_tele.encode.shards:EncodeJob" and found["values"]["config"] == {"pooling": None}
    assert not [name for name in found["values"] if name.startswith("_")]
    assert EncodeJob(**found["values"]) == job


def test_only_jobs_of_this_package_are_opened() -> None:
    with pytest.raises(ValueError, match="no module of ance_tele"):
        opened(json.dumps({"job": "subprocess:Popen", "values": {"args": "true"}}))


@given(st.integers(0, 300), st.integers(1, 70))
def test_shards_follow_each_other(texts: int, each: int) -> None:
    units = shards_of(texts, each)
    assert [unit[0] for unit in units] == list(range(len(units)))
    assert [row for _, start, stop in units for row in range(start, stop)] == list(range(texts))


@given(st.integers(1, 300_000), st.integers(1, 40), st.integers(1, 9))
@example(12_289, 1, 3)
@example(577, 1, 9)
def test_the_grid_covers_every_query_and_shard_once(queries: int, shards: int, workers: int) -> None:
    units = grid(queries, shards, workers)
    assert sum((stop - start) * (last - first) for start, stop, first, last in units) == queries * shards
    assert len(set(units)) == len(units) and all(stop > start and last > first for start, stop, first, last in units)
    # As many as there are workers, unless there are hardly any queries.
    assert len(units) >= min(workers, max(1, queries // 64), shards * max(1, queries // 64))


@given(st.lists(st.integers(1, 512), min_size=1, max_size=60), st.integers(1, 9))
def test_shares_of_a_batch_cover_it_and_are_balanced(lengths: list[int], ranks: int) -> None:
    edges = shares(np.array(lengths), ranks)
    assert (edges[0], edges[-1], len(edges)) == (0, len(lengths), ranks + 1) and (np.diff(edges) >= 0).all()
    tokens = [sum(lengths[start:stop]) for start, stop in pairwise(edges)]
    assert max(tokens) <= sum(lengths) / ranks + max(lengths)
    for rank in range(ranks):
        own = own_share(len(lengths), edges, rank)
        assert own.stop > own.start, "every rank passes at least one text through the model"


def test_partial_lists_of_a_grid_are_the_whole_search(tmp_path: object) -> None:
    job = SearchJob("q.npy", ["a.npy", "b.npy"], "rank.npy", 5, "float32", "cpu", "folder", "key")
    assert job.path((0, 4, 0, 1)) != job.path((0, 4, 1, 2)) != job.path((4, 8, 0, 1))
    assert job.inputs((0, 4, 0, 1)) != job.inputs((0, 4, 0, 2))


def test_what_the_system_refuses_a_unit_is_the_sentence_of_the_command_line() -> None:
    """Whichever library it came through; an error of ours keeps its traceback."""

    def raising(error: Exception) -> dict[str, Any]:
        def work(unit: tuple[int, ...]) -> dict[str, Any]:
            raise error

        return attempt(lambda description: work, "", (0,))

    full = OSError(errno.ENOSPC, "No space left on device", "vectors/passages-00000.npy")
    kept = "free some and run the same command again: what is finished is kept."
    assert raising(full) == {"error": f"No space left on device (vectors/passages-00000.npy); {kept}"}
    assert raising(ValueError("640 requested and 0 written"))["error"].endswith(kept)
    assert "KeyError: 'x'" in raising(KeyError("x"))["failure"]
