"""Where words begin in the tokens of a corpus, cached beside the token store."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ance_tele.console.progress import progress
from ance_tele.data.collection import Texts
from ance_tele.data.text_format import TextFormat
from ance_tele.data.tokens import TokenStore, in_background, tokenize
from ance_tele.encode.in_use import NO_LENGTH
from ance_tele.pretraining.masking import SPECIAL, Vocabulary
from ance_tele.store.artefacts import build
from ance_tele.store.fingerprints import fingerprint
from ance_tele.store.tables import open_array


@dataclass(frozen=True)
class PassageWords:
    """Tokens of whole passages, and what each of them is.

    Attributes:
        store: Token ids, special tokens included.
        codes: What each is (:mod:`ance_tele.pretraining.masking`), uint8, one after the other as in the store.
    """

    store: TokenStore
    codes: np.ndarray


def passage_words(
    corpus: Texts, tokenizer: Any, words: Vocabulary, separator: str, cache: Path, source: str
) -> PassageWords:
    """Tokenise a corpus without cutting a passage, or open what is cached of the same texts and tokenizer.

    Args:
        corpus: The passages.
        tokenizer: A fast tokenizer of transformers.
        words: Its vocabulary.
        separator: Between title and body.
        cache: Folder for token stores.
        source: Fingerprint of the texts.
    """
    form = TextFormat("", separator, NO_LENGTH)
    store = tokenize(corpus, tokenizer, form, cache, source, "passages")

    def make(target: Path) -> dict[str, int]:
        target.mkdir()
        codes = np.full(len(store.flat), SPECIAL, dtype=np.uint8)
        with progress("finding words", len(corpus), "passages") as advance:
            row = 0
            for found in in_background(_words(corpus, tokenizer, form)):
                part = slice(int(store.offsets[row]), int(store.offsets[row + len(found)]))
                codes[part] = words.codes(store.flat[part].astype(np.int64), list(chain.from_iterable(found)))
                row += len(found)
                advance(len(found))
        np.save(target / "codes.npy", codes)
        return {"texts": len(store), "tokens": len(codes)}

    inputs = {"tokens": store.key}
    folder = cache / "tokens" / f"{fingerprint(inputs)[:16]}-words"
    build(folder, "words of passages", inputs, make, shared=True)
    return PassageWords(store, open_array(folder / "codes.npy"))


def _words(corpus: Texts, tokenizer: Any, form: TextFormat) -> Iterator[list[list[int | None]]]:
    """Yield the word of each token of passages, batch by batch."""
    backend = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    for titles, bodies in corpus.batches(size=4096):
        yield [one.word_ids for one in backend.encode_batch(form.render(titles, bodies))]
