"""Evaluation of a single model: encode, search, score."""

from pathlib import Path
from tempfile import TemporaryDirectory

from sentence_transformers import SentenceTransformer

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection
from ance_tele.data.load import cache_folder
from ance_tele.encode.checkpoint import Checkpoint, TokenizedCollection
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.loading import adopt_model, load_model, load_pair
from ance_tele.evaluate.config import EvaluateConfig, ExcludeSelf
from ance_tele.evaluate.evaluation import Evaluation
from ance_tele.evaluate.metrics import Scores
from ance_tele.evaluate.run import Run
from ance_tele.search.dense import DenseRetriever


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
    """Evaluate a model on a split.

    Args:
        model: Folder, hub name, or a model in memory (not modified); None for a pair.
        collection: Corpus, queries, judgements.
        split: Which judgements.
        config: Lengths, prompts, pooling.
        depth: Passages retrieved per query; metrics that look deeper are left out.
        query_model: Folder or hub name of the query encoder of a pair.
        passage_model: Folder or hub name of its passage encoder.
        relevance_level: Grade from which on a passage is relevant; None for what is usual (:class:`EvaluateConfig`).
        exclude_self: Which passages are left out of the ranking of a query that they are themselves.

    Returns:
        The ranked passages of each query; and per-query values of each metric, whose ``means()`` are the figures.

    Raises:
        UserError: The model cannot be loaded, both a model and a pair are given or half a pair, there is no such
            split, or none of its judgements reaches the level.

    Example:
        >>> import ance_tele as at
        >>> corpus, qrels = {"p1": "t1 u7 w9", "p2": "t2 u8 w9"}, {"test": {"q1": {"p1": 1}}}
        >>> collection = at.collection_from_dicts(corpus, {"q1": "t1 u7"}, qrels)
        >>> run, scores = evaluate_model("my-model", collection, "test", EncoderConfig(), depth=10)
        >>> sorted(run.passage_ids[0]), scores.means()["Recall@5"]
        (['p1', 'p2'], 1.0)
    """
    on = Evaluation.of(EvaluateConfig(split, relevance_level, exclude_self, depth), collection)
    loaded = _load(model, query_model, passage_model, config)
    name = query_model or (None if isinstance(model, SentenceTransformer) else model)
    # Vectors are not kept, so that no fingerprint is needed.
    checkpoint = Checkpoint(name, config, weights="", model=loaded, announce=True)
    tokens = TokenizedCollection(checkpoint, collection, config)
    with TemporaryDirectory(dir=cache_folder()) as folder:
        retriever = DenseRetriever(checkpoint, tokens, config, Path(folder))
        found = retriever.search(on.qrels.queries, on.search_depth)
    return on.measure(found)


def lengths_for(model: str | Path, collection: Collection) -> list[str]:
    """Return a line for queries and one for passages: their lengths in tokens of a model, and how many are truncated.

    The tokens are cached for an evaluation.
    """
    config = EncoderConfig()
    checkpoint = Checkpoint(model, config, model=load_model(model, config, "cpu"))
    tokens = TokenizedCollection(checkpoint, collection, config)
    stores = {"queries": tokens.queries, "passages": tokens.passages}
    return [store.cut.line(what) for what, store in stores.items() if store.cut is not None]


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
