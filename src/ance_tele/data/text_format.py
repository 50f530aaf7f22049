"""From text to token ids: prompt, title and body joined, tokenised, truncated."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ance_tele.store.fingerprints import fingerprint

BatchTokenizer: TypeAlias = Callable[[list[str]], tuple[list[list[int]], np.ndarray]]
"""Texts to their token ids, and how many tokens each had before it was cut, int64 [n]."""


@dataclass(frozen=True)
class TextFormat:
    """How a text becomes tokens.

    Attributes:
        prompt: Put before every text.
        title_separator: Between title and body. ``" "`` (the default) leaves an empty title out; any other
            separator, such as the paper's ``"[SEP]"``, is put there also where the title is empty.
        max_length: Most tokens kept, special tokens and the prompt's included.
        most: Where a text has a prompt of its own, longer than ``prompt``, ``max_length`` grows by what it is longer,
            up to this; None: it holds for all texts alike.
    """

    prompt: str = ""
    title_separator: str = " "
    max_length: int = 128
    most: int | None = None

    def render(self, titles: list[str], texts: list[str], prompts: list[str] | None = None) -> list[str]:
        """Join prompt, title and body of each text; ``prompts`` are those that replace ``prompt``."""
        separator, first = self.title_separator, prompts or [self.prompt] * len(texts)
        always = bool(separator.strip())
        return [
            prompt + (f"{title}{separator}{text}" if title or always else text)
            for prompt, title, text in zip(first, titles, texts, strict=True)
        ]

    def limits(self, prompts: list[str], tokenizer: Any) -> list[int]:
        """Return the most tokens kept of texts with these prompts of their own."""
        if self.most is None:
            return [self.max_length] * len(prompts)
        distinct = sorted({self.prompt, *prompts})
        tokens = dict(zip(distinct, count_tokens(tokenizer, distinct), strict=True))
        room = self.max_length - tokens[self.prompt]
        return [min(self.most, room + tokens[prompt]) for prompt in prompts]


@dataclass(frozen=True)
class Cut:
    """How many texts were truncated, and how long texts are.

    Attributes:
        texts: How many there are.
        cut: How many of them had more tokens than were kept.
        max_length: Most tokens kept; of texts with prompts of their own, those that have none.
        median: Tokens of a text before it is cut, special tokens and prompt included.
        p95: The same, of which 95% of the texts have fewer or as many.
    """

    texts: int
    cut: int
    max_length: int
    median: int
    p95: int

    @property
    def share(self) -> float:
        """Share of the texts that were cut."""
        return self.cut / max(1, self.texts)

    def line(self, what: str) -> str:
        """Return a line about it; ``what`` is "passages" or "queries"."""
        cut = f"{100 * self.share:.1f}% are" if self.cut else "none is"
        return f"{what}: {cut} cut at {self.max_length:,} tokens (median {self.median:,}, 95% have up to {self.p95:,})"


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """Return a fingerprint of all that decides how a tokenizer cuts a text."""
    if isinstance(own := getattr(tokenizer, "fingerprint", None), str):
        return own
    backend = _backend(tokenizer)
    if backend is None:
        return fingerprint([type(tokenizer).__name__, tokenizer.get_vocab()])
    side = getattr(tokenizer, "truncation_side", "right")
    return fingerprint(backend.to_str() if side == "right" else [backend.to_str(), side])


def _backend(tokenizer: Any) -> Any:
    """Return a copy of the fast backend, where there is one, that neither cuts nor pads, whatever the last call set."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend = type(backend).from_str(backend.to_str())
        backend.no_truncation()
        backend.no_padding()
    return backend


def count_tokens(tokenizer: Any, texts: list[str]) -> list[int]:
    """Return how many tokens texts have, without special tokens and uncut."""
    backend = _backend(tokenizer)
    if backend is None:
        return [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    return [len(encoding) for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]


def batch_tokenizer(tokenizer: Any, max_length: int) -> BatchTokenizer:
    """Return what cuts texts into token ids, special tokens included, no padding, and counts what they had uncut.

    Where the tokenizer has a fast backend, a copy of that does it on all cores, without the masks and dictionaries that
    a call of the tokenizer builds for each text.

    Args:
        tokenizer: A transformers tokenizer; stays as it is.
        max_length: Most tokens kept.
    """
    backend = _backend(tokenizer)
    if backend is None:
        wanted = {"return_attention_mask": False, "return_token_type_ids": False}

        def cut_slowly(texts: list[str]) -> tuple[list[list[int]], np.ndarray]:
            ids = tokenizer(texts, truncation=True, max_length=max_length, **wanted)["input_ids"]
            full = [place for place, row in enumerate(ids) if len(row) >= max_length]
            lengths = np.array([len(row) for row in ids], dtype=np.int64)
            if full:
                whole = tokenizer([texts[place] for place in full], truncation=False, **wanted)["input_ids"]
                lengths[full] = [len(row) for row in whole]
            return ids, lengths

        return cut_slowly
    backend.enable_truncation(max_length, direction=getattr(tokenizer, "truncation_side", "right"))
    special = backend.num_special_tokens_to_add(False)  # every piece that is cut off has them too

    def cut(texts: list[str]) -> tuple[list[list[int]], np.ndarray]:
        encodings = backend.encode_batch_fast(texts)
        beyond = (sum(len(piece) - special for piece in encoding.overflowing) for encoding in encodings)
        lengths = [len(encoding) + rest for encoding, rest in zip(encodings, beyond, strict=True)]
        return [encoding.ids for encoding in encodings], np.array(lengths, dtype=np.int64)

    return cut
