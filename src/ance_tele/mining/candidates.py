"""Candidates: ranked passages per query and source, before mixing; ragged arrays of row numbers."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ance_tele.search.topk import TopK


@dataclass(frozen=True)
class Lists:
    """One ranked list per query (ragged); the positives are still in.

    Attributes:
        offsets: int64 [queries + 1].
        passages: Rows of the corpus, int32 [n].
        scores: float32 [n].
        ranks: int16 [n], from 1.
    """

    offsets: np.ndarray
    passages: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, query: int) -> np.ndarray:
        return self.passages[self.offsets[query] : self.offsets[query + 1]]

    def block(self, start: int, stop: int) -> "Lists":
        """Return the lists of the queries ``start:stop``."""
        part = slice(self.offsets[start], self.offsets[stop])
        offsets = self.offsets[start : stop + 1] - self.offsets[start]
        return Lists(offsets, self.passages[part], self.scores[part], self.ranks[part])

    def where(self, keep: np.ndarray) -> "Lists":
        """Return the lists with only some of their candidates, bool [n]; these keep their ranks."""
        offsets = np.concatenate([[0], np.cumsum(keep)])[self.offsets]
        return Lists(offsets, self.passages[keep], self.scores[keep], self.ranks[keep])

    @classmethod
    def from_topk(cls, found: TopK) -> "Lists":
        """Turn search results into lists; places that the search left empty (row -1) drop out."""
        valid = found.rows >= 0
        offsets = np.concatenate([[0], np.cumsum(valid.sum(axis=1))])
        ranks = np.broadcast_to(np.arange(1, found.rows.shape[1] + 1, dtype=np.int16), valid.shape)
        return cls(offsets, found.rows[valid].astype(np.int32), found.scores[valid], ranks[valid])

    @classmethod
    def join(cls, lists: "Lists", owners: np.ndarray, members: np.ndarray, queries: int) -> "Lists":
        """Give each query the union of several lists; an id in several of them keeps its best rank.

        Args:
            lists: The lists to join.
            owners: Which query a list is for, int64 [pairs], from 0.
            members: Which list, int64 [pairs].
            queries: How many queries there are.
        """
        order = np.argsort(owners, kind="stable")
        owners, members = owners[order], members[order]
        lengths = np.diff(lists.offsets)[members]
        owner = np.repeat(owners, lengths)
        inside = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        index = np.repeat(lists.offsets[members], lengths) + inside
        passages, ranks, scores = lists.passages[index], lists.ranks[index], lists.scores[index]
        if len(owners) > len(np.unique(owners)):
            order = np.lexsort((passages, ranks, owner))
            pair = owner[order] * (int(passages.max(initial=0)) + 1) + passages[order]
            _, first = np.unique(pair, return_index=True)
            order = order[np.sort(first)]
            owner, passages, ranks, scores = owner[order], passages[order], ranks[order], scores[order]
        offsets = np.searchsorted(owner, np.arange(queries + 1))
        return cls(offsets, passages, scores, ranks)


@dataclass(frozen=True)
class Candidates:
    """What the sources of one episode found.

    Attributes:
        queries: Rows of the training queries, int64 [q].
        lists: By source, one list per query.
    """

    queries: np.ndarray
    lists: dict[str, Lists]


def concatenate(parts: Iterable[Lists]) -> Lists:
    """Put the lists of consecutive queries together."""
    parts = list(parts)
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    return Lists(
        np.concatenate([[0], np.cumsum(lengths)]),
        np.concatenate([part.passages for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.ranks for part in parts]),
    )


def member(values: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Return which values are among ``ordered`` (ascending), bool [n]."""
    if not len(ordered):
        return np.zeros(len(values), dtype=bool)
    place = np.searchsorted(ordered, values)
    place[place == len(ordered)] = 0
    return ordered[place] == values
