"""The start of a pretraining: an encoder, and heads from what it was pretrained with before, or new ones."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from torch import Tensor

from ance_tele.console.errors import UserError
from ance_tele.console.log import muted
from ance_tele.encode.bert_model import FAMILIES, bert_of
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import tokenizer_of
from ance_tele.encode.files import is_plain, resolve
from ance_tele.encode.lengths import positions
from ance_tele.encode.loading import WEIGHTS, load_model, quiet
from ance_tele.pretraining.config import PretrainingConfig
from ance_tele.pretraining.masking import Vocabulary
from ance_tele.pretraining.model import Pretrained
from ance_tele.store.files import reading

log = logging.getLogger(__name__)

HEADS = "head.safetensors"
"""Beside the encoder: the heads that it was pretrained with, from which the next pretraining goes on."""

_TITLES = {"mlm": "masked words", "head": "Condenser", "decoder": "the decoder"}

# Names of the head of a masked language model of transformers, by ours.
_MLM = (
    {"dense": "cls.predictions.transform.dense", "norm": "cls.predictions.transform.LayerNorm", "": "cls.predictions"},
    {"dense": "lm_head.dense", "norm": "lm_head.layer_norm", "": "lm_head"},
)


@dataclass(frozen=True)
class Start:
    """A loaded encoder with its heads.

    Attributes:
        model: As sentence-transformers loads it; its first module is what is trained.
        pretrained: The encoder with its heads.
        tokenizer: Of the encoder.
        words: Its vocabulary.
        plain: It came from a plain folder, without files of sentence-transformers, and goes into one.
        heads: Which heads were read, by name; the others are new.
    """

    model: SentenceTransformer
    pretrained: Pretrained
    tokenizer: Any
    words: Vocabulary
    plain: bool
    heads: tuple[str, ...]


def load_start(name: str, config: PretrainingConfig, device: str | None = None) -> Start:
    """Load an encoder and, where it has them, its heads; new ones are drawn from the seed.

    Raises:
        UserError: It cannot be loaded, is no BERT, RoBERTa or XLM-RoBERTa as transformers makes it, or reads fewer
            tokens or has fewer layers than configured.
    """
    name = resolve(name)
    with muted():  # of pooling, prompts and lengths, none of which is used here
        model = load_model(name, EncoderConfig(), device)
    bert = bert_of(list(model.children()))
    if bert is None:
        raise UserError(
            f"{name} is none of the encoders that pretraining goes on with: "
            f"{', '.join(kind for kind, _ in FAMILIES.values())} of transformers, without adapters or code of its own."
        )
    skip_from = bert.shape.layers // 2 if config.skip_from is None else config.skip_from
    if skip_from >= bert.shape.layers:
        raise UserError(f"skip_from is {skip_from}; {name} has {bert.shape.layers} layers: it must be below.")
    most = positions(model[0])
    if most is not None and config.max_tokens > most:
        raise UserError(f"max_tokens is {config.max_tokens}; {name} reads at most {most}.")
    tokenizer = tokenizer_of(model, "document")
    words = Vocabulary.of(tokenizer, name)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        pretrained = Pretrained(bert, config, skip_from).to(model.device)
        heads = adopt_heads(pretrained, {**_masked_language_model(name, bert.module.config), **read_heads(Path(name))})
    return Start(model, pretrained, tokenizer, words, is_plain(name), heads)


def adopt_heads(pretrained: Pretrained, stored: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Copy those heads that are stored whole and in the same shapes; return their names, and log which are new."""
    own = heads_of(pretrained)
    groups = sorted({_group(name) for name in own}, key=list(_TITLES).index)
    read = tuple(group for group in groups if _shapes(own, group) == _shapes(stored, group))
    with torch.no_grad():
        for name, tensor in own.items():
            if _group(name) in read:
                tensor.copy_(stored[name])
    parts = [f"{_TITLES[group]} {'goes on' if group in read else 'is new'}" for group in groups]
    log.info(f"heads: {', '.join(parts)}")
    return read


def heads_of(pretrained: Pretrained) -> dict[str, Tensor]:
    """Return the tensors of the heads, by name; they share memory with the module."""
    return {name: one for name, one in pretrained.state_dict().items() if not name.startswith("body.")}


def save_heads(pretrained: Pretrained, folder: Path) -> None:
    """Write the heads beside the encoder."""
    save_file({name: one.contiguous() for name, one in heads_of(pretrained).items()}, folder / HEADS)


def read_heads(folder: Path) -> dict[str, Tensor]:
    """Return the heads beside an encoder; {} without.

    Raises:
        UserError: They are damaged.
    """
    path = folder / HEADS
    if not path.is_file():
        return {}
    with reading(path, "delete it, or take another copy of the model"):
        return load_file(path)


def _shapes(tensors: Mapping[str, Tensor], group: str) -> dict[str, torch.Size]:
    return {name: one.shape for name, one in tensors.items() if _group(name) == group}


def _group(name: str) -> str:
    return "decoder" if name == "decoder_bias" else name.partition(".")[0]


def _masked_language_model(name: str, config: Any) -> dict[str, Tensor]:
    """Return the head of a masked language model that transformers has saved, by our names; {} without."""
    if not any(str(one).endswith(("ForMaskedLM", "ForPreTraining")) for one in config.architectures or ()):
        return {}
    from transformers import AutoModelForMaskedLM

    module, information = AutoModelForMaskedLM.from_pretrained(name, output_loading_info=True, **WEIGHTS)
    tensors = module.state_dict()
    missing = set(information["missing_keys"])
    for names in _MLM:
        found = {
            f"mlm.{ours}.{part}" if ours else f"mlm.{part}": f"{theirs}.{part}"
            for ours, theirs in names.items()
            for part in (("weight", "bias") if ours else ("bias",))
        }
        if all(theirs in tensors and theirs not in missing for theirs in found.values()):
            return {ours: tensors[theirs] for ours, theirs in found.items()}
    return {}
