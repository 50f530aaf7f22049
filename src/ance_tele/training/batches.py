"""Batches as a pure function of (seed, epoch, step), independent of interruptions."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

import numpy as np
import torch

from ance_tele.data.collection import Qrels
from ance_tele.data.ragged import offsets_of, owners, within
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.encoder import Forward
from ance_tele.mining.never import NeverNegative
from ance_tele.mining.pool import Pool
from ance_tele.mining.seeding import hashed
from ance_tele.mining.teacher_scores import TeacherScores
from ance_tele.training.together import own_share, shares

Feature: TypeAlias = dict[str, Any]
"""Texts of a step: tensors, and lists of what is needed on the host."""


@dataclass(frozen=True)
class BatchPlan:
    """The content of all batches: queries by epoch and step, rotating positives, negatives without replacement.

    An epoch has an example per query, whose positives rotate over epochs; or, with ``every``, one per pair of query and
    positive. With ``replay``, examples of forgotten queries take the places of that share of the others, evenly spaced;
    an example k that is repeated for the i-th time in an epoch is numbered i * ``examples`` + k.

    Attributes:
        positives: Relevant passages of the same queries, ordered by turn (:func:`by_turn`).
        batch_queries: Examples in a step.
        negatives: N, drawn for each query.
        seed: Of the order of queries and of draws.
        known: Passages excluded from negatives; None means the positives.
        every: Every pair of query and positive is an example.
        doubtful: Passages that count as a share of a negative of their query; None without.
        weight: That share, above 0.
        teacher: Scores of all positives and pool negatives; None without a teacher.
        replay: Share of examples that are repeated ones.
        forgotten: Positions of the queries that are repeated, int64; None for none.
    """

    pool: Pool
    positives: Qrels
    batch_queries: int
    negatives: int
    seed: int
    known: NeverNegative | None = None
    every: bool = False
    doubtful: NeverNegative | None = None
    weight: float = 1.0
    teacher: TeacherScores | None = None
    replay: float = 0.0
    forgotten: np.ndarray | None = None

    @property
    def examples(self) -> int:
        """Examples of an epoch."""
        return len(self.positives.passages) if self.every else len(self.positives)

    @property
    def steps_per_epoch(self) -> int:
        """Steps that cover all examples once; the last may be smaller."""
        return -(-self.examples // self.batch_queries)

    @cached_property
    def never(self) -> NeverNegative:
        """Passages excluded from negatives."""
        return self.known or NeverNegative.rows(self.positives)

    @cached_property
    def order(self) -> Callable[[int], np.ndarray]:
        """Returns the order of the examples in an epoch, int64 [examples]; the last two are kept."""
        return lru_cache(maxsize=2)(self._replayed)

    def _replayed(self, epoch: int) -> np.ndarray:
        order, again = self._shuffled(epoch), self._repeatable
        if not len(again):
            return order
        repeats = np.diff(np.floor(np.arange(self.examples + 1) * self.replay)) > 0
        time, place = np.divmod(np.arange(repeats.sum()), len(again))
        lot = np.argsort(hashed(self.seed, epoch, "replay", again), kind="stable")
        mixed = np.empty_like(order)
        mixed[repeats] = (1 + time) * self.examples + again[lot][place]
        mixed[~repeats] = order[: (~repeats).sum()]
        return mixed

    @cached_property
    def _repeatable(self) -> np.ndarray:
        """Examples of forgotten queries, int64, ascending."""
        if self.forgotten is None or not self.replay:
            return np.empty(0, dtype=np.int64)
        return np.flatnonzero(np.isin(self.owners, self.forgotten)) if self.every else np.sort(self.forgotten)

    def _turns(self, examples: np.ndarray, epoch: int) -> np.ndarray:
        """Return the turns of examples: the epoch; of repeated ones -1, -2 ..., which draw from the other end."""
        most = -(-int(self.examples * self.replay) // max(1, len(self._repeatable)))  # times that one comes in an epoch
        return np.where(examples < self.examples, epoch, -(epoch * most + examples // self.examples))

    def _shuffled(self, epoch: int) -> np.ndarray:
        key = hashed(self.seed, epoch, "order", np.arange(len(self.positives)))
        if self.every:
            # Examples of a query are evenly spaced, so that batches contain at most one if possible.
            count, place = np.diff(self.positives.offsets)[self.owners].astype(np.uint64), self._places
            key = key[self.owners] // count + place.astype(np.uint64) * (np.uint64(2**64 - 1) // count)
        return np.argsort(key, kind="stable")

    @cached_property
    def owners(self) -> np.ndarray:
        """Position of the query of each pair of query and positive, int64 [pairs]."""
        return owners(self.positives.offsets)

    @cached_property
    def _places(self) -> np.ndarray:
        """Which positive of its query a pair has, from 0, int64 [pairs]."""
        return within(self.positives.offsets)

    def step(self, step: int) -> tuple[int, np.ndarray]:
        """Return the epoch of a step (both from 0) and its examples: positions of queries, or of pairs, or repeats."""
        epoch, inside = divmod(step, self.steps_per_epoch)
        start = inside * self.batch_queries
        return epoch, self.order(epoch)[start : start + self.batch_queries]

    def positive(self, query: int, turn: int) -> int:
        """Return the positive of a query at a turn: the epoch, unless the query is repeated."""
        start, stop = self.positives.offsets[query : query + 2]
        return int(self.positives.passages[start + turn % (stop - start)])

    def passages(self, example: int, epoch: int) -> tuple[int, np.ndarray]:
        """Return the position of an example's query, and its positive and negatives, int64 [1 + N]."""
        turn, example = int(self._turns(np.array(example), epoch)), example % self.examples
        if not self.every:
            return example, np.concatenate([[self.positive(example, turn)], self.draw(example, turn)])
        query, place = int(self.owners[example]), int(self._places[example])
        turn = turn * int(self.positives.offsets[query + 1] - self.positives.offsets[query]) + place
        return query, np.concatenate([self.positives.passages[example : example + 1], self.draw(query, turn)])

    def pairs_used(self, steps: int, first: int = 0) -> int:
        """Count the pairs of query and positive that are trained on in ``steps`` from the step ``first`` on."""
        used = np.zeros(len(self.positives.passages), dtype=bool)
        each, stop = self.steps_per_epoch, first + steps
        for epoch in range(first // each, -(-stop // each)):
            start, end = (max(0, edge - epoch * each) * self.batch_queries for edge in (first, stop))
            turns, examples = (
                self._turns(self.order(epoch)[start:end], epoch),
                self.order(epoch)[start:end] % self.examples,
            )
            if not self.every:
                begin = self.positives.offsets[examples]
                examples = begin + turns % (self.positives.offsets[examples + 1] - begin)
            used[examples] = True
        return int(used.sum())

    def draw(self, query: int, turn: int) -> np.ndarray:
        """Return the N negatives of a query at a turn: the epoch, unless it has several examples per epoch, or repeats.

        Each turn takes the next window of one permutation of the pool, wrapping around. A pool smaller than N is
        repeated; an empty one gives none.
        """
        pool = self.pool.shuffled(query, self.seed)
        if not len(pool):
            return pool
        return pool[(turn * self.negatives + np.arange(self.negatives)) % len(pool)]

    def repeats(self) -> int:
        """Count the negatives of one epoch that repeat another of the same query."""
        return int(np.maximum(self.negatives - self.pool.sizes, 0)[self.pool.sizes > 0].sum())

    def without_negative(self, in_batch: bool, masked: bool) -> int:
        """Count the queries without a negative in any batch, whose loss is always 0.

        With ``in_batch`` passages of other queries are negatives; with ``masked`` unless known to be relevant.
        """
        drawn = self.negatives > 0
        alone = np.flatnonzero(self.pool.sizes == 0) if drawn else np.arange(len(self.positives))
        if not len(alone) or not in_batch or min(self.batch_queries, len(self.positives)) == 1:
            return len(alone)
        if not masked:
            return 0
        never, met = self.never, [self.positives.passages, *([self.pool.passages] if drawn else [])]
        texts = np.unique(never.texts(np.concatenate(met)))
        known = np.bincount(owners(never.offsets)[np.isin(never.passages, texts)], minlength=len(never.offsets) - 1)
        return int((known[never.groups[alone]] == len(texts)).sum())


def by_turn(positives: Qrels, seed: int) -> Qrels:
    """Order the positives of each query by turn: higher grades first, equal grades in hashed order."""
    turn = hashed(seed, 0, "positives", positives.owners, positives.passages)
    order = np.lexsort((turn, -positives.grades, owners(positives.offsets)))
    return Qrels(positives.queries, positives.offsets, positives.passages[order], positives.grades[order])


@dataclass(frozen=True)
class Collator:
    """Makes the two features of a step: its queries, and all its passages as one flat list.

    Besides tokens and their lengths, the queries have ``target``: index of each one's positive in the flat list, and
    ``positives``: rows excluded from the negatives of a query, padded with -1; with weighted negatives also their rows,
    ``doubtful``, and the logarithm of their weight. The passages have ``place``: index of
    each of the flat list among the encoded ones (repeated passages are encoded once); ``row``: first row with the same
    text; ``query``: index in the batch of the query that a passage was drawn for; ``teacher``: a teacher's score of it
    with that query, if there is a teacher.

    With several ranks, each gets only the tokens of its share; ``sizes`` is the number of texts that each rank encodes.
    All other entries cover the whole batch.
    """

    plan: BatchPlan
    queries: TokenStore
    passages: TokenStore
    query_forward: Forward
    passage_forward: Forward
    rank: int = 0
    ranks: int = 1

    def __call__(self, step: int) -> tuple[Feature, Feature]:
        """Return the features of a step, in the order of batches, from 0."""
        epoch, examples = self.plan.step(step)
        queries, flat = zip(*(self.plan.passages(example, epoch) for example in examples.tolist()), strict=True)
        return self.collate(np.array(queries), list(flat))

    def collate(self, places: np.ndarray, flat: list[np.ndarray]) -> tuple[Feature, Feature]:
        """Build the features of queries, by position, int64 [b], and the rows of their passages, the positive first."""
        rows = np.concatenate(flat)
        offsets = offsets_of([len(part) for part in flat])
        # Distinct passages are encoded once, longest first, so that chunks need little padding.
        distinct, place = np.unique(rows, return_inverse=True)
        order = np.argsort(-self.passages.lengths(distinct), kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        place = rank[place]
        # All passages, repeats and all, in the order in which they are encoded.
        order_of_all = np.argsort(place, kind="stable")
        target = np.empty_like(order_of_all)
        target[order_of_all] = np.arange(len(rows))
        never = self.plan.never
        known = [never.of_query(query) for query in places.tolist()]
        scored = {} if self.plan.teacher is None else {"teacher": self._scores(places, flat)[order_of_all]}
        weighed = {}
        if self.plan.doubtful is not None:
            doubtful = [never.texts(self.plan.doubtful.of_query(query)) for query in places.tolist()]
            weighed = {"doubtful": _padded(doubtful), "log_weight": torch.tensor(np.log(self.plan.weight)).float()}
        return {
            **self._tokens(self.queries, self.plan.positives.queries[places], self.query_forward),
            "target": torch.from_numpy(target[offsets[:-1]]),
            "positives": _padded(known),
            **weighed,
        }, {
            **self._tokens(self.passages, distinct[order], self.passage_forward),
            "place": torch.from_numpy(place[order_of_all]),
            "row": torch.from_numpy(never.texts(rows)[order_of_all]),
            "query": torch.from_numpy(owners(offsets)[order_of_all]),
            **{name: torch.from_numpy(one) for name, one in scored.items()},
        }

    def _scores(self, places: np.ndarray, flat: list[np.ndarray]) -> np.ndarray:
        """Return the teacher's score of each passage with the query that it was drawn for, float32."""
        assert self.plan.teacher is not None
        of = self.plan.teacher.of
        return np.concatenate([of(place, rows) for place, rows in zip(places.tolist(), flat, strict=True)])

    def _tokens(self, store: TokenStore, rows: np.ndarray, forward: Forward) -> Feature:
        sizes = {}
        if self.ranks > 1:
            edges = shares(store.lengths(rows), self.ranks)
            rows, sizes = rows[own_share(len(rows), edges, self.rank)], {"sizes": np.diff(edges).tolist()}
        ids, mask = (torch.from_numpy(each) for each in store.padded(rows, forward.pad))
        return {"input_ids": ids, "attention_mask": mask, "lengths": store.lengths(rows).tolist(), **sizes}


def _padded(rows: list[np.ndarray]) -> torch.Tensor:
    """Return lists of rows as one tensor, padded with -1, int64 [lists, longest]."""
    padded = np.full((len(rows), max(map(len, rows))), -1)
    for line, some in zip(padded, rows, strict=True):
        line[: len(some)] = some
    return torch.from_numpy(padded)


def moved(feature: Feature, device: torch.device) -> Feature:
    """Return a feature whose tensors are on a device; a GPU copies them while it computes."""
    if device.type == "cpu":
        return feature
    pinned = device.type == "cuda"
    tensors = {name: one for name, one in feature.items() if isinstance(one, torch.Tensor)}
    return feature | {
        name: (one.pin_memory() if pinned else one).to(device, non_blocking=pinned) for name, one in tensors.items()
    }
