"""Faster CPU kernels with the same results; on other devices nothing is changed.

Four torch functions of a model's forward pass are replaced, whatever its architecture:

- ``linear`` in float32 uses oneDNN where torch would use MKL and MKL does not use AVX-512, as on processors other than
  Intel's: twice as fast.
- ``dropout`` draws 16 random bits per element, from a generator seeded by torch's own, instead of a whole number. So
  the rate is a multiple of 1/65536 (0.1 becomes 0.100006, scaled accordingly).
- ``scaled_dot_product_attention`` with dropout, for which torch has no fused CPU kernel, avoids the temporary buffers
of
  its fall-back.
- ``embedding`` of a large table, whose gradient is as large as the table for every chunk of a batch, reads from a small
  table of the tokens of the whole batch: the large gradient is computed once.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_LEVELS = 1 << 16
_SMALLEST = 1 << 12  # elements; below it the overhead is more than the gain
_LARGE = 1 << 12  # rows of a table; likewise
_RARE = ("max_norm", "scale_grad_by_freq", "sparse")


@cache
def onednn_is_faster() -> bool:
    """Return whether float32 products go to oneDNN: AVX-512, and a processor on which MKL does not use it."""
    described = Path("/proc/cpuinfo")
    return (
        torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and described.exists()
        and "GenuineIntel" not in described.read_text("utf-8")
    )


class _Linear(torch.autograd.Function):
    """``x @ weight.T + bias`` with its gradients, by oneDNN; x is [n, width].

    Other shapes are views of these, made outside: autograd refuses to change a view that was made inside in place, as
    Longformer does.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0]
        return (
            _product(gradient, weight.T) if ctx.needs_input_grad[0] else None,
            _product(gradient.T, x.T) if ctx.needs_input_grad[1] else None,
            gradient.sum(0) if ctx.biased and ctx.needs_input_grad[2] else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``x @ weight.T + bias``: by oneDNN in float32, else as torch does."""
    plain = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" and x.numel() >= _SMALLEST
    if not plain or torch.is_autocast_enabled("cpu") or not onednn_is_faster():
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled():
        found: Tensor = _Linear.apply(x.reshape(-1, x.shape[-1]), weight, bias)
        return found.view(*x.shape[:-1], -1)
    return _product(x, weight, bias)


class _Dropout(torch.autograd.Function):
    """Multiplication by a mask, of which one byte per element is saved."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.scale = scale
        return (x * mask).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (mask,) = ctx.saved_tensors
        return (gradients[0] * mask).mul_(ctx.scale), None, None


def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Return ``x`` with elements zeroed at rate ``p`` and the others scaled up."""
    if not training or p in (0.0, 1.0) or inplace or x.device.type != "cpu" or x.numel() < _SMALLEST:
        return F.dropout(x, p, training, inplace)
    dropped = round(p * _LEVELS)
    seed = int(torch.empty((), dtype=torch.int64).random_())
    bits = np.random.SFC64(seed).random_raw(-(-x.numel() // 4)).view(np.int16)
    mask = torch.from_numpy(bits)[: x.numel()].view(x.shape) >= dropped - _LEVELS // 2
    return _Dropout.apply(x, mask, _LEVELS / (_LEVELS - dropped))


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return attention over [batch, heads, length, width]; the replacement with dropout, else as torch does."""
    if dropout_p == 0.0 or is_causal or enable_gqa or query.device.type != "cpu":
        given = query, key, value, attn_mask, dropout_p, is_causal
        return F.scaled_dot_product_attention(*given, scale=scale, enable_gqa=enable_gqa)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = (query * scale) @ key.transpose(-2, -1)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        # A row without anything to attend to gets a mean instead of torch's zeros; such rows are padding.
        scores = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return dropout(scores.softmax(-1), dropout_p) @ value


class _Rows(torch.autograd.Function):
    """Distinct rows of a table. ``save_for_backward`` is avoided: checkpointing would count it."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor, padding: int | None) -> Tensor:
        ctx.rows, ctx.shape, ctx.padding = rows, table.shape, padding
        return table.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        whole = gradients[0].new_zeros(ctx.shape).index_copy_(0, ctx.rows, gradients[0])
        if ctx.padding is not None:
            whole[ctx.padding] = 0
        return whole, None, None


class Kernels(TorchFunctionMode):
    """While active, replaces the functions named above.

    Args:
        ids: All token ids of the batch that is encoded in chunks, int64 of any shape; for training only.
    """

    def __init__(self, ids: Tensor | None = None) -> None:
        super().__init__()
        self.distinct = ids.unique() if ids is not None and ids.device.type == "cpu" else None
        self.tables: dict[int, Tensor] = {}
        self.answers: dict[Callable[..., Any], Callable[..., Any]] = {
            F.linear: linear,
            F.dropout: dropout,
            F.scaled_dot_product_attention: attention,
            F.embedding: self.embedding,
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace a call of a torch function; the mode is off meanwhile."""
        return self.answers.get(func, func)(*args, **(kwargs or {}))

    def embedding(
        self, ids: Tensor, weight: Tensor, padding_idx: int | None = None, *options: Any, **named: Any
    ) -> Tensor:
        """Return the rows of a table; of a large one through the distinct rows of the whole batch."""
        rare = any(options[:1]) or any(options[2:]) or any(named.get(name) for name in _RARE)
        if self.distinct is None or rare or len(weight) < _LARGE or not weight.requires_grad:
            return F.embedding(ids, weight, padding_idx, *options, **named)
        place = torch.searchsorted(self.distinct, ids.contiguous()).clamp_(max=len(self.distinct) - 1)
        if not torch.equal(self.distinct[place], ids):  # not a table of the batch's tokens
            return F.embedding(ids, weight, padding_idx, *options, **named)
        if id(weight) not in self.tables:
            padding = None if padding_idx is None else padding_idx % len(weight)
            self.tables[id(weight)] = _Rows.apply(weight, self.distinct, padding)
        return F.embedding(place, self.tables[id(weight)])
