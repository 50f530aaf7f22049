"""Parquet files and arrays read back: one that is damaged or gone is one sentence that names it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ance_tele.store.files import reading


def read_table(path: Path, columns: Sequence[str] | None = None, filters: Any = None) -> pa.Table:
    """Read a Parquet file.

    Raises:
        UserError: It is damaged or missing, or lacks a column.
    """
    wanted = None if columns is None else list(columns)
    with reading(path):
        return pq.read_table(path, columns=wanted, filters=filters, page_checksum_verification=True)


def open_table(path: Path, dictionary: Sequence[str] | None = None) -> pq.ParquetFile:
    """Open a Parquet file, to be read by row groups; the columns ``dictionary`` are decoded value by value once.

    Raises:
        UserError: It is damaged or missing.
    """
    with reading(path):
        values = None if dictionary is None else list(dictionary)
        return pq.ParquetFile(path, read_dictionary=values, page_checksum_verification=True)


def read_group(path: Path, file: pq.ParquetFile, number: int, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a row group of an open Parquet file; arguments and errors as of :func:`read_table`."""
    with reading(path):
        return file.read_row_group(number, columns=None if columns is None else list(columns))


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a table as Parquet, with a checksum of each page, which is verified when it is read."""
    pq.write_table(table, path, write_page_checksum=True)


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a file of one array under exactly this name; numpy alone would add ".npy" to a temporary one."""
    with path.open("wb") as file:
        np.save(file, array)


def open_array(path: Path) -> np.ndarray:
    """Open a file of one array, memory-mapped.

    Raises:
        UserError: It is damaged or missing.
    """
    with reading(path):
        array: np.ndarray = np.load(path, mmap_mode="r")
    return array
