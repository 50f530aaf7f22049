"""Similarity, dimension, prompts, separator and tokens: as a model declares them, unless the settings override it.

The values in use are written into the model, so that its saved folder declares them.
"""

import logging
import re
from typing import Any

import torch.nn.functional as F
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize
from tokenizers import Tokenizer
from torch import Tensor

from ance_tele.console.errors import UserError
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.files import declared_tokenizer
from ance_tele.encode.in_use import PROMPTS, TEXTS, prompt_names, used_prompts, used_similarity
from ance_tele.encode.several import normalizing

log = logging.getLogger(__name__)

# A text that most rules cut in ways of their own: by case, accents, digits, hyphens, apostrophes and scripts.
PROBE = "Naïve x-ray no. 12,345 can't be 東京"

_SPECIAL = re.compile(r"\[[A-Z]+\]|</?\w+>|<\|\w+\|>")


def check_similarity(similarity: str | None, config: EncoderConfig, name: str) -> None:
    """Refuse a similarity other than cosine and dot product, unless the settings choose one of these."""
    if similarity in ("euclidean", "manhattan") and config.normalize is None:
        raise UserError(
            f"{name} declares {similarity} distance as its similarity; here passages are ranked by cosine or dot "
            "product. Set normalize to true to take the cosine instead, or to false for the dot product."
        )


def resolve_similarity(model: SentenceTransformer, config: EncoderConfig, name: str) -> None:
    """Append normalisation to a model with cosine similarity, and declare the similarity in use."""
    check_similarity(model.similarity_fn_name, config, name)
    normal = any(isinstance(module, Normalize) for module in model.modules())
    used = used_similarity(model.similarity_fn_name, normal, config)
    if used != model.similarity_fn_name:
        model.similarity_fn_name = used
    if model.similarity_fn_name == "cosine" and not normal:
        model.append(normalizing(model))


def finished(model: SentenceTransformer, vectors: Tensor) -> Tensor:
    """Truncate vectors, [n, d], to the declared ``truncate_dim``, as the model's ``encode`` does."""
    return vectors if model.truncate_dim is None else truncated(model, vectors, model.truncate_dim)


def truncated(model: SentenceTransformer, vectors: Tensor, size: int) -> Tensor:
    """Return the first ``size`` numbers of vectors, [n, d]; with cosine similarity they are normalised again."""
    vectors = vectors[..., :size]
    return F.normalize(vectors, dim=-1) if model.similarity_fn_name == "cosine" else vectors


def resolve_prompts(model: SentenceTransformer, config: EncoderConfig) -> None:
    """Write the prompts of queries and passages, configured or declared, where sentence-transformers reads them."""
    prompts = model.prompts
    given = [name for name, text in prompts.items() if text]
    found = prompt_names(prompts, model.default_prompt_name)
    used = used_prompts(prompts, model.default_prompt_name, config)
    configured = {"query": config.query_prompt, "document": config.passage_prompt}
    for task, name in found.items():
        if configured[task] is None and name not in (None, task):
            log.info(f"{TEXTS[task]} get the model's prompt '{name}' ({used[task]!r}); it is saved as '{task}' too")
        prompts[task] = used[task]
    if given and not any(found.values()) and not any(prompts[task] for task in PROMPTS):
        log.info(
            f"none of the model's prompts is used ({', '.join(given)}): none is for queries or passages by its name; "
            "query_prompt and passage_prompt take a text"
        )


def separator_of(tokenizer: Any, separator: str) -> str:
    """Return the separator between title and body; special tokens that the tokenizer lacks become its own separator, or
    a space.
    """
    wanted = separator.strip()
    if not _SPECIAL.fullmatch(wanted):
        return separator
    ids = tokenizer(wanted, add_special_tokens=False)["input_ids"]
    if len(ids) == 1 and ids[0] != getattr(tokenizer, "unk_token_id", None):
        return separator
    own = getattr(tokenizer, "sep_token", None) or getattr(tokenizer, "eos_token", None)
    return " " if own is None else separator.replace(wanted, own)


def log_separator(tokenizer: Any, config: EncoderConfig) -> None:
    """Log a replaced separator."""
    own = separator_of(tokenizer, config.title_separator)
    if own != config.title_separator:
        log.info(f"titles are joined by {own!r}: the model's tokenizer has no token {config.title_separator.strip()}")


def log_rules(tokenizer: Any, name: str) -> None:
    """Log that a tokenizer cuts texts otherwise than the tokenizer.json of its model describes.

    transformers 5 takes the vocabulary from that file, and the rules from the tokenizer's class where that has some.
    """
    described, used = declared_tokenizer(name), getattr(tokenizer, "backend_tokenizer", None)
    if described is not None and isinstance(used, Tokenizer) and _cut(described) != _cut(used):
        log.info(
            f"texts are cut into tokens by the rules of {type(tokenizer).__name__}, not by those in tokenizer.json; "
            'with "tokenizer_class": "PreTrainedTokenizerFast" in tokenizer_config.json by the latter'
        )


def _cut(tokenizer: Tokenizer) -> list[int]:
    """Return the ids of a probe, without padding."""
    found = tokenizer.encode(PROBE, add_special_tokens=False)
    return [number for number, real in zip(found.ids, found.attention_mask, strict=True) if real]
