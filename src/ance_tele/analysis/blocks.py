"""One pass over all lists and pools of a run: counts of the negatives, and the pairs that may be false ones."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pyarrow as pa

from ance_tele.analysis.negatives import NegativeCounts, count_negatives
from ance_tele.analysis.rounds import Rounds
from ance_tele.analysis.suspects import (
    NEAR_RANK,
    TOP_RANK,
    Pairs,
    SuspectConfig,
    Tally,
    judge,
    margins,
    pairs_in_pools,
)
from ance_tele.analysis.tables import Stream, Table, coded, spans
from ance_tele.console.progress import progress
from ance_tele.runs.membership import membership
from ance_tele.store.manifests import read_manifest

# Queries looked at together: bounds the memory, and arrays of this size need not be mapped anew for every block.
QUERIES_PER_BLOCK = 1024

Entries = tuple[np.ndarray, np.ndarray]


@dataclass
class Sides:
    """What one pass finds.

    Attributes:
        negatives: Counts by round; see :class:`NegativeCounts`.
        pools: By episode, negatives by the episode that first met them, int64 [E, E].
        sources: By episode, negatives by source, int64 [E, sources].
        origins: By episode, negatives by the source that once mined them, int64 [E, sources].
        tally: Pairs that stood in pools, by source.
        worth: Pairs to look at more closely; their ``owner`` is the query's place among all, their ``passages`` are the
            positions of ``ids``.
        ids: The passages of these pairs.
    """

    negatives: NegativeCounts
    pools: np.ndarray
    sources: np.ndarray
    origins: np.ndarray
    tally: Tally
    worth: Pairs
    ids: pa.Array


class _Files:
    """The open files of a run, each read once from front to back."""

    def __init__(self, rounds: Rounds, final_scores: bool) -> None:
        order, last = rounds.order, len(rounds.rounds) - 1
        self.lists = [
            Stream(one.lists, order, ["rank", "score"] if number == last and final_scores else ["rank"])
            for number, one in enumerate(rounds.rounds)
        ]
        self.ahead = [
            None if one.ahead is None else Stream(one.ahead, order, ["rank"], "lookahead") for one in rounds.rounds
        ]
        columns = ["source", "origin", "first_episode"]
        self.pools = [Stream(one.pool, order, columns) for one in rounds.rounds if one.pool is not None]
        positives = rounds.out / "positives.parquet"
        self.positives = Stream(positives, order) if read_manifest(positives) is not None else None


def look_through(rounds: Rounds, corpus: int | None, config: SuspectConfig) -> Sides:
    """Read all lists and pools of a run once.

    Args:
        rounds: Of the run.
        corpus: Passages of the corpus; None if unknown.
        config: What makes a negative suspect.
    """
    count, episodes, total = len(rounds.order), len(rounds.rounds) - 1, len(rounds.rounds)
    positive_scores, reciprocal = rounds.positive_scores(), rounds.reciprocal_ranks()[-1]
    files = _Files(rounds, positive_scores is not None)
    sources = rounds.sources
    counts, tally = NegativeCounts.empty(total), Tally(sources)
    pools = [np.zeros((episodes, size), dtype=np.int64) for size in (episodes, len(sources), len(sources))]
    worth: list[tuple[Pairs, pa.Array]] = []
    with progress("looking back", count, "queries") as advance:
        for start, stop in spans(count, QUERIES_PER_BLOCK):
            best = None if positive_scores is None else positive_scores[start:stop].astype(np.float64)
            block = _Block(files, start, stop, sources)
            counts.add(block.negatives(corpus))
            for table, added in zip(pools, block.pools(), strict=True):
                table += added
            found = block.in_pools(best, reciprocal[start:stop])
            tally.add_pairs(found.origins)
            # What is near a positive is compared with it later, word by word.
            sure = judge(found, np.full(len(found), np.nan), total, config).any(axis=1)
            found = found.select(found.near | sure)
            worth.append((replace(found, owner=start + found.owner), block.ids(found)))
            advance(stop - start)
    pairs = Pairs(*(np.concatenate([getattr(one, field.name) for one, _ in worth]) for field in fields(Pairs)))
    pairs = replace(pairs, passages=np.arange(len(pairs)))
    ids = pa.concat_arrays([part for _, part in worth])
    return Sides(counts, pools[0], pools[1], pools[2], tally, pairs, ids)


class _Block:
    """The queries ``start:stop``, with all that the files hold for them."""

    def __init__(self, files: _Files, start: int, stop: int, sources: Sequence[str]) -> None:
        self.queries, self.rounds, self.sources = stop - start, len(files.lists), sources
        self.lists = [stream.take(start, stop) for stream in files.lists]
        self.ahead = [None if stream is None else stream.take(start, stop) for stream in files.ahead]
        self.pool_tables = [stream.take(start, stop) for stream in files.pools]
        positives = [files.positives.take(start, stop)] if files.positives else []
        tables = [*self.lists, *(table for table in self.ahead if table is not None), *self.pool_tables, *positives]
        self.numbered = coded([table.ids for table in tables])
        self.entries = {
            id(table): (table.owner, codes) for table, codes in zip(tables, self.numbered.parts, strict=True)
        }
        self.known = self.entries[id(positives[0])] if positives else _together([])

    def of(self, tables: Iterable[Table | None]) -> list[Entries]:
        """Return owner and code of each row of tables, leaving out those that are None."""
        return [self.entries[id(table)] for table in tables if table is not None]

    def negatives(self, corpus: int | None) -> NegativeCounts:
        """Count what was new, near and back among T, positives left out."""
        around = self.of(self.ahead)
        place = iter(range(self.rounds, self.rounds + len(around)))
        numbers = [None if table is None else next(place) for table in self.ahead]
        pairs = membership([*self.of(self.lists), *around, self.known], self.queries)
        pairs = pairs.without(self.rounds + len(around))
        return count_negatives(pairs, self.rounds, numbers, self.queries, corpus)

    def pools(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Count the negatives of each pool by episode first met, by source, and by the source that mined them."""
        tables = self.pool_tables
        first = [table.numbers("first_episode").astype(np.int64) - 1 for table in tables]
        return (
            np.stack([np.bincount(met, minlength=len(tables)) for met in first]),
            np.stack([self._by_source(table, "source") for table in tables]),
            np.stack([self._by_source(table, "origin") for table in tables]),
        )

    def _by_source(self, table: Table, column: str) -> np.ndarray:
        return np.bincount(_codes(table, column, self.sources), minlength=len(self.sources))

    def in_pools(self, positive_scores: np.ndarray | None, reciprocal: np.ndarray) -> Pairs:
        """Return all pairs that stood in a pool, with what speaks against each."""
        nearby = [_at_most(table, self.entries[id(table)], NEAR_RANK) for table in self.ahead if table is not None]
        best = [_at_most(table, self.entries[id(table)], TOP_RANK) for table in self.lists]
        pairs = membership([*self._by_origin(), self.known, _together(nearby), *best], self.queries)
        margin = np.full(len(pairs), np.nan)
        if positive_scores is not None:
            last = self.lists[-1]
            margin = margins(pairs, *self.entries[id(last)], last.numbers("score"), positive_scores)
        return pairs_in_pools(pairs, len(self.sources), self.rounds, margin, reciprocal)

    def _by_origin(self) -> list[Entries]:
        """Return the entries of all pools, by the source that once mined them."""
        origin = np.concatenate([_codes(table, "origin", self.sources) for table in self.pool_tables])
        owner, codes = _together(self.of(self.pool_tables))
        return [(owner[origin == number], codes[origin == number]) for number in range(len(self.sources))]

    def ids(self, pairs: Pairs) -> pa.Array:
        """Return the ids of the passages of pairs."""
        return self.numbered.ids(pairs.passages).cast(pa.large_string())


def _codes(table: Table, name: str, sources: Sequence[str]) -> np.ndarray:
    """Turn names of sources into their places among ``sources``; each chunk has a dictionary of its own."""
    parts = [np.empty(0, dtype=np.int64)]
    for chunk in table.columns[name].chunks:
        numbers = np.array([sources.index(one) for one in chunk.dictionary.to_pylist()], dtype=np.int64)
        parts.append(numbers[chunk.indices.to_numpy()])
    return np.concatenate(parts)


def _at_most(table: Table, entries: Entries, rank: int) -> Entries:
    keep = table.numbers("rank") <= rank
    return entries[0][keep], entries[1][keep]


def _together(entries: list[Entries]) -> Entries:
    empty = np.empty(0, dtype=np.int64)
    owners, codes = zip((empty, empty), *entries, strict=True)
    return np.concatenate(owners), np.concatenate(codes)
