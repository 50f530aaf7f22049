"""Learned and forgotten: what a refresh did to each training query (paper, Section 3; Figures 4 and 8c)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ance_tele.data.collection import Qrels
from ance_tele.data.ragged import owners, pair_keys, spans
from ance_tele.mining.candidates import CandidateLists, in_sorted
from ance_tele.runs.membership import membership
from ance_tele.store.tables import read_parquet, reading

# Queries compared at a time: bounds the memory, and sorting many short arrays is faster than one long one.
QUERIES_PER_BLOCK = 4096


def reciprocal_ranks(lists: CandidateLists, positives: Qrels, cutoff: int = 100) -> np.ndarray:
    """Return the reciprocal rank of the first positive within ``cutoff``, 0 where there is none, float64 [q]."""
    best = np.full(len(lists), np.inf)
    width = 1 + max(int(lists.passages.max(initial=0)), int(positives.passages.max(initial=0)))
    for start, stop in spans(len(lists), QUERIES_PER_BLOCK):
        block = lists.block(start, stop)
        known = np.sort(pair_keys(positives.offsets[start : stop + 1], positives.passages, width))
        hit = in_sorted(pair_keys(block.offsets, block.passages, width), known) & (block.ranks <= cutoff)
        np.minimum.at(best, start + block.query_positions[hit], block.ranks[hit])
    return 1.0 / best


@dataclass(frozen=True)
class Change:
    """Shares of the training queries that an episode made worse, better, or left as they were."""

    forgotten: float
    learned: float
    unchanged: float


def change(before: np.ndarray, after: np.ndarray) -> Change:
    """Compare the reciprocal ranks of the same queries under two checkpoints, float [q] each.

    ``forgotten`` is the forgetting rate F_i; the denominator is all training queries.
    """
    count = max(1, len(before))
    forgotten, learned = int((after < before).sum()), int((after > before).sum())
    return Change(forgotten / count, learned / count, (len(before) - forgotten - learned) / count)


def new_share(current: CandidateLists, earlier: Sequence[CandidateLists], positives: Qrels) -> float:
    """Return the share of the negatives of T_i that no earlier T_j held: sum |New_i| / sum |T_i|.

    The lists are of the same queries; their positives are left out.
    """
    new = size = 0
    for start, stop in spans(len(current), QUERIES_PER_BLOCK):
        relevant = positives.passages[positives.offsets[start] : positives.offsets[stop]]
        known = owners(positives.offsets[start : stop + 1]), relevant
        blocks = [lists.block(start, stop) for lists in [current, *earlier]]
        entries = [(block.query_positions, block.passages.astype(np.int64)) for block in blocks]
        pairs = membership([known, *entries], stop - start).without(0)
        now = pairs.has(1)
        size += int(now.sum())
        new += int((now & (pairs.bits == np.uint64(2))).sum())
    return new / size if size else 0.0


def training_metric(depth: int, passages: int | None = None) -> str:
    """Name the metric of training queries that lists of this depth give: MRR@100, or MRR@depth of shorter ones.

    Where there are so few ``passages`` that the lists hold all of them, these are as deep as can be.
    """
    return f"MRR@{100 if passages is not None and passages <= depth else min(100, depth)}"


def read_reciprocal_ranks(path: Path) -> np.ndarray:
    """Return the reciprocal ranks of a ``per_training_query.parquet``, whatever depth they were found in, float64."""
    table = read_parquet(path)
    with reading(path):
        (name,) = (name for name in table.column_names if name.startswith("MRR@"))
        return table[name].to_numpy()
