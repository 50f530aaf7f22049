"""Files of ours read back: what a library fails with on one that is damaged becomes one sentence."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ance_tele.console.errors import UserError


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a library fails with while the block reads ``path`` into one sentence.

    Raises:
        UserError: The file is damaged, or of something else.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(
            f"{path} cannot be read ({why:.200}); if it is damaged, delete it and run the same command again."
        ) from error


def open_parquet(path: Path, **options: Any) -> Any:
    """Open a Parquet file; pages that have a checksum are checked as they are read.

    Raises:
        UserError: It is none.
    """
    from pyarrow.parquet import ParquetFile

    with reading(path):
        return ParquetFile(path, page_checksum_verification=True, **options)


def read_parquet(path: Path, columns: Sequence[str] | None = None, **options: Any) -> Any:
    """Read a Parquet file, or some columns of it, as a table.

    Raises:
        UserError: It is none, lacks a column, or a page differs from its checksum.
    """
    import pyarrow.parquet as pq

    with reading(path):
        wanted = None if columns is None else list(columns)
        return pq.read_table(path, columns=wanted, page_checksum_verification=True, **options)


def write_parquet(table: Any, path: Path) -> None:
    """Write a table as Parquet, with a checksum of each page, by which damage is noticed."""
    import pyarrow.parquet as pq

    pq.write_table(table, path, write_page_checksum=True)


def open_npy(path: Path) -> Any:
    """Open an array of numpy, memory-mapped.

    Raises:
        UserError: It is none.
    """
    import numpy as np

    with reading(path):
        return np.load(path, mmap_mode="r")
