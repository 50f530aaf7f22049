"""The layers of a BERT as functions of its tensors, for texts with and without padding.

Against the modules of transformers they spare the host's work between kernels, cast the weights once a step instead of
once a product, compute of the last layer only what the pooling reads, and have few enough branches to be compiled.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ance_tele.encode.bert import Shape
from ance_tele.encode.packed import attend_within

# Products of attention that have the same input.
JOINT = ("query", "key", "value")

# The contexts of a layer's first computation and of its second, as torch.utils.checkpoint takes them.
Contexts = Callable[[], tuple[AbstractContextManager[Any], AbstractContextManager[Any]]]


class Layout(Protocol):
    """How the tokens of texts lie in a tensor, and which of them attend to each other."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, heads: int, dropout: float) -> Tensor:
        """Return attention over [*layout, width], of every token or of the first of each text alone."""

    def first(self, x: Tensor) -> Tensor:
        """Return the first token of each text."""


@dataclass(frozen=True)
class Padded:
    """Texts padded on the right, [texts, length, width].

    Attributes:
        mask: Real tokens, bool [texts, 1, 1, length]; None without padding.
    """

    mask: Tensor | None

    def attend(self, query: Tensor, key: Tensor, value: Tensor, heads: int, dropout: float) -> Tensor:
        """Return attention within each text, [texts, tokens of the queries, width]."""
        one, two, three = (each.unflatten(-1, (heads, -1)).transpose(1, 2) for each in (query, key, value))
        return F.scaled_dot_product_attention(one, two, three, self.mask, dropout).transpose(1, 2).flatten(2)

    def first(self, x: Tensor) -> Tensor:
        """Return the first token of each text, [texts, 1, width]."""
        return x[:, :1]


@dataclass(frozen=True)
class Flat:
    """Texts one after the other, [tokens, width].

    Attributes:
        ends: Offsets of the texts, int32 [texts + 1].
        longest: At least the tokens of the longest text.
        singles: Offsets of texts of one token, int32 [texts + 1].
    """

    ends: Tensor
    longest: int
    singles: Tensor

    def attend(self, query: Tensor, key: Tensor, value: Tensor, heads: int, dropout: float) -> Tensor:
        """Return attention within each text, [tokens of the queries, width]."""
        one, two, three = (each.unflatten(-1, (heads, -1)) for each in (query, key, value))
        asking = (self.singles, 1) if len(query) != len(key) else (self.ends, self.longest)
        return attend_within(one, two, three, self.ends, self.longest, *asking, dropout).flatten(1)

    def first(self, x: Tensor) -> Tensor:
        """Return the first token of each text, [texts, width]."""
        return x[self.ends[:-1]]


class HalfLinear(torch.autograd.Function):
    """``x @ weight.T + bias`` in bf16 by copies of float32 weights, which get float32 gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, half: Tensor, half_bias: Tensor, *masters: Tensor) -> Tensor:
        """Return the product.

        Args:
            ctx: Of autograd.
            x: bf16 [..., width].
            half: bf16 [out, width], of several weights one below the other.
            half_bias: bf16 [out].
            masters: The weights that ``half`` is a copy of, then their biases.
        """
        ctx.save_for_backward(x, half)
        ctx.needed = len(masters) // 2
        return F.linear(x, half, half_bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of input, weights and biases."""
        x, half = ctx.saved_tensors
        gradient, count = gradients[0], ctx.needed
        flat = gradient.flatten(0, -2)
        given = gradient @ half if ctx.needs_input_grad[0] else None
        none: tuple[None, ...] = (None,) * count
        weights = (flat.T @ x.flatten(0, -2)).float().chunk(count) if any(ctx.needs_input_grad[3 : 3 + count]) else none
        biases = flat.sum(0, dtype=torch.float32).chunk(count) if any(ctx.needs_input_grad[3 + count :]) else none
        return given, None, None, *weights, *biases


def halved(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return bf16 copies of the weights and biases of all products, by name.

    Those of attention's query, key and value lie one below the other in one tensor, ``encoder.layer.0.attention.self``.
    """
    found, copies, masters = dict[str, Tensor](), list[Tensor](), list[Tensor]()
    for name, weight in weights.items():
        if not name.startswith("encoder.") or "LayerNorm" in name:
            continue
        *start, part, kind = name.split(".")
        joined = ".".join([*start, kind]) if part in JOINT else name
        parts = len(JOINT) if part in JOINT else 1
        if joined not in found:
            found[joined] = weight.new_empty(parts * len(weight), *weight.shape[1:], dtype=torch.bfloat16)
        copies.append(found[joined].chunk(parts)[JOINT.index(part) if part in JOINT else 0])
        masters.append(weight.detach())
    torch._foreach_copy_(copies, masters)
    return found


def embedded(weights: Mapping[str, Tensor], shape: Shape, ids: Tensor, places: Tensor, dropout: float = 0.0) -> Tensor:
    """Return the input of the first layer.

    Args:
        weights: Tensors by name.
        shape: Sizes of the BERT.
        ids: Token ids, int64, of any shape.
        places: Rows of the table of positions, int64; its shape is that of ``ids``, or without the first dimension.
        dropout: Rate of dropout.
    """
    word, kind, position = (
        weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "token_type", "position")
    )
    x = F.embedding(ids, word, shape.padding) + kind[0]
    x = x + F.embedding(places, position, shape.skipped - 1 if shape.skipped else None)
    return _dropped(_norm(weights, shape, "embeddings", x), dropout)


def layers(
    weights: Mapping[str, Tensor],
    shape: Shape,
    x: Tensor,
    layout: Layout,
    half: Mapping[str, Tensor] | None = None,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    first: bool = False,
    again: Contexts | None = None,
) -> Tensor:
    """Return the output of the last layer.

    Args:
        weights: Tensors by name.
        shape: Sizes of the BERT.
        x: Output of :func:`embedded`, float32.
        layout: Where texts begin and end.
        half: Copies of the weights (:func:`halved`): products and attention are in bf16, sums and norms in float32.
        dropout: Rate after each product that is added to its input.
        attention_dropout: Rate of attention's weights.
        first: Of the last layer return the first token of each text only.
        again: Keep what enters each layer only, and compute the layer again in the backward pass, in these contexts.
    """

    def products(own: str, names: Sequence[str], x: Tensor) -> Sequence[Tensor]:
        pairs = [(weights[f"{own}.{name}.weight"], weights[f"{own}.{name}.bias"]) for name in names]
        if half is None:
            return [F.linear(x, *pair) for pair in pairs]
        single = names[0] not in JOINT
        start = 0 if single else JOINT.index(names[0]) * len(pairs[0][0])
        rows = slice(start, start + len(names) * len(pairs[0][0]))
        given = (half[f"{own}.{names[0]}.{kind}" if single else f"{own}.{kind}"][rows] for kind in ("weight", "bias"))
        if torch.is_grad_enabled():
            found = HalfLinear.apply(x, *given, *(weight for weight, _ in pairs), *(bias for _, bias in pairs))
        else:
            found = F.linear(x, *given)
        return found.chunk(len(names), -1)

    def dense(own: str, x: Tensor) -> Tensor:
        return products(own, ("dense",), x)[0]

    def computed(number: int, x: Tensor) -> Tensor:
        layer, own = f"encoder.layer.{number}", f"encoder.layer.{number}.attention"
        given = x if half is None else x.bfloat16()
        if first and number == shape.layers - 1:
            key, value = products(f"{own}.self", ("key", "value"), given)
            x, given = layout.first(x), layout.first(given)
            (query,) = products(f"{own}.self", ("query",), given)
        else:
            query, key, value = products(f"{own}.self", JOINT, given)
        seen = layout.attend(query, key, value, shape.heads, attention_dropout)
        x = _norm(weights, shape, f"{own}.output", _dropped(dense(f"{own}.output", seen), dropout) + x)
        inner = F.gelu(dense(f"{layer}.intermediate", x if half is None else x.bfloat16()))
        return _norm(weights, shape, f"{layer}.output", _dropped(dense(f"{layer}.output", inner), dropout) + x)

    for number in range(shape.layers):
        if again is None:
            x = computed(number, x)
        else:
            x = checkpoint(computed, number, x, use_reentrant=False, context_fn=again)
    return x


def _norm(weights: Mapping[str, Tensor], shape: Shape, name: str, x: Tensor) -> Tensor:
    scale, shift = weights[f"{name}.LayerNorm.weight"], weights[f"{name}.LayerNorm.bias"]
    return F.layer_norm(x, scale.shape, scale, shift, shape.epsilon)


def _dropped(x: Tensor, rate: float) -> Tensor:
    return F.dropout(x, rate) if rate else x
