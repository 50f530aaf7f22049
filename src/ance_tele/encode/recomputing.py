"""Layers whose activations are not kept, but computed again in the backward pass: less memory, a third more work.

A BERT's layers are recomputed by :func:`ance_tele.encode.bert_layers.layers`, those of other models by transformers.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from torch.nn.attention import SDPBackend, sdpa_kernel

from ance_tele.console.errors import UserError
from ance_tele.encode.bert_layers import Contexts
from ance_tele.encode.kernels import Kernels

# Attention on a GPU with padding. cuDNN plans every new shape (some 40 ms), and shapes hardly repeat.
WITHOUT_CUDNN = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def contexts(device: torch.device) -> Contexts:
    """Return what makes the contexts of both computations: in the backward pass, the kernels of the forward pass."""
    return partial(_both, device.type)


def _both(device: str) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    if device == "cpu":
        return nullcontext(), Kernels()
    return nullcontext(), sdpa_kernel(WITHOUT_CUDNN) if device == "cuda" else nullcontext()


@contextmanager
def recomputing(model: SentenceTransformer) -> Iterator[None]:
    """Have transformers recompute the layers of a model's transformers in training while the block runs.

    Raises:
        UserError: The model has no transformer, or one that cannot do it.
    """
    encoders: list[Any] = [module.auto_model for module in model.modules() if isinstance(module, Transformer)]
    if not encoders:
        raise UserError("gradient_checkpointing is for transformers, and the model has none; leave it out.")
    for encoder in encoders:
        if not encoder.supports_gradient_checkpointing:
            raise UserError(
                f"{type(encoder).__name__} cannot compute its layers again, as transformers has it; leave "
                "gradient_checkpointing out, and set grad_cache, or fewer chunk_tokens."
            )
    options = {"use_reentrant": False, "context_fn": contexts(model.device)}
    try:
        for encoder in encoders:
            # Renamed in transformers 5.24.
            enable = getattr(encoder, "activation_checkpointing_enable", encoder.gradient_checkpointing_enable)
            enable(options)
            encoder.disable_input_require_grads()  # hooks that only the older, reentrant checkpointing needs
        yield
    finally:
        for encoder in encoders:
            getattr(encoder, "activation_checkpointing_disable", encoder.gradient_checkpointing_disable)()
