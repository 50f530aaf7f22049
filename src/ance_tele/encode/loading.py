"""Loading of models by folder or hub name, or of a pair of them, for a configuration."""

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers.utils import logging as transformers_logging

from ance_tele.console.errors import UserError
from ance_tele.encode.adapters import thaw_adapters
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.declared import check_similarity, log_rules, log_separator, resolve_prompts, resolve_similarity
from ance_tele.encode.encoder import tokenizer_of
from ance_tele.encode.ensemble import OWN, members_of, opened
from ance_tele.encode.files import check_tokenizer, declared, is_plain, resolve
from ance_tele.encode.in_use import LENGTHS, Task
from ance_tele.encode.lengths import resolve_lengths, route
from ance_tele.encode.model_kinds import check_kind
from ance_tele.encode.padding import (
    append_end_token,
    check_company,
    give_padding_token,
    resolve_modality,
    resolve_padding,
)
from ance_tele.encode.refusals import cannot_load, check_complete, check_executed
from ance_tele.encode.several import projected, vectors_each

# Safetensors only; float32, since most optimiser steps would be lost in float16.
WEIGHTS = {"use_safetensors": True, "dtype": torch.float32}


def load_model(model: str | Path, config: EncoderConfig, device: str | None = None) -> SentenceTransformer:
    """Load a model by folder or hub name, ready for this configuration.

    A plain Hugging Face encoder gets pooling and, if configured, normalisation. A model with cosine similarity gets a
    normalising module, so that the dot product equals it. Its saved folder declares similarity, dimension, prompts and
    lengths as used here.

    Args:
        model: Folder, hub name or short name (``published.STARTS``) of a sentence-transformers model or of a plain
            encoder.
        config: Pooling, normalisation, prompts, lengths, tied or untied.
        device: Where to put it; the best there is by default.

    Raises:
        UserError: Nothing that can be loaded is found there, it is no dense encoder, or it declares a similarity, a
            length, a prompt or a number of vectors that cannot be used.

    Example:
        >>> encoder = load_model("my-model", EncoderConfig(query_max_len=32), device="cpu")
        >>> encoder.get_embedding_dimension(), encoder.similarity_fn_name
        (32, 'cosine')
    """
    name = resolve(str(model))
    check_kind(name)
    check_executed(name, config.trust_remote_code)
    described = declared(name, "config_sentence_transformers.json")
    check_similarity(described.get("similarity_fn_name"), config, name)
    options: dict[str, Any] = {"device": device, "trust_remote_code": config.trust_remote_code}
    try:
        with seeded():
            plain = is_plain(name)
            similarity = {"similarity_fn_name": "dot" if config.normalize is False else "cosine"} if plain else {}
            loaded = opened(name, model_kwargs=WEIGHTS, **similarity, **options)
            if plain and config.pooling is not None and isinstance(loaded[-1], Pooling):
                loaded[-1] = Pooling(loaded[0].get_embedding_dimension(), config.pooling)
    except (MemoryError, UserError):
        raise
    except Exception as error:  # of files that are missing or wrong the libraries raise whatever they run into
        raise cannot_load(name, error) from None
    check_complete(loaded, name)
    resolve_modality(loaded, name, plain)
    give_padding_token(loaded, name)
    append_end_token(loaded, name)
    log_rules(tokenizer_of(loaded, "document"), name)
    thaw_adapters(loaded)
    ready = _prepare(loaded, config, name)
    check_company(ready, name)
    resolve_padding(ready)
    return ready


def load_pair(
    query_model: str | Path,
    passage_model: str | Path,
    config: EncoderConfig,
    device: str | None = None,
) -> SentenceTransformer:
    """Load a query encoder and a passage encoder as one model that routes by task.

    Both are as they were trained: the configuration's ``projection`` and ``passage_vectors`` are not for them, nor is
    ``normalize`` where the passages' is an ensemble, whose vectors are not of length one.

    Args:
        query_model: Folder or hub name; of a model with separate encoders, its query encoder is taken.
        passage_model: Likewise; of a model with separate encoders, its passage encoder is taken.
        config: Pooling, normalisation, prompts, lengths.
        device: Where to put it; the best there is by default.

    Raises:
        UserError: One of them cannot be loaded, or they do not fit together.

    Example:
        >>> pair = load_pair("my-model", "my-model", EncoderConfig(), device="cpu")
        >>> pair.encode_query("t1 u7").shape, pair.encode_document("t1 u7 w9").shape
        ((32,), (32,))
    """
    alone = replace(config, untie_encoders=False, projection=None, passage_vectors=1)
    passage = load_model(passage_model, alone, device)
    query = load_model(query_model, replace(alone, normalize=None) if members_of(passage) else alone, device)
    sizes = query.get_embedding_dimension(), passage.get_embedding_dimension()
    if sizes[0] != sizes[1]:
        raise UserError(
            f"{query_model} gives vectors of {sizes[0]} numbers and {passage_model} of {sizes[1]}; a query encoder and "
            "a passage encoder must be of one pair."
        )
    routes = _route(query, "query"), _route(passage, "document")
    normal = normalizes(query, "query"), normalizes(passage, "document")
    if normal[0] != normal[1]:
        raise UserError(
            f"Of {query_model} and {passage_model} only one scales its vectors to length one; set normalize to true."
        )
    return SentenceTransformer(
        modules=[Router.for_query_document(*routes)],
        similarity_fn_name="cosine" if normal[0] else "dot",
        prompts={"query": query.prompts["query"], "document": passage.prompts["document"]},
        truncate_dim=query.truncate_dim or passage.truncate_dim,
        device=str(query.device),
    )


def load_query_encoder(
    model: str | Path,
    config: EncoderConfig,
    dimension: int,
    normalize: bool,
    seed: int = 0,
    device: str | None = None,
) -> SentenceTransformer:
    """Load an encoder to be trained on the query vectors of another model.

    Args:
        model: Folder or hub name; of a model with separate encoders, its query encoder is taken.
        config: Pooling, prompt and length of queries.
        dimension: Numbers of a vector; by a projection without bias, orthogonal at first, if the encoder has others.
        normalize: Whether vectors are of length one, whatever the encoder declares.
        seed: Of the projection.
        device: Where to put it; the best there is by default.

    Raises:
        UserError: It cannot be loaded, or is an ensemble or has several vectors a passage.

    Example:
        >>> load_query_encoder("my-model", EncoderConfig(), 48, False, device="cpu").encode_query("t1 u7").shape
        (48,)
    """
    alone = replace(config, projection=None, passage_vectors=1, truncate_dim=None, untie_encoders=False)
    alone = replace(alone, passage_max_len=config.query_max_len, passage_prompt=config.query_prompt)
    loaded = load_model(model, replace(alone, normalize=normalize), device)
    if any(type(module) in OWN.values() for module in loaded.modules()):
        raise UserError(
            f"{model} is an ensemble or has several vectors a passage; take an encoder with one, such as its start."
        )
    loaded.truncate_dim = None
    bare = _rebuilt(loaded, _route(loaded, "query"))
    with seeded(seed):
        modules = projected(bare, EncoderConfig(projection=dimension), str(model)) or list(bare.children())
    kept = [module for module in modules if not isinstance(module, Normalize)]
    ready = _rebuilt(bare, [*kept, Normalize()] if normalize else kept)
    ready.similarity_fn_name = "cosine" if normalize else "dot"
    return ready


def adopt_model(model: SentenceTransformer, config: EncoderConfig) -> SentenceTransformer:
    """Prepare a model in memory for this configuration; its weights are shared, not copied.

    The model itself is not modified: normalisation and prompts belong to the returned one.

    Raises:
        UserError: It reads fewer tokens than configured, has no tokenizer, or declares a similarity that cannot be
            used.
    """
    modules = [module for module in model.modules() if isinstance(module, Transformer)]
    lengths = {(module, name): getattr(module, name) for module in modules for name in LENGTHS}
    shared = _rebuilt(model, list(model.children())).train(model.training)
    try:
        ready = _prepare(shared, replace(config, untie_encoders=False), "The model")
        check_company(ready, "The model")
        return ready
    finally:
        for (module, setting), length in lengths.items():
            setattr(module, setting, length)


def normalizes(model: SentenceTransformer, task: Task) -> bool:
    """Return whether a model scales its vectors of a task to length one; an ensemble scales those of its members."""
    return any(isinstance(module, Normalize) for module in _route(model, task))


def _route(model: SentenceTransformer, task: Task) -> list[torch.nn.Module]:
    """Return the modules for texts of this task."""
    modules = list(model.children())
    first = modules[0]
    return [*route(first, task), *modules[1:]] if isinstance(first, Router) else modules


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Silence libraries and seed the initialisation of weights that a checkpoint lacks (an unused pooler) meanwhile."""
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the libraries' reports and progress bars while the block runs."""
    loggers = [logging.getLogger(name) for name in ("transformers", "sentence_transformers", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    progress_was_on = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if progress_was_on:
            transformers_logging.enable_progress_bar()


def _prepare(model: SentenceTransformer, config: EncoderConfig, name: str) -> SentenceTransformer:
    """Set projection, dimension, similarity, prompts and lengths, and untie encoders; ``name`` is for errors."""
    whole = bool(members_of(model))  # an ensemble's members are what they were trained as
    if not whole and (config.projection is not None or config.passage_vectors > 1):
        with seeded():
            modules = projected(model, config, name)
        model = model if modules is None else _rebuilt(model, modules)
    if config.truncate_dim is not None:
        model.truncate_dim = None
        if config.truncate_dim > (most := model.get_embedding_dimension() or config.truncate_dim):
            raise UserError(f"truncate_dim is {config.truncate_dim}, and the vectors of {name} have {most} numbers.")
        model.truncate_dim = config.truncate_dim
    if model.truncate_dim is not None and (each := vectors_each(model)) > 1:
        raise UserError(f"{name} has {each} vectors a passage, which cannot be truncated; leave truncate_dim out.")
    resolve_similarity(model, config, name)
    if not whole and config.untie_encoders and not any(isinstance(module, Router) for module in model.children()):
        model = _untie(model)
    resolve_prompts(model, config)
    for module in model.modules():
        if isinstance(module, Transformer):
            check_tokenizer(name, module.tokenizer, getattr(module.config, "vocab_size", None))
    tokenizers: dict[Task, Any] = {task: tokenizer_of(model, task) for task in get_args(Task)}
    log_separator(tokenizers["document"], config)
    resolve_lengths(model, config, tokenizers)
    return model


def _untie(model: SentenceTransformer) -> SentenceTransformer:
    """Return a model with a separate query encoder that has the same initial weights."""
    encoders = [module for module in model.children() if not isinstance(module, Normalize)]
    rest = [module for module in model.children() if isinstance(module, Normalize)]
    router = Router.for_query_document(query_modules=copy.deepcopy(encoders), document_modules=encoders)
    return _rebuilt(model, [router, *rest])


def _rebuilt(model: SentenceTransformer, modules: list[torch.nn.Module]) -> SentenceTransformer:
    """Return a model of these modules with the declarations of ``model``."""
    return SentenceTransformer(
        modules=modules,
        similarity_fn_name=model.similarity_fn_name,
        prompts=dict(model.prompts or {}),
        default_prompt_name=model.default_prompt_name,
        truncate_dim=model.truncate_dim,
        device=str(model.device),
    )
