"""Batches as a pure function of (seed, epoch, step): the same whether a run was interrupted or not."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler

from ance_tele.data.collection import Qrels
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.encoder import Forward
from ance_tele.mining.known import Known
from ance_tele.mining.pool import Pool
from ance_tele.mining.seeding import hashed


@dataclass(frozen=True)
class Plan:
    """Who trains with whom: queries by epoch and step, positives that rotate, negatives without replacement.

    Attributes:
        pool: Negatives of each training query.
        positives: Relevant passages of the same queries, in the same order.
        batch_queries: Queries in a step.
        negatives: N, drawn for each query.
        seed: Of the order of queries and of draws.
        known: What is never a negative of the same queries; None means the positives.
    """

    pool: Pool
    positives: Qrels
    batch_queries: int
    negatives: int
    seed: int
    known: Known | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Steps that cover all training queries once; the last may be smaller."""
        return -(-len(self.positives) // self.batch_queries)

    @cached_property
    def never(self) -> Known:
        """What is never a negative of the queries."""
        return self.known or Known.rows(self.positives)

    def order(self, epoch: int) -> np.ndarray:
        """Return the order of the training queries in an epoch, int64 [q]."""
        return _order(len(self.positives), self.seed, epoch)

    def step(self, step: int) -> tuple[int, np.ndarray]:
        """Return the epoch of a step (both from 0) and the positions of its queries."""
        epoch, inside = divmod(step, self.steps_per_epoch)
        start = inside * self.batch_queries
        return epoch, self.order(epoch)[start : start + self.batch_queries]

    def positive(self, query: int, epoch: int) -> int:
        """Return the positive of a query in an epoch: several take turns."""
        start, stop = self.positives.offsets[query : query + 2]
        return int(self.positives.passages[start + epoch % (stop - start)])

    def draw(self, query: int, epoch: int) -> np.ndarray:
        """Return the N negatives of a query in an epoch.

        One permutation of the pool per query; each epoch takes the next window of it, wrapping around. A pool
        smaller than N repeats its own; an empty one gives none.
        """
        pool = self.pool.shuffled(query, self.seed)
        if not len(pool):
            return pool
        return pool[(epoch * self.negatives + np.arange(self.negatives)) % len(pool)]

    def repeats(self) -> int:
        """Count the negatives of one epoch that repeat another of the same query, for want of more."""
        return int(np.maximum(self.negatives - self.pool.sizes, 0)[self.pool.sizes > 0].sum())


@lru_cache(maxsize=2)
def _order(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.argsort(hashed(seed, epoch, "order", np.arange(count)), kind="stable")


class StepSampler(BatchSampler):
    """Yields, step after step, the numbers of its examples; example = epoch * queries + position.

    The trainer sees one long epoch, so that nothing but the number of the step decides a batch.
    """

    def __init__(self, plan: Plan, steps: int, first: int = 0) -> None:
        self.plan, self.steps, self.first = plan, steps, first
        self.batch_size, self.drop_last = plan.batch_queries, False

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first, self.first + self.steps):
            epoch, queries = self.plan.step(step)
            yield (epoch * len(self.plan.positives) + queries).tolist()


@dataclass(frozen=True)
class Collator:
    """Turns examples into two features: the queries, and all passages of the batch as one flat list.

    Keys that start with ``query_`` and ``passage_`` are the two features; beside the tokens, ``query_target``
    (the place of each query's positive among the flat passages), ``query_positives`` (rows that are no negatives,
    padded with -1), ``passage_place`` (which of the encoded passages each of the flat list is: a passage that
    several queries meet is encoded once and counts as often as it is met), ``passage_row`` (of
    passages of the same text the first) and ``passage_owner`` (whose they are) are what the loss needs.
    """

    plan: Plan
    queries: TokenStore
    passages: TokenStore
    query_forward: Forward
    passage_forward: Forward
    valid_label_columns: tuple[str, ...] = ()

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Collate examples, each ``{"example": number}``."""
        numbers = np.array([example["example"] for example in examples])
        epochs, places = np.divmod(numbers, len(self.plan.positives))
        pairs = list(zip(places.tolist(), epochs.tolist(), strict=True))
        flat = [np.concatenate([[self.plan.positive(*pair)], self.plan.draw(*pair)]) for pair in pairs]
        return self.collate(places, flat)

    def collate(self, places: np.ndarray, flat: list[np.ndarray]) -> dict[str, Any]:
        """Build the features of queries and their passages.

        Args:
            places: Positions of the queries among the training queries, int64 [b].
            flat: Rows of each query's passages, the positive first.
        """
        rows = np.concatenate(flat)
        owner = np.repeat(np.arange(len(flat)), [len(part) for part in flat])
        first = np.cumsum([0] + [len(part) for part in flat[:-1]])
        # Each distinct passage is encoded once, longest first: chunks of like length need little padding.
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
        positives = np.full((len(known), max(map(len, known))), -1)
        for line, relevant in zip(positives, known, strict=True):
            line[: len(relevant)] = relevant
        batch: dict[str, Any] = {
            **_tokens("query_", self.queries, self.plan.positives.queries[places], self.query_forward),
            "query_target": torch.from_numpy(target[first]),
            "query_positives": torch.from_numpy(positives),
            **_tokens("passage_", self.passages, distinct[order], self.passage_forward),
            "passage_place": torch.from_numpy(place[order_of_all]),
            "passage_row": torch.from_numpy(never.texts(rows)[order_of_all]),
            "passage_owner": torch.from_numpy(owner[order_of_all]),
        }
        return batch


def _tokens(prefix: str, store: TokenStore, rows: np.ndarray, forward: Forward) -> dict[str, torch.Tensor]:
    ids, mask = store.padded(rows, forward.pad)
    return {f"{prefix}input_ids": torch.from_numpy(ids), f"{prefix}attention_mask": torch.from_numpy(mask)}
