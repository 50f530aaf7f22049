"""What is drawn from a pool for each anchor, with scores, and as the rows of a dataset."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ance_tele.data.ragged import offsets_of, owners
from ance_tele.dropin.pairs import Pairs, texts_at
from ance_tele.mining.pool import Pool
from ance_tele.search.retriever import PairScores

OutputFormat = Literal["triplet", "n-tuple", "labeled-pair", "labeled-list"]


@dataclass(frozen=True)
class Drawn:
    """Negatives of each distinct anchor, nearest first.

    Attributes:
        pairs: The dataset.
        offsets: int64 [q + 1]; the negatives of anchor i are ``offsets[i]:offsets[i + 1]``.
        passages: Rows of the corpus, int64 [n]; none twice for an anchor.
        scores: Of anchor and negative, float32 [n].
        positive_scores: Of each anchor and positive, float32 [pairs].
        wanted: Negatives of an anchor that were asked for.
    """

    pairs: Pairs
    offsets: np.ndarray
    passages: np.ndarray
    scores: np.ndarray
    positive_scores: np.ndarray
    wanted: int

    def rows_of(self, output_format: OutputFormat, output_scores: bool) -> dict[str, list[Any]]:
        """Return the columns of a dataset, as ``mine_hard_negatives`` has them."""
        return _FORMATS[output_format](self, output_scores)

    @property
    def short(self) -> int:
        """Number of anchors with fewer negatives than were asked for."""
        return int((np.diff(self.offsets) < self.wanted).sum())


def draw(pairs: Pairs, pool: Pool, count: int, seed: int, score: PairScores, top: bool = False) -> Drawn:
    """Draw ``count`` distinct negatives of each anchor from a pool, or fewer where it is too small.

    What several sources have named is as many times as probable. With ``top`` the best ranks are taken instead.
    """
    positives, chosen = pairs.training.positives, list[np.ndarray]()
    for position in range(len(positives)):
        if top:
            part = slice(pool.offsets[position], pool.offsets[position + 1])
            order = pool.passages[part][np.argsort(pool.ranks[part], kind="stable")].astype(np.int64)
        else:
            order = pool.shuffled(position, seed)
        _, first = np.unique(order, return_index=True)
        chosen.append(order[np.sort(first)[:count]])
    offsets, passages = offsets_of([len(one) for one in chosen]), np.concatenate([*chosen, np.empty(0, np.int64)])
    of_anchor = owners(offsets)
    scores = score(of_anchor, passages)
    order = np.lexsort((passages, -scores, of_anchor))  # as in lists: ties in the order of rows
    relevant = score(owners(positives.offsets), positives.passages)
    return Drawn(pairs, offsets, passages[order], scores[order], relevant, count)


def _triplets(drawn: Drawn, scored: bool) -> dict[str, list[Any]]:
    pairs, positives = drawn.pairs, drawn.pairs.training.positives
    of_pair = owners(positives.offsets)
    sizes = np.diff(drawn.offsets)[of_pair]
    pair = np.repeat(np.arange(len(of_pair)), sizes)
    place = np.concatenate([np.arange(*drawn.offsets[q : q + 2]) for q in of_pair] or [np.empty(0, np.int64)])
    columns: dict[str, list[Any]] = {
        pairs.anchor: texts_at(pairs.collection.queries, positives.queries[of_pair[pair]]),
        pairs.positive: texts_at(pairs.collection.corpus, positives.passages[pair]),
        "negative": texts_at(pairs.collection.corpus, drawn.passages[place]),
    }
    if scored:
        columns["scores"] = np.stack([drawn.positive_scores[pair], drawn.scores[place]], axis=1).tolist()
    return columns


def _tuples(drawn: Drawn, scored: bool) -> dict[str, list[Any]]:
    """Pairs of anchors with all the negatives that were asked for; others are left out."""
    pairs, positives = drawn.pairs, drawn.pairs.training.positives
    of_pair = owners(positives.offsets)
    kept = np.flatnonzero(np.diff(drawn.offsets)[of_pair] == drawn.wanted)
    place = drawn.offsets[of_pair[kept]][:, None] + np.arange(drawn.wanted)
    columns: dict[str, list[Any]] = {
        pairs.anchor: texts_at(pairs.collection.queries, positives.queries[of_pair[kept]]),
        pairs.positive: texts_at(pairs.collection.corpus, positives.passages[kept]),
    }
    for number in range(drawn.wanted):
        columns[f"negative_{number + 1}"] = texts_at(pairs.collection.corpus, drawn.passages[place[:, number]])
    if scored:
        columns["scores"] = np.concatenate([drawn.positive_scores[kept][:, None], drawn.scores[place]], axis=1).tolist()
    return columns


def _labeled_pairs(drawn: Drawn, scored: bool) -> dict[str, list[Any]]:
    """Of each anchor its positives, then its negatives."""
    pairs, positives = drawn.pairs, drawn.pairs.training.positives
    position = np.concatenate([owners(positives.offsets), owners(drawn.offsets)])
    label = np.repeat([1, 0], [len(positives.passages), len(drawn.passages)])
    order = np.argsort(position, kind="stable")
    passages = np.concatenate([positives.passages, drawn.passages])[order]
    scores = np.concatenate([drawn.positive_scores, drawn.scores])[order]
    return {
        pairs.anchor: texts_at(pairs.collection.queries, positives.queries[position[order]]),
        pairs.positive: texts_at(pairs.collection.corpus, passages),
        **({"score": scores.tolist()} if scored else {"label": label[order].tolist()}),
    }


def _labeled_lists(drawn: Drawn, scored: bool) -> dict[str, list[Any]]:
    """Pairs of anchors with at least one negative; others are left out."""
    pairs, positives = drawn.pairs, drawn.pairs.training.positives
    of_pair = owners(positives.offsets)
    kept = np.flatnonzero(np.diff(drawn.offsets)[of_pair] > 0)
    parts = [slice(*drawn.offsets[query : query + 2]) for query in of_pair[kept]]
    negatives = texts_at(pairs.collection.corpus, drawn.passages)
    own = texts_at(pairs.collection.corpus, positives.passages[kept])
    columns: dict[str, list[Any]] = {
        pairs.anchor: texts_at(pairs.collection.queries, positives.queries[of_pair[kept]]),
        pairs.positive: [[text, *negatives[part]] for text, part in zip(own, parts, strict=True)],
    }
    if scored:
        scores = zip(drawn.positive_scores[kept].tolist(), parts, strict=True)
        return {**columns, "scores": [[first, *drawn.scores[part].tolist()] for first, part in scores]}
    return {**columns, "labels": [[1] + [0] * (part.stop - part.start) for part in parts]}


_FORMATS: Mapping[str, Callable[[Drawn, bool], dict[str, list[Any]]]] = {
    "triplet": _triplets,
    "n-tuple": _tuples,
    "labeled-pair": _labeled_pairs,
    "labeled-list": _labeled_lists,
}
FORMATS = tuple(_FORMATS)
