"""Exact top-k by filter and refine: prune in bf16, re-score in float32.

On a CPU with fast bf16 products (four times float32) passages are ruled out in bf16. Let s be the float32 score of a
query and a passage, and a that of their bf16 roundings. Then |s - a| <= e, where e follows from norms
(:meth:`Part.error`). With a lower bound of the k-th best score, passages with a < bound - e are not among the best. The
others, a little more than k per query and block, are scored in float32 pair by pair, so that duplicates get equal
scores.

Scores are compared in groups of passages: the best of each group raise the bound (different groups are different
passages), and only groups whose best reaches bound - e are opened.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue

import numpy as np
import torch

from ance_tele.console.errors import NotFiniteError
from ance_tele.console.progress import Advance
from ance_tele.data.ragged import offsets_of
from ance_tele.encode.threads import workers
from ance_tele.search.bf16_tiles import GROUP, STEP, TILE, Tile, lengths, tiles
from ance_tele.search.pair_products import pair_products, quiet
from ance_tele.search.sort_keys import EMPTY, bits_of, keyed, numbers, ordered, unkeyed

PART = 512  # Queries per product, at most: TILE x PART bounds the scores in memory.
CHUNK = 16384  # Queries per scan of a block.
SETTLE = 1 << 20  # Survivors of a part before they are refined, besides those of one tile.
LARGE = 1e30  # Nothing is ruled out if products of norms are larger.


@dataclass
class Tally:
    """Statistics of a scan: scores, float32 scores, opened groups, passages read."""

    pairs: int = 0
    rescored: int = 0
    opened: int = 0
    reads: int = 0


def scanned(
    queries: np.ndarray,
    blocks: Iterator[tuple[int, np.ndarray]],
    k: int,
    rank: np.ndarray,
    advance: Advance = lambda units: None,
    tally: Tally | None = None,
) -> np.ndarray:
    """Return the keys (:func:`ance_tele.search.sort_keys.keyed`) of the k best, uint64 [q, k], best first.

    Args:
        queries: float32 [q, d], finite.
        blocks: First row and vectors, float32 [n, d], of each block.
        k: At most the number of vectors.
        rank: Ranks of the ids of all rows, int64, below 2^32.
        advance: Gets the number of scores done.
        tally: Statistics to update.

    Raises:
        ValueError: Vectors hold NaN or infinite values, or give infinite scores.
    """
    tally = tally or Tally()
    keys = np.full((len(queries), k), EMPTY)
    with quiet(), workers() as (pool, threads):
        size = min(PART, max(64, -(-len(queries) // threads)))
        rooms: SimpleQueue[torch.Tensor] = SimpleQueue()
        for _ in range(threads):
            rooms.put(torch.empty(TILE * min(size, len(queries)), dtype=torch.bfloat16))
        rounded = torch.empty(TILE, queries.shape[1], dtype=torch.bfloat16)
        for first, block in blocks:
            ranks = rank[first : first + len(block)].astype(np.uint64)
            tally.reads += len(block)
            for start in range(0, len(queries), CHUNK):
                cuts = [slice(at, at + size) for at in range(start, min(start + CHUNK, len(queries)), size)]
                parts = [Part(queries[cut], keys[cut]) for cut in cuts]
                for tile in tiles(block, rounded, pool):
                    if not np.isfinite(tile.norm):
                        raise NotFiniteError(f"Vectors {first} to {first + len(block) - 1}")
                    list(pool.map(partial(Part.take, tile=tile, rooms=rooms, block=block, rank=ranks), parts))
                    advance(sum(len(part.queries) for part in parts) * len(tile.bf16))
                list(pool.map(partial(Part.refine, block=block, rank=ranks), parts))
                for part in parts:
                    tally.opened += part.opened
                    tally.rescored += part.rescored
            tally.pairs += len(queries) * len(block)
    keys.sort(axis=1)
    return keys


class Part:
    """The best results of some queries so far.

    Args:
        queries: float32 [q, d].
        keys: uint64 [q, k], keys of the best so far (:func:`~ance_tele.search.sort_keys.keyed`); updated in place.
    """

    def __init__(self, queries: np.ndarray, keys: np.ndarray) -> None:
        self.queries, self.keys, self.k = np.ascontiguousarray(queries), keys, keys.shape[1]
        self.opened = self.rescored = 0
        self.bf16 = torch.from_numpy(self.queries).bfloat16()
        rounded = self.bf16.float().numpy()
        self.norm, self.rounded = lengths(self.queries).astype(np.float64), lengths(rounded).astype(np.float64)
        self.residual = lengths(self.queries - rounded).astype(np.float64)
        self.most = np.zeros(len(queries), dtype=np.float32)  # largest error since the last refinement
        # Lower bounds of the scores of k different passages, float32 [q, k], the least of them first.
        self.floor = np.partition(unkeyed(keys)[0], 0, axis=1)
        self.found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def error(self, tile: Tile) -> np.ndarray:
        """Return a bound of the difference between float32 and bf16 scores of a tile, float32 [q].

        With q', v' for the rounded vectors, |q.v - q'.v'| <= |q'| |v - v'| + |q - q'| |v|. The sums of d products, in
        float32, add d 2^-24 |q| |v| each; products and numbers below 2^-126 may count as zero.
        """
        dimension, tiny = self.queries.shape[1], 2.0**-126
        sums = 2.1 * dimension * 2.0**-24 * np.maximum(self.norm, self.rounded) * tile.norm * (1 + 2.0**-8)
        bound = self.rounded * tile.residual + self.residual * tile.norm + sums
        bound = bound * (1 + 2.0**-20) + dimension * tiny * (self.norm + tile.norm + 4)
        return np.where(self.norm * tile.norm < LARGE, bound, np.inf).astype(np.float32)

    def take(self, tile: Tile, rooms: "SimpleQueue[torch.Tensor]", block: np.ndarray, rank: np.ndarray) -> None:
        """Process a tile of a block, with the ranks of the block's ids, uint64 [rows of the block]."""
        room = rooms.get()
        try:
            self._prune(tile, room)
        finally:
            rooms.put(room)
        if sum(len(rows) for _, rows, _ in self.found) > SETTLE:
            self.refine(block, rank)

    def _prune(self, tile: Tile, room: torch.Tensor) -> None:
        """Score a tile in bf16, using the buffer ``room``, bf16 [TILE * q] or more, and collect the survivors."""
        count, width, error = len(tile.bf16), len(self.queries), self.error(tile)
        padded = -(-count // GROUP) * GROUP
        scores = room[: padded * width].view(padded, width)
        bits = scores.view(torch.int16).numpy()  # ordered as the scores, if positive
        best = np.empty((padded // GROUP, width), dtype=np.int16)
        bits[count:] = -32768
        for at in range(0, padded, STEP):
            torch.mm(tile.bf16[at : at + STEP], self.bf16.T, out=scores[at : min(at + STEP, count)])
            bits[at : at + STEP].reshape(-1, GROUP, width).max(axis=1, out=best[at // GROUP : (at + STEP) // GROUP])
        before = self.floor
        limit = self._limit(best, error)
        signed = not (limit > 0).all()
        if signed:  # make bits of negative scores ordered too
            self.floor = before
            ordered(bits, out=bits)[count:] = -32768
            bits.reshape(-1, GROUP, width).max(axis=1, out=best)
            limit = ordered(self._limit(ordered(best), error))
            limit[np.isneginf(self._bound(error))] = -32768  # includes NaN
        group, query = np.divmod(np.flatnonzero(best >= limit), width)
        self.opened += len(group)
        place, least, flat = group * (GROUP * width) + query, limit[query], bits.reshape(-1)
        hits = []
        for _ in range(GROUP):
            values = flat[place]
            hit = np.flatnonzero(values >= least)
            hits.append((query[hit], place[hit] // width, values[hit]))
            place += width
        query, row, values = (np.concatenate(each) for each in zip(*hits, strict=True))
        if padded > count:
            real = row < count
            query, row, values = query[real], row[real], values[real]
        values = numbers(ordered(values) if signed else values)
        self.found.append((query.astype(np.uint16), row + tile.start, values))
        self.most = np.maximum(self.most, error)

    def _limit(self, best: np.ndarray, error: np.ndarray) -> np.ndarray:
        """Raise the lower bound by the best of groups, bits [groups, q]; return the bits of the pruning bound, [q]."""
        share = 1
        while len(best) % (2 * share) == 0 and len(best) >= 8 * share * self.k:
            share *= 2
        lower = numbers(best.reshape(-1, share, best.shape[1]).max(axis=1).T)
        with np.errstate(invalid="ignore"):
            lower -= np.abs(lower) * np.float32(2.0**-8)
            lower -= error[:, None]
        both = np.concatenate([self.floor, np.fmax(lower, -np.inf, out=lower)], axis=1)
        cut = both.shape[1] - self.k
        self.floor = np.partition(both, cut, axis=1)[:, cut:]
        # Rounding is monotonic, so that the bound can be rounded too.
        return bits_of(self._bound(error))

    def _bound(self, error: np.ndarray) -> np.ndarray:
        """Return the bf16 score below which a passage is ruled out, float32 [q]."""
        return np.where(np.isfinite(error), self.floor[:, 0] - np.where(np.isfinite(error), error, 0), -np.inf)

    def refine(self, block: np.ndarray, rank: np.ndarray) -> None:
        """Score survivors in float32 and keep the k best; likely ones first, which rule out most others."""
        if not self.found:
            return
        query, row, value = (np.concatenate(each) for each in zip(*self.found, strict=True))
        self.found, error, self.most = [], self.most, np.zeros_like(self.most)
        likely = value >= np.where(np.isfinite(error), self.floor[:, 0] + np.minimum(error, LARGE), np.inf)[query]
        self._score(query[likely], row[likely], block, rank)
        self.floor[:, 0] = np.maximum(self.floor[:, 0], unkeyed(self.keys.max(axis=1))[0])
        rest = ~(likely | (value < numbers(bits_of(self._bound(error)))[query]))
        self._score(query[rest], row[rest], block, rank)
        self.floor = np.partition(unkeyed(self.keys)[0], 0, axis=1)

    def _score(self, query: np.ndarray, row: np.ndarray, block: np.ndarray, rank: np.ndarray) -> None:
        width = len(self.queries)
        row, query = np.divmod(np.sort(row * width + query), width)  # by passage, so that each is read once
        scores = pair_products(block, self.queries, row, query)
        if np.isnan(scores).any():
            raise ValueError("Scores are no numbers: vectors are too large for float32; normalise them.")
        self.rescored += len(row)
        keys = keyed(scores, rank[row])
        order = np.argsort(query.astype(np.uint16), kind="stable")
        keys, query = keys[order], query[order]
        starts = offsets_of(np.bincount(query, minlength=width))
        most = max(1, int(np.diff(starts).max()))
        step = max(1, SETTLE // (most + self.k))
        for first in range(0, width, step):
            last = min(first + step, width)
            part = slice(starts[first], starts[last])
            grid = np.full((last - first, most + self.k), EMPTY)
            grid[:, most:] = self.keys[first:last]
            grid[query[part] - first, np.arange(part.start, part.stop) - starts[query[part]]] = keys[part]
            self.keys[first:last] = np.partition(grid, self.k - 1, axis=1)[:, : self.k]
