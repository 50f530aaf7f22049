"""A folder of Parquet and numpy files, for everything that reads one of the two."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ance_tele.console.errors import UserError
from ance_tele.export.target import Batch, Description
from ance_tele.store.files import atomic, read_json_object, remove, write_json
from ance_tele.store.tables import open_array, write_parquet

# Rows of vectors in memory where the result is looked through.
BLOCK = 16384


class Files:
    """``passages/NNNNN.parquet`` with row, id, title, text and vector; ``vectors.npy``; ``vectors.json`` on both."""

    batch = 16384

    def __init__(self, place: str, table: str) -> None:
        self.folder = Path(place)
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"{self.folder} is a file; --to takes a folder, or the address of an engine.")

    @property
    def _parts(self) -> list[Path]:
        return sorted((self.folder / "passages").glob("[0-9]*.parquet"))

    def found(self) -> Mapping[str, Any] | None:
        """Return the content of vectors.json; empty where the folder holds something else."""
        path = self.folder / "vectors.json"
        if path.is_file():
            found = read_json_object(path, "delete it, and everything beside it, and export again")
            return found if "key" in found else {}
        return {} if self.folder.is_dir() and any(self.folder.iterdir()) else None

    def create(self, what: Description) -> None:
        """Write vectors.json."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "vectors.json", vars(what))

    def drop(self) -> None:
        """Remove the files."""
        for name in ("vectors.json", "vectors.npy", "passages"):  # without the first nothing is taken for an export
            remove(self.folder / name)

    def count(self) -> int:
        """Return the rows of the parts that are there, from the first one on."""
        rows = 0
        for number, path in enumerate(self._parts):
            metadata = pq.read_metadata(path)
            if path.stem != f"{number:05d}":
                break
            rows += metadata.num_rows
        return rows

    def write(self, batch: Batch) -> None:
        """Write a part."""
        path = self.folder / "passages" / f"{batch.first // self.batch:05d}.parquet"
        vectors = pa.FixedSizeListArray.from_arrays(batch.vectors.ravel(), batch.vectors.shape[1])
        rows = pa.array(batch.rows, pa.int64())
        with atomic(path) as target:
            write_parquet(pa.table({"row": rows, **batch.columns, "vector": vectors}), target)

    def build(self) -> str | None:
        """Write vectors.npy, the vectors once more as one array."""
        what = self.found() or {}
        path, shape = self.folder / "vectors.npy", (what["passages"], what["dimension"])
        if not path.is_file():
            with atomic(path) as target:
                array = np.lib.format.open_memmap(target, "w+", np.float32, shape)
                for first, vectors in self._vectors():
                    array[first : first + len(vectors)] = vectors
                array.flush()
        return None

    def _vectors(self) -> Iterator[tuple[int, np.ndarray]]:
        first = 0
        for path in self._parts:
            with pq.ParquetFile(path) as file:
                for group in file.iter_batches(BLOCK, columns=["vector"]):
                    column = group["vector"]
                    yield first, column.flatten().to_numpy().reshape(len(column), -1)
                    first += len(column)

    def search(self, queries: np.ndarray, k: int, exact: bool) -> np.ndarray:
        """Search vectors.npy by numpy."""
        self.build()
        vectors = open_array(self.folder / "vectors.npy")
        scores: np.ndarray = np.empty((len(queries), 0), np.float32)
        rows: np.ndarray = np.empty((len(queries), 0), np.int64)
        for start in range(0, len(vectors), BLOCK):
            new = queries @ vectors[start : start + BLOCK].T
            scores = np.concatenate([scores, new], axis=1)
            rows = np.concatenate([rows, np.broadcast_to(np.arange(start, start + new.shape[1]), new.shape)], axis=1)
            best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            scores, rows = (np.take_along_axis(one, best, 1) for one in (scores, rows))
        return rows

    def code(self) -> tuple[list[str], str]:
        """Return lines with numpy and pyarrow."""
        folder = str(self.folder)
        return (
            ["import numpy as np", "import pyarrow.parquet as pq"],
            f"vectors = np.load({folder + '/vectors.npy'!r}, mmap_mode='r')\n"
            f"ids = pq.read_table({folder + '/passages'!r}, columns=['id'])['id']\n"
            "scores = vectors @ query\n"
            "for row in np.argsort(-scores, kind='stable')[:10]:\n"
            "    print(ids[int(row)], scores[row])",
        )

    def close(self) -> None:
        """Nothing is held."""
