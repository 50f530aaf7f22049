"""Several vectors a passage (ME-BERT, Luan et al. 2021), and projections to fewer numbers.

A passage's vectors are one row of ``count * dimension`` numbers; a query has one vector. What multiplies them views
the row as [count, dimension] and takes the largest product (:mod:`ance_tele.search.several`).
"""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Module, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor, nn

from ance_tele.console.errors import UserError
from ance_tele.encode.config import EncoderConfig


class FirstVectors(Module):
    """Takes the vectors of the first ``count`` tokens of a passage, in one row, and that of the first of a query.

    A passage of fewer tokens has that of its first token again in place of those it lacks, which changes no largest
    product. Tokens count from the first that is no padding, [CLS] and those of a prompt included. Texts of no task
    are passages.

    Args:
        count: Vectors of a passage.
    """

    config_keys: ClassVar = ["count"]
    forward_kwargs: ClassVar = {"task"}

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, features: dict[str, Any], task: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Add ``sentence_embedding``, [texts, count * dimension], or [texts, dimension] of queries."""
        tokens = features["token_embeddings"]
        count = 1 if (task or features.get("task")) == "query" else self.count
        if "cu_seq_lens_q" in features:  # texts without padding, one after the other
            ends = features["cu_seq_lens_q"].long()
            tokens, starts, lengths = tokens[0], ends[:-1], ends.diff()
        else:
            mask = features["attention_mask"].long()
            rows = torch.arange(len(tokens), device=tokens.device) * tokens.shape[1]
            starts, lengths, tokens = rows + mask.argmax(1), mask.sum(1), tokens.flatten(0, 1)
        place = torch.arange(count, device=tokens.device).expand(len(starts), -1)
        place = place.masked_fill(place >= lengths[:, None], 0)
        features["sentence_embedding"] = tokens[starts[:, None] + place].flatten(1)
        return features

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the settings; there are no weights."""
        self.save_config(output_path)


class NormalizeEach(Normalize):
    """Scales each of the vectors in a row to length one.

    Args:
        dimension: Numbers of a vector.
    """

    config_keys: ClassVar = ["dimension"]

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.dimension = dimension

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scale ``sentence_embedding``, [texts, vectors * dimension]."""
        rows = features["sentence_embedding"]
        features["sentence_embedding"] = F.normalize(rows.unflatten(1, (-1, self.dimension)), dim=-1).flatten(1)
        return features


def vectors_each(model: SentenceTransformer) -> int:
    """Return how many vectors a model has for a passage."""
    return next((module.count for module in model.modules() if isinstance(module, FirstVectors)), 1)


def normalizing(model: SentenceTransformer) -> Normalize:
    """Return the module that scales the vectors of a model to length one."""
    return Normalize() if vectors_each(model) == 1 else NormalizeEach(model.get_embedding_dimension() or 1)


def projected(model: SentenceTransformer, config: EncoderConfig, name: str) -> list[nn.Module] | None:
    """Return the modules of a model with the projection and the number of vectors in ``config``; None if it has them.

    The projection has orthogonal rows or columns at first, so that a square one changes no product.

    Raises:
        UserError: The model has another number of vectors, or modules that do not allow for several.
    """
    modules, each = list(model.children()), vectors_each(model)
    dimension = model.get_embedding_dimension() or 0
    size = config.projection or dimension
    if each > 1:
        if config.passage_vectors not in (1, each):
            raise UserError(
                f"{name} has {each} vectors a passage, and passage_vectors is {config.passage_vectors}; leave that "
                "out, or begin with another model."
            )
        if size != dimension:
            raise UserError(
                f"{name} has vectors of {dimension} numbers, and projection is {size}; what has several vectors a "
                "passage is not projected again: leave projection out, or begin with another model."
            )
        return None
    normal = [module for module in modules if isinstance(module, Normalize)]
    if config.passage_vectors == 1:
        if size == dimension:
            return None
        return [*(module for module in modules if module not in normal), _projection(dimension, size), *normal]
    plain = isinstance(modules[0], Transformer) and len(modules) - len(normal) == 2 and isinstance(modules[1], Pooling)
    if not plain or model.truncate_dim is not None:
        raise UserError(
            f"{name} cannot get several vectors a passage: that takes a transformer and its pooling, without separate "
            "encoders, further layers or truncation; begin with the encoder that it was made of, or leave "
            "passage_vectors out."
        )
    projection = _projection(dimension, size, "token_embeddings")
    each_normal: list[nn.Module] = [NormalizeEach(size)] if normal else []
    return [modules[0], projection, FirstVectors(config.passage_vectors), *each_normal]


def _projection(width: int, size: int, what: str = "sentence_embedding") -> Dense:
    weight = nn.init.orthogonal_(torch.empty(size, width))
    return Dense(width, size, bias=False, activation_function=None, init_weight=weight, module_input_name=what)
