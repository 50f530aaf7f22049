"""The rows of one query are found in files of many."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ance_tele.analysis.lookup import rows_of_query


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=25), st.integers(1, 9), st.randoms(use_true_random=False))
def test_the_rows_of_a_query_are_found_wherever_groups_are_cut(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], size: int, random: Any
) -> None:
    names = [f"q{number}" for number in range(len(counts))]
    random.shuffle(names)  # the order of the queries is not that of their ids
    owner = [name for name, count in zip(names, counts, strict=True) for _ in range(count)]
    path = tmp_path_factory.mktemp("lookup") / "x.parquet"
    table = pa.table({"query_id": pa.array(owner, pa.string()), "n": np.arange(len(owner))})
    pq.write_table(table, path, row_group_size=size)
    for name in names:
        expected = [number for number, other in enumerate(owner) if other == name]
        assert rows_of_query(path, name, names.index, ["n"])["n"].to_pylist() == expected


def test_only_the_groups_of_a_query_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"q{number:04d}" for number in range(1000)]
    pq.write_table(pa.table({"query_id": names, "n": range(1000)}), tmp_path / "x.parquet", row_group_size=10)
    read: list[int] = []
    whole = pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda self, i, **k: read.append(i) or whole(self, i, **k))
    assert rows_of_query(tmp_path / "x.parquet", "q0437", names.index, ["n"])["n"].to_pylist() == [437]
    assert read == [43]
