"""Exact top-k on a GPU by filter and refine: prune in TensorFloat32, re-score in float32.

TensorFloat32 products (ten bits of mantissa) are several times faster than float32 and serve to rule passages out, as
in :mod:`ance_tele.search.scan`: with q', v' for rounded vectors, the scores q.v and q'.v' differ by at most e, which
follows from norms (:func:`_error`). A passage whose rounded score is below the k-th best score so far minus e is not
among the best. The others are scored in float32 pair by pair, so that duplicates get equal scores. Only the results
leave the GPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ance_tele.console.errors import NotFiniteError
from ance_tele.console.progress import Advance
from ance_tele.search.sort_keys import EMPTY

GROUP = 32  # Passages per group; only groups whose best score reaches the bound are opened.
PART = 4096  # Queries at a time.
PAIRS = 1 << 18  # Pairs scored in float32 at a time.
OPEN = 1 << 20  # Groups opened at a time.
LEAST = 64  # Pairs scored at a time, at least.
_EMPTY = int(EMPTY ^ np.uint64(1 << 63))  # the key of nothing, as int64


def scanned(
    queries: np.ndarray,
    blocks: Iterator[tuple[int, np.ndarray]],
    k: int,
    rank: np.ndarray,
    device: str,
    advance: Advance = lambda units: None,
) -> np.ndarray:
    """Like :func:`ance_tele.search.scan.scanned`, on a torch device."""
    keys = torch.full((len(queries), k), _EMPTY, device=device)
    on_device = torch.from_numpy(np.array(queries)).to(device)
    parts = [(_Rounded(some), best) for some, best in zip(on_device.split(PART), keys.split(PART), strict=True)]
    with torch.no_grad(), _tensor_float32():
        for first, block in blocks:
            passages = _Rounded(torch.from_numpy(np.array(block, copy=not block.flags.writeable)).to(device))
            if not torch.isfinite(passages.norm).all():
                raise NotFiniteError(f"Vectors {first} to {first + len(block) - 1}")
            ranks = torch.from_numpy(rank[first : first + len(block)]).to(device)
            for some, best in parts:
                _take(some, passages, ranks, best)
                advance(len(best) * len(block))
    return keys.cpu().numpy().view(np.uint64) ^ np.uint64(1 << 63)


class _Rounded:
    """Vectors of queries or of passages, float32 [n, d], rounded, with their norms [n]."""

    def __init__(self, vectors: Tensor) -> None:
        self.vectors, self.rounded = vectors, rounded(vectors)
        self.norm, self.residual = lengths(vectors), lengths(vectors - self.rounded)


def lengths(vectors: Tensor) -> Tensor:
    """Return Euclidean norms, float32 [n], without overflow of squares."""
    most = vectors.abs().amax(1).clamp_min(2.0**-126)
    return torch.linalg.vector_norm(vectors / most[:, None], dim=1) * most


def rounded(vectors: Tensor) -> Tensor:
    """Round float32 to TensorFloat32: ten bits of mantissa, halves away from zero."""
    return ((vectors.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def _error(queries: _Rounded, passages: _Rounded) -> Tensor:
    """Return a bound of the difference between float32 and rounded scores, float32 [q].

    With q', v' for the rounded vectors, |q.v - q'.v'| <= |q'| |v - v'| + |q - q'| |v|. The sums of d products, in
    float32 and however a GPU's units cut them off, add 4 d 2^-24 |q| |v|; numbers below 2^-126 may count as zero.
    """
    norm, residual, dimension = passages.norm.max(), passages.residual.max(), queries.vectors.shape[1]
    sums = 4 * dimension * 2.0**-24 * queries.norm * norm
    bound = (queries.norm + queries.residual) * residual + queries.residual * norm + sums
    return bound * (1 + 2.0**-10) + dimension * 2.0**-126 * (queries.norm + norm + 4)  # norms are rounded too


def _take(queries: _Rounded, passages: _Rounded, ranks: Tensor, best: Tensor) -> None:
    """Update the best keys, int64 [q, k], ascending, with a block of passages."""
    count, k, error = len(passages.vectors), best.shape[1], _error(queries, passages)
    scores = queries.rounded @ passages.rounded.T
    if count % GROUP:
        scores = F.pad(scores, (0, -count % GROUP), value=-torch.inf)
    many = scores.shape[1] // GROUP
    groups = scores.view(len(scores), GROUP, many)  # strided groups, for coalesced reads
    top = groups.amax(1)
    floor = _scores(best[:, -1])
    if count >= k and torch.isinf(floor).any():  # different groups are different passages
        floor = torch.maximum(floor, (top if many >= k else scores).topk(k, dim=1).values[:, -1] - error)
    bound = (floor - error).nan_to_num(-torch.inf, neginf=-torch.inf)
    opened = top >= bound[:, None]
    for part in _cuts(opened.sum(1)):
        query, group = opened[part].nonzero(as_tuple=True)
        query = query + part.start
        pair, place = (groups[query, :, group] >= bound[query, None]).nonzero(as_tuple=True)
        query, row = query[pair], place * many + group[pair]
        if count % GROUP:
            real = row < count
            query, row = query[real], row[real]
        runs = (slice(at, at + PAIRS) for at in range(0, len(query), PAIRS))
        left, right = queries.vectors, passages.vectors
        found = [_keyed(_products(left, right, query[run], row[run])) | ranks[row[run]] for run in runs]
        if found:
            _keep(best, query, torch.cat(found), part)


def _cuts(counts: Tensor) -> Iterator[slice]:
    """Yield runs of queries that open at most ``OPEN`` groups together, or single queries."""
    upto = np.cumsum(counts.cpu().numpy())
    start = 0
    while start < len(upto):
        done = upto[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(upto, done + OPEN, side="right")))
        yield slice(start, stop)
        start = stop


def _products(left: Tensor, right: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Return the dot products of rows, float32 [n], each summed in the same order."""
    short = max(0, LEAST - len(one))  # very few rows would be summed in another order
    pairs = F.pad(one, (0, short)), F.pad(other, (0, short))
    scores = (left[pairs[0]] * right[pairs[1]]).sum(1)[: len(one)]
    if torch.isnan(scores).any():
        raise ValueError("Scores are no numbers: vectors are too large for float32; normalise them.")
    return scores


def _keyed(scores: Tensor) -> Tensor:
    """Return int64 keys that ascend as scores descend; the lower half is left for ranks."""
    bits = (scores + 0.0).view(torch.int32)
    return (~(bits ^ ((bits >> 31) & 0x7FFFFFFF))).long() << 32


def _scores(keys: Tensor) -> Tensor:
    """Return the scores of keys, float32; -inf where a key is empty."""
    bits = ~(keys >> 32).int()
    scores = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(torch.float32)
    return torch.where(keys == _EMPTY, -torch.inf, scores)


def _keep(best: Tensor, query: Tensor, keys: Tensor, part: slice) -> None:
    """Merge keys of queries (ascending) of a part into the best keys."""
    k = best.shape[1]
    keys, order = keys.sort()
    query, again = query[order].sort(stable=True)
    keys = keys[again]
    counts = torch.bincount(query, minlength=len(best))
    place = torch.arange(len(keys), device=keys.device) - (counts.cumsum(0) - counts)[query]
    near = place < k
    grid = torch.full((part.stop - part.start, min(k, int(counts.max()))), _EMPTY, device=keys.device)
    grid[query[near] - part.start, place[near]] = keys[near]
    both = torch.cat([best[part], grid], dim=1)
    best[part] = both.sort(dim=1).values[:, :k]


@contextmanager
def _tensor_float32() -> Iterator[None]:
    """Use TensorFloat32 products while the block runs; inputs are rounded already."""
    matmul = torch.backends.cuda.matmul
    name, wanted = ("fp32_precision", "tf32") if hasattr(matmul, "fp32_precision") else ("allow_tf32", True)
    before = getattr(matmul, name)
    setattr(matmul, name, wanted)
    try:
        yield
    finally:
        setattr(matmul, name, before)
