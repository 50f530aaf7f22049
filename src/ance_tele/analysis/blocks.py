"""Counts of the negatives and suspected false negatives of a run, in one pass over its lists and pools."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain

import numpy as np
import pyarrow as pa

from ance_tele.analysis.negatives import NegativeCounts, count_negatives, total
from ance_tele.analysis.rounds import Rounds
from ance_tele.analysis.suspects import NEAR_RANK, TOP_RANK, Pairs, SuspectConfig, bits_of, judge, margins, pooled
from ance_tele.analysis.tables import Entries, Stream, Table, coded
from ance_tele.console.progress import progress
from ance_tele.runs.membership import Membership, membership

# Queries per block: bounds the memory, and arrays of this size are reused by the allocator.
QUERIES_PER_BLOCK = 1024


@dataclass(frozen=True)
class RunCounts:
    """Counts of a run, and the pairs that may be false negatives.

    Attributes:
        negatives: Counts by round; see :class:`NegativeCounts`.
        pools: By episode, negatives by the episode that first met them, int64 [E, E].
        sources: By episode, negatives by source, int64 [E, sources].
        origins: By episode, negatives by the source that once mined them, int64 [E, sources].
        pairs: Distinct pairs of all pools by the source that mined them, int64 [sources]; then all of them.
        close: Pairs near a positive or already suspect; ``query_positions`` count from the run's first query,
            ``passages`` are indices of ``ids``.
        ids: The passages of these pairs.
    """

    negatives: NegativeCounts
    pools: np.ndarray
    sources: np.ndarray
    origins: np.ndarray
    pairs: np.ndarray
    close: Pairs
    ids: pa.Array


def count_run(rounds: Rounds, corpus: int | None, config: SuspectConfig) -> RunCounts:
    """Read all lists and pools of a run once; ``corpus`` is the number of passages, None if unknown."""
    count, sources = len(rounds.order), rounds.sources
    scores, reciprocal = rounds.positive_scores(), rounds.reciprocal_ranks()[-1]
    streams = _streams(rounds)
    numbers = iter(range(len(rounds.rounds), 2 * len(rounds.rounds)))
    lookahead = [None if one.lookahead is None else next(numbers) for one in rounds.rounds]
    counts: list[NegativeCounts] = []
    sums: list[tuple[np.ndarray, ...]] = []
    close: list[Pairs] = []
    ids: list[pa.Array] = []
    with progress("looking back", count, "queries") as advance:
        for start in range(0, count, QUERIES_PER_BLOCK):
            stop = min(start + QUERIES_PER_BLOCK, count)
            block = _Block(streams, start, stop)
            counts.append(count_negatives(block.mined(), len(block.lists), lookahead, stop - start, corpus))
            found = block.in_pools(sources, scores[start:stop], reciprocal[start:stop])
            by_source = bits_of(found.origins, len(sources)).sum(axis=0)
            sums.append((*block.composition(sources), np.append(by_source, len(found))))
            # Passages near a positive are compared with it by their words later.
            sure = judge(found, np.full(len(found), np.nan), len(block.lists), config).any(axis=1)
            found = found.select(found.near | sure)
            close.append(replace(found, query_positions=start + found.query_positions))
            ids.append(block.numbered.ids(found.passages).cast(pa.large_string()))
            advance(stop - start)
    pairs = Pairs(*(np.concatenate([getattr(one, field.name) for one in close]) for field in fields(Pairs)))
    pairs = replace(pairs, passages=np.arange(len(pairs)))
    first, by_source, by_origin, mined = (np.sum(parts, axis=0) for parts in zip(*sums, strict=True))
    return RunCounts(total(counts), first, by_source, by_origin, mined, pairs, pa.concat_arrays(ids))


def _streams(rounds: Rounds) -> list[list[Stream]]:
    """Open the files of a run: T of each round, L of the rounds that have it, the pools, the positives."""
    order, every = rounds.order, rounds.rounds
    return [
        [
            *(Stream(one.lists, order, ["rank"]) for one in every[:-1]),
            Stream(every[-1].lists, order, ["rank", "score"]),
        ],
        [Stream(one.lookahead, order, ["rank"], "lookahead") for one in every if one.lookahead is not None],
        [Stream(one.pool, order, ["source", "origin", "first_episode"]) for one in every if one.pool is not None],
        [Stream(rounds.positives, order)] if rounds.positives.is_file() else [],
    ]


class _Block:
    """The rows of all files for the queries ``start:stop``."""

    def __init__(self, streams: Sequence[Sequence[Stream]], start: int, stop: int) -> None:
        self.queries = stop - start
        tables = [[stream.take(start, stop) for stream in group] for group in streams]
        self.numbered = coded([table.columns["passage_id"] for table in chain(*tables)])
        codes = iter(self.numbered.parts)
        self.lists, self.lookahead, self.pools, known = (
            [replace(table, codes=next(codes)) for table in group] for group in tables
        )
        self.known = _concatenated([table.entries for table in known])

    def mined(self) -> Membership:
        """Return which of T (by round) and L (of the rounds that have it) contain a pair, without the positives."""
        lists = [table.entries for table in (*self.lists, *self.lookahead)]
        return membership([*lists, self.known], self.queries).without(len(lists))

    def composition(self, sources: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Count the negatives of each pool by first episode, by source, and by the source that mined them."""
        count = len(sources)
        first = [table.numbers("first_episode").astype(np.int64) - 1 for table in self.pools]
        return (
            np.stack([np.bincount(met, minlength=len(first)) for met in first]),
            np.stack([np.bincount(_codes(table, "source", sources), minlength=count) for table in self.pools]),
            np.stack([np.bincount(_codes(table, "origin", sources), minlength=count) for table in self.pools]),
        )

    def in_pools(self, sources: Sequence[str], positive_scores: np.ndarray, reciprocal: np.ndarray) -> Pairs:
        """Return the distinct pairs of all pools, with the evidence that each is a false negative."""
        origin = np.concatenate([_codes(table, "origin", sources) for table in self.pools])
        query_positions, codes = _concatenated([table.entries for table in self.pools])
        by_origin = [(query_positions[origin == number], codes[origin == number]) for number in range(len(sources))]
        near = _concatenated([table.at_most(NEAR_RANK) for table in self.lookahead])
        top, last = [table.at_most(TOP_RANK) for table in self.lists], self.lists[-1]
        pairs = membership([*by_origin, self.known, near, *top], self.queries)
        margin = margins(pairs, *last.entries, last.numbers("score"), positive_scores)
        return pooled(pairs, len(sources), len(top), margin, reciprocal)


def _codes(table: Table, name: str, sources: Sequence[str]) -> np.ndarray:
    """Return the index in ``sources`` of each source name; every chunk has its own dictionary."""
    parts = [np.empty(0, dtype=np.int64)]
    for chunk in table.columns[name].chunks:
        numbers = np.array([sources.index(one) for one in chunk.dictionary.to_pylist()], dtype=np.int64)
        parts.append(numbers[chunk.indices.to_numpy()])
    return np.concatenate(parts)


def _concatenated(entries: list[Entries]) -> Entries:
    empty = np.empty(0, dtype=np.int64)
    positions, codes = zip((empty, empty), *entries, strict=True)
    return np.concatenate(positions), np.concatenate(codes)
