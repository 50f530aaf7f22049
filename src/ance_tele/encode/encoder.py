"""The encoder: any sentence-transformers model or plain Hugging Face encoder, fed from the token store."""

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers.utils import logging as transformers_logging

from ance_tele.data.errors import UserError
from ance_tele.data.progress import Advance
from ance_tele.data.tokens import TextFormat, TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.files import check_tokenizer, convert, is_plain, resolve

Task = Literal["query", "document"]


def load_model(model: str | Path, config: EncoderConfig, device: str | None = None) -> SentenceTransformer:
    """Load a model by folder or hub name, ready for this configuration.

    A plain Hugging Face encoder gets pooling and, if asked for, normalisation. A model whose declared
    similarity is the cosine gets a normalising module, so that a dot product scores as declared.

    Args:
        model: Folder, hub name or short name (``published.STARTS``) of a sentence-transformers model or of a plain
            encoder.
        config: Pooling, normalisation, prompts, lengths, tied or untied.
        device: Where to put it; the best there is by default.

    Raises:
        UserError: Nothing that can be loaded is found there.
    """
    name = resolve(str(model))
    options: dict[str, Any] = {"device": device, "trust_remote_code": config.trust_remote_code}
    try:
        # Weights that a checkpoint lacks (the unused pooler of a masked language model, say) are drawn at
        # random: seeded, so that the same files give the same fingerprint every time.
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            if is_plain(name):
                loaded = _plain(name, config, options)
            else:
                loaded = SentenceTransformer(name, model_kwargs={"use_safetensors": True}, **options)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "model.safetensors" in reason:  # the hub has weights, but not as safetensors
            raise UserError(convert(name)) from None
        raise UserError(f"The model {name} cannot be loaded: {reason}") from None
    return _prepare(loaded, config, name)


def load_pair(
    query_model: str | Path, passage_model: str | Path, config: EncoderConfig, device: str | None = None
) -> SentenceTransformer:
    """Load a query encoder and a passage encoder as one model that routes by task.

    Args:
        query_model: Folder or hub name; of a model with separate encoders, its query encoder is taken.
        passage_model: Likewise; of a model with separate encoders, its passage encoder is taken.
        config: Pooling, normalisation, prompts, lengths.
        device: Where to put it; the best there is by default.

    Raises:
        UserError: One of them cannot be loaded, or they do not fit together.
    """
    alone = replace(config, untie_encoders=False)
    query, passage = load_model(query_model, alone, device), load_model(passage_model, alone, device)
    sizes = query.get_embedding_dimension(), passage.get_embedding_dimension()
    if sizes[0] != sizes[1]:
        raise UserError(
            f"{query_model} gives vectors of {sizes[0]} numbers and {passage_model} of {sizes[1]}; a query encoder and "
            "a passage encoder must be of one pair."
        )
    routes = _route(query, "query"), _route(passage, "document")
    normal = [any(isinstance(module, Normalize) for module in route) for route in routes]
    if normal[0] != normal[1]:
        raise UserError(
            f"Of {query_model} and {passage_model} only one scales its vectors to length one; set normalize to true."
        )
    return SentenceTransformer(
        modules=[Router.for_query_document(*routes)],
        similarity_fn_name="cosine" if normal[0] else "dot",
        prompts={"query": (query.prompts or {}).get("query"), "document": (passage.prompts or {}).get("document")},
        device=str(query.device),
    )


def adopt_model(model: SentenceTransformer, config: EncoderConfig) -> SentenceTransformer:
    """Make a model that is in memory already ready for this configuration; its weights are shared, not copied.

    The model itself stays as it is: normalisation and prompts belong to what is returned.

    Raises:
        UserError: It reads fewer tokens than are asked for, or has no tokenizer.
    """
    lengths = {module: module.max_seq_length for module in model.modules() if isinstance(module, Transformer)}
    shared = SentenceTransformer(
        modules=list(model.children()),
        similarity_fn_name=model.similarity_fn_name,
        prompts=dict(model.prompts or {}),
        device=str(model.device),
    ).train(model.training)
    try:
        return _prepare(shared, replace(config, untie_encoders=False), "The model")
    finally:
        for module, length in lengths.items():
            module.max_seq_length = length


def _route(model: SentenceTransformer, task: Task) -> list[torch.nn.Module]:
    """Return the modules that a text of this task goes through."""
    modules = list(model.children())
    first = modules[0]
    return [*first.sub_modules[task], *modules[1:]] if isinstance(first, Router) else modules


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' own tables and bars out of the terminal while a model is loaded or trained."""
    loggers = [logging.getLogger(name) for name in ("transformers", "sentence_transformers")]
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


def _plain(name: str, config: EncoderConfig, options: dict[str, Any]) -> SentenceTransformer:
    """Build a model of a plain encoder, which declares nothing: mean pooling and the cosine unless chosen otherwise."""
    trust = {"trust_remote_code": config.trust_remote_code}
    kwargs = {"config_kwargs": trust, "processor_kwargs": trust, "model_kwargs": {**trust, "use_safetensors": True}}
    transformer = Transformer(name, **kwargs)
    pooling = Pooling(transformer.get_embedding_dimension(), config.pooling or "mean")
    similarity = "dot" if config.normalize is False else "cosine"
    return SentenceTransformer(modules=[transformer, pooling], similarity_fn_name=similarity, **options)


def _prepare(model: SentenceTransformer, config: EncoderConfig, name: str) -> SentenceTransformer:
    """Settle normalisation, prompts, lengths and the untying of encoders; ``name`` is for the sentences of errors."""
    cosine = model.similarity_fn_name == "cosine" and config.normalize is None
    if (config.normalize or cosine) and not any(isinstance(module, Normalize) for module in model.modules()):
        model.append(Normalize())
    if config.untie_encoders and not any(isinstance(module, Router) for module in model.children()):
        model = _untie(model)
    for task, prompt in (("query", config.query_prompt), ("document", config.passage_prompt)):
        if prompt is not None:
            model.prompts[task] = prompt
    for module in model.modules():
        if isinstance(module, Transformer):
            check_tokenizer(name, module.tokenizer, getattr(module.config, "vocab_size", None))
            # One length for both kinds of text is all that a sentence-transformers folder can hold.
            length = max(config.query_max_len, config.passage_max_len)
            most = getattr(module.config, "max_position_embeddings", None) or length
            if length > most:
                raise UserError(
                    f"The model reads at most {most} tokens, and {length} are asked for; lower the max_len."
                )
            module.max_seq_length = length
    return model


def _untie(model: SentenceTransformer) -> SentenceTransformer:
    """Give queries an encoder of their own, with the same initial weights."""
    import copy

    modules = list(model.children())
    encoders = [module for module in modules if not isinstance(module, Normalize)]
    rest = [module for module in modules if isinstance(module, Normalize)]
    router = Router.for_query_document(query_modules=copy.deepcopy(encoders), document_modules=encoders)
    return SentenceTransformer(
        modules=[router, *rest],
        similarity_fn_name=model.similarity_fn_name,
        prompts=model.prompts,
        device=str(model.device),
    )


def text_format(model: SentenceTransformer, config: EncoderConfig, task: Task) -> TextFormat:
    """Return how a text of this task becomes tokens: prompt, separator, length."""
    prompt = (model.prompts or {}).get(task) or ""
    if task == "query":
        return TextFormat(prompt, " ", config.query_max_len)
    return TextFormat(prompt, config.title_separator, config.passage_max_len)


def tokenizer_of(model: SentenceTransformer, task: Task) -> Any:
    """Return the tokenizer that texts of this task go through."""
    first = model[0]
    return first.sub_modules[task][0].tokenizer if isinstance(first, Router) else model.tokenizer


def weights_fingerprint(model: SentenceTransformer) -> str:
    """Return the sha-256 (hex) of all weights and of the modules' settings: it changes when any weight does."""
    digest = hashlib.sha256()
    for module in model.modules():
        settings: dict[str, Any] = getattr(module, "get_config_dict", dict)()
        settings = {key: value for key, value in settings.items() if key != "max_seq_length"}
        digest.update(f"{type(module).__name__}{json.dumps(settings, sort_keys=True, default=str)}".encode())
    for name, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name}{tuple(array.shape)}{array.dtype}".encode())
        digest.update(array.view(torch.uint8).numpy().data if array.numel() else b"")
    return digest.hexdigest()


def has_fast_bf16(device: torch.device) -> bool:
    """Say whether a device multiplies bf16 faster than float32: a recent GPU, or a CPU with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, probe, bool)() for probe in probes)


def resolve_precision(precision: str, device: torch.device) -> Literal["float32", "bf16"]:
    """Settle "auto": bf16 where the device is faster with it, float32 otherwise."""
    if precision == "auto":
        precision = "bf16" if has_fast_bf16(device) else "float32"
    return "bf16" if precision == "bf16" else "float32"


def token_batches(lengths: np.ndarray, budget: int) -> Iterator[np.ndarray]:
    """Cut texts into batches of like length, longest first, of at most ``budget`` tokens with padding.

    Args:
        lengths: Tokens of each text, int64 [n].
        budget: Most tokens in a batch; a longer text is a batch alone.

    Yields:
        Positions of the texts of a batch, int64.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, budget // max(1, int(lengths[order[start]])))
        yield order[start : start + size]
        start += size


class Forward:
    """The forward pass from token ids to vectors, the same for encoding and for training."""

    def __init__(self, model: SentenceTransformer, task: Task) -> None:
        self.model, self.task = model, task
        tokenizer = tokenizer_of(model, task)
        self.pad = tokenizer.pad_token_id or 0
        self.left = getattr(tokenizer, "padding_side", "right") == "left"
        self.types = "token_type_ids" in getattr(tokenizer, "model_input_names", ())
        poolings = [module for module in model.modules() if isinstance(module, Pooling)]
        prompt = (model.prompts or {}).get(task)
        self.prompt_length: int | None = None
        if prompt and any(not pooling.include_prompt for pooling in poolings):
            self.prompt_length = len(tokenizer(prompt, add_special_tokens=True)["input_ids"]) - 1

    def features(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, Any]:
        """Return what the model takes for ids and attention mask, int64 [rows, length]."""
        features: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "task": self.task, "modality": "text"}
        if self.types:
            features["token_type_ids"] = torch.zeros_like(ids)
        if self.prompt_length is not None:
            features["prompt_length"] = self.prompt_length
        return features


def encode_rows(
    model: SentenceTransformer,
    tokens: TokenStore,
    rows: np.ndarray,
    task: Task,
    config: EncoderConfig,
    advance: Advance = lambda units: None,
) -> np.ndarray:
    """Encode texts of the token store.

    Args:
        model: The encoder; its training mode is left as it was found.
        tokens: Where the texts' token ids are.
        rows: Which texts, int64 [n].
        task: "query" or "document".
        config: Precision and batch size.
        advance: Gets the number of texts done.

    Returns:
        Vectors, float32 [n, dimension].
    """
    forward = Forward(model, task)
    device = model.device
    bf16 = resolve_precision(config.precision, device) == "bf16"
    vectors: np.ndarray | None = None
    was_training = model.training
    model.eval()
    try:
        for batch in token_batches(tokens.lengths(rows), config.encode_tokens):
            ids, mask = tokens.padded(rows[batch], forward.pad, forward.left)
            features = forward.features(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                out = model(features)["sentence_embedding"].float().cpu().numpy()
            if not np.isfinite(out).all():
                raise UserError(
                    f"The model gives NaN or infinite vectors (first for text {rows[batch[0]]}): training "
                    "has diverged; lower the learning rate."
                )
            if vectors is None:
                vectors = np.empty((len(rows), out.shape[1]), dtype=np.float32)
            vectors[batch] = out
            advance(len(batch))
    finally:
        model.train(was_training)
    return vectors if vectors is not None else np.empty((0, model.get_embedding_dimension() or 0), np.float32)
