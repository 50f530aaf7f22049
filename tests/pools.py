"""Candidate lists, judgements and pools for tests of mixing, in plain Python."""

from collections.abc import Sequence

import numpy as np

from ance_tele.data.collection import Qrels
from ance_tele.mining.candidates import CandidateLists, Candidates
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.mix import mix
from ance_tele.mining.pool import Pool
from ance_tele.mining.sources import SOURCES as DECLARED

SOURCES = tuple(DECLARED)

# One negative: passage, source, origin, first episode, rank, score.
Negative = tuple[int, str, str, int, int, float]


def ragged(lists: Sequence[Sequence[int]], scores: Sequence[Sequence[float]] | None = None) -> CandidateLists:
    scores = scores or [[10.0 - rank for rank in range(len(passages))] for passages in lists]
    return CandidateLists(
        np.cumsum([0, *map(len, lists)]),
        np.array([passage for passages in lists for passage in passages], dtype=np.int32),
        np.array([score for values in scores for score in values], dtype=np.float32),
        np.array([rank for passages in lists for rank in range(1, len(passages) + 1)], dtype=np.int16),
    )


def judged(queries: Sequence[int], positives: Sequence[Sequence[int]]) -> Qrels:
    flat = np.array([passage for passages in positives for passage in passages], dtype=np.int64)
    return Qrels(np.array(queries, dtype=np.int64), np.cumsum([0, *map(len, positives)]), flat, np.ones_like(flat))


def negatives(pool: Pool) -> list[list[Negative]]:
    """A pool in plain Python, one list per query."""
    columns = (pool.passages, pool.source, pool.origin, pool.first, pool.ranks, pool.scores)
    rows = [
        (passage, SOURCES[source], SOURCES[origin], first, rank, score)
        for passage, source, origin, first, rank, score in zip(*(c.tolist() for c in columns), strict=True)
    ]
    return [rows[start:stop] for start, stop in zip(pool.offsets[:-1], pool.offsets[1:], strict=True)]


def three_pools(
    positives: Qrels, config: MiningConfig, found: list[Candidates], seed: int, forgotten: np.ndarray | None = None
) -> list[Pool]:
    pools: list[Pool] = []
    for episode, candidates in enumerate(found, 1):
        pools.append(mix(candidates, positives, config, episode, seed, pools, forgotten if pools else None))
    return pools


def long_lists(
    count: int, episode: int, sources: Sequence[str] = ("query", "lookahead"), size: int = 200
) -> Candidates:
    """Lists that are all of one length and do not overlap; passage = 1000 x source + rank, or so."""
    lists = {}
    for number, source in enumerate(sources):
        start = 10_000 * episode + 1000 * number
        lists[source] = ragged([list(range(start, start + size))] * count)
    return Candidates(np.arange(count), lists)
