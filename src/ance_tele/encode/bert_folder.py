"""Folders whose declarations are few and known: a BERT with pooling, as runs save it and as Hugging Face does.

Whatever else a folder holds makes it none of these; such models are loaded by sentence-transformers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ance_tele.encode.bert import Shape, bert_shape
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.in_use import LENGTHS, NO_LENGTH, Task
from ance_tele.store.files import json_or_none

POOLINGS = ("cls", "mean", "max", "lasttoken")

# Settings of a transformer, and what they must be, beside its lengths.
_TRANSFORMER: Mapping[str, tuple[Any, ...]] = {
    "do_lower_case": (False,),
    "transformer_task": ("feature-extraction",),
    "modality_config": ({"text": {"method": "forward", "method_output_name": "last_hidden_state"}},),
    "module_output_name": ("token_embeddings",),
    "processing_kwargs": ({},),
    "unpad_inputs": (None, False),
    "query_expansion": (None,),
}
_MODEL = ("__version__", "model_type", "prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim")
_NORMALIZE = {"module_input_name": ("sentence_embedding",), "module_output_name": ("sentence_embedding", None)}
_OLD_POOLING = "pooling_mode_{}_tokens"  # of sentence-transformers before 5
_CLASSES = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])


@dataclass(frozen=True)
class BertFolder:
    """What a folder declares.

    Attributes:
        shape: Sizes of the BERT.
        config: Its config.json.
        pooling: One of ``POOLINGS``.
        normal: It has a normalising module.
        similarity: "cosine" or "dot".
        prompts: By name.
        default_prompt: Name of the prompt of all texts; None without.
        lengths: Declared maximum length by task; None without limit.
    """

    shape: Shape
    config: Mapping[str, Any]
    pooling: str
    normal: bool
    similarity: str
    prompts: Mapping[str, str]
    default_prompt: str | None
    lengths: Mapping[Task, int | None]


def bert_folder(folder: Path, config: EncoderConfig) -> BertFolder | None:
    """Return what a folder declares; None for one that is of any other kind, or damaged."""
    held = json_or_none(folder / "config.json", dict) or {}
    shape = bert_shape(held)
    shaped = config.passage_vectors > 1 or config.projection is not None or config.truncate_dim is not None
    special = shaped or config.untie_encoders or config.trust_remote_code
    if shape is None or special or (folder / "adapter_config.json").exists():
        return None
    if not (folder / "modules.json").exists():
        return _plain(folder, held, shape, config)
    modules = json_or_none(folder / "modules.json", list) or []
    transformer, model = (
        json_or_none(folder / f"{name}.json", dict) for name in ("sentence_bert_config", "config_sentence_transformers")
    )
    paths, known = _paths(modules), model is not None and transformer is not None
    if paths is None or not known or not set(model or {}) <= {*_MODEL}:
        return None
    assert model is not None and transformer is not None
    others = {name: value for name, value in transformer.items() if name not in LENGTHS}
    pooling = _pooling(json_or_none(folder / paths[1] / "config.json", dict) or {})
    normal = len(paths) == 3
    scaling = (json_or_none(folder / paths[2] / "config.json", dict) or {}) if normal else {}
    lengths = _lengths(folder, shape, transformer)
    prompts, default = model.get("prompts", {}), model.get("default_prompt_name")
    similarity = model.get("similarity_fn_name") or "cosine"
    if not (
        _as_known(others, _TRANSFORMER)
        and _as_known(scaling, _NORMALIZE)
        and model.get("model_type", "SentenceTransformer") == "SentenceTransformer"
        and model.get("truncate_dim") is None
        and similarity in ("cosine", "dot")
        and isinstance(prompts, dict)
        and all(isinstance(one, str) for one in prompts.values())
        and (default is None or (isinstance(default, str) and default in prompts))
    ):
        return None
    if pooling is None or lengths is None:
        return None
    return BertFolder(shape, held, pooling, normal, similarity, prompts, default, lengths)


def _plain(folder: Path, held: Mapping[str, Any], shape: Shape, config: EncoderConfig) -> BertFolder | None:
    """Return what a folder without modules is taken for, which gets pooling and similarity from the settings."""
    files = ("sentence_bert_config.json", "config_sentence_transformers.json")
    lengths, pooling = _lengths(folder, shape, {}), config.pooling or "mean"
    if any((folder / name).exists() for name in files) or "sentence_transformers" in held or lengths is None:
        return None
    similarity = "dot" if config.normalize is False else "cosine"
    return BertFolder(shape, held, pooling, False, similarity, {}, None, lengths)


def _paths(modules: list[Any]) -> list[str] | None:
    """Return the folders of transformer, pooling and perhaps normalisation; None for other modules."""
    if not all(isinstance(one, dict) for one in modules):
        return None
    types, paths = ([one.get(name) for one in modules] for name in ("type", "path"))
    if not all(isinstance(one, str) for one in (*types, *paths)) or any(_outside(path) for path in paths):
        return None
    own = all(one.startswith("sentence_transformers.") for one in types)
    classes = [one.rpartition(".")[2] for one in types]
    return paths if own and classes in _CLASSES and paths[0] == "" and all(paths[1:]) else None


def _outside(path: str) -> bool:
    """Return whether a path leads out of the folder."""
    return Path(path).is_absolute() or ".." in Path(path).parts


def _pooling(declared: Mapping[str, Any]) -> str | None:
    """Return the one pooling that a module declares; None for any other, or for several."""
    if declared.get("include_prompt", True) is not True:
        return None
    if "pooling_mode" in declared:
        mode = declared["pooling_mode"]
        return mode if mode in POOLINGS else None
    modes = {name: value for name, value in declared.items() if name.startswith("pooling_mode_")}
    names = {_OLD_POOLING.format(name): name for name in ("mean", "max")}
    names |= {"pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "lasttoken"}
    chosen = [name for name, value in modes.items() if value is not False]
    written = all(type(value) is bool for value in modes.values()) and _OLD_POOLING.format("mean") in modes
    return names.get(chosen[0]) if written and len(chosen) == 1 else None


def _lengths(folder: Path, shape: Shape, transformer: Mapping[str, Any]) -> dict[Task, int | None] | None:
    """Return the declared length by task, as sentence-transformers reads it; None where one is no number."""
    tokenizer = json_or_none(folder / "tokenizer_config.json", dict)
    if tokenizer is None:
        return None
    most, usual = tokenizer.get("model_max_length"), transformer.get("max_seq_length")
    declared = [transformer.get("query_length"), transformer.get("document_length"), most, usual]
    if not all(length is None or (type(length) in (int, float) and length >= 1) for length in declared):
        return None
    if usual is None:  # the tokenizer's, within the positions
        usual = shape.positions if most is None else min(most, shape.positions)
    tasks: tuple[Task, ...] = ("query", "document")
    # sentence-transformers looks in the same order
    orders = {task: (transformer.get(f"{task}_length"), usual) for task in tasks}
    return {
        task: next((int(length) for length in order if length is not None and length < NO_LENGTH), None)
        for task, order in orders.items()
    }


def _as_known(given: Mapping[str, Any], known: Mapping[str, tuple[Any, ...]]) -> bool:
    """Return whether all given settings are known and have a known value."""
    return all(name in known and value in known[name] for name, value in given.items())
