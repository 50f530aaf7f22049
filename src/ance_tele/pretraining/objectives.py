"""The terms of the objectives, as functions of tensors: masked words, Condenser head, spans that attract, weak decoder.

Condenser: Gao and Callan 2021. coCondenser: Gao and Callan 2022. SEED-Encoder: Lu et al. 2021.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from ance_tele.encode.bert import Shape
from ance_tele.encode.bert_layers import Padded, embedded, layers
from ance_tele.training.loss import contrastive_loss

Weights: TypeAlias = Mapping[str, Tensor]
"""Tensors by name, as of a BERT."""


def numbered(weights: Weights, start: int, stop: int) -> dict[str, Tensor]:
    """Return the weights of the layers from ``start`` to below ``stop``, numbered from 0."""
    found = {}
    for name, weight in weights.items():
        head, _, rest = name.partition("encoder.layer.")
        number, _, part = rest.partition(".")
        if not head and rest and start <= int(number) < stop:
            found[f"encoder.layer.{int(number) - start}.{part}"] = weight
    return found


def through(
    weights: Weights,
    half: Weights | None,
    shape: Shape,
    x: Tensor,
    layout: Padded,
    rates: tuple[float, float],
    start: int,
    stop: int,
) -> Tensor:
    """Return the output of the layers from ``start`` to below ``stop``, [texts, length, width].

    Args:
        weights: Of all layers.
        half: Copies in bf16 (:func:`ance_tele.encode.bert_layers.halved`), for products in it; None for float32.
        shape: Sizes of the BERT.
        x: Input of the first of them.
        layout: What attends to what.
        rates: Of dropout: after products, of attention's weights.
        start: First layer.
        stop: One after the last layer.
    """
    if start == stop:
        return x
    own, copies = numbered(weights, start, stop), None if half is None else numbered(half, start, stop)
    return layers(own, replace(shape, layers=stop - start), x, layout, copies, *rates)


def condensed(late: Tensor, early: Tensor) -> Tensor:
    """Return the input of the Condenser head: the last layer's first token, the other tokens of an early layer.

    Args:
        late: Output of the last layer, [texts, length, width].
        early: Output of the layer that is skipped from, likewise.
    """
    return torch.cat([late[:, :1], early[:, 1:]], 1)


def weak_mask(length: int, span: int, device: torch.device | None = None) -> Tensor:
    """Return what a token attends to in SEED's decoder: the first one, and the last ``span`` up to itself.

    >>> weak_mask(4, 2)[0, 0].int().tolist()
    [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 1, 1]]

    Returns:
        bool [1, 1, length, length].
    """
    place = torch.arange(length, device=device)
    back = place[:, None] - place
    return (((back >= 0) & (back < span)) | (place == 0))[None, None]


def decoder_input(
    weights: Weights, shape: Shape, original: Tensor, places: Tensor, first: Tensor, dropout: float = 0.0
) -> Tensor:
    """Return the input of SEED's decoder: the encoder's vector of a text, then the embeddings of its unmasked tokens.

    Args:
        weights: Of the encoder, whose embeddings it shares.
        shape: Its sizes.
        original: Token ids before they were masked, int64 [texts, length].
        places: Rows of the table of positions.
        first: The encoder's vectors, [texts, 1, width].
        dropout: Rate.
    """
    return torch.cat([first, embedded(weights, shape, original, places, dropout)[:, 1:]], 1)


def predicted(x: Tensor, labels: Tensor, words: Tensor, head: Weights, epsilon: float, bf16: bool = False) -> Tensor:
    """Return the sum of the cross-entropies of tokens to be predicted, a scalar in float32.

    Args:
        x: Vectors at their places, [tokens, width].
        labels: The tokens, int64 [tokens].
        words: Table of word embeddings, [ids, width], that the head is tied to.
        head: ``bias`` [ids]; and, for a transformation before it, ``dense.weight``, ``dense.bias``, ``norm.weight``,
            ``norm.bias``.
        epsilon: Of the normalisation.
        bf16: Products are in bf16.
    """
    with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
        if "dense.weight" in head:
            x = F.gelu(F.linear(x, head["dense.weight"], head["dense.bias"]))
            with torch.autocast(x.device.type, enabled=False):
                x = F.layer_norm(x.float(), x.shape[-1:], head["norm.weight"], head["norm.bias"], epsilon)
        scores = F.linear(x, words, head["bias"])
    return F.cross_entropy(scores.float(), labels, reduction="sum")


def contrast(vectors: Tensor, partner: Tensor) -> Tensor:
    """Return coCondenser's contrastive loss: each span finds the other of its passage among all spans of the batch.

    The score is the dot product, without a temperature; a span is no candidate for itself.

    Args:
        vectors: Of the spans, [spans, width].
        partner: The other span of the same passage, int64 [spans].
    """
    own = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    return contrastive_loss(vectors, vectors, partner, own)
