"""Passages that are never negatives of a training query: relevant ones, their duplicates, and the query itself."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ance_tele.data.collection import Collection, Qrels
from ance_tele.data.copies import Copies, first_queries
from ance_tele.data.ragged import pair_keys, spans
from ance_tele.mining.candidates import CandidateLists, in_sorted

# Queries per block: bounds the memory, without effect on the result.
_QUERIES_PER_BLOCK = 4096


@dataclass(frozen=True)
class NeverNegative:
    """The passages that are never negatives of training queries.

    Queries with the same text share them, and of duplicate passages only the first is listed, to save memory.

    Attributes:
        groups: Group of queries with the same text of each training query, int64 [q].
        offsets: Of the groups in ``passages``, int64 [groups + 1].
        passages: Rows of the corpus, int64 [n]; of duplicates the first.
        first: For each row of the corpus the first row with the same text, int64; None without duplicates.
        by_text: There are duplicates, queries with the same text, or queries that are passages.
    """

    groups: np.ndarray
    offsets: np.ndarray
    passages: np.ndarray
    first: np.ndarray | None = None
    by_text: bool = False

    @classmethod
    def rows(cls, known: Qrels) -> "NeverNegative":
        """Return the known passages alone, regardless of texts."""
        return cls(np.arange(len(known)), known.offsets, known.passages)

    @classmethod
    def of(cls, known: Qrels, collection: Collection, copies: Copies) -> "NeverNegative":
        """Return the known passages of queries with the same text, their duplicates, and the queries themselves."""
        alike = first_queries(collection.queries, known.queries)
        themselves, passages = copies.of_queries(collection.queries, known.queries)
        if not (copies.count or len(themselves) or (alike != np.arange(len(alike))).any()):
            return cls.rows(known)
        _, groups = np.unique(alike, return_inverse=True)
        owners = np.concatenate([np.repeat(groups, np.diff(known.offsets)), groups[themselves]])
        width = len(collection.corpus)
        pairs = np.unique(owners * width + np.concatenate([copies.first[known.passages], passages]))
        offsets = np.searchsorted(pairs, np.arange(groups.max(initial=-1) + 2) * width)
        return cls(groups, offsets, pairs % width, copies.first if copies.count else None, by_text=True)

    def texts(self, passages: np.ndarray) -> np.ndarray:
        """Return, for rows of the corpus, the first row with the same text."""
        return passages if self.first is None else self.first[passages]

    def of_query(self, query: int) -> np.ndarray:
        """Return the excluded passages of the query at a position, as first rows of their texts."""
        group = self.groups[query]
        return self.passages[self.offsets[group] : self.offsets[group + 1]]

    def among(self, queries: np.ndarray, passages: np.ndarray) -> np.ndarray:
        """Return which pairs of query position and passage are excluded, bool [pairs]."""
        texts, (pairs, width) = self.texts(passages), self._pairs
        inside = texts < width  # beyond it nothing is known
        return inside & in_sorted(self.groups[queries] * width + texts, pairs)

    @cached_property
    def _pairs(self) -> tuple[np.ndarray, int]:
        """The keys of all pairs of group and passage, ascending, and the factor of the group in them."""
        width = 1 + int(self.passages.max(initial=0))
        return np.sort(pair_keys(self.offsets, self.passages, width)), width


def same_text(lists: CandidateLists, named: Qrels, never: NeverNegative) -> np.ndarray:
    """Return which candidates have the text of a relevant passage or of the query but are not named: bool [n]."""
    judged, found = NeverNegative.rows(named), np.empty(len(lists.passages), dtype=bool)
    for start, stop in spans(len(lists), _QUERIES_PER_BLOCK):
        block, part = lists.block(start, stop), slice(lists.offsets[start], lists.offsets[stop])
        positions, passages = start + block.query_positions, block.passages.astype(np.int64)
        found[part] = never.among(positions, passages) & ~judged.among(positions, passages)
    return found
