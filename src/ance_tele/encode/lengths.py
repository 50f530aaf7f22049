"""Maximum lengths of queries and passages: configured or declared, limited by position embeddings."""

import logging
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router, Transformer
from torch import nn

from ance_tele.console.errors import UserError
from ance_tele.data.text_format import count_tokens
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.ensemble import Ensemble
from ance_tele.encode.in_use import NO_LENGTH, SETTINGS, TEXTS, Task, set_length, used_length

log = logging.getLogger(__name__)


def route(router: Router, task: Task) -> list[Any]:
    """Return the modules for texts of this task in a router; refuse a router without a route for it."""
    try:
        return list(router.sub_modules[router._resolve_route(task=task, modality="text")])
    except ValueError:
        names = ", ".join(router.sub_modules)
        raise UserError(f"The model has a Router without a route for {TEXTS[task]}; its routes are {names}.") from None


def first_module(model: SentenceTransformer, task: Task) -> Any:
    """Return the module that reads texts of this task."""
    first = model[0]
    if isinstance(first, Router):
        first = route(first, task)[0]
    return first_module(first.members[0], task) if isinstance(first, Ensemble) else first


def declared_length(model: SentenceTransformer, task: Task) -> int | None:
    """Return the declared maximum length, prompt and special tokens included; None without limit."""
    first = first_module(model, task)
    for name in (f"{task}_length", "max_seq_length"):  # sentence-transformers looks in the same order
        length = getattr(first, name, None)
        if length is not None and length < NO_LENGTH:
            return int(length)
    return None


def positions(first: Any) -> int | None:
    """Return the number of positions of a module; None without limit.

    RoBERTa's positions start after the padding token's, so that two of 514 are unused.
    """
    for module in first.modules() if isinstance(first, Transformer) else ():
        table, padding = getattr(module, "position_embeddings", None), getattr(module, "padding_idx", None)
        if isinstance(table, nn.Embedding) and isinstance(padding, int):
            return table.num_embeddings - padding - 1
    most = getattr(getattr(first, "config", None), "max_position_embeddings", None)
    return most if isinstance(most, int) and most > 0 else None  # XLNet writes -1


def text_length(model: SentenceTransformer, config: EncoderConfig, task: Task, tokenizer: Any) -> int:
    """Return the maximum tokens read of a text of this task (:func:`ance_tele.encode.in_use.used_length`).

    A module other than a transformer has one length for all texts, or none.

    Raises:
        UserError: The model cannot read as many as configured, or the prompt leaves no token for the text.
    """
    first, declared = first_module(model, task), declared_length(model, task)
    if not isinstance(first, Transformer):
        return declared or NO_LENGTH
    prompt = (model.prompts or {}).get(task) or ""
    prompted = count_tokens(tokenizer, [prompt])[0] if prompt else 0
    special = tokenizer.num_special_tokens_to_add() if hasattr(tokenizer, "num_special_tokens_to_add") else 0
    return used_length(task, config, declared, positions(first), prompted, special)


def resolve_lengths(model: SentenceTransformer, config: EncoderConfig, tokenizers: dict[Task, Any]) -> None:
    """Write the lengths in use into a model's modules, so that its saved folder declares them.

    One declaration, which older releases read too, suffices if queries and passages have the same length.
    """
    lengths = {task: text_length(model, config, task, tokenizer) for task, tokenizer in tokenizers.items()}
    for task, length in lengths.items():
        _log_length(model, config, task, length)
    for task in lengths:
        first = first_module(model, task)
        if not isinstance(first, Transformer):
            continue
        both = {length for other, length in lengths.items() if first_module(model, other) is first}
        first.max_seq_length = max(both)
        for other, length in lengths.items():
            setattr(first, f"{other}_length", length if len(both) > 1 else None)


def _log_length(model: SentenceTransformer, config: EncoderConfig, task: Task, length: int) -> None:
    setting, first = set_length(config, task), first_module(model, task)
    if not isinstance(first, Transformer):
        if setting is not None:
            whole = "whole" if length >= NO_LENGTH else f"up to {length:,} tokens"
            log.info(
                f"{TEXTS[task]} are read {whole}, as the model declares; {SETTINGS[task]} {setting} is for transformers"
            )
    elif setting is None and declared_length(model, task) is None:
        log.info(f"{TEXTS[task]} are cut at {length} tokens: the model declares no length; {SETTINGS[task]} sets one")
    elif (model.prompts or {}).get(task) and setting is not None:
        log.info(f"{TEXTS[task]} are cut at {setting} tokens and {length - setting} of their prompt")
