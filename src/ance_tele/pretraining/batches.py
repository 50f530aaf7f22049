"""Batches of masked texts, as a pure function of (seed, epoch, step): windows or spans of the passages of a corpus."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch

from ance_tele.data.ragged import offsets_of, owners, ranges
from ance_tele.mining.seeding import hashed
from ance_tele.pretraining.config import PretrainingConfig
from ance_tele.pretraining.masking import Vocabulary, masked, replaced
from ance_tele.pretraining.words import PassageWords
from ance_tele.training.batches import Feature

IGNORED = -100
"""Label of a token that is not to be predicted."""

FRAME = 2
"""Special tokens of every text: one before it, one after it."""


@dataclass(frozen=True)
class Windows:
    """Parts of passages, of which no special token is one.

    Attributes:
        rows: The passage of each, int64 [texts]; both spans of a passage follow each other.
        starts: First token, int64 [texts].
        sizes: Number of tokens, int64 [texts].
    """

    rows: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray


@dataclass(frozen=True)
class PassageBatches:
    """Makes the feature of a step from the passages of a corpus.

    Its ``input_ids`` are masked texts, longest first, padded on the right, int64 [texts, length]; ``attention_mask``
    and ``lengths`` as in training; ``labels`` the tokens to be predicted, ``IGNORED`` elsewhere; ``original`` the texts
    before they were masked; ``partner`` the other span of the same passage, int64 [texts]; ``masked`` and ``real`` how
    many tokens are to be predicted, and how many are no special ones of their frame.

    Attributes:
        passages: Tokens of the corpus, and where words begin.
        words: Of the tokenizer.
        config: Sizes, rate, seed.
    """

    passages: PassageWords
    words: Vocabulary
    config: PretrainingConfig

    @cached_property
    def sizes(self) -> np.ndarray:
        """Tokens of each passage without its frame, int64 [passages]."""
        return np.maximum(self.passages.store.lengths() - FRAME, 0)

    @cached_property
    def rows(self) -> np.ndarray:
        """The passages that are long enough, int64, ascending."""
        least = 2 * self.config.span_min_tokens if self.config.spans == 2 else 1
        return np.flatnonzero(self.sizes >= least)

    @property
    def steps_per_epoch(self) -> int:
        """Steps that cover all passages once; the last may be smaller."""
        return -(-len(self.rows) // self.config.batch_passages)

    @cached_property
    def order(self) -> Callable[[int], np.ndarray]:
        """Returns the passages in the order of an epoch, int64; the last two are kept."""
        return lru_cache(maxsize=2)(self._shuffled)

    def _shuffled(self, epoch: int) -> np.ndarray:
        return self.rows[np.argsort(hashed(self.config.seed, epoch, "order", self.rows), kind="stable")]

    def __call__(self, step: int) -> Feature:
        """Return the feature of a step, from 0."""
        epoch, inside = divmod(step, self.steps_per_epoch)
        start = inside * self.config.batch_passages
        return self.collate(self.order(epoch)[start : start + self.config.batch_passages], epoch)

    def windows(self, rows: np.ndarray, epoch: int) -> Windows:
        """Return what an epoch reads of some passages: a window of each, or two spans that do not overlap.

        A passage is cut in two at a random token of its middle half, so that no span is shorter than
        ``span_min_tokens``; of what is longer than ``max_tokens`` a window is drawn, once.
        """
        seed, sizes = self.config.seed, self.sizes[rows]
        if self.config.spans == 1:
            return self._drawn(rows, np.zeros_like(rows), sizes, np.zeros_like(rows), epoch)
        low = np.maximum(self.config.span_min_tokens, -(-sizes // 4))
        cut = low + _below(hashed(seed, epoch, "cut", rows), sizes - 2 * low + 1)
        starts, stops = np.stack([np.zeros_like(cut), cut], 1), np.stack([cut, sizes], 1)
        which = np.tile([0, 1], len(rows))
        return self._drawn(np.repeat(rows, 2), starts.ravel(), (stops - starts).ravel(), which, epoch)

    def _drawn(self, rows: np.ndarray, starts: np.ndarray, sizes: np.ndarray, which: np.ndarray, epoch: int) -> Windows:
        """Return windows of at most ``max_tokens``, with their frame, of parts of passages."""
        kept = np.minimum(sizes, self.config.max_tokens - FRAME)
        shift = _below(hashed(self.config.seed, epoch, "window", rows, which), sizes - kept + 1)
        return Windows(rows, starts + shift, kept)

    def collate(self, rows: np.ndarray, epoch: int) -> Feature:
        """Build the feature of some passages, int64, as an epoch reads them."""
        found, config, words = self.windows(rows, epoch), self.config, self.words
        order = np.argsort(-found.sizes, kind="stable")
        row, start, size = (each[order] for each in (found.rows, found.starts, found.sizes))
        store, offsets = self.passages.store, offsets_of(size)
        text, place = owners(offsets), ranges(start, size)
        index = store.offsets[row][text] + 1 + place
        ids, codes = store.flat[index].astype(np.int64), self.passages.codes[index]
        draws = hashed(config.seed, epoch, "mask", row[text], place)
        chosen = masked(codes, offsets, draws, config.mask_rate)
        hidden = replaced(ids, chosen, row[text], place, words, config.seed, epoch)
        width, column = int(size.max(initial=0)) + FRAME, 1 + np.arange(len(ids)) - offsets[text]

        def padded(values: np.ndarray, fill: int, framed: bool) -> np.ndarray:
            table = np.full((len(row), width), fill, dtype=np.int64)
            table[text, column] = values
            if framed:
                table[:, 0], table[np.arange(len(row)), size + 1] = words.first, words.last
            return table

        lengths, back = size + FRAME, np.argsort(order, kind="stable")
        partner = back[order ^ 1] if config.spans == 2 else np.arange(len(row))
        tables = {
            "input_ids": padded(hidden, words.pad, True),
            "attention_mask": (np.arange(width) < lengths[:, None]).astype(np.int64),
            "labels": padded(np.where(chosen, ids, IGNORED), IGNORED, False),
            "original": padded(ids, words.pad, True),
            "partner": partner,
        }
        counts = {"masked": int(chosen.sum()), "real": len(ids)}
        return {
            **{name: torch.from_numpy(each) for name, each in tables.items()},
            "lengths": lengths.tolist(),
            **counts,
        }


def _below(draws: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Return a number from 0 to below ``most`` for each draw, int64."""
    return (draws % most.astype(np.uint64)).astype(np.int64)
