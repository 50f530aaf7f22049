"""Candidates: ranked passages by query and source, before mixing (ragged)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ance_tele.data.ragged import offsets_of, owners, ranges, within

if TYPE_CHECKING:
    from ance_tele.search.topk import TopK


@dataclass(frozen=True)
class CandidateLists:
    """One ranked list of passages per query (ragged), positives included.

    Attributes:
        offsets: int64 [queries + 1]; the list of the query at position i is ``offsets[i]:offsets[i + 1]``.
        passages: Rows of the corpus, int32 [n].
        scores: float32 [n].
        ranks: int16 [n], from 1.

    Example:
        >>> lists = CandidateLists.of([[7, 3], [], [5]])
        >>> len(lists), lists[0].tolist(), lists.ranks.tolist(), lists.query_positions.tolist()
        (3, [7, 3], [1, 2, 1], [0, 0, 2])
    """

    offsets: np.ndarray
    passages: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, position: int) -> np.ndarray:
        return self.passages[self.offsets[position] : self.offsets[position + 1]]

    @property
    def query_positions(self) -> np.ndarray:
        """The position of each candidate's query, int64 [n], ascending."""
        return owners(self.offsets)

    def block(self, start: int, stop: int) -> "CandidateLists":
        """Return the lists of the queries at positions ``start:stop``."""
        part = slice(self.offsets[start], self.offsets[stop])
        offsets = self.offsets[start : stop + 1] - self.offsets[start]
        return CandidateLists(offsets, self.passages[part], self.scores[part], self.ranks[part])

    def where(self, keep: np.ndarray) -> "CandidateLists":
        """Return the lists with the candidates of a mask, bool [n], which keep their ranks."""
        offsets = offsets_of(keep)[self.offsets]
        return CandidateLists(offsets, self.passages[keep], self.scores[keep], self.ranks[keep])

    def at(self, positions: np.ndarray) -> "CandidateLists":
        """Return the lists of the queries at some positions, int64 [n]."""
        sizes = np.diff(self.offsets)[positions]
        place = ranges(self.offsets[positions], sizes)
        return CandidateLists(offsets_of(sizes), self.passages[place], self.scores[place], self.ranks[place])

    @classmethod
    def of(cls, passages: Iterable[ArrayLike], scores: Iterable[ArrayLike] | None = None) -> "CandidateLists":
        """Return lists from the passage rows of each query, best first; scores default to 0."""
        rows = [np.asarray(one, dtype=np.int32) for one in passages]
        offsets = offsets_of([len(one) for one in rows])
        given = [np.zeros(offsets[-1])] if scores is None else [np.asarray(one) for one in scores]
        ranks = 1 + within(offsets)
        flat = np.concatenate([*rows, np.empty(0, np.int32)])
        return cls(offsets, flat, np.concatenate([*given, np.empty(0)]).astype(np.float32), ranks.astype(np.int16))

    @classmethod
    def from_topk(cls, found: "TopK") -> "CandidateLists":
        """Return lists of search results, without empty places (row -1)."""
        valid = found.rows >= 0
        offsets = offsets_of(valid.sum(axis=1))
        ranks = np.broadcast_to(np.arange(1, found.rows.shape[1] + 1, dtype=np.int16), valid.shape)
        return cls(offsets, found.rows[valid].astype(np.int32), found.scores[valid], ranks[valid])

    @classmethod
    def join(
        cls, lists: "CandidateLists", query_positions: np.ndarray, members: np.ndarray, queries: int
    ) -> "CandidateLists":
        """Return the union of several lists for each query; a passage in several of them keeps its best rank.

        ``query_positions`` and ``members`` (list numbers) are the pairs of query and list, int64 [pairs].
        """
        order = np.argsort(query_positions, kind="stable")
        query_positions, members = query_positions[order], members[order]
        lengths = np.diff(lists.offsets)[members]
        position = np.repeat(query_positions, lengths)
        index = ranges(lists.offsets[members], lengths)
        passages, ranks, scores = lists.passages[index], lists.ranks[index], lists.scores[index]
        if len(query_positions) > len(np.unique(query_positions)):
            order = np.lexsort((passages, ranks, position))
            pair = position[order] * (int(passages.max(initial=0)) + 1) + passages[order]
            _, first = np.unique(pair, return_index=True)
            order = order[np.sort(first)]
            position, passages, ranks, scores = position[order], passages[order], ranks[order], scores[order]
        offsets = np.searchsorted(position, np.arange(queries + 1))
        return cls(offsets, passages, scores, ranks)


@dataclass(frozen=True)
class Candidates:
    """The candidates of one episode by source.

    Attributes:
        queries: Rows of the training queries, int64 [q].
        lists: By source, one list per query, in the order of ``queries``.

    Example:
        >>> candidates = Candidates(np.array([4, 9]), {"query": CandidateLists.of([[7, 3], [5]])})
        >>> candidates.lists["query"][1].tolist()  # of the query of row 9
        [5]
    """

    queries: np.ndarray
    lists: dict[str, CandidateLists]


def concatenate(parts: Iterable[CandidateLists]) -> CandidateLists:
    """Concatenate the lists of consecutive blocks of queries."""
    parts = list(parts)
    return CandidateLists(
        offsets_of(np.concatenate([np.diff(part.offsets) for part in parts])),
        np.concatenate([part.passages for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.ranks for part in parts]),
    )


def in_sorted(values: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Return which values are among ``ordered`` (ascending), bool [n]."""
    if not len(ordered):
        return np.zeros(len(values), dtype=bool)
    place = np.searchsorted(ordered, values)
    place[place == len(ordered)] = 0
    return ordered[place] == values
