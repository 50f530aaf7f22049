"""Fresh adapters (LoRA, Hu et al. 2021) on a model while it is trained, merged into its weights afterwards."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from torch import nn

from ance_tele.console.errors import UserError
from ance_tele.console.extras import install
from ance_tele.encode.adapters import EXTRA


@contextmanager
def adapted(
    model: SentenceTransformer, rank: int, alpha: float, targets: Sequence[str] = (), half: bool = False
) -> Iterator[None]:
    """Put adapters on the transformers of a model, whose weights are frozen meanwhile; merge them on leaving.

    Other modules (a projection, static embeddings of a route) are trained as ever. After an error the adapters are
    taken off without merging.

    Args:
        model: Changed in place; torch's generator draws the adapters.
        rank: Of the adapters, above zero.
        alpha: What they add is scaled by ``alpha / rank``.
        targets: Last parts of the names of linear layers; empty for all.
        half: Hold the frozen weights in bf16 meanwhile. They are float32 again, rounded, before the adapters are added:
            the merged model is the trained one.

    Raises:
        UserError: peft is missing, the model has no transformer or adapters of its own, or no layer of these names.
    """
    with _adapters(_adaptable(model, "The model"), rank, alpha, targets) as (tuners, frozen):
        try:
            if half:
                _hold(frozen, torch.bfloat16)
            yield
        finally:
            if half:
                _hold(frozen, torch.float32)
        for tuner in tuners:
            tuner.merge_and_unload()


def check_adaptable(model: SentenceTransformer, rank: int, targets: Sequence[str], name: str) -> str:
    """Return a line on the adapters that a model would get, "" for rank 0; the model is as before.

    Raises:
        UserError: As of :func:`adapted`.
    """
    if not rank:
        return ""
    every = sum(one.numel() for one in model.parameters())
    with torch.random.fork_rng(devices=[]), _adapters(_adaptable(model, name), rank, rank, targets):
        size = sum(one.numel() for one in model.parameters() if one.requires_grad)
    return f"Adapters of rank {rank} are trained: {size:,} weights, next to {every:,} of the model."


def _adaptable(model: SentenceTransformer, name: str) -> list[nn.Module]:
    """Return the transformers of a model that can have adapters."""
    encoders: list[nn.Module] = [module.auto_model for module in model.modules() if isinstance(module, Transformer)]
    if not encoders:
        raise UserError(f"lora_rank puts adapters on a transformer, and {name} has none; leave it out.")
    if any(getattr(encoder, "_hf_peft_config_loaded", False) for encoder in encoders):
        raise UserError(f"{name} has adapters of its own, which are trained; leave lora_rank out.")
    if find_spec("peft") is None:
        raise UserError(f"lora_rank trains adapters, which need peft: {install(EXTRA)}.")
    return encoders


@contextmanager
def _adapters(
    encoders: Sequence[nn.Module], rank: int, alpha: float, targets: Sequence[str]
) -> Iterator[tuple[list[Any], list[nn.Parameter]]]:
    """Put adapters on encoders, and take off what is not merged; yield what holds them, and the frozen weights."""
    trained = [(one, one.requires_grad) for encoder in encoders for one in encoder.parameters()]
    tuners = list[Any]()
    try:
        for encoder in encoders:
            tuners.append(_tuner(encoder, rank, alpha, targets))
        yield tuners, [one for one, _ in trained]
    finally:
        for tuner in tuners:
            tuner.unload()
        for one, free in trained:
            one.requires_grad_(free)


def _tuner(encoder: nn.Module, rank: int, alpha: float, targets: Sequence[str]) -> Any:
    """Put adapters on an encoder; return what merges them and takes them off."""
    kind, layers = type(encoder).__name__, [f".{name}" for name, _ in encoder.named_modules()]
    if lacking := [one for one in targets if not any(layer.endswith(f".{one}") for layer in layers)]:
        held = {name.rpartition(".")[2] for name, one in encoder.named_modules() if isinstance(one, nn.Linear)}
        raise UserError(
            f"lora_targets names {', '.join(lacking)}, and {kind} has no such layer; its linear layers are "
            f"{', '.join(sorted(held)) or 'none'}."
        )
    try:
        from peft import LoraConfig, LoraModel

        wanted = list(targets) or "all-linear"
        with warnings.catch_warnings():  # GPT-2's linear layers are another class, which peft finds out
            warnings.simplefilter("ignore", UserWarning)
            return LoraModel(encoder, LoraConfig(r=rank, lora_alpha=alpha, target_modules=wanted), "default")
    except ImportError as error:  # of a release that does not suit transformers'
        raise UserError(f"lora_rank trains adapters, which need peft: {install(EXTRA)} ({error}).") from None
    except ValueError as error:
        raise UserError(f"{kind} cannot have these adapters: {str(error).strip().rstrip('.')}.") from None


def _hold(weights: Sequence[nn.Parameter], kind: torch.dtype) -> None:
    """Hold weights in a type; buffers stay, since positions are computed from some."""
    for one in weights:
        one.data = one.data.to(kind)
