"""The token store: every text tokenised once, kept ragged and memory-mapped (flat ids and offsets)."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np

from ance_tele.console.errors import UserError
from ance_tele.console.progress import progress
from ance_tele.data.collection import Texts
from ance_tele.data.ragged import offsets_of
from ance_tele.data.text_format import Cut, TextFormat, batch_tokenizer, tokenizer_fingerprint
from ance_tele.store.artefacts import build
from ance_tele.store.fingerprints import fingerprint
from ance_tele.store.tables import open_array

T = TypeVar("T")


class TokenStore:
    """Token ids of many texts: ``store[row]`` is an int64 array; special tokens are in, padding is not.

    Attributes:
        flat: All ids, one text after the other, memory-mapped.
        offsets: int64 [rows + 1]; the ids of a row are ``flat[offsets[row]:offsets[row + 1]]``.
        key: Fingerprint of tokenizer, format and texts.
        cut: Statistics of truncation, if known.
        folder: Where it lies; None for one in memory.
    """

    def __init__(
        self, flat: np.ndarray, offsets: np.ndarray, key: str, cut: Cut | None = None, folder: Path | None = None
    ) -> None:
        self.flat, self.offsets, self.key, self.cut, self.folder = flat, offsets, key, cut, folder

    @classmethod
    def open(cls, folder: Path, key: str, cut: Cut | None = None) -> "TokenStore":
        """Open a folder that :func:`tokenize` has written.

        Raises:
            UserError: Its files are damaged, or do not fit each other.
        """
        ids, offsets = (open_array(folder / f"{name}.npy") for name in ("ids", "offsets"))
        flat = ids.ndim == offsets.ndim == 1 and ids.dtype.kind in "iu" and offsets.dtype.kind == "i"
        if not (
            flat and len(offsets) and offsets[0] == 0 and offsets[-1] == len(ids) and (np.diff(offsets) >= 0).all()
        ):
            raise UserError(
                f"{folder} holds tokens that do not fit together; delete it and run the same command again."
            )
        return cls(ids, offsets, key, cut, folder)

    @classmethod
    def from_lists(cls, ids: list[list[int]]) -> "TokenStore":
        """Hold lists of token ids in memory."""
        offsets = offsets_of([len(row) for row in ids])
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

    @property
    def mean(self) -> float:
        """Mean number of tokens of a text."""
        return float(self.offsets[-1]) / max(1, len(self))

    def padded(self, rows: np.ndarray, pad: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return ids and attention mask of rows, padded on the right to the longest: two int64 [rows, length]."""
        lengths = self.lengths(rows)
        width = int(lengths.max()) if len(rows) else 0
        position = np.arange(width)
        mask = position < lengths[:, None]
        index = np.where(mask, self.offsets[rows][:, None] + position, 0)
        ids = np.where(mask, self.flat[index], pad)
        return ids.astype(np.int64), mask.astype(np.int64)


def store_inputs(
    tokenizer: Any, form: TextFormat, source: str, what: str, prompted: bool = False
) -> dict[str, str | int | None]:
    """Return everything that decides the tokens of some texts; its fingerprint is the key of their store.

    ``prompted`` says whether texts have prompts of their own; the other arguments are those of :func:`tokenize`.
    """
    return {
        "texts": source,
        "part": what,
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "prompt": form.prompt,
        "title_separator": form.title_separator,
        "max_length": form.max_length,
        **({"own_prompts": form.most} if prompted else {}),
    }


def tokenize(
    texts: Texts,
    tokenizer: Any,
    form: TextFormat,
    cache: Path,
    source: str,
    what: str,
) -> TokenStore:
    """Tokenise all texts, or open the cached store of the same texts, tokenizer and format.

    Args:
        texts: What to tokenise; a prompt of a text replaces that of the format.
        tokenizer: A transformers tokenizer.
        form: Prompt, separator and length.
        cache: Folder for the token stores.
        source: Fingerprint of the texts.
        what: ``"passages"`` or ``"queries"``.
    """
    inputs = store_inputs(tokenizer, form, source, what, getattr(texts, "prompts", None) is not None)
    key = fingerprint(inputs)
    dtype = np.uint16 if len(tokenizer) <= 1 << 16 else np.int32
    cut = _tokenizer(tokenizer, form)

    def make(target: Path) -> dict[str, Any]:
        target.mkdir()
        kept, whole, most = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
        with (target / "ids.raw").open("wb") as raw, progress(f"tokenising {what}", len(texts), what) as advance:
            for ids, lengths, limits in in_background(map(cut, _batches(texts))):
                kept.append(np.array([len(row) for row in ids], dtype=np.int64))
                whole.append(lengths)
                most.append(limits)
                raw.write(np.concatenate([np.asarray(row, dtype=dtype) for row in ids]).tobytes())
                advance(len(ids))
        before, offsets = np.concatenate(whole), offsets_of(np.concatenate(kept))
        tokens = int(offsets[-1])
        np.save(target / "offsets.npy", offsets)
        _as_npy(target / "ids.raw", target / "ids.npy", dtype, tokens)
        cut_texts = int((before > np.concatenate(most)).sum())
        middle, high = np.percentile(before, [50, 95]).round().astype(int).tolist()
        return {"texts": len(before), "tokens": tokens, "cut": cut_texts, "median": middle, "p95": high}

    folder = cache / "tokens" / key[:16]
    facts = build(folder, f"token store of {what}", inputs, make, shared=True).facts
    counts = {name: facts[name] for name in ("texts", "cut", "median", "p95")}
    return TokenStore.open(folder, key, Cut(max_length=form.max_length, **counts))


Batch: TypeAlias = tuple[list[str], list[str], list[str]]
"""Titles, bodies and prompts of their own, "" where a text has none."""

Encoded: TypeAlias = tuple[list[list[int]], np.ndarray, np.ndarray]
"""Token ids; tokens of each text before it was cut; most tokens kept of each."""


def _batches(texts: Texts) -> Iterator[Batch]:
    prompts, start = getattr(texts, "prompts", None), 0
    for titles, bodies in texts.batches(expanded=True):
        own = [] if prompts is None else prompts.slice(start, len(titles)).fill_null("").to_pylist()
        yield titles, bodies, own
        start += len(titles)


def _tokenizer(tokenizer: Any, form: TextFormat) -> Callable[[Batch], Encoded]:
    """Return a function that tokenises a batch, grouped by maximum length."""
    cutting_at = cache(partial(batch_tokenizer, tokenizer))

    def cut_batch(batch: Batch) -> Encoded:
        titles, bodies, own = batch
        prompts = [prompt or form.prompt for prompt in own]
        rendered = form.render(titles, bodies, prompts)
        limits = np.array(form.limits(prompts, tokenizer)) if own else np.full(len(rendered), form.max_length)
        ids, lengths = [list[int]()] * len(rendered), np.empty(len(rendered), dtype=np.int64)
        for limit in np.unique(limits).tolist():
            places = np.flatnonzero(limits == limit)
            found, lengths[places] = cutting_at(limit)([rendered[place] for place in places])
            for place, one in zip(places.tolist(), found, strict=True):
                ids[place] = one
        return ids, lengths, limits

    return cut_batch


def in_background(batches: Iterator[T]) -> Iterator[T]:
    """Yield the items of an iterator, computing the next one in a background thread."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


def _as_npy(raw: Path, path: Path, dtype: Any, count: int) -> None:
    """Convert raw ids to an .npy file of known length, streaming."""
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": (count,)}
        np.lib.format.write_array_header_1_0(file, header)
        with raw.open("rb") as source:
            while block := source.read(1 << 24):
                file.write(block)
    raw.unlink()
