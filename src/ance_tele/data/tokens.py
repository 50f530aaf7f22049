"""The token store: every text tokenised once, kept ragged and memory-mapped (flat ids and offsets)."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ance_tele.data.artefacts import Say, build, fingerprint, silent
from ance_tele.data.collection import Texts
from ance_tele.data.progress import progress

T = TypeVar("T")


@dataclass(frozen=True)
class TextFormat:
    """How a text becomes tokens.

    Attributes:
        prompt: Put before every text.
        title_separator: Between title and body. ``" "`` (the default) leaves an empty title out; any other
            separator, such as the paper's ``"[SEP]"``, is put there also where the title is empty.
        max_length: Most tokens kept, special tokens included.
    """

    prompt: str = ""
    title_separator: str = " "
    max_length: int = 128

    def render(self, titles: list[str], texts: list[str]) -> list[str]:
        """Join prompt, title and body of each text."""
        if self.title_separator.strip():
            return [
                f"{self.prompt}{title}{self.title_separator}{text}" for title, text in zip(titles, texts, strict=True)
            ]
        separator = self.title_separator
        return [
            self.prompt + (f"{title}{separator}{text}" if title else text)
            for title, text in zip(titles, texts, strict=True)
        ]


class TokenStore:
    """Token ids of many texts: ``store[row]`` is an int64 array; special tokens are in, padding is not.

    Attributes:
        flat: All ids, one text after the other, memory-mapped.
        offsets: int64 [rows + 1]; the ids of a row are ``flat[offsets[row]:offsets[row + 1]]``.
        key: Fingerprint of tokenizer, format and texts.
    """

    def __init__(self, flat: np.ndarray, offsets: np.ndarray, key: str) -> None:
        self.flat, self.offsets, self.key = flat, offsets, key

    @classmethod
    def open(cls, folder: Path, key: str) -> "TokenStore":
        """Open a folder that :func:`tokenize` has written."""
        return cls(np.load(folder / "ids.npy", mmap_mode="r"), np.load(folder / "offsets.npy", mmap_mode="r"), key)

    @classmethod
    def from_lists(cls, ids: list[list[int]]) -> "TokenStore":
        """Hold lists of token ids in memory."""
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in ids])]).astype(np.int64)
        flat = np.concatenate([np.asarray(row, dtype=np.int32) for row in ids]) if ids else np.zeros(0, np.int32)
        return cls(flat, offsets, fingerprint([list(map(int, row)) for row in ids]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.flat[self.offsets[row] : self.offsets[row + 1]].astype(np.int64)

    def lengths(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the number of tokens of the given rows (all by default), int64."""
        if rows is None:
            return np.diff(self.offsets)
        return self.offsets[rows + 1] - self.offsets[rows]

    def padded(self, rows: np.ndarray, pad: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return ids and attention mask of rows, padded on the right to the longest: two int64 [rows, length]."""
        lengths = self.lengths(rows)
        width = int(lengths.max()) if len(rows) else 0
        position = np.arange(width)
        mask = position < lengths[:, None]
        index = np.where(mask, self.offsets[rows][:, None] + position, 0)
        ids = np.where(mask, self.flat[index], pad)
        return ids.astype(np.int64), mask.astype(np.int64)


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """Return a fingerprint of all that decides how a tokenizer cuts a text."""
    if isinstance(own := getattr(tokenizer, "fingerprint", None), str):
        return own
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return fingerprint([type(tokenizer).__name__, tokenizer.get_vocab()])
    backend = type(backend).from_str(backend.to_str())  # a copy: what the last call set must not count
    backend.no_truncation()
    backend.no_padding()
    side = getattr(tokenizer, "truncation_side", "right")
    return fingerprint(backend.to_str() if side == "right" else [backend.to_str(), side])


def tokenize(
    texts: Texts,
    tokenizer: Any,
    form: TextFormat,
    cache: Path,
    source: str,
    what: str,
    say: Say = silent,
) -> TokenStore:
    """Tokenise all texts once; the next call with the same texts, tokenizer and format opens what stands.

    Args:
        texts: What to tokenise.
        tokenizer: A transformers tokenizer.
        form: Prompt, separator and length.
        cache: Folder for the token stores.
        source: Fingerprint of the texts.
        what: ``"passages"`` or ``"queries"``.
        say: Gets one line where a store that stood is made again.
    """
    inputs = {
        "texts": source,
        "part": what,
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "prompt": form.prompt,
        "title_separator": form.title_separator,
        "max_length": form.max_length,
    }
    key = fingerprint(inputs)
    dtype = np.uint16 if len(tokenizer) <= 1 << 16 else np.int32
    cut = cutter(tokenizer, form.max_length)

    def make(target: Path) -> dict[str, Any]:
        target.mkdir()
        lengths: list[np.ndarray] = []
        with (target / "ids.raw").open("wb") as raw, progress(f"tokenising {what}", len(texts), what) as advance:
            for encoded in _ahead(cut(form.render(titles, bodies)) for titles, bodies in texts.batches()):
                lengths.append(np.array([len(ids) for ids in encoded], dtype=np.int64))
                raw.write(np.concatenate([np.asarray(ids, dtype=dtype) for ids in encoded]).tobytes())
                advance(len(encoded))
        every = np.concatenate(lengths)
        np.save(target / "offsets.npy", np.concatenate([[0], np.cumsum(every)]).astype(np.int64))
        _as_npy(target / "ids.raw", target / "ids.npy", dtype, int(every.sum()))
        return {"texts": len(every), "tokens": int(every.sum()), "at_max_length": int((every >= form.max_length).sum())}

    folder = cache / "tokens" / key[:16]
    build(folder, f"token store of {what}", inputs, make, say, shared=True)
    return TokenStore.open(folder, key)


def cutter(tokenizer: Any, max_length: int) -> Callable[[list[str]], list[list[int]]]:
    """Return what cuts texts into token ids, special tokens included, no padding.

    Where the tokenizer has a fast backend, a copy of that does it on all cores, without the masks and dictionaries that
    a call of the tokenizer builds for each text.

    Args:
        tokenizer: A transformers tokenizer; stays as it is.
        max_length: Most tokens kept.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        wanted = {"return_attention_mask": False, "return_token_type_ids": False}
        return lambda texts: tokenizer(texts, truncation=True, max_length=max_length, **wanted)["input_ids"]
    backend = type(backend).from_str(backend.to_str())
    backend.no_padding()
    backend.enable_truncation(max_length, direction=getattr(tokenizer, "truncation_side", "right"))
    return lambda texts: [encoding.ids for encoding in backend.encode_batch_fast(texts)]


def _ahead(batches: Iterator[T]) -> Iterator[T]:
    """Yield what an iterator yields; the next is made in a thread while the caller works on the last."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


def _as_npy(raw: Path, path: Path, dtype: Any, count: int) -> None:
    """Turn raw ids into an .npy file of known length, without holding them in memory."""
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": (count,)}
        np.lib.format.write_array_header_1_0(file, header)
        with raw.open("rb") as source:
            while block := source.read(1 << 24):
                file.write(block)
    raw.unlink()
