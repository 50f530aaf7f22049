"""Rounded queries and passages of a GPU's search, and a proven bound of what rounding changes in their scores.

Passages are centred before they are rounded: with the mean m of a block, q.v = q.m + q.(v - m). The vectors of an
encoder point more or less the same way (cosines of 0.6 to 0.9 between any two texts); what tells them apart is short,
and so is its rounding error.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ance_tele.console.errors import NotFiniteError
from ance_tele.search.upload import Upload

GROUP = 32  # Passages are padded to a multiple: the groups of :mod:`ance_tele.search.gpu`.
ALIGNED = 8  # Dimensions are padded to a multiple, which tensor cores want.
ROWS = 16384  # Passages rounded at a time.
LARGE = 1e30  # Nothing is ruled out if products of norms are larger.
TINY = 2.0**-126


@dataclass(frozen=True)
class Passages:
    """A block of passages on a device.

    Attributes:
        vectors: float32 [n, d].
        ranks: Ranks of their ids, int64 [n].
        mean: float32 [d], about the mean of the vectors; any vector would do.
        narrow: Vectors minus mean, rounded, with zeros to multiples of ``GROUP`` rows and ``ALIGNED`` columns.
        middle: Norm of the mean.
        norm: Largest norm of a vector minus mean.
        residual: Largest norm of what rounding has changed in one.
    """

    vectors: Tensor
    ranks: Tensor
    mean: Tensor
    narrow: Tensor
    middle: float
    norm: float
    residual: float

    def used_here(self) -> "Passages":
        """Keep the memory, which another stream allocated, until what is queued on this stream has read it."""
        if self.vectors.is_cuda:
            for each in (self.vectors, self.ranks, self.mean, self.narrow):
                each.record_stream(torch.cuda.current_stream(each.device))
        return self


@dataclass(frozen=True)
class Queries:
    """Queries on a device: vectors, float32 [q, d], rounded ones, [q, d padded], norms and residuals, float32 [q]."""

    vectors: Tensor
    narrow: Tensor
    norm: Tensor
    residual: Tensor

    def shift(self, passages: Passages) -> Tensor:
        """Return the products with the mean of the passages, float32 [q]."""
        return (self.vectors * passages.mean).sum(1)

    def error(self, passages: Passages) -> Tensor:
        """Return a bound of the difference between scores and approximate ones, float32 [q].

        A score s is the float32 product of q and v; an approximate one is q.m + a, where a is the product of q' and u',
        the rounded q and u = v - m, as it is before a itself is rounded to its type. Without the rounding of sums

            |q.v - q.m - q'.u'| = |q.u - q'.u'| <= |q'| |u - u'| + |q - q'| |u|,

        all of which are measured. Sums of d products in float32 add at most d 2^-24 times the norms each, twice that
        where a GPU's units cut off digits instead of rounding them: s d |q| |v|, q.m d |q| |m|, a 2.02 d |q| |u| (the
        rounded vectors are longer by 2^-8 at most); the subtraction of m, of q.m and of the bound from a score a few
        2^-24 |q| (|u| + |m|), together less than (4 d + 8) 2^-24 |q| (|u| + |m|). Norms are themselves off by less
        than 2^-10 of them. Numbers below 2^-126 may count as zero.
        """
        dimension, size = self.vectors.shape[1], passages.norm + passages.middle
        bound = (self.norm + self.residual) * passages.residual + self.residual * passages.norm
        bound = bound + (4 * dimension + 8) * 2.0**-24 * self.norm * size
        bound = bound * (1 + 2.0**-10) + dimension * TINY * (self.norm + size + 4)
        return torch.where(self.norm * size < LARGE, bound, torch.inf).nan_to_num(torch.inf, posinf=torch.inf)


def queries_of(vectors: Tensor, dtype: torch.dtype) -> Queries:
    """Round queries, float32 [q, d] on any device, to ``dtype``."""
    narrow = vectors.to(dtype)
    residual = lengths(vectors - narrow)
    return Queries(vectors, F.pad(narrow, (0, -vectors.shape[1] % ALIGNED)), lengths(vectors), residual)


def passages_of(first: int, block: np.ndarray, ranks: np.ndarray, dtype: torch.dtype, upload: Upload) -> Passages:
    """Copy a block of vectors, float32 [n, d], and the ranks of its ids, int64 [n], to a device; round to ``dtype``.

    Waits for the device, so that the result may be used on any stream.

    Raises:
        NotFiniteError: Vectors hold NaN or infinite values; the message counts them from row ``first``.
    """
    with upload.beside():
        vectors, order = upload.copy(block), torch.from_numpy(ranks).to(upload.device)
        count, dimension = vectors.shape
        low, high = torch.stack(torch.aminmax(vectors)).tolist()
        if not (math.isfinite(low) and math.isfinite(high)):
            raise NotFiniteError(f"Vectors {first} to {first + count - 1}")
        mean = vectors.mean(0)
        mean = torch.where(torch.isfinite(mean).all(), mean, 0.0)  # a sum that is too large
        shape = count + -count % GROUP, dimension + -dimension % ALIGNED
        narrow = torch.zeros(shape, dtype=dtype, device=upload.device)
        scale = 2.0 ** -min(max(math.frexp(max(-low, high))[1], -120), 120)
        norms = torch.stack(list(_rounded(vectors, mean, narrow, scale))).amax(0)
        middle, norm, residual = torch.cat([lengths(mean[None]), norms]).tolist()
        return Passages(vectors, order, mean, narrow, middle, norm, residual)


def _rounded(vectors: Tensor, mean: Tensor, narrow: Tensor, scale: float) -> Iterator[Tensor]:
    """Fill ``narrow`` with vectors minus mean; yield the largest norms of those and of residuals, float32 [2], in runs.

    ``scale``, a power of two, brings the numbers near one, so that no square overflows. Squares that are lost below
    2^-126 take less than 2^-62 sqrt(d) of the largest number from a norm; the bound has room for that in its sums.
    """
    dimension = vectors.shape[1]
    for at in range(0, len(vectors), ROWS):
        centred = vectors[at : at + ROWS] - mean
        target = narrow[at : at + len(centred), :dimension]
        target.copy_(centred)
        both = [torch.linalg.vector_norm(each * scale, dim=1).amax() for each in (centred, centred - target)]
        yield torch.stack(both) / scale


def lengths(vectors: Tensor) -> Tensor:
    """Return Euclidean norms, float32 [n], without overflow of squares."""
    most = vectors.abs().amax(1).clamp_min(TINY)
    return torch.linalg.vector_norm(vectors / most[:, None], dim=1) * most
