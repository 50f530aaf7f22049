"""Logits of pairs of texts by a cross-encoder: tokenised at once, sorted by length, in batches of so many tokens."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import Transformer
from torch import nn
from torch.nn.attention import sdpa_kernel

from ance_tele.console.progress import Advance
from ance_tele.data.ragged import offsets_of
from ance_tele.data.text_format import PairTokenizer, pair_tokenizer
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.encoder import batch_budget
from ance_tele.encode.inference import sent, token_batches
from ance_tele.encode.kernels import Kernels
from ance_tele.encode.loading import quiet
from ance_tele.encode.precision import resolve_precision
from ance_tele.encode.recomputing import WITHOUT_CUDNN
from ance_tele.encode.threads import side_by_side

# Most tokens of a batch, padding included, where memory rather than a CPU's caches limits it.
PAIR_TOKENS = 32768

# Pairs of a batch of models that read pairs in a way of their own.
PAIRS_PER_BATCH = 64


def pair_logits(
    model: CrossEncoder,
    pairs: list[tuple[str, str]],
    precision: str = "float32",
    advance: Advance = lambda pairs: None,
) -> np.ndarray:
    """Return the logit of each pair, before the model's activation, float32 [n].

    The same as ``CrossEncoder.predict`` computes, whose batches hold a fixed number of pairs sorted by characters.

    Args:
        model: A cross-encoder with one output; it is left in evaluation mode.
        pairs: Query and passage of each.
        precision: "float32", "bf16" or "auto".
        advance: Gets the number of pairs done.
    """
    encode = _tokenizer(model)
    if encode is None:
        with quiet():
            options: dict[str, Any] = {"activation_fn": nn.Identity(), "show_progress_bar": False}
            found = model.predict(pairs, batch_size=PAIRS_PER_BATCH, **options)
        advance(len(pairs))
        return np.asarray(found, dtype=np.float32)
    typed, pad = "token_type_ids" in model.tokenizer.model_input_names, model.tokenizer.pad_token_id or 0
    ids, types = encode(pairs)
    # Two empty texts have no token at all where a tokenizer puts none between them.
    ids, types = [row or [pad] for row in ids], [row or [0] for row in types]
    offsets = offsets_of([len(row) for row in ids])
    tokens, kinds = (TokenStore(_flat(rows), offsets, "") for rows in (ids, types))
    device, logits = model.device, np.empty(len(pairs), dtype=np.float32)
    bf16 = resolve_precision(precision, device) == "bf16"
    model.eval()

    def score(batches: Iterator[np.ndarray]) -> None:
        on_cpu = device.type == "cpu"
        kernels = Kernels() if on_cpu else None
        # As in encoding: one context for all batches, so that autocast casts each weight once.
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            for batch in batches:
                padded, mask = (sent(each, device) for each in tokens.padded(batch, pad))
                given: dict[str, Any] = {"input_ids": padded, "attention_mask": mask}
                if typed:
                    given["token_type_ids"] = sent(kinds.padded(batch)[0], device)
                with kernels or (sdpa_kernel(WITHOUT_CUDNN) if device.type == "cuda" else nullcontext()):
                    found = model(given)["scores"]
                logits[batch] = found.float().reshape(-1).cpu().numpy()
                advance(len(batch))

    side_or_straight = side_by_side if device.type == "cpu" else _straight
    side_or_straight(score, token_batches(tokens.lengths(), batch_budget(PAIR_TOKENS, device)))
    return logits


def _straight(work: Any, batches: Iterator[np.ndarray]) -> None:
    work(batches)


def _flat(rows: list[list[int]]) -> np.ndarray:
    return np.concatenate([np.asarray(row, dtype=np.int32) for row in rows]) if rows else np.empty(0, np.int32)


def _tokenizer(model: CrossEncoder) -> PairTokenizer | None:
    """Return what tokenises pairs; None for a model that reads them otherwise: a prompt, a chat, other modules."""
    first: Any = model[0]
    if type(first) is not Transformer or first.transformer_task != "sequence-classification":
        return None
    if "message" in first.modality_config or model.default_prompt_name is not None or model.max_seq_length is None:
        return None
    return pair_tokenizer(first.tokenizer, model.max_seq_length)
