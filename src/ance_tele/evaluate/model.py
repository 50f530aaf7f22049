"""Measure a model that no run has trained: encode, search, score."""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

from sentence_transformers import SentenceTransformer

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection
from ance_tele.data.load import cache_folder
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import Task, tokens_of
from ance_tele.encode.finite import as_given
from ance_tele.encode.lengths import TEXTS
from ance_tele.encode.loading import adopt_model, load_model, load_pair
from ance_tele.encode.rows import encode_rows
from ance_tele.encode.vectors import encode_corpus
from ance_tele.evaluate.config import EvaluateConfig, ExcludeSelf
from ance_tele.evaluate.evaluation import Evaluation
from ance_tele.evaluate.metrics import Scores
from ance_tele.evaluate.run import Run
from ance_tele.search.topk import exact_topk

log = logging.getLogger(__name__)


def evaluate_model(
    model: SentenceTransformer | str | Path | None,
    collection: Collection,
    split: str,
    config: EncoderConfig,
    depth: int = 1000,
    query_model: str | Path | None = None,
    passage_model: str | Path | None = None,
    relevance_level: int | None = None,
    exclude_self: ExcludeSelf = "id_and_text",
) -> tuple[Run, Scores]:
    """Measure a model on a split.

    Args:
        model: Folder, hub name, or a model in memory, which stays as it is; None where a pair is given.
        collection: Corpus, queries, judgements.
        split: Which judgements.
        config: Lengths, prompts, pooling.
        depth: Passages retrieved per query; metrics that look deeper are left out.
        query_model: Folder or hub name of the query encoder of a pair.
        passage_model: Folder or hub name of its passage encoder.
        relevance_level: Grade from which on a passage is relevant; None for what is usual (:class:`EvaluateConfig`).
        exclude_self: Which passages are left out of the ranking of a query that they are themselves.

    Raises:
        UserError: The model cannot be loaded, both a model and a pair are given or half a pair, there is no such
            split, or none of its judgements reaches the level.
    """
    how = EvaluateConfig(split, relevance_level, exclude_self, depth)
    evaluation = Evaluation.of(how, collection)
    loaded = _load(model, query_model, passage_model, config)
    stores: dict[Task, TokenStore] = {}
    for task in get_args(Task):
        texts = collection.queries if task == "query" else collection.corpus
        stores[task] = tokens_of(loaded, config, task, texts, cache_folder(), collection.texts)
        if (cut := stores[task].cut) is not None and cut.cut:
            log.info(cut.line(TEXTS[task]))
    device = "cpu" if loaded.device.type == "cpu" else str(loaded.device)
    name = query_model or (None if isinstance(model, SentenceTransformer) else model)
    with as_given(loaded, name), TemporaryDirectory(dir=cache_folder()) as folder:
        asked = encode_rows(loaded, stores["query"], evaluation.qrels.queries, "query", config)
        vectors = encode_corpus(loaded, stores["document"], "document", config, Path(folder), weights="")
        found = exact_topk(asked, vectors, evaluation.search_depth, collection.corpus.id_rank, device)
    return evaluation.measure(found)


def lengths_for(model: str | Path, collection: Collection) -> list[str]:
    """Return a line for queries and one for passages: how many tokens they have for a model, and how many it cuts.

    Args:
        model: Folder or hub name; its own lengths count.
        collection: Corpus and queries; they are tokenised as an evaluation would, and kept for it.

    Raises:
        UserError: The model cannot be loaded.
    """
    config = EncoderConfig()
    loaded = load_model(model, config, "cpu")
    lines = []
    for task in get_args(Task):
        texts = collection.queries if task == "query" else collection.corpus
        cut = tokens_of(loaded, config, task, texts, cache_folder(), collection.texts).cut
        lines += [cut.line(TEXTS[task])] if cut is not None else []
    return lines


def _load(
    model: SentenceTransformer | str | Path | None,
    query_model: str | Path | None,
    passage_model: str | Path | None,
    config: EncoderConfig,
) -> SentenceTransformer:
    pair = query_model is not None or passage_model is not None
    if (model is None) != pair:
        given = "both a model and a pair are" if pair else "no model is"
        raise UserError(f"Here {given} given; give either a model, or a query_model and a passage_model.")
    if pair:
        if query_model is None or passage_model is None:
            missing = "query_model" if query_model is None else "passage_model"
            raise UserError(f"Of the pair there is no {missing}; give both, or the same encoder for both as the model.")
        return load_pair(query_model, passage_model, config)
    if isinstance(model, SentenceTransformer):
        return adopt_model(model, config)
    if not isinstance(model, (str, Path)):
        raise UserError(f"The model is a {type(model).__name__}; give a SentenceTransformer, a folder or a hub name.")
    return load_model(model, config)
