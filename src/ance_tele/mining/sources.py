"""The built-in sources of negatives. A new one is a function here with its title and colour, and a name in ``SOURCES``.

A source returns ranked candidates for each training query, positives included; mixing removes these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from ance_tele.data.ragged import owners
from ance_tele.mining.candidates import CandidateLists
from ance_tele.mining.seeding import hashed
from ance_tele.mining.source_type import Source, source
from ance_tele.search.topk import TopK

if TYPE_CHECKING:  # a report imports this module for titles and colours
    from ance_tele.data.annotations import ScoredPassages
    from ance_tele.data.collection import Qrels
    from ance_tele.mining.context import MiningContext


@source("query", "#0072B2")
def query(context: MiningContext) -> CandidateLists:
    """T_i(q): the passages nearest to each training query under the mining model."""
    return context.search_queries()


@source("lookahead", "#56B4E9")
def lookahead(context: MiningContext) -> CandidateLists:
    """L_i(q): the passages nearest to the positives of each training query under the mining model."""
    return lookahead_lists(context.positives, context.search_passages, context.config.lookahead_positives)


@source("BM25", "#E69F00")
def bm25(context: MiningContext) -> CandidateLists:
    """The best passages of each training query by BM25."""
    return context.bm25()


@source("random", "#F0E442")
def random(context: MiningContext) -> CandidateLists:
    """Uniform passages of the corpus, without repetition within a query."""
    corpus = len(context.collection.corpus)
    return random_lists(context.queries, corpus, context.config.depth, context.seed, context.episode)


@source("given", "#8F7D5E")
def given(context: MiningContext) -> CandidateLists:
    """The passages that training files name as negatives of a query."""
    return given_lists(context.collection.negatives, context.queries, context.config.depth)


@source("momentum", "#CC79A7")
def momentum(context: MiningContext) -> CandidateLists:
    """The previous pool, from which mixing draws; nothing is mined."""
    raise ValueError("'momentum' is drawn in mixing, by alpha; it is no source to mine.")


# Their order gives the codes in :class:`ance_tele.mining.pool.Pool`, and the order of counts.
SOURCES: Mapping[str, Source] = {one.name: one for one in (query, lookahead, bm25, random, momentum, given)}

MINED = tuple(name for name in SOURCES if name != "momentum")
"""What settings may name as a source."""


def lookahead_anchors(positives: Qrels, which: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the anchors, positives whose neighbours are mined, int64 [n], and offsets by query, int64 [q + 1]."""
    if which == "first":
        return positives.passages[positives.offsets[:-1]], np.arange(len(positives) + 1)
    return positives.passages, positives.offsets


def lookahead_lists(
    positives: Qrels, search_passages: Callable[[np.ndarray], CandidateLists], which: str
) -> CandidateLists:
    """Return the passages nearest to the positives of each query.

    Every distinct positive is searched for once.
    """
    anchors, offsets = lookahead_anchors(positives, which)
    distinct, members = np.unique(anchors, return_inverse=True)
    found = search_passages(distinct)
    return CandidateLists.join(found, owners(offsets), members, len(positives))


def random_lists(queries: np.ndarray, passages: int, depth: int, seed: int, episode: int) -> CandidateLists:
    """Return ``depth`` uniform passages of a corpus for each query, given by row, without repetition within a query."""
    depth = min(depth, passages)
    rows = np.empty((len(queries), depth), dtype=np.int64)
    for position, row in enumerate(queries):
        rng = np.random.default_rng(int(hashed(seed, episode, "random", np.array([row]))[0]))
        rows[position] = rng.choice(passages, depth, replace=False, shuffle=True)
    return CandidateLists.from_topk(TopK(rows, np.zeros(rows.shape, dtype=np.float32)))


def given_lists(negatives: ScoredPassages, queries: np.ndarray, depth: int) -> CandidateLists:
    """Return the given negatives of each query without repeats, by teacher score, then in file order."""
    row = np.repeat(negatives.queries, np.diff(negatives.offsets))
    position = np.searchsorted(queries, row)
    position[position == len(queries)] = 0
    ours = np.flatnonzero(queries[position] == row) if len(queries) else np.empty(0, dtype=np.int64)
    position, passages, scores = position[ours], negatives.passages[ours], negatives.scores[ours]
    order = np.lexsort((ours, np.nan_to_num(-scores, nan=np.inf), position))
    pairs = position[order] * (1 + int(passages.max(initial=0))) + passages[order]
    order = order[np.sort(np.unique(pairs, return_index=True)[1])]
    position = position[order]
    ranks = 1 + np.arange(len(position)) - np.searchsorted(position, position)
    keep = ranks <= depth
    order, position = order[keep], position[keep]
    return CandidateLists(
        np.searchsorted(position, np.arange(len(queries) + 1)),
        passages[order].astype(np.int32),
        np.nan_to_num(scores[order]).astype(np.float32),
        ranks[keep].astype(np.int16),
    )
