"""The sources of negatives. A new one is a function here, named in ``SOURCES`` and called in ``mine``.

A source answers one question: which passages, in which order, may be hard negatives for each query? It
leaves positives in; mixing takes them out.
"""

from collections.abc import Callable

import numpy as np

from ance_tele.data.collection import Qrels
from ance_tele.encode.topk import TopK
from ance_tele.mining.candidates import Candidates, Lists
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.seeding import hashed

# The order is the code on disk: append only.
SOURCES = ("query", "lookahead", "bm25", "random", "momentum")

SearchQueries = Callable[[], Lists]
SearchPassages = Callable[[np.ndarray], Lists]


def around(positives: Qrels, which: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the positives that lookahead searches around, int64 [n], and their offsets by query, int64 [q + 1].

    Args:
        positives: Relevant passages of the training queries.
        which: "all" positives of a query, or the "first" only.
    """
    if which == "first":
        return positives.passages[positives.offsets[:-1]], np.arange(len(positives) + 1)
    return positives.passages, positives.offsets


def lookahead(positives: Qrels, search_passages: SearchPassages, which: str) -> Lists:
    """L_i(q): the passages nearest to the positives of q, searched with the passages' own vectors.

    Every distinct positive is searched once, however many queries share it.

    Args:
        positives: Relevant passages of the training queries.
        search_passages: Returns the top-K of passages given by row, ascending.
        which: "all" positives of a query, or the "first" only.
    """
    passages, offsets = around(positives, which)
    distinct, members = np.unique(passages, return_inverse=True)
    found = search_passages(distinct)
    owners = np.repeat(np.arange(len(positives)), np.diff(offsets))
    return Lists.join(found, owners, members, len(positives))


def random(queries: np.ndarray, passages: int, depth: int, seed: int, episode: int) -> Lists:
    """Uniform passages of the corpus, without repetition within a query."""
    depth = min(depth, passages)
    rows = np.empty((len(queries), depth), dtype=np.int64)
    for index, query in enumerate(queries):
        rng = np.random.default_rng(int(hashed(seed, episode, "random", np.array([query]))[0]))
        rows[index] = rng.choice(passages, depth, replace=False, shuffle=True)
    return Lists.from_topk(TopK(rows, np.zeros(rows.shape, dtype=np.float32)))


def mine(
    positives: Qrels,
    config: MiningConfig,
    episode: int,
    seed: int,
    passages: int,
    query_lists: SearchQueries,
    search_passages: SearchPassages,
    bm25_lists: SearchQueries,
) -> Candidates:
    """Collect the candidates of an episode from all its sources.

    Args:
        positives: Relevant passages of the training queries; its queries are the ones mined for.
        config: Sources and depth.
        episode: Counted from 1.
        seed: For the random source.
        passages: Size of the corpus.
        query_lists: Returns T_i, the top-K of every training query under the mining checkpoint.
        search_passages: Returns the top-K of passages given by row, ascending, under the same checkpoint.
        bm25_lists: Returns the BM25 top-K of every training query.
    """
    found: dict[str, Lists] = {}
    for source in config.sources_at(episode):
        if source == "query":
            found[source] = query_lists()
        elif source == "lookahead":
            found[source] = lookahead(positives, search_passages, config.lookahead_positives)
        elif source == "bm25":
            found[source] = bm25_lists()
        elif source == "random":
            found[source] = random(positives.queries, passages, config.depth, seed, episode)
        else:
            raise ValueError(f"No source is called '{source}'; there are: query, lookahead, bm25, random.")
    return Candidates(positives.queries, found)
