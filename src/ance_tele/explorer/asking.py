"""Search with every checkpoint of a run."""

import logging
import threading
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ance_tele.console.errors import UserError
from ance_tele.explorer.kept import KnownCheckpoint
from ance_tele.explorer.search import check_question, hits
from ance_tele.runs.folder import OpenedRun
from ance_tele.store.fingerprints import fingerprint
from ance_tele.store.lock import lock

if TYPE_CHECKING:
    from ance_tele.search.dense import DenseRetriever
    from ance_tele.search.topk import TopK

log = logging.getLogger(__name__)

MOST_CHARACTERS = 2000
MOST_PASSAGES = 100

# Characters shown of a passage, so that long documents do not make a huge page.
SHOWN_CHARACTERS = 4000


def shortened(text: str) -> str:
    """Return the part of a text that a page shows."""
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + " …"


def label_of(checkpoint: int) -> str:
    """Return the name of a checkpoint: zero-shot, episode 1, ..."""
    return f"episode {checkpoint}" if checkpoint else "zero-shot"


class Answering(Protocol):
    """What answers questions: a checkpoint over the vectors of the corpus."""

    def ask(self, words: str, k: int) -> "TopK":
        """Return the k best passages for a text: a TopK with one row."""


class Asker:
    """Searches with the checkpoints of a run; models are loaded on first use and kept.

    Args:
        opened: The run, whose folder is only read.
        cache: Folder for vectors that the run did not keep.
        only_kept: Leave out checkpoints whose vectors were not kept.

    Attributes:
        retrievers: By checkpoint, ascending.
    """

    def __init__(self, opened: OpenedRun, cache: Path, only_kept: bool = False) -> None:
        self._corpus, self._lock = opened.collection.corpus, threading.Lock()
        last, place = opened.last, partial(_place, cache)
        trained = [number for number in range(1, last + 1) if opened.folder.weights(number)]
        known = {number: KnownCheckpoint.of(opened, number) for number in [*trained, 0]}
        found: dict[int, Answering | None]
        found = {number: None if one is None else one.over(opened, number, place) for number, one in known.items()}
        # All checkpoints share a tokenizer: where the last one's vectors are of these tokens, others' would be too.
        absent = {number for number, one in known.items() if only_kept and one is not None and found[last] is not None}
        if loaded := [number for number, one in found.items() if one is None and number not in absent]:
            open_last = opened.retriever(last, cache)  # the initial model may be gone
            open_last.tokens.passages  # noqa: B018 (tokenised before anything is encoded)
            found |= {number: _open(opened, number, open_last, cache, only_kept) for number in loaded}
        self.retrievers: dict[int, Answering] = {n: one for n, one in sorted(found.items()) if one is not None}

    def ask(self, checkpoint: int, words: str, k: int) -> list[dict[str, Any]]:
        """Return the k best passages under a checkpoint, best first: rank, score, id, title, text.

        Raises:
            UserError: The query is empty or too long, k is out of bounds, or there is no such checkpoint.
        """
        if len(words) > MOST_CHARACTERS:
            raise UserError(f"The query has {len(words):,} characters; shorten it to {MOST_CHARACTERS:,}.")
        if k > MOST_PASSAGES:
            raise UserError(f"k is {k}; it must be at most {MOST_PASSAGES}.")
        check_question(words, k)
        if checkpoint not in self.retrievers:
            raise UserError(f"There is no checkpoint {checkpoint} here; reload the page.")
        with self._lock:
            found = hits(self.retrievers[checkpoint].ask(words.strip(), k), self._corpus)
        return [{**asdict(hit), "text": shortened(hit.text)} for hit in found]


def _place(cache: Path, weights: str, tokens: str, precision: str) -> Path:
    """Return the folder for vectors that a run did not keep."""
    return cache / "explorer" / fingerprint({"weights": weights, "tokens": tokens, "precision": precision})[:16]


def _open(
    opened: OpenedRun, number: int, last: "DenseRetriever", cache: Path, only_kept: bool
) -> "DenseRetriever | None":
    """Return the retriever of a checkpoint, over vectors kept by the run, cached, or encoded now; None if left out."""
    from ance_tele.encode.precision import resolve_precision
    from ance_tele.encode.vectors import open_vectors
    from ance_tele.search.dense import DenseRetriever

    tokens, passages, config = last.tokens, last.tokens.passages, opened.recipe.encoder
    checkpoint = opened.retriever(number, cache).checkpoint if number != opened.last else last.checkpoint
    try:
        weights = checkpoint.weights
    except UserError as error:  # the initial model is not part of the run
        log.info(f"{label_of(number)} is left out: {error}")
        return None
    folder = _place(cache, weights, passages.key, resolve_precision(config.precision, last.checkpoint.model.device))
    places = opened.folder.checkpoint(number) / "vectors", folder
    found = (open_vectors(place, weights, passages.key, len(passages)) for place in places)
    vectors = next((one for one in found if one is not None), None)
    retriever = DenseRetriever(checkpoint, tokens, config, folder, vectors)
    if vectors is not None:
        return retriever
    if only_kept:
        return None
    log.info(f"encoding {len(passages):,} passages with {label_of(number)}, once: the run did not keep its vectors")
    with lock(
        folder.parent / f".{folder.name}.lock", lambda: log.info("waiting for another process that encodes them")
    ):
        retriever.vectors  # noqa: B018 (encoded now)
    return retriever
