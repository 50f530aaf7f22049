"""Ranks that train one batch together: who encodes which texts, all vectors to everybody, one sum of gradients.

Every rank encodes its share of the texts of a batch, gets the vectors of the others, and computes the loss of the whole
batch. The others' vectors are constants to it, so that its gradient is what its own texts contribute, and the sum over
the ranks is the gradient of one process with the whole batch: no gradient runs through communication, and ranks may
hold unequally many texts.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

# Numbers summed in one message.
MESSAGE = 1 << 24


def shares(lengths: np.ndarray, ranks: int) -> np.ndarray:
    """Cut texts into one run for each rank, of about as many tokens: edges, int64 [ranks + 1].

    Example:
        >>> shares(np.array([9, 3, 3, 2, 1]), 2).tolist()
        [0, 1, 5]
    """
    ends = np.cumsum(lengths)
    goals = np.arange(1, ranks) * (ends[-1] / ranks)
    middles = ends - lengths / 2
    return np.concatenate([[0], np.searchsorted(middles, goals), [len(lengths)]])


def own_share(count: int, edges: np.ndarray, rank: int) -> slice:
    """Return the texts that a rank encodes of ``count``; one that counts for nothing where its share is empty.

    So every rank passes the model forward and backward, and all have gradients of the same weights.
    """
    start, stop = int(edges[rank]), int(edges[rank + 1])
    return slice(start, stop) if stop > start else slice(0, min(1, count))


def gathered(own: Tensor, sizes: Sequence[int], rank: int) -> Tensor:
    """Return the vectors of all ranks, [sum of sizes, d]: one's own with their gradient, the others as constants.

    Args:
        own: [n, d], n at least ``sizes[rank]``; what is beyond does not count.
        sizes: Vectors of each rank.
        rank: One's own.
    """
    mine = own[: sizes[rank]]
    padded = own.new_zeros(max(sizes), own.shape[1])  # gloo wants equal shapes
    padded[: sizes[rank]] = mine.detach()
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    held = [part[:size] for part, size in zip(parts, sizes, strict=True)]
    return torch.cat([*held[:rank], mine, *held[rank + 1 :]])


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by the sum over all ranks."""
    message, size = list[Tensor](), 0
    for gradient in [one.grad for one in parameters if one.grad is not None]:
        if message and size + gradient.numel() > MESSAGE:
            _sum(message)
            message, size = [], 0
        message.append(gradient)
        size += gradient.numel()
    if message:
        _sum(message)


def _sum(gradients: list[Tensor]) -> None:
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    parts = flat.split([gradient.numel() for gradient in gradients])
    torch._foreach_copy_(gradients, [part.view_as(one) for part, one in zip(parts, gradients, strict=True)])


def agreed(wanted: tuple[bool, ...], ranks: int) -> tuple[bool, ...]:
    """Return what rank 0 wants."""
    if ranks == 1:
        return wanted
    device = torch.device("cuda") if dist.get_backend() == "nccl" else torch.device("cpu")
    answers = torch.tensor(wanted, dtype=torch.uint8, device=device)
    dist.broadcast(answers, 0)
    return tuple(bool(answer) for answer in answers.tolist())
