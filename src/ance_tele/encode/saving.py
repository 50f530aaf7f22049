"""Saving models as folders that other programs read too, whatever release of sentence-transformers has written them."""

from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from ance_tele.encode.in_use import NO_LENGTH
from ance_tele.encode.loading import quiet
from ance_tele.store.files import json_or_none, share_weights, write_json

# Modules that have a name which every release, and text-embeddings-inference, knows.
OLD = "sentence_transformers.models"
KNOWN = frozenset(
    {"BoW", "CNN", "Dense", "Dropout", "LSTM", "LayerNorm", "Normalize", "Pooling", "Router", "StaticEmbedding"}
    | {"Transformer", "WeightedLayerPooling", "WordEmbeddings", "WordWeights"}
)

# Modes of pooling, and the switches by which all but the newest programs know them.
SWITCHES = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


def save_model(model: SentenceTransformer, folder: str | Path) -> None:
    """Save a model, without a card, so that :func:`settle` has nothing left to do."""
    with quiet():
        model.save_pretrained(str(folder), create_model_card=False)
    share_weights(Path(folder))
    settle(Path(folder))


def settle(folder: Path) -> None:
    """Write what a folder of sentence-transformers 6 declares as older releases and other programs read it.

    It declares the same as before: modules by their old names (5.7 does not know where Normalize is now), pooling by
    switches and the length in ``sentence_bert_config.json`` (text-embeddings-inference wants both), one length in
    ``tokenizer_config.json`` (fastembed takes the smaller of two).

    Example:
        >>> import ance_tele as at
        >>> model = at.load_model("my-model", at.EncoderConfig(passage_max_len=16, query_max_len=16), "cpu")
        >>> save_model(model, "settled")
        >>> json_or_none(Path("settled/sentence_bert_config.json"), dict)["max_seq_length"]
        16
        >>> json_or_none(Path("settled/1_Pooling/config.json"), dict)["pooling_mode_mean_tokens"]
        True
    """
    for path in sorted(folder.rglob("*.json")):
        change = _CHANGES.get(path.name)
        if change is None:
            continue
        before = json_or_none(path, list if path.name == "modules.json" else dict)
        after = None if before is None else change(before, path)
        if after is not None and after != before:
            write_json(path, after)


def _modules(modules: list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    return [{**one, "type": _old(str(one.get("type")))} for one in modules]


def _routes(config: dict[str, Any], path: Path) -> dict[str, Any]:
    types = config.get("types")
    return {**config, "types": {key: _old(str(one)) for key, one in types.items()}} if types else config


def _old(name: str) -> str:
    """Return the old name of a module's class: "sentence_transformers.models.Normalize"."""
    own, short = name.startswith("sentence_transformers."), name.rpartition(".")[2]
    return f"{OLD}.{short}" if own and short in KNOWN else name


def _pooling(config: dict[str, Any], path: Path) -> dict[str, Any] | None:
    """Return the configuration of a Pooling module with switches; None for other modules."""
    if "pooling_mode" not in config or "embedding_dimension" not in config:
        return None
    mode, rest = config["pooling_mode"], {**config}
    modes = [mode] if isinstance(mode, str) else list(mode)
    if not set(modes) <= SWITCHES.keys():
        return None
    del rest["pooling_mode"]
    size = {"word_embedding_dimension": rest.pop("embedding_dimension")}
    return {**size, **{switch: name in modes for name, switch in SWITCHES.items()}, **rest}


def _lengths(config: dict[str, Any], path: Path) -> dict[str, Any] | None:
    """Return the configuration of a Transformer with its length, which is the tokenizer's."""
    tokenizer = json_or_none(path.with_name("tokenizer_config.json"), dict) or {}
    length = tokenizer.get("model_max_length")
    usable = isinstance(length, int) and 0 < length < NO_LENGTH
    return {**config, "max_seq_length": length} if usable else None


def _tokenizer(config: dict[str, Any], path: Path) -> dict[str, Any] | None:
    """Return the configuration of a tokenizer with one length: transformers 5 leaves that of its file in the other."""
    length = config.get("model_max_length")
    return {**config, "max_length": length} if "max_length" in config and isinstance(length, int) else None


_CHANGES: dict[str, Any] = {
    "modules.json": _modules,
    "router_config.json": _routes,
    "config.json": _pooling,
    "sentence_bert_config.json": _lengths,
    "tokenizer_config.json": _tokenizer,
}
