"""Search with every checkpoint of a run."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ance_tele.console.errors import UserError
from ance_tele.explorer.kept import KnownCheckpoint
from ance_tele.explorer.opening import label_of, open_encoded, open_loaded, place_of
from ance_tele.explorer.search import check_question, hits
from ance_tele.runs.folder import OpenedRun

if TYPE_CHECKING:
    from ance_tele.search.dense import DenseRetriever
    from ance_tele.search.topk import TopK

log = logging.getLogger(__name__)

T = TypeVar("T")

MOST_CHARACTERS = 2000
MOST_PASSAGES = 100

# Characters shown of a passage, so that long documents do not make a huge page.
SHOWN_CHARACTERS = 4000


def shortened(text: str) -> str:
    """Return the part of a text that a page shows."""
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + " …"


class Answering(Protocol):
    """What answers questions: a checkpoint over the vectors of the corpus."""

    def ask(self, words: str, k: int) -> "TopK":
        """Return the k best passages for a text: a TopK with one row."""


class Asker:
    """Searches with the checkpoints of a run; models are loaded on first use and kept.

    Where even the last checkpoint has no vectors, the corpus is encoded with it now.

    Args:
        opened: The run, whose folder is only read.
        cache: Folder for vectors that the run did not keep.
        only_kept: Leave out checkpoints whose vectors are not there.

    Attributes:
        retrievers: By checkpoint, ascending.
        waiting: Checkpoints whose vectors are missing and to be encoded by somebody else, ascending.

    Raises:
        UserError: The last model is damaged, or cannot be loaded.
    """

    def __init__(self, opened: OpenedRun, cache: Path, only_kept: bool = False) -> None:
        self._opened, self._cache, self._lock = opened, cache, threading.Lock()
        self._only_kept, self._left_out = only_kept, dict[int, str]()
        self._encoding: int | None = None
        numbers = [number for number in range(opened.last + 1) if not number or opened.folder.weights(number)]
        self._known = {number: self._try(number, KnownCheckpoint.of, opened, number) for number in numbers}
        found = {number: self._known_retriever(number) for number in numbers}
        if loaded := [number for number in numbers if found[number] is None and self._to_load(number, found)]:
            last = opened.retriever(opened.last, cache)  # the initial model may be gone
            last.tokens.passages  # noqa: B018 (tokenised before anything is encoded)
            found |= {number: self._try(number, self._open_loaded, number, last) for number in loaded}
        self.retrievers: dict[int, Answering] = {n: one for n, one in found.items() if one is not None}
        self.waiting = [n for n, one in found.items() if one is None and not only_kept and n not in self._left_out]

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
            found = hits(self.retrievers[checkpoint].ask(words.strip(), k), self._opened.collection.corpus)
        return [{**asdict(hit), "text": shortened(hit.text)} for hit in found]

    def columns(self) -> list[dict[str, Any]]:
        """Return all checkpoints, ascending: checkpoint, label, state, why.

        A state is "ready", "waiting", "encoding", or "left out"; ``why`` is a sentence for the last of these, else "".
        """
        retrievers, left_out = self.retrievers, {} if self._only_kept else self._left_out
        states = dict.fromkeys(self.waiting, "waiting")
        if self._encoding is not None:
            states[self._encoding] = "encoding"
        states |= dict.fromkeys(left_out, "left out") | dict.fromkeys(retrievers, "ready")
        return [
            {"checkpoint": number, "label": label_of(number), "state": states[number], "why": left_out.get(number, "")}
            for number in sorted(states)
        ]

    def begin(self, number: int) -> None:
        """Take note that the corpus is being encoded with a checkpoint."""
        self._encoding = number
        what = f"{len(self._opened.collection.corpus):,} passages with {label_of(number)}"
        log.info(f"encoding {what} in the background, once: the run did not keep its vectors")

    def add(self, number: int, of: Mapping[str, str]) -> None:
        """Search with a checkpoint too, whose vectors are there now; ``of`` says of what, see :func:`open_encoded`.

        Raises:
            UserError: Its vectors or its model are damaged or gone.
        """
        found = self._known_retriever(number) or open_encoded(self._opened, number, of, self._cache)
        self.retrievers = dict(sorted({**self.retrievers, number: found}.items()))
        log.info(f"{label_of(number)} answers too")

    def leave_out(self, number: int, why: str) -> None:
        """Take note that nobody can search with a checkpoint, and why: a sentence."""
        log.info(f"{label_of(number)} is left out: {why}")
        self._left_out = {**self._left_out, number: why}

    def _try(self, number: int, make: Callable[..., T], *given: Any) -> T | None:
        """Return what is made of a checkpoint; None where it cannot be, unless it is the last, without which none is.

        Raises:
            UserError: It is the last.
        """
        try:
            return make(*given)
        except UserError as error:
            if number == self._opened.last:
                raise
            self.leave_out(number, str(error))
            return None

    def _known_retriever(self, number: int) -> Answering | None:
        known = self._known[number]
        return None if known is None else known.over(self._opened, number, partial(place_of, self._cache))

    def _to_load(self, number: int, found: Mapping[int, Answering | None]) -> bool:
        """Return whether it takes loaded models, at once, to see whether there are vectors of a checkpoint.

        All checkpoints share a tokenizer: where the last one's vectors are of these tokens, those of others that are
        known would be too.
        """
        if number in self._left_out:
            return False
        if found[self._opened.last] is not None:
            return self._only_kept and self._known[number] is None
        return self._only_kept or number == self._opened.last or self._opened.known_weights(number) is not None

    def _open_loaded(self, number: int, last: "DenseRetriever") -> Answering | None:
        encode = number == self._opened.last and not self._only_kept
        return open_loaded(self._opened, number, last, self._cache, encode)
