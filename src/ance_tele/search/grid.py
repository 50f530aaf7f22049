"""Exact top-k as a grid: blocks of queries over groups of shards, each a unit; partial lists are merged by key."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ance_tele.console.progress import progress
from ance_tele.encode.vectors import Vectors
from ance_tele.engine.executor import Executor
from ance_tele.engine.work import Facts, Unit, Work, missing
from ance_tele.search.sort_keys import EMPTY, keyed
from ance_tele.search.topk import TopK, exact_topk, ranked, resolve_engine
from ance_tele.store.artefacts import build
from ance_tele.store.files import atomic, remove
from ance_tele.store.tables import write_array

# Queries of a unit, at most: what is lost with a worker, and held in memory by one.
BLOCK_QUERIES = 65536

# Queries of a block are a multiple of one of these, so that they meet the same products as in one search.
STEPS = (1024, 32)

# With fewer scores, starting workers costs more than it saves.
FEW_SCORES = 1 << 28


@dataclass(frozen=True)
class SearchJob:
    """Queries over groups of shards; a unit is the first query, the query after the last, and the same of shards.

    Attributes:
        queries: File of the query vectors, float32 [q, dimension].
        shards: Files of the vectors, row after row.
        rank: File of the rank of each row's id, int64.
        k: How many per query.
        precision: "float32" or "bf16" (:func:`ance_tele.search.topk.exact_topk`).
        device: "cpu" or "cuda".
        folder: Where the partial lists belong.
        key: Fingerprint of queries, vectors and settings.
    """

    queries: str
    shards: list[str]
    rank: str
    k: int
    precision: Any
    device: str
    folder: str
    key: str

    def path(self, unit: Unit) -> Path:
        """Return where the partial lists of a unit belong: keys, uint64 [queries, k or fewer], ascending."""
        return Path(self.folder) / f"part-{'-'.join(map(str, unit))}.npy"

    def inputs(self, unit: Unit) -> dict[str, Any]:
        """Return what decides a unit's lists."""
        return {"search": self.key, "unit": list(unit)}

    def open(self) -> Work:
        """Map the files; return what searches one group of shards for one block of queries."""
        queries, rank = (np.load(path, mmap_mode="r") for path in (self.queries, self.rank))
        # Rows of several vectors are searched as single ones.
        shards = [np.load(path, mmap_mode="r").reshape(-1, queries.shape[1]) for path in self.shards]
        firsts = np.cumsum([0, *map(len, shards)])

        def work(unit: Unit) -> Facts:
            start, stop, first, last = unit
            row, end = firsts[first], firsts[last]
            ids = np.asarray(rank[row:end])
            within = np.empty_like(ids)
            within[np.argsort(ids)] = np.arange(len(ids))

            def make(target: Path) -> None:
                group = Vectors(tuple(shards[first:last]), self.key)
                block = np.asarray(queries[start:stop])
                found = exact_topk(block, group, self.k, within, self.device, precision=self.precision)
                keys = keyed(found.scores, ids[found.rows].astype(np.uint64))
                write_array(target, np.where(found.rows < 0, EMPTY, keys))

            return {"seconds": build(self.path(unit), "partial lists", self.inputs(unit), make).seconds}

        return work


def grid_topk(
    queries: np.ndarray,
    vectors: Vectors,
    k: int,
    id_rank: np.ndarray,
    device: str,
    what: str,
    executor: Executor,
    folder: Path,
) -> TopK:
    """Return what :func:`ance_tele.search.topk.exact_topk` returns; units whose lists are in ``folder`` are not redone.

    In this process alone where the vectors are not on disk, or so few that it is not worth more.
    """
    files = [getattr(shard, "filename", None) for shard in vectors.shards]
    if executor.workers == 1 or None in files or len(queries) * len(vectors) < FEW_SCORES:
        return exact_topk(queries, vectors, k, id_rank=id_rank, device=device, what=what)
    k = min(k, len(vectors))
    precision, engine = resolve_engine("auto", device, len(queries), len(vectors), k)
    key = hashlib.sha256(f"{vectors.key} {k} {precision}".encode())
    key.update(np.ascontiguousarray(queries).view(np.uint8).data)
    folder = folder / f"search-{key.hexdigest()[:16]}"
    asked, rank = (_saved(folder / f"{name}.npy", array) for name, array in (("queries", queries), ("rank", id_rank)))
    job = SearchJob(
        asked,
        [str(Path(str(file)).resolve()) for file in files],
        rank,
        k,
        precision,
        device.partition(":")[0],
        str(folder.resolve()),
        key.hexdigest(),
    )
    units = grid(len(queries), len(files), executor.workers)
    search(job, units, vectors, what, executor)
    best = merged(job, units)
    remove(folder)
    return ranked(best, id_rank, engine)


def search(job: SearchJob, units: Sequence[Unit], vectors: Vectors, what: str, executor: Executor) -> None:
    """Make the partial lists of units that have none yet."""
    rows = np.cumsum([0, *map(len, vectors.shards)])

    def scores(unit: Unit) -> int:
        start, stop, first, last = unit
        return (stop - start) * int(rows[last] - rows[first])

    absent = missing(job, units)
    with progress(what, sum(map(scores, absent)), "scores") as advance:
        executor.run(job, absent, lambda unit, facts: advance(scores(unit)))


def merged(job: SearchJob, units: Sequence[Unit]) -> np.ndarray:
    """Return the keys of the best of all units, uint64 [queries, k], ascending."""
    best = np.empty((max(unit[1] for unit in units), job.k), dtype=np.uint64)
    for start, stop in dict.fromkeys((unit[0], unit[1]) for unit in units):
        parts = [np.load(job.path(unit)) for unit in units if unit[0] == start]
        best[start:stop] = np.sort(np.concatenate(parts, axis=1), axis=1)[:, : job.k]
    return best


def grid(queries: int, shards: int, workers: int) -> list[Unit]:
    """Cut a search into units: groups of shards first, since each group is then read by one worker alone.

    Example:
        >>> grid(10000, 1, 2)
        [(0, 5120, 0, 1), (5120, 10000, 0, 1)]
        >>> grid(10000, 5, 2)
        [(0, 10000, 0, 2), (0, 10000, 2, 5)]
    """
    groups = min(shards, workers)
    edges = [number * shards // groups for number in range(groups + 1)]
    blocks = max(-(-workers // groups), -(-queries // BLOCK_QUERIES))
    step = -(-queries // blocks)
    even = next((size for size in STEPS if queries > size * blocks * blocks), 1)  # so that it costs no block
    step = -(-step // even) * even
    return [
        (start, min(start + step, queries), first, last)
        for start in range(0, queries, step)
        for first, last in pairwise(edges)
    ]


def _saved(path: Path, array: np.ndarray) -> str:
    with atomic(path) as temporary:
        write_array(temporary, array)
    return str(path.resolve())
