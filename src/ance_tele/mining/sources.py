"""The sources of negatives. A new one is a function here, named in ``SOURCES`` and called in ``mine``.

A source answers one question: which passages, in which order, may be hard negatives for each query? It
leaves positives in; mixing takes them out.
"""

from collections.abc import Callable

import numpy as np

from ance_tele.data.collection import Qrels
from ance_tele.data.given_lists import Given
from ance_tele.mining.candidates import Candidates, Lists
from ance_tele.mining.config import NEW_SOURCES, MiningConfig
from ance_tele.mining.seeding import hashed
from ance_tele.search.topk import TopK

# The order is the code on disk: append only.
SOURCES = ("query", "lookahead", "bm25", "random", "momentum", "given")
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


def given(negatives: Given, queries: np.ndarray, depth: int) -> Lists:
    """The passages that training files name as negatives of a query: in their order, or by a teacher's score.

    Those that a teacher has scored come first, the best score first. A passage that is named twice comes once.

    Args:
        negatives: Of the collection.
        queries: Rows of the training queries, int64 [q], ascending.
        depth: Longest list.
    """
    owner = np.repeat(negatives.queries, np.diff(negatives.offsets))
    place = np.searchsorted(queries, owner)
    place[place == len(queries)] = 0
    ours = np.flatnonzero(queries[place] == owner) if len(queries) else np.empty(0, dtype=np.int64)
    place, passages, scores = place[ours], negatives.passages[ours], negatives.scores[ours]
    order = np.lexsort((ours, np.nan_to_num(-scores, nan=np.inf), place))
    pairs = place[order] * (1 + int(passages.max(initial=0))) + passages[order]
    order = order[np.sort(np.unique(pairs, return_index=True)[1])]
    place = place[order]
    ranks = 1 + np.arange(len(place)) - np.searchsorted(place, place)
    keep = ranks <= depth
    order, place = order[keep], place[keep]
    return Lists(
        np.searchsorted(place, np.arange(len(queries) + 1)),
        passages[order].astype(np.int32),
        np.nan_to_num(scores[order]).astype(np.float32),
        ranks[keep].astype(np.int16),
    )


def mine(
    positives: Qrels,
    config: MiningConfig,
    episode: int,
    seed: int,
    passages: int,
    query_lists: SearchQueries,
    search_passages: SearchPassages,
    bm25_lists: SearchQueries,
    negatives: Given | None = None,
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
        negatives: What training files give, for the source "given".
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
        elif source == "given":
            found[source] = given(negatives or Given.none(), positives.queries, config.depth)
        else:
            raise ValueError(f"No source is called '{source}'; there are: {', '.join(NEW_SOURCES)}.")
    return Candidates(positives.queries, found)
