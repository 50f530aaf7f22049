"""Mixing: the pool of an episode from query, lookahead and momentum negatives (paper, Section 4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ance_tele.console.progress import progress
from ance_tele.data.collection import Qrels
from ance_tele.data.ragged import offsets_of, owners, pair_keys, spans, within
from ance_tele.mining.candidates import Candidates, in_sorted
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.pool import COLUMNS, Pool
from ance_tele.mining.seeding import hashed
from ance_tele.mining.sources import SOURCES
from ance_tele.store.plugins import plain_name

# Queries mixed at a time: bounds the memory beyond candidates and pools, without effect on the result.
QUERIES_PER_BLOCK = 4096


@dataclass(frozen=True)
class Quota:
    """Negatives per query: newly mined by source, and from the previous pool."""

    new: dict[str, int]
    momentum: int

    @property
    def total(self) -> int:
        """Target size of a query's pool."""
        return sum(self.new.values()) + self.momentum


def quota(config: MiningConfig, episode: int, previous: int = 0) -> Quota:
    """Return the number of negatives of each part, so that ``alpha`` and ``beta`` are shares of what is drawn.

    Newly mined are ``pool_per_source`` per source (twice as many for a single source); ``beta`` is the share of
    lookahead among query and lookahead negatives. Momentum gets the share ``alpha`` of the whole; if the previous pool
    is too small, the new part shrinks until the shares hold. With alpha = beta = 0.5 this is query : lookahead = 1 : 1
    and new : momentum = 1 : 1 (paper, Appendix C.2).
    """
    sources = tuple(map(plain_name, config.sources_at(episode)))
    total = config.pool_per_source * max(2, len(sources))
    pair = [name for name in sources if name in ("query", "lookahead")]
    other = [name for name in sources if name not in pair]
    momentum, new = 0, total
    if previous and config.alpha > 0:
        if config.momentum == "all":
            momentum = previous
        elif config.alpha >= 1:
            momentum, new = previous, 0
        else:
            momentum = round(total * config.alpha / (1 - config.alpha))
            if momentum > previous:
                momentum, new = previous, min(total, round(previous * (1 - config.alpha) / config.alpha))
    sizes = {name: new // len(sources) for name in other}
    rest = new - sum(sizes.values())
    if len(pair) == 2:
        sizes["lookahead"] = round(rest * config.beta)
        sizes["query"] = rest - sizes["lookahead"]
    elif pair:
        sizes[pair[0]] = rest
    elif other:
        sizes[other[0]] += rest
    return Quota({name: sizes[name] for name in sources}, momentum)


def quota_at(config: MiningConfig, episode: int) -> Quota:
    """Return the quota of an episode whose earlier pools had their target sizes."""
    target = Quota({}, 0)
    for number in range(1, episode + 1):
        target = quota(config, number, target.total)
    return target


def mix(
    candidates: Candidates,
    positives: Qrels,
    config: MiningConfig,
    episode: int,
    seed: int,
    history: Sequence[Pool] = (),
) -> Pool:
    """Draw the pool of an episode.

    Uniform samples without replacement from each source's list, without the positives, and from the previous pool as a
    multiset. The same inputs give the same pool, bit for bit.

    Args:
        candidates: The lists of this episode, for the queries of ``positives``, in the same order.
        positives: Relevant passages, which are never drawn.
        config: alpha, beta, sizes.
        episode: Counted from 1.
        seed: The run's seed.
        history: The pools of all earlier episodes, in order, for the same queries.

    Raises:
        ValueError: Candidates or history are of other queries, or lack a source or an episode.

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
    target = quota_at(config, episode)
    _check(candidates, positives, target, episode, history)
    width = 1 + max(
        [int(lists.passages.max(initial=0)) for lists in candidates.lists.values()]
        + [int(pool.passages.max(initial=0)) for pool in history]
        + [int(positives.passages.max(initial=0))]
    )
    past = [name for pool in history for name in pool.names]
    names = list(dict.fromkeys([*SOURCES, *past, *target.new]))
    count = len(positives)
    largest = sum(target.new.values()) * count + (len(history[-1]) if target.momentum else 0)
    columns: dict[str, Any] = {name: np.empty(largest, dtype=kind) for name, kind in COLUMNS.items()}
    sizes, filled = np.zeros(count, dtype=np.int64), 0
    with progress("mixing", count, "queries") as advance:
        for start, stop in spans(count, QUERIES_PER_BLOCK):
            block = _Block(start, stop, positives, width, names)
            parts = [block.new(candidates, source, size, episode, seed) for source, size in target.new.items()]
            if target.momentum:
                parts.append(block.momentum(history[-1], target.momentum, config, episode, seed))
            sizes[start:stop], drawn = block.assemble(parts, history, episode, config.dedup)
            for name, values in drawn.items():
                columns[name][filled : filled + len(values)] = values
            filled += len(values)
            advance(stop - start)
    columns = {name: column[:filled] for name, column in columns.items()}
    wanted = _wanted(target, candidates, config, episode, history)
    short = np.maximum(wanted - sizes, 0)
    shortage = {
        "wanted": int(wanted.sum()),
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


def _wanted(
    target: Quota, candidates: Candidates, config: MiningConfig, episode: int, history: Sequence[Pool]
) -> np.ndarray:
    """Return the target number of negatives of each query, int64 [q].

    It is limited by the number of given negatives and, in later episodes, by pools that were smaller for it.
    """
    wanted = np.full(len(candidates.queries), target.total)
    if "given" in target.new:
        wanted -= np.maximum(target.new["given"] - np.diff(candidates.lists["given"].offsets), 0)
    if target.momentum and any("given" in config.sources_at(number) for number in range(1, episode)):
        wanted -= np.maximum(target.momentum - history[-1].sizes, 0)
    return wanted


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

    def new(self, candidates: Candidates, source: str, size: int, episode: int, seed: int) -> _Part:
        lists = candidates.lists[source].block(self.start, self.stop)
        position = lists.query_positions
        keep = np.flatnonzero(~in_sorted(position * self.width + lists.passages, self.positives))
        position, passages = position[keep], lists.passages[keep]
        drawn = _draw(position, hashed(seed, episode, source, self.rows[position], passages), size, len(lists))
        code = np.full(len(drawn), self.names.index(source), dtype=np.uint8)
        keep = keep[drawn]
        return _Part(position[drawn], passages[drawn], code, code, lists.ranks[keep], lists.scores[keep])

    def momentum(self, past: Pool, size: int, config: MiningConfig, episode: int, seed: int) -> _Part:
        offsets = past.offsets[self.start : self.stop + 1]
        part, position, place = slice(offsets[0], offsets[-1]), owners(offsets), within(offsets)
        # The history may contain passages that are positives now.
        keep = np.flatnonzero(~in_sorted(position * self.width + past.passages[part], self.positives))
        position, place = position[keep], place[keep]
        if config.momentum == "all":
            drawn = np.arange(len(position))
        else:
            drawn = _draw(position, hashed(seed, episode, "momentum", self.rows[position], place), size, len(self.rows))
        columns = [getattr(past, name)[part][keep[drawn]] for name in ("passages", "origin", "ranks", "scores")]
        passages, origin, ranks, scores = columns
        code = np.full(len(drawn), self.names.index("momentum"), dtype=np.uint8)
        renamed = np.array([self.names.index(name) for name in past.names], dtype=np.uint8)
        return _Part(position[drawn], passages, code, renamed[origin], ranks, scores)

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


def _draw(position: np.ndarray, priority: np.ndarray, size: int, queries: int) -> np.ndarray:
    """Return the indices of the ``size`` entries per query of lowest priority, ordered by query.

    Sorts a combined key with the query in the upper bits and the priority in the lower ones.
    """
    assert queries <= 1 << 16, "a block of queries does not fit the upper bits of the key"
    key = (position.astype(np.uint64) << np.uint64(48)) | (priority >> np.uint64(16))
    order = np.argsort(key)
    return order[within(offsets_of(np.bincount(position, minlength=queries))) < size]
