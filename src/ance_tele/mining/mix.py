"""Mixing: the pool of an episode from query, lookahead and momentum negatives (paper, Section 4)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ance_tele.console.progress import progress
from ance_tele.data.collection import Qrels
from ance_tele.data.ragged import offsets_of, owners, pair_keys, spans, within
from ance_tele.mining.candidates import Candidates, in_sorted
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.pool import COLUMNS, Pool
from ance_tele.mining.quota import Quota, quota_at
from ance_tele.mining.seeding import hashed
from ance_tele.mining.sources import SOURCES

# Queries mixed at a time: bounds the memory beyond candidates and pools, without effect on the result.
QUERIES_PER_BLOCK = 4096


def mix(
    candidates: Candidates,
    positives: Qrels,
    config: MiningConfig,
    episode: int,
    seed: int,
    history: Sequence[Pool] = (),
    forgotten: np.ndarray | None = None,
) -> Pool:
    """Draw the pool of an episode.

    Uniform samples without replacement from each source's list, without the positives, and from the previous pool as a
    multiset (with ``momentum_decay`` from all earlier ones, by weight). The same inputs give the
    same pool, bit for bit.

    Args:
        candidates: The lists of this episode, for the queries of ``positives``, in the same order.
        positives: Relevant passages, which are never drawn.
        config: alpha, beta, sizes.
        episode: Counted from 1.
        seed: The run's seed.
        history: The pools of all earlier episodes, in order, for the same queries.
        forgotten: Which queries the last episode has forgotten, bool [q], for ``alpha_forgotten`` and
            ``beta_forgotten``; None in the first episode.

    Raises:
        ValueError: Candidates or history are of other queries, or lack a source or an episode; or it is not known what
            was forgotten.

    Example:
        Two training queries whose lists begin with their positives, rows 0 and 7:

        >>> import numpy as np
        >>> import ance_tele as at
        >>> queries = np.array([0, 1])
        >>> lists = at.CandidateLists.of([[0, 1, 2, 3], [7, 4, 5, 6]])
        >>> positives = at.Qrels.from_arrays(queries, np.array([0, 7]), np.array([1, 1]))
        >>> config = at.MiningConfig(sources=("query",), pool_per_source=1)
        >>> pool = mix(at.Candidates(queries, {"query": lists}), positives, config, episode=1, seed=42)
        >>> pool.sizes.tolist(), pool.by_source()
        ([2, 2], {'query': 4})
        >>> set(pool.passages.tolist()) & {0, 7}
        set()
    """
    target, other = (quota_at(config, episode, each) for each in (False, True))
    _check(candidates, positives, target, episode, history)
    if forgotten is None:
        if config.by_forgetting and history:
            raise ValueError("alpha_forgotten or beta_forgotten is set; say which queries were forgotten (forgotten=).")
        forgotten = np.zeros(len(positives), dtype=bool)
    wanted = {source: np.where(forgotten, other.new[source], size) for source, size in target.new.items()}
    carried = np.where(forgotten, other.momentum, target.momentum)
    width = 1 + max(
        [int(lists.passages.max(initial=0)) for lists in candidates.lists.values()]
        + [int(pool.passages.max(initial=0)) for pool in history]
        + [int(positives.passages.max(initial=0))]
    )
    past = [name for pool in history for name in pool.names]
    names = list(dict.fromkeys([*SOURCES, *past, *target.new]))
    count = len(positives)
    largest = sum(int(sizes.sum()) for sizes in (*wanted.values(), carried))
    if config.momentum == "all" and history:
        largest += len(history[-1])
    columns: dict[str, Any] = {name: np.empty(largest, dtype=kind) for name, kind in COLUMNS.items()}
    sizes, filled = np.zeros(count, dtype=np.int64), 0
    with progress("mixing", count, "queries") as advance:
        for start, stop in spans(count, QUERIES_PER_BLOCK):
            block = _Block(start, stop, positives, width, names)
            own = slice(start, stop)
            parts = [block.new(candidates, source, each[own], episode, seed) for source, each in wanted.items()]
            if carried.any():
                parts.append(block.momentum(history, carried[own], config, episode, seed))
            sizes[start:stop], drawn = block.assemble(parts, history, episode, config.dedup)
            for name, values in drawn.items():
                columns[name][filled : filled + len(values)] = values
            filled += len(values)
            advance(stop - start)
    columns = {name: column[:filled] for name, column in columns.items()}
    most = _most(wanted, carried, candidates, config, episode, history)
    short = np.maximum(most - sizes, 0)
    shortage = {
        "wanted": int(most.sum()),
        "missing": int(short.sum()),
        "short_queries": int((short > 0).sum()),
    }
    return Pool(positives.queries, offsets_of(sizes), **columns, shortage=shortage, names=tuple(names))


def _check(candidates: Candidates, positives: Qrels, target: Quota, episode: int, history: Sequence[Pool]) -> None:
    if not np.array_equal(candidates.queries, positives.queries):
        raise ValueError(
            f"candidates hold {len(candidates.queries)} queries, positives {len(positives)}: they must be the same "
            "queries in the same order; mine again for these positives."
        )
    if len(history) != episode - 1 or not all(np.array_equal(pool.queries, positives.queries) for pool in history):
        raise ValueError(
            f"history holds {len(history)} pools; episode {episode} needs those of the {episode - 1} episodes before "
            "it, in order, for the same queries as positives."
        )
    for source in target.new:
        if source not in candidates.lists:
            raise ValueError(f"candidates hold {list(candidates.lists)}, but not the source '{source}'; mine it.")


def _most(
    wanted: Mapping[str, np.ndarray],
    carried: np.ndarray,
    candidates: Candidates,
    config: MiningConfig,
    episode: int,
    history: Sequence[Pool],
) -> np.ndarray:
    """Return the target number of negatives of each query, int64 [q], given those of each source and of momentum.

    It is limited by the number of given negatives and, in later episodes, by pools that were smaller for it.
    """
    most = np.sum([carried, *wanted.values()], axis=0)
    if "given" in wanted:
        most -= np.maximum(wanted["given"] - np.diff(candidates.lists["given"].offsets), 0)
    if carried.any() and any("given" in config.sources_at(number) for number in range(1, episode)):
        every = slice(None)
        held = [owners(pool.offsets)[_drawable(pool, back, every)] for pool, back, _ in _past(history, config)]
        most -= np.maximum(carried - np.bincount(np.concatenate(held), minlength=len(most)), 0)
    return most


def _past(history: Sequence[Pool], config: MiningConfig) -> Iterator[tuple[Pool, int, float]]:
    """Yield the pools that momentum is drawn from, the last one first: pool, rounds before it, weight."""
    decay = 0.0 if config.momentum == "all" else config.momentum_decay
    for back, pool in enumerate(reversed(history)):
        if weight := decay**back:
            yield pool, back, weight


def _drawable(pool: Pool, back: int, part: slice) -> np.ndarray:
    """Return which negatives momentum is drawn from: all of the last pool, and what earlier ones had newly mined."""
    source = pool.source[part]
    return source != pool.names.index("momentum") if back else np.ones(len(source), dtype=bool)


class _Part(NamedTuple):
    """Negatives of one source in a block: parallel arrays, ordered by query position within the block."""

    position: np.ndarray
    passages: np.ndarray
    source: np.ndarray
    origin: np.ndarray
    ranks: np.ndarray
    scores: np.ndarray


class _Block:
    """The queries ``start:stop`` of a mix."""

    def __init__(self, start: int, stop: int, positives: Qrels, width: int, names: list[str]) -> None:
        self.start, self.stop, self.width, self.names = start, stop, width, names
        self.rows = positives.queries[start:stop]
        self.positives = np.sort(pair_keys(positives.offsets[start : stop + 1], positives.passages, width))

    def new(self, candidates: Candidates, source: str, sizes: np.ndarray, episode: int, seed: int) -> _Part:
        lists = candidates.lists[source].block(self.start, self.stop)
        position = lists.query_positions
        keep = np.flatnonzero(~in_sorted(position * self.width + lists.passages, self.positives))
        position, passages = position[keep], lists.passages[keep]
        drawn = _draw(position, hashed(seed, episode, source, self.rows[position], passages), sizes)
        code = np.full(len(drawn), self.names.index(source), dtype=np.uint8)
        keep = keep[drawn]
        return _Part(position[drawn], passages[drawn], code, code, lists.ranks[keep], lists.scores[keep])

    def momentum(
        self, history: Sequence[Pool], sizes: np.ndarray, config: MiningConfig, episode: int, seed: int
    ) -> _Part:
        parts, lots, weights = [], [], []
        for past, back, weight in _past(history, config):
            held, place = self._held(past, back)
            parts.append(held)
            purpose = f"momentum {back}" if back else "momentum"
            lots.append(hashed(seed, episode, purpose, self.rows[held.position], place))
            weights.append(np.full(len(place), weight))
        whole, lot = _Part(*(np.concatenate(columns) for columns in zip(*parts, strict=True))), np.concatenate(lots)
        if config.momentum == "all":
            return whole
        if len(parts) == 1:
            drawn = _draw(whole.position, lot, sizes)
        else:
            drawn = _race(whole.position, lot, np.concatenate(weights), sizes)
        return _Part(*(column[drawn] for column in whole))

    def _held(self, past: Pool, back: int) -> tuple[_Part, np.ndarray]:
        """Return what momentum draws from in a pool, and the place of each negative in the pool of its query."""
        offsets = past.offsets[self.start : self.stop + 1]
        part, position, place = slice(offsets[0], offsets[-1]), owners(offsets), within(offsets)
        # The history may contain passages that are positives now.
        keep = _drawable(past, back, part) & ~in_sorted(position * self.width + past.passages[part], self.positives)
        columns = (getattr(past, name)[part][keep] for name in ("passages", "origin", "ranks", "scores"))
        passages, origin, ranks, scores = columns
        code = np.full(len(passages), self.names.index("momentum"), dtype=np.uint8)
        renamed = np.array([self.names.index(name) for name in past.names], dtype=np.uint8)
        return _Part(position[keep], passages, code, renamed[origin], ranks, scores), place[keep]

    def assemble(
        self, parts: list[_Part], history: Sequence[Pool], episode: int, dedup: bool
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        whole = _Part(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        order = np.argsort(whole.position, kind="stable")
        if dedup:
            pair = whole.position[order] * self.width + whole.passages[order]
            _, first = np.unique(pair, return_index=True)
            order = order[np.sort(first)]
        whole = _Part(*(column[order] for column in whole))
        columns = {**whole._asdict(), "first": self._first_met(whole, history, episode)}
        return np.bincount(columns.pop("position"), minlength=self.stop - self.start), columns

    def _first_met(self, whole: _Part, history: Sequence[Pool], episode: int) -> np.ndarray:
        """first(q, d) = min {j : d in D_j(q)}."""
        met = np.full(len(whole.position), episode, dtype=np.uint8)
        pair = whole.position * self.width + whole.passages
        for number, past in reversed(list(enumerate(history, 1))):
            known = pair_keys(past.offsets[self.start : self.stop + 1], past.passages, self.width)
            met[in_sorted(pair, np.sort(known))] = number
        return met


def _draw(position: np.ndarray, priority: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the indices of the ``sizes[i]`` entries of lowest priority of each query i, ordered by query.

    Sorts a combined key with the query in the upper bits and the priority in the lower ones.
    """
    assert len(sizes) <= 1 << 16, "a block of queries does not fit the upper bits of the key"
    key = (position.astype(np.uint64) << np.uint64(48)) | (priority >> np.uint64(16))
    return _first(np.argsort(key), position, sizes)


def _race(position: np.ndarray, lot: np.ndarray, weight: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the indices of ``sizes[i]`` entries of each query i, drawn by weight without replacement.

    Those that arrive first, where the waiting times are exponential with the weights as rates (Efraimidis and Spirakis,
    2006): the next one is an entry with a probability proportional to its weight among those that are left.
    """
    uniform = (lot >> np.uint64(11)) * 2.0**-53
    return _first(np.lexsort((-np.log1p(-uniform) / weight, position)), position, sizes)


def _first(order: np.ndarray, position: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the first ``sizes[i]`` indices of each query i of an order that goes by query."""
    place = within(offsets_of(np.bincount(position, minlength=len(sizes))))
    return order[place < sizes[position[order]]]
