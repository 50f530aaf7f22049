"""Learning and forgetting of training queries between checkpoints (paper, Section 3; Figures 4 and 8c)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ance_tele.data.collection import Qrels
from ance_tele.data.ragged import owners, pair_keys, spans
from ance_tele.mining.candidates import CandidateLists, in_sorted
from ance_tele.runs.membership import membership
from ance_tele.store.files import reading
from ance_tele.store.tables import read_table

# Queries per block: bounds the memory; sorting many short arrays is faster than one long one.
QUERIES_PER_BLOCK = 4096


def reciprocal_ranks(lists: CandidateLists, positives: Qrels, cutoff: int = 100) -> np.ndarray:
    """Return the reciprocal rank of the first positive within ``cutoff``, 0 without, float64 [q]."""
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
    """Shares of the training queries that did better, worse and the same after an episode."""

    forgotten: float
    learned: float
    unchanged: float


def change(before: np.ndarray, after: np.ndarray) -> Change:
    """Compare the reciprocal ranks of the same queries under two checkpoints, float [q] each.

    ``forgotten`` is the forgetting rate F_i; the denominator is all training queries.
    """
    count = max(1, len(before))
    worse, learned = int(forgotten(before, after).sum()), int((after > before).sum())
    return Change(worse / count, learned / count, (len(before) - worse - learned) / count)


def forgotten(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return which queries have a lower reciprocal rank after than before, bool [q]."""
    return after < before


def new_share(current: CandidateLists, earlier: Sequence[CandidateLists], positives: Qrels) -> float:
    """Return the share of new negatives of T_i: sum |New_i| / sum |T_i|, without positives.

    The lists are of the same queries.
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
    """Return the metric of training queries for lists of a depth: MRR@100, or MRR@depth of shorter ones.

    Lists of a whole corpus, with fewer ``passages``, count as deep enough.
    """
    return f"MRR@{100 if passages is not None and passages <= depth else min(100, depth)}"


def read_reciprocal_ranks(path: Path) -> np.ndarray:
    """Return the reciprocal ranks in a ``per_training_query.parquet``, of any depth, float64."""
    table = read_table(path)
    with reading(path):
        (name,) = (name for name in table.column_names if name.startswith("MRR@"))
        return table[name].to_numpy()
