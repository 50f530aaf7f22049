"""Queries filtered by a round trip: one is kept if a retriever finds a passage that it was made for."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ance_tele.data.load import collection_from_dicts
from ance_tele.encode.checkpoint import Checkpoint, TokenizedCollection
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.loading import load_model
from ance_tele.search.bm25 import BM25Retriever
from ance_tele.search.dense import DenseRetriever
from ance_tele.search.retriever import Retriever

log = logging.getLogger(__name__)


def found_again(
    passages: Mapping[str, tuple[str, str]],
    queries: Sequence[tuple[str, Sequence[str]]],
    k: int,
    model: str | Path | None = None,
) -> np.ndarray:
    """Return which queries find one of their passages among the best k, bool [queries].

    Args:
        passages: Title and text by id.
        queries: Text and ids of the passages of each.
        k: How far is looked.
        model: Searches; BM25 by default.

    Example:
        >>> passages = {"p1": ("", "a lock and its key"), "p2": ("", "the door of a house")}
        >>> found_again(passages, [("which key", ["p1"]), ("which key", ["p2"])], 1).tolist()
        [True, False]
    """
    with TemporaryDirectory() as folder:
        texts = {str(place): text for place, (text, _) in enumerate(queries)}
        qrels = {str(place): dict.fromkeys(ids, 1) for place, (_, ids) in enumerate(queries)}
        collection = collection_from_dicts(passages, texts, {"test": qrels}, cache=Path(folder))
        retriever: Retriever
        if model is None:
            retriever = BM25Retriever(collection)
        else:
            config = EncoderConfig()
            checkpoint = Checkpoint(model, config, weights="", model=load_model(model, config), announce=True)
            tokens = TokenizedCollection(checkpoint, collection, config, Path(folder))
            retriever = DenseRetriever(checkpoint, tokens, config, Path(folder) / "vectors")
        rows = collection.queries.rows(list(texts))
        wanted = [set(collection.corpus.rows(list(ids)).tolist()) for _, ids in queries]
        found = retriever.search(rows, min(k, len(passages))).rows.tolist()
    kept = np.array([bool(of & set(best)) for of, best in zip(wanted, found, strict=True)], dtype=bool)
    log.info(f"round trip: {kept.sum():,} of {len(kept):,} queries find their passage within the first {k:,}")
    return kept
