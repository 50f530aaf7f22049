"""Exact top-k on a GPU by filter and refine: prune in bf16, re-score in float32.

bf16 products are many times faster than float32 and serve to rule passages out, as in :mod:`ance_tele.search.scan`.
Scores and approximate ones differ by at most e, which follows from norms (:meth:`Queries.error
<ance_tele.search.gpu_rounding.Queries.error>`). A passage whose approximate score is below the k-th best score so far
minus e is not among the best. The others are scored in float32 pair by pair, so that duplicates get equal scores.

The next block is read, copied and rounded by a thread, on a stream of its own, while one is searched. The host waits
for a GPU three times per block and part of the queries: for the number of groups to open, of pairs to score, and of
pairs per query. Only the results leave the GPU. Devices without fast bf16 products prune in float32.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ance_tele.console.progress import Advance
from ance_tele.data.tokens import in_background
from ance_tele.search.gpu_rounding import GROUP, Passages, Queries, passages_of, queries_of
from ance_tele.search.pair_products import quiet
from ance_tele.search.sort_keys import EMPTY
from ance_tele.search.upload import Upload

PART = 4096  # Queries at a time.
OPEN = 1 << 20  # Groups opened at a time.
MERGED = 1 << 25  # Keys merged at a time.
PAIRS = 1 << 18  # Pairs scored at a time where products are held one by one.
LEAST = 64  # Pairs scored at a time, at least.
_EMPTY = int(EMPTY ^ np.uint64(1 << 63))  # the key of nothing, as int64


def scanned(
    queries: np.ndarray,
    blocks: Iterator[tuple[int, np.ndarray]],
    k: int,
    rank: np.ndarray,
    device: str,
    precision: Literal["bf16", "float32"] = "bf16",
    advance: Advance = lambda units: None,
) -> np.ndarray:
    """Like :func:`ance_tele.search.scan.scanned`, on a torch device, pruning in ``precision``."""
    upload, dtype = Upload(torch.device(device)), torch.bfloat16 if precision == "bf16" else torch.float32
    rank, seen = np.ascontiguousarray(rank, dtype=np.int64), 0
    with torch.no_grad(), quiet(), _sums_in_float32():
        parts = [Part(queries_of(some, dtype), k) for some in upload.copy(queries).split(PART)]

        def uploaded(block: tuple[int, np.ndarray]) -> Passages:
            first, vectors = block
            with torch.no_grad():  # each thread has its own setting
                return passages_of(first, vectors, rank[first : first + len(vectors)], dtype, upload)

        for passages in in_background(map(uploaded, blocks)):
            passages.used_here()
            for part in parts:
                part.take(passages, seen)
                advance(len(part.best) * len(passages.vectors))
            seen += len(passages.vectors)
        keys = torch.cat([part.keys() for part in parts]).numpy()
    return keys.view(np.uint64) ^ np.uint64(1 << 63)


class Part:
    """Some queries and the keys of the best passages for them so far.

    Attributes:
        best: int64 [q, k], ascending.
        broken: Whether a score was no number, bool; looked at in the end.
    """

    def __init__(self, queries: Queries, k: int) -> None:
        self.queries, device = queries, queries.vectors.device
        self.best = torch.full((len(queries.vectors), k), _EMPTY, device=device)
        self.broken = torch.zeros((), dtype=torch.bool, device=device)

    def keys(self) -> Tensor:
        """Return the best keys, on the CPU."""
        if self.broken.item():
            raise ValueError("Scores are no numbers: vectors are too large for float32; normalise them.")
        return self.best.cpu()

    def take(self, passages: Passages, seen: int) -> None:
        """Update the best with a block of passages; ``seen`` passages came before."""
        scores, count = self.queries.narrow @ passages.narrow.T, len(passages.vectors)
        scores[:, count:] = -torch.inf
        groups = scores.view(len(scores), GROUP, scores.shape[1] // GROUP)  # strided groups, for coalesced reads
        top = groups.amax(1)
        least = self._least(passages, seen, top, scores)
        query, group = (~(top < least[:, None])).nonzero(as_tuple=True)  # NaN is opened too
        for at in range(0, len(query), OPEN):
            self._open(passages, groups, least, query[at : at + OPEN], group[at : at + OPEN])

    def _least(self, passages: Passages, seen: int, top: Tensor, scores: Tensor) -> Tensor:
        """Return the approximate scores below which passages are ruled out, of the type of ``scores``, [q].

        ``scores`` are rounded to nearest, by half a unit in the last place at most. As rounding is monotonic, the
        bound is just rounded as well.
        """
        k, error, shift = self.best.shape[1], self.queries.error(passages), self.queries.shift(passages)
        floor = _scores(self.best[:, -1]) - shift
        if seen < k <= len(passages.vectors):  # different groups are different passages
            kth = (top if top.shape[1] >= k else scores).topk(k, dim=1, sorted=False).values.amin(1).float()
            floor = torch.maximum(floor, kth - kth.abs() * (torch.finfo(scores.dtype).eps / 2) - error)
        return (floor - error).nan_to_num(-torch.inf, posinf=torch.inf, neginf=-torch.inf).to(scores.dtype)

    def _open(self, passages: Passages, groups: Tensor, least: Tensor, query: Tensor, group: Tensor) -> None:
        """Score in float32 what is not ruled out in groups of passages, given by query (ascending) and group."""
        many, count = groups.shape[2], len(passages.vectors)
        near = ~(groups[query, :, group] < least[query, None])
        if count < GROUP * many:
            near &= torch.arange(0, GROUP * many, many, device=near.device) + group[:, None] < count
        pair, place = near.nonzero(as_tuple=True)
        if len(pair):
            query, row = query[pair], place * many + group[pair]
            scores = products(self.queries.vectors, passages.vectors, query, row)
            self.broken |= torch.isnan(scores).any()
            self._merge(query, _keyed(scores) | passages.ranks[row])

    def _merge(self, query: Tensor, keys: Tensor) -> None:
        """Merge keys of queries (ascending) into the best keys."""
        width, k = self.best.shape
        starts = torch.searchsorted(query, torch.arange(width + 1, device=query.device))
        bounds = starts.cpu().numpy()
        most = int(np.diff(bounds).max())
        step = max(1, MERGED // (most + k))
        for low in range(0, width, step):
            high = min(low + step, width)
            part = slice(int(bounds[low]), int(bounds[high]))
            place = torch.arange(part.start, part.stop, device=query.device) - starts[query[part]]
            grid = torch.full((high - low, k + most), _EMPTY, device=query.device)
            grid[:, :k] = self.best[low:high]
            grid[query[part] - low, k + place] = keys[part]
            self.best[low:high] = grid.sort(dim=1).values[:, :k]


def products(left: Tensor, right: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Return the dot products of rows of two float32 matrices, float32 [n], each summed in the same order.

    Args:
        left: float32 [l, d].
        right: float32 [r, d].
        one: Rows of ``left``, int64 [n].
        other: Rows of ``right``, int64 [n].
    """
    if left.is_cuda:
        return fused_products(left, right, one, other)
    short = max(0, LEAST - len(one))  # very few rows would be summed in another order
    pairs = zip(F.pad(one, (0, short)).split(PAIRS), F.pad(other, (0, short)).split(PAIRS), strict=True)
    return torch.cat([(left[some] * right[others]).sum(1) for some, others in pairs])[: len(one)]


def fused_products(left: Tensor, right: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Return what :func:`products` does, without holding rows: on a GPU each product is one warp's, read once.

    It is the gradient of a sum of embeddings by their weights, which has no other name in torch. On a CPU the order of
    a sum depends on where a row lies in memory.
    """
    none = torch.zeros(1, dtype=torch.int64, device=one.device)
    gradient = torch.ops.aten._embedding_bag_per_sample_weights_backward
    return gradient(left, right, other.contiguous(), none, one.contiguous(), 0)


def _keyed(scores: Tensor) -> Tensor:
    """Return int64 keys that ascend as scores descend; the lower half is left for ranks."""
    bits = (scores + 0.0).view(torch.int32)
    return (~(bits ^ ((bits >> 31) & 0x7FFFFFFF))).long() << 32


def _scores(keys: Tensor) -> Tensor:
    """Return the scores of keys, float32; -inf where a key is empty."""
    bits = ~(keys >> 32).int()
    scores = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(torch.float32)
    return torch.where(keys == _EMPTY, -torch.inf, scores)


@contextmanager
def _sums_in_float32() -> Iterator[None]:
    """Keep products from summing in bf16, and float32 from being rounded to TensorFloat32, while the block runs."""
    matmul = torch.backends.cuda.matmul
    wanted: dict[str, Any] = {"allow_bf16_reduced_precision_reduction": False}
    wanted |= {"fp32_precision": "ieee"} if hasattr(matmul, "fp32_precision") else {"allow_tf32": False}
    before = {name: getattr(matmul, name) for name in wanted}
    try:
        for name, value in wanted.items():
            setattr(matmul, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(matmul, name, value)
