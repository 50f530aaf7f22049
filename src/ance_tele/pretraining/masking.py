"""Whole-word masking, as a pure function of (seed, epoch, passage, place of the token in the passage)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ance_tele.console.errors import UserError
from ance_tele.data.ragged import offsets_of, owners
from ance_tele.mining.seeding import hashed

# What a token is: one that is never masked (special, unknown), the first of a word, a later one of it.
SPECIAL, BEGINS, CONTINUES = 0, 1, 2

# A longer run of tokens is no word (texts without spaces, addresses, keys): its tokens are masked one by one.
MOST_PIECES = 8

# Words begin with these in SentencePiece and in byte-level BPE, also where a tokenizer does not split texts into words.
_MARKS = ("▁", "Ġ")


@dataclass(frozen=True)
class Vocabulary:
    """What masking has to know of a tokenizer.

    Attributes:
        mask: Id of the token that takes a masked one's place.
        pad: Id of the padding token.
        first: Id of the special token before every text, whose vector stands for it.
        last: Id of the special token after every text.
        special: Ids of all special tokens, int64.
        plain: Ids of all others, int64.
        begins: Whether a token of this id begins a word by its text alone, bool [ids].
    """

    mask: int
    pad: int
    first: int
    last: int
    special: np.ndarray
    plain: np.ndarray
    begins: np.ndarray

    @classmethod
    def of(cls, tokenizer: Any, name: str) -> "Vocabulary":
        """Return the vocabulary of a tokenizer; ``name``, of its model, is for errors.

        Raises:
            UserError: It has no mask token or no fast backend that knows words, or does not put one special token
                before and one after a text.
        """
        if getattr(tokenizer, "backend_tokenizer", None) is None:
            raise UserError(f"{name} has a tokenizer without tokenizer.json, which does not tell where words begin.")
        if tokenizer.mask_token_id is None:
            raise UserError(f"The tokenizer of {name} has no mask token, so that no word can be masked.")
        framed = tokenizer("a")
        ids, inside = framed["input_ids"], [word is not None for word in framed.word_ids()]
        if inside[:1] + inside[-1:] != [False, False] or not all(inside[1:-1]) or len(inside) < 3:
            raise UserError(
                f"The tokenizer of {name} does not put one special token before a text and one after it, as a BERT's."
            )
        special = np.unique(np.array(tokenizer.all_special_ids, dtype=np.int64))
        texts = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        begins = np.array([text is not None and str(text).startswith(_MARKS) for text in texts])
        plain = np.setdiff1d(np.arange(len(tokenizer)), special)
        return cls(tokenizer.mask_token_id, tokenizer.pad_token_id or 0, ids[0], ids[-1], special, plain, begins)

    def codes(self, ids: np.ndarray, words: Sequence[int | None]) -> np.ndarray:
        """Return what each token of framed texts is (``SPECIAL``, ``BEGINS``, ``CONTINUES``), uint8 [tokens].

        Args:
            ids: Of the texts, one after the other, int64 [tokens].
            words: The word of each token by the tokenizer, None for those that it has added.
        """
        word = np.array([-1 if one is None else one for one in words], dtype=np.int64)
        first = np.ones(len(word), dtype=bool)
        first[1:] = word[1:] != word[:-1]
        code = np.where(first | self.begins[ids], BEGINS, CONTINUES)
        return np.where((word < 0) | np.isin(ids, self.special), SPECIAL, code).astype(np.uint8)


def words_of(codes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return the word of each token, numbered from 0 over all texts, int64 [tokens].

    >>> words_of(np.array([1, 2, 1, 2, 0, 2], dtype=np.uint8), np.array([0, 3, 6])).tolist()
    [0, 0, 1, 2, 3, 4]

    Args:
        codes: What each token is, of texts one after the other, uint8 [tokens]; a text may begin inside of a word.
        offsets: Of the texts, int64 [texts + 1].
    """
    begins = codes != CONTINUES
    begins[1:] |= codes[:-1] == SPECIAL
    begins[offsets[:-1][np.diff(offsets) > 0]] = True
    word = np.cumsum(begins) - 1
    sizes = np.bincount(word) if len(word) else word
    return np.cumsum(begins | (sizes[word] > MOST_PIECES)) - 1


def masked(codes: np.ndarray, offsets: np.ndarray, draws: np.ndarray, rate: float) -> np.ndarray:
    """Return which tokens are to be predicted, bool [tokens]: whole words, drawn until they are ``rate`` of a text.

    A word that would exceed the share is passed over, as in BERT's own code; of a text that has words at least one is
    taken.

    Args:
        codes: What each token is, uint8 [tokens].
        offsets: Of the texts, int64 [texts + 1].
        draws: A random number for each token; a word is drawn by that of its first, uint64 [tokens].
        rate: Share of the tokens that can be masked.
    """
    word = words_of(codes, offsets)
    first = np.flatnonzero(np.diff(word, prepend=-1))
    sizes, text = np.bincount(word, minlength=len(first)), owners(offsets)
    free = np.flatnonzero(codes[first] != SPECIAL)
    order = free[np.lexsort((draws[first[free]], text[first[free]]))]
    ends = offsets_of(np.bincount(text[first[order]], minlength=len(offsets) - 1))
    taken = np.zeros(len(first), dtype=bool)
    for start, stop in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        mine = order[start:stop]
        lengths = sizes[mine].tolist()
        budget = max(1, int(rate * sum(lengths) + 0.5))
        left = budget
        for one, length in zip(mine.tolist(), lengths, strict=True):
            if length <= left:
                taken[one] = True
                left -= length
            if not left:
                break
        if len(mine) and left == budget:
            taken[mine[0]] = True
    return taken[word] if len(word) else np.zeros(0, dtype=bool)


def replaced(
    ids: np.ndarray, chosen: np.ndarray, rows: np.ndarray, places: np.ndarray, words: Vocabulary, seed: int, epoch: int
) -> np.ndarray:
    """Return the ids with those chosen hidden: eight of ten by the mask token, one by a random token, one left, int64.

    Args:
        ids: int64 [tokens].
        chosen: Which are to be predicted, bool [tokens].
        rows: The passage of each, int64 [tokens].
        places: Its place in the passage, int64 [tokens].
        words: Of the tokenizer.
        seed: Of the draws.
        epoch: Which pass over the passages.
    """
    kind = hashed(seed, epoch, "hide", rows, places) % np.uint64(10)
    other = words.plain[(hashed(seed, epoch, "other", rows, places) % np.uint64(len(words.plain))).astype(np.int64)]
    hidden = np.where(kind < 8, words.mask, np.where(kind == 8, other, ids))
    return np.where(chosen, hidden, ids)
