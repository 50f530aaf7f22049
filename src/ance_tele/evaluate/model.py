"""Measure a model that no run has trained: encode, search, score."""

from pathlib import Path
from tempfile import TemporaryDirectory

from ance_tele.data.collection import Collection
from ance_tele.data.load import cache_folder
from ance_tele.data.tokens import tokenize
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import encode_rows, load_model, text_format, tokenizer_of
from ance_tele.encode.topk import exact_topk
from ance_tele.encode.vectors import encode_corpus
from ance_tele.evaluate.metrics import Scores, measure
from ance_tele.evaluate.retrieval import qrels_dict, run_of
from ance_tele.evaluate.run import Run


def evaluate_model(
    model: str | Path, collection: Collection, split: str, config: EncoderConfig, depth: int = 1000
) -> tuple[Run, Scores]:
    """Measure a model on a split.

    Args:
        model: Folder or hub name.
        collection: Corpus, queries, judgements.
        split: Which judgements.
        config: Lengths, prompts, pooling.
        depth: Passages retrieved per query.

    Raises:
        UserError: The model cannot be loaded, or there is no such split.
    """
    qrels = collection.split(split)
    loaded = load_model(model, config)
    stores = {}
    for task, what, texts in (("query", "queries", collection.queries), ("document", "passages", collection.corpus)):
        form = text_format(loaded, config, task)  # type: ignore[arg-type]
        tokenizer = tokenizer_of(loaded, task)  # type: ignore[arg-type]
        stores[what] = tokenize(texts, tokenizer, form, cache_folder(), collection.fingerprint, what)
    asked = encode_rows(loaded, stores["queries"], qrels.queries, "query", config)
    device = "cpu" if loaded.device.type == "cpu" else str(loaded.device)
    with TemporaryDirectory(dir=cache_folder()) as folder:
        vectors = encode_corpus(loaded, stores["passages"], "document", config, Path(folder), weights="")
        found = exact_topk(asked, vectors, depth, collection.corpus.id_rank, device)
    run = run_of(found, qrels.queries, collection)
    return run, measure(run, qrels_dict(qrels, collection))
