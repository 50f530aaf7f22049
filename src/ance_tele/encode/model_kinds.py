"""Folders without a dense encoder, recognised by their declarations before weights are loaded."""

from collections.abc import Mapping, Sequence
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.encode.files import declared, declared_modules

_RERANKER = (
    "a re-ranker (a cross-encoder), which scores pairs of texts and gives no vectors; a run takes it with "
    "--cross_encoder, as the judge of negatives"
)
_SPARSE = "a sparse encoder, whose vectors have a number for each word; they are neither trained nor searched here"
_LATE = "a late-interaction model, which has a vector for each token; they are neither trained nor searched here"
_CLASSIFIER = (
    "a classifier or re-ranker, whose head scores texts or pairs of texts; if it is a re-ranker, a run takes it with "
    "--cross_encoder"
)

_MODEL_TYPES = {"CrossEncoder": _RERANKER, "SparseEncoder": _SPARSE, "MultiVectorEncoder": _LATE, "ColBERT": _LATE}
# Of modules.json, where a folder does not say what it is.
_MODULES = {
    "SpladePooling": _SPARSE,
    "SparseAutoEncoder": _SPARSE,
    "SparseStaticEmbedding": _SPARSE,
    "CSRSparsity": _SPARSE,
    "MultiVectorMask": _LATE,
    "LogitScore": _RERANKER,
}


def check_kind(name: str) -> None:
    """Refuse a folder or hub name that is no dense encoder, naming its kind."""
    model, config = (declared(name, file) for file in ("config_sentence_transformers.json", "config.json"))
    if kind := kind_of(model, declared_modules(name), config):
        raise UserError(f"{name} is {kind}. Take a dense encoder: a sentence-transformers model or a plain encoder.")


def kind_of(model: Mapping[str, Any], modules: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> str:
    """Return the kind of a model that is no dense encoder; "" for a dense one or an unknown kind.

    The arguments are the contents of config_sentence_transformers.json, modules.json and config.json, empty without
    the file.
    """
    kind = str(model.get("model_type", "SentenceTransformer"))
    if kind != "SentenceTransformer":
        return _MODEL_TYPES.get(kind, f"a {kind}, as it says itself, and no SentenceTransformer")
    if "query_prefix" in model and "document_prefix" in model:  # PyLate
        return _LATE
    for module in modules:
        kind = str(module.get("type", ""))
        if kind.startswith("pylate."):
            return _LATE
        if kind.rpartition(".")[2] in _MODULES:
            return _MODULES[kind.rpartition(".")[2]]
    given = config.get("architectures")
    architectures = [str(one) for one in given] if isinstance(given, list) else []
    if any(one == "HF_ColBERT" or one.endswith("ForRetrieval") for one in architectures):
        return _LATE
    # A folder of modules is classified by them; one without pooling by its head.
    if len(modules) < 2 and any(one.endswith("ForSequenceClassification") for one in architectures):
        return _RERANKER if modules or "sentence_transformers" in config else _CLASSIFIER
    return ""
