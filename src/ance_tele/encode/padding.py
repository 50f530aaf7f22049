"""Padding: no vector may depend on who shares its batch, here or where a saved folder is used."""

from typing import Any, get_args

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn.functional import cosine_similarity, pad

from ance_tele.data.errors import UserError
from ance_tele.encode.encoder import Forward, tokenizer_of
from ance_tele.encode.lengths import Task

# Tokens of the text whose vector is looked at, and of those beside it.
SHORT, LONG = 5, 24

# Of a vector to itself, alone and in company. What depends on its batch was seen down to 0.5; rounding costs 1e-6.
ALIKE = 0.9999


def check_company(model: SentenceTransformer, name: str) -> None:
    """Refuse a model that gives a text other vectors beside longer texts: it reads the padding.

    Args:
        model: Tried with made-up texts, in either task.
        name: For the sentence.

    Raises:
        UserError: Its vectors depend on who shares a batch.
    """
    for task in get_args(Task):
        forward = Forward(model, task)
        if not forward.flat and not _alike(forward, left=False):
            raise UserError(
                f"{name} gives a text another vector beside longer texts (it reads the padding), so that every figure "
                "depends on how texts are batched; take a model that leaves padding out by its attention mask."
            )


def settle_padding(model: SentenceTransformer) -> None:
    """Have texts padded on the right where a folder declares the left and its positions count from there.

    Vectors here are the same either way (:class:`Forward` pads on the right); it is for those who load what is saved.
    """
    for task in get_args(Task):
        tokenizer = tokenizer_of(model, task)
        if getattr(tokenizer, "padding_side", "right") == "left" and not _alike(Forward(model, task), left=True):
            tokenizer.padding_side = "right"


def give_padding_token(model: SentenceTransformer, name: str) -> None:
    """Have a decoder that came without a padding token pad with its last token, so that it can be used in batches.

    Raises:
        UserError: It has no token that could serve.
    """
    for task in get_args(Task):
        tokenizer: Any = tokenizer_of(model, task)
        if tokenizer.pad_token_id is None:
            if tokenizer.eos_token is None and tokenizer.unk_token is None:
                raise UserError(f"The tokenizer of {name} has no padding token, and no token that could serve as one.")
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token


def _alike(forward: Forward, left: bool) -> bool:
    """Say whether a short text has the same vector alone and beside a longer one, padded on the side given."""
    tokenizer, device = tokenizer_of(forward.model, forward.task), forward.model.device
    words = 1 + torch.arange(LONG) % max(1, min(64, len(tokenizer) - 2))
    words = torch.where(words == forward.pad, words + 1, words)
    missing = LONG - SHORT
    both = torch.stack([words, pad(words[:SHORT], (missing, 0) if left else (0, missing), value=forward.pad)])
    mask = torch.stack([torch.ones(LONG), pad(torch.ones(SHORT), (missing, 0) if left else (0, missing))]).long()
    was_training = forward.model.training
    forward.model.eval()

    def vector(ids: Tensor, real: Tensor) -> Any:
        with torch.no_grad():
            return forward(ids.to(device), real.to(device), real.sum(1).tolist())[-1].float()

    try:
        alone = vector(words[None, :SHORT], torch.ones(1, SHORT).long())
        return not float(cosine_similarity(alone, vector(both, mask), dim=0)) < ALIKE  # NaN is told elsewhere
    finally:
        forward.model.train(was_training)
