"""Vectors of a corpus in memory-mapped shards, encoded once per checkpoint and resumed shard by shard."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ance_tele.data.ragged import owners
from ance_tele.data.tokens import in_background
from ance_tele.store.fingerprints import fingerprint
from ance_tele.store.manifests import damaged, read_manifest
from ance_tele.store.tables import open_array


@dataclass(frozen=True)
class Vectors:
    """Vectors in shards, row after row.

    Attributes:
        shards: float32 [rows of the shard, dimension] each, memory-mapped or in memory.
        key: Fingerprint of weights, tokens and precision.
        seconds: Encoding time of all shards.
    """

    shards: tuple[np.ndarray, ...]
    key: str
    seconds: float = 0.0

    def __len__(self) -> int:
        return sum(len(shard) for shard in self.shards)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self.shards[0].shape[1])

    def blocks(self, rows: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the first row and the vectors of blocks of at most ``rows`` rows."""
        first = 0
        for shard in self.shards:
            for start in range(0, len(shard), rows):
                yield first + start, np.asarray(shard[start : start + rows])
            first += len(shard)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of the given rows, float32 [n, dimension]."""
        out = np.empty((len(rows), self.dimension), dtype=np.float32)
        first = 0
        for shard in self.shards:
            inside = np.flatnonzero((rows >= first) & (rows < first + len(shard)))
            out[inside] = shard[rows[inside] - first]
            first += len(shard)
        return out


def joined(blocks: Iterator[tuple[int, np.ndarray]], rows: int) -> Iterator[tuple[int, np.ndarray]]:
    """Concatenate consecutive blocks to at most ``rows`` rows; one at first, then twice as many each time."""
    start, parts, most = 0, list[np.ndarray](), 1
    for first, block in blocks:
        if len(parts) == most or (parts and sum(map(len, parts)) + len(block) > rows):
            yield start, parts[0] if len(parts) == 1 else np.concatenate(parts)
            parts, most = [], 2 * most
        start, parts = (start if parts else first), [*parts, block]
    if parts:
        yield start, parts[0] if len(parts) == 1 else np.concatenate(parts)


def prefetched(blocks: Iterator[tuple[int, np.ndarray]]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield blocks while a thread reads the next one from disk into the page cache."""

    def read(block: tuple[int, np.ndarray]) -> tuple[int, np.ndarray]:
        if block[1].size:
            block[1].reshape(-1)[::1024].max()  # touches every page
        return block

    return in_background(map(read, blocks))


def pair_scores(
    queries: np.ndarray, vectors: Vectors, offsets: np.ndarray, passages: np.ndarray, query_rows: int = 512
) -> np.ndarray:
    """Return the score of each query with each passage of its own list, float32 [n]: the dot product.

    Queries are float32 [q, dimension]; where passages have several vectors of that dimension, the score is the largest
    of their products. The passages of query i, rows of the corpus, are ``offsets[i]:offsets[i + 1]``.
    ``query_rows`` queries are scored at a time, which bounds the memory.
    """
    scores = np.empty(len(passages), dtype=np.float32)
    for start in range(0, len(queries), query_rows):
        stop = min(start + query_rows, len(queries))
        part = slice(offsets[start], offsets[stop])
        distinct, place = np.unique(passages[part], return_inverse=True)
        held, query = vectors.take(distinct), start + owners(offsets[start : stop + 1])
        # ``pair_products`` does not allow repeated pairs.
        if queries.shape[1] == held.shape[1]:
            scores[part] = np.einsum("nd,nd->n", queries[query], held[place], optimize=False)
        else:  # several vectors a passage
            apart = held[place].reshape(len(place), -1, queries.shape[1])
            scores[part] = np.einsum("nd,nmd->nm", queries[query], apart, optimize=False).max(axis=1)
    return scores


def open_vectors(folder: Path, weights: str, tokens: str, count: int) -> Vectors | None:
    """Open the cached vectors of ``count`` passages, of any precision.

    None if some are missing, or of other weights or tokens (given by fingerprint).
    """
    shards: list[np.ndarray] = []
    made, seconds = dict[str, Any](), 0.0
    while (first := sum(map(len, shards))) < count:
        path = folder / f"passages-{len(shards):05d}.npy"
        manifest = read_manifest(path)
        if manifest is None or manifest.inputs["rows"][0] != first or damaged(path, manifest):
            return None
        inputs = {name: value for name, value in manifest.inputs.items() if name != "rows"}
        if (inputs["weights"], inputs["tokens"]) != (weights, tokens) or (shards and inputs != made):
            return None
        made, seconds = inputs, seconds + manifest.seconds
        shards.append(open_array(path))
    return Vectors(tuple(shards), fingerprint(made), seconds)


def not_encoded(folder: Path, weights: str, tokens: str, count: int) -> list[tuple[int, int]]:
    """Return the runs of rows, of ``count``, that no shard in ``folder`` holds: first row, and row after the last.

    Shards of other weights or tokens (given by fingerprint) do not count.
    """
    held = []
    for path in folder.glob("passages-*.npy"):
        manifest = read_manifest(path)
        if manifest is not None and (manifest.inputs["weights"], manifest.inputs["tokens"]) == (weights, tokens):
            first, rows = manifest.inputs["rows"]
            held.append((first, first + rows))
    gaps, reached = [], 0
    for first, end in sorted(held):
        if first > reached:
            gaps.append((reached, first))
        reached = max(reached, end)
    return [*gaps, (reached, count)] if reached < count else gaps
