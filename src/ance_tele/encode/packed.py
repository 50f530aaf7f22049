"""Texts concatenated without padding on a GPU, each with attention over itself only.

sentence-transformers pools such texts, but needs flash-attn for their attention; here torch's variable-length kernel
answers the attention call of every encoder.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Packed(TorchFunctionMode):
    """While active, ``scaled_dot_product_attention`` attends within each of the concatenated texts.

    Args:
        ends: Offsets of the texts, int32 [texts + 1], on the device.
        longest: Tokens of the longest text.

    Raises:
        ValueError: The call has a mask, causality or grouped heads; or dropout in float32 on a GPU, for which models
            trained with torch's kernel were worse.
    """

    def __init__(self, ends: Tensor, longest: int) -> None:
        super().__init__()
        self.ends, self.longest = ends, longest

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace a call of a torch function; the mode is off meanwhile."""
        answer = self.attention if func is F.scaled_dot_product_attention else func
        return answer(*args, **(kwargs or {}))

    def attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """Return attention over [1, heads, tokens, width]."""
        if len(query) != 1 or query.shape != key.shape or attn_mask is not None or is_causal:
            raise ValueError("Texts without padding can only be looked at whole, each by itself.")
        one, two, three = (each[0].transpose(0, 1) for each in (query, key, value))
        sizes = self.ends, self.longest
        return attend_within(one, two, three, *sizes, *sizes, dropout_p, scale).transpose(0, 1)[None]


def attend_within(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    ends: Tensor,
    longest: int,
    query_ends: Tensor,
    query_longest: int,
    dropout: float = 0.0,
    scale: float | None = None,
) -> Tensor:
    """Return attention of concatenated texts, each over itself.

    Args:
        query: [tokens that ask, heads, width].
        key: [tokens, heads, width].
        value: [tokens, heads, width].
        ends: Offsets of the texts, int32 [texts + 1].
        longest: At least the tokens of the longest text.
        query_ends: Offsets of the tokens that ask, int32 [texts + 1].
        query_longest: At least the most of them in a text.
        dropout: Rate of dropout.
        scale: Of the scores; None for one over the root of the width.

    Raises:
        ValueError: Dropout in float32 on a GPU, for which models trained with torch's kernel were worse.
    """
    if query.device.type == "cuda":
        sizes = query_ends, ends, query_longest, longest
        if query.dtype != torch.float32:
            flash = torch.ops.aten._flash_attention_forward
            found: Tensor = flash(query, key, value, *sizes, dropout, False, False, scale=scale)[0]
            return found
        if dropout:
            raise ValueError("Texts without padding are not trained on in float32.")
        given = query[None], key[None], value[None], None, *sizes, 0.0, 0, torch.is_grad_enabled()
        found = torch.ops.aten._efficient_attention_forward(*given, scale=scale)[0].squeeze(0)
        return found
    asked, held = (_owners(ends, len(each)) for ends, each in ((query_ends, query), (ends, key)))
    one, two, three = (each.transpose(0, 1)[None] for each in (query, key, value))
    found = F.scaled_dot_product_attention(one, two, three, asked[:, None] == held, dropout, scale=scale)
    return found[0].transpose(0, 1)


def _owners(ends: Tensor, tokens: int) -> Tensor:
    """Return the text of each token, int64 [tokens]."""
    return torch.bucketize(torch.arange(tokens, device=ends.device), ends[1:], right=True)


def packed(ids: Tensor, lengths: Sequence[int]) -> tuple[dict[str, Any], Packed]:
    """Concatenate texts.

    Args:
        ids: Padded on the right, int64 [rows, length].
        lengths: Tokens of each text, so that nothing has to be read back from the GPU.

    Returns:
        The input of a model, and the context to call it in.
    """
    device, total = ids.device, sum(lengths)
    ends = torch.tensor([0, *lengths]).cumsum(0)
    if device.type == "cuda":
        ends = ends.pin_memory().to(device, non_blocking=True)
    row = torch.repeat_interleave(torch.arange(len(lengths), device=device), ends.diff(), output_size=total)
    place = torch.arange(total, device=device) - ends[row]
    features = {
        "input_ids": ids[row, place][None],
        "position_ids": place[None],
        "cu_seq_lens_q": ends.int(),
        "seq_idx": row[None],
    }
    return features, Packed(ends.int(), max(lengths))


def drops_alike(device: torch.device) -> bool:
    """Return whether packed attention uses the same dropout mask in the backward as in the forward pass.

    Not every kernel did, which only showed in worse models. Attention is linear in its values: for any weights w, w .
    f(v) equals v . (the gradient of w . f at v) for every text if and only if the masks are the same.
    """
    lengths = torch.arange(5, 85, 2)
    ends, shape = torch.cat([torch.zeros(1), lengths.cumsum(0)]).int(), (4, 1, 4, int(lengths.sum()), 64)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.enable_grad():
        torch.manual_seed(0)
        query, key, value, weights = torch.randn(shape, device=device, dtype=torch.bfloat16).unbind()
        value.requires_grad_()
        with Packed(ends.to(device), int(lengths.max())):
            found = F.scaled_dot_product_attention(query, key, value, dropout_p=0.5)
        (gradient,) = torch.autograd.grad((found * weights).sum(), value)
    forth, back = (
        torch.stack([part.sum() for part in (one.float() * other.float()).sum((0, 1, 3)).split(lengths.tolist())])
        for one, other in ((found.detach(), weights), (gradient, value.detach()))
    )
    return bool((forth - back).norm() <= 0.05 * forth.norm())
