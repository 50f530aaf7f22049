"""Checks and settings of padding, on which no vector may depend; chat templates, which are omitted."""

import logging
from typing import Any, get_args

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from torch import Tensor
from torch.nn.functional import cosine_similarity, pad

from ance_tele.console.errors import UserError
from ance_tele.encode.encoder import Forward, tokenizer_of
from ance_tele.encode.files import declared
from ance_tele.encode.in_use import Task
from ance_tele.encode.refusals import cannot_encode

log = logging.getLogger(__name__)

# Tokens of the compared text, and of the longer one in its batch.
SHORT, LONG = 5, 24

# Least cosine of a vector alone and in a batch. Models that read padding had as little as 0.5; rounding costs 1e-6.
ALIKE = 0.9999


def resolve_modality(model: SentenceTransformer, name: str, plain: bool) -> None:
    """Omit the chat template of a plain decoder, here and in its saved folder.

    A folder of sentence-transformers (not ``plain``) would declare the template as its own. Refuse a model that reads
    no texts, or chat messages only.
    """
    for module in model.modules():
        if not isinstance(module, Transformer):
            continue
        kinds = module.modality_config
        if "message" in kinds and plain:
            kinds.pop("message")
            module.input_formatter.supported_modalities = list(kinds)
            log.info(
                "texts are read as they are, without the chat template that sentence-transformers would put around them"
            )
        if "message" in kinds:
            raise UserError(
                f"{name} declares that texts are read in the frame of its chat template, which is not done here; take "
                '"message" out of modality_config in its sentence_bert_config.json, and texts are read as they are.'
            )
        if "text" not in kinds:
            raise UserError(f"{name} reads {', '.join(map(str, kinds))}, no texts; take an encoder of texts.")


def check_company(model: SentenceTransformer, name: str) -> None:
    """Refuse a model whose vector of a made-up text changes in a batch with longer texts: it reads the padding."""
    for task in get_args(Task):
        try:
            forward = Forward(model, task)
            alike = forward.flat or _alike(forward, left=False)
        except (MemoryError, torch.OutOfMemoryError, UserError):
            raise
        except Exception as error:  # the first text that it encodes: what its files declare shows only now
            raise cannot_encode(name, error) from error
        if not alike:
            raise UserError(
                f"{name} gives a text another vector in a batch with longer texts (it reads the padding), so that "
                "every figure depends on the batching; take a model that leaves padding out by its attention mask."
            )


def resolve_padding(model: SentenceTransformer) -> None:
    """Declare padding on the right for a folder that declares the left, if positions count from there.

    Vectors here are the same either way (:class:`Forward` pads on the right); this is for users of the saved model.
    """
    for task in get_args(Task):
        tokenizer = tokenizer_of(model, task)
        if getattr(tokenizer, "padding_side", "right") == "left" and not _alike(Forward(model, task), left=True):
            tokenizer.padding_side = "right"


def give_padding_token(model: SentenceTransformer, name: str) -> None:
    """Have a decoder without a padding token pad with its last token, so that it can be used in batches."""
    for task in get_args(Task):
        tokenizer: Any = tokenizer_of(model, task)
        if tokenizer.pad_token_id is None:
            if tokenizer.eos_token is None and tokenizer.unk_token is None:
                raise UserError(f"The tokenizer of {name} has no padding token, and no token that could serve as one.")
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token


def append_end_token(model: SentenceTransformer, name: str) -> None:
    """Have a tokenizer append its end token where its settings declare that (E5-Mistral).

    transformers 5 follows tokenizer.json alone. What is saved has the end in both.
    """
    if declared(name, "tokenizer_config.json").get("add_eos_token") is not True:
        return
    for task in get_args(Task):
        tokenizer: Any = tokenizer_of(model, task)
        ids, end = tokenizer("a")["input_ids"], tokenizer.eos_token_id
        if end is None or ids[-1:] == [end] or not hasattr(tokenizer, "update_post_processor"):
            continue
        tokenizer.add_bos_token = ids[:1] == [tokenizer.bos_token_id]
        tokenizer.add_eos_token = True
        log.info(f"texts end in {tokenizer.eos_token}, as tokenizer_config.json declares, and tokenizer.json does not")


def _alike(forward: Forward, left: bool) -> bool:
    """Return whether a short text has the same vector alone as with a longer one, padded on the given side."""
    tokenizer, device = tokenizer_of(forward.model, forward.task), forward.model.device
    words = 1 + torch.arange(LONG) % max(1, min(64, len(tokenizer) - 2))
    words = torch.where(words == forward.pad, words + 1, words)
    missing = LONG - SHORT
    sides = (missing, 0) if left else (0, missing)
    both = torch.stack([words, pad(words[:SHORT], sides, value=forward.pad)])
    mask = torch.stack([torch.ones(LONG), pad(torch.ones(SHORT), sides)]).long()
    was_training = forward.model.training
    forward.model.eval()

    def vector(ids: Tensor, real: Tensor) -> Any:
        with torch.no_grad():
            return forward(ids.to(device), real.to(device), real.sum(1).tolist())[-1].float()

    try:
        alone = vector(words[None, :SHORT], torch.ones(1, SHORT).long())
        return not float(cosine_similarity(alone, vector(both, mask), dim=0)) < ALIKE  # NaN has an error of its own
    finally:
        forward.model.train(was_training)
