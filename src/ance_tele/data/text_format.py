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
    """Prompt, separator and length for tokenisation.

    Attributes:
        prompt: Put before every text.
        title_separator: Between title and body. ``" "`` (the default) leaves an empty title out; any other
            separator, such as the paper's ``"[SEP]"``, is put there also where the title is empty.
        max_length: Most tokens kept, special tokens and the prompt's included.
        most: ``max_length`` grows by the excess of a text's own prompt over ``prompt``, up to this; None for no growth.
    """

    prompt: str = ""
    title_separator: str = " "
    max_length: int = 128
    most: int | None = None

    def render(self, titles: list[str], texts: list[str], prompts: list[str] | None = None) -> list[str]:
        """Join prompt, title and body of each text; ``prompts`` replace ``prompt``."""
        separator, first = self.title_separator, prompts or [self.prompt] * len(texts)
        always = bool(separator.strip())
        return [
            prompt + (f"{title}{separator}{text}" if title or always else text)
            for prompt, title, text in zip(first, titles, texts, strict=True)
        ]

    def limits(self, prompts: list[str], tokenizer: Any) -> list[int]:
        """Return the maximum length of texts with their own prompts."""
        if self.most is None:
            return [self.max_length] * len(prompts)
        distinct = sorted({self.prompt, *prompts})
        tokens = dict(zip(distinct, count_tokens(tokenizer, distinct), strict=True))
        room = self.max_length - tokens[self.prompt]
        return [min(self.most, room + tokens[prompt]) for prompt in prompts]


@dataclass(frozen=True)
class Cut:
    """Statistics of truncation.

    Attributes:
        texts: Number of texts.
        cut: Number of truncated texts.
        max_length: Most tokens kept of a text without a prompt of its own.
        median: Median length before truncation, special tokens and prompt included.
        p95: 95th percentile of that length.
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
        """Return a log line; ``what`` is "passages" or "queries"."""
        cut = f"{100 * self.share:.1f}% are" if self.cut else "none is"
        return f"{what}: {cut} cut at {self.max_length:,} tokens (median {self.median:,}, 95% have up to {self.p95:,})"


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """Return a fingerprint of everything that decides the output of a tokenizer."""
    if isinstance(own := getattr(tokenizer, "fingerprint", None), str):
        return own
    backend = _backend(tokenizer)
    if backend is None:
        return fingerprint([type(tokenizer).__name__, tokenizer.get_vocab()])
    side = getattr(tokenizer, "truncation_side", "right")
    return fingerprint(backend.to_str() if side == "right" else [backend.to_str(), side])


def _backend(tokenizer: Any) -> Any:
    """Return a copy of the fast backend without truncation and padding; None if there is no fast backend."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend = type(backend).from_str(backend.to_str())
        backend.no_truncation()
        backend.no_padding()
    return backend


def count_tokens(tokenizer: Any, texts: list[str]) -> list[int]:
    """Return the number of tokens of texts, without special tokens and truncation."""
    backend = _backend(tokenizer)
    if backend is None:
        return [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    return [len(encoding) for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]


PairTokenizer: TypeAlias = Callable[[list[tuple[str, str]]], tuple[list[list[int]], list[list[int]]]]
"""Pairs of texts to their token ids, and to the type of each token (of the first text, or of the second)."""


def pair_tokenizer(tokenizer: Any, max_length: int) -> PairTokenizer | None:
    """Return a function from pairs of texts to token ids, as transformers cuts them (longest first), and token types.

    None for a tokenizer without a fast backend.
    """
    backend = _backend(tokenizer)
    if backend is None:
        return None
    side = getattr(tokenizer, "truncation_side", "right")
    backend.enable_truncation(max_length, strategy="longest_first", direction=side)

    def encode(pairs: list[tuple[str, str]]) -> tuple[list[list[int]], list[list[int]]]:
        encodings = backend.encode_batch_fast(pairs)
        return [each.ids for each in encodings], [each.type_ids for each in encodings]

    return encode


def batch_tokenizer(tokenizer: Any, max_length: int) -> BatchTokenizer:
    """Return a function from texts to truncated token ids (with special tokens) and their lengths before truncation.

    A fast backend is called directly, on all cores, without building masks and dictionaries for each text.
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
