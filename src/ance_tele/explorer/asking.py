"""Ask every checkpoint of a run the same question."""

import logging
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ance_tele.console.errors import UserError
from ance_tele.explorer.search import ask, check_question
from ance_tele.runs.checkpoints import Checkpoints
from ance_tele.store.artefacts import fingerprint, lock

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from ance_tele.encode.vectors import Vectors

log = logging.getLogger(__name__)

MOST_CHARACTERS = 2000
MOST_PASSAGES = 100

# Of a passage's text, so that one long document does not make a page of megabytes.
SHOWN_CHARACTERS = 4000


def shortened(text: str) -> str:
    """Cut a text to what a page shows of it."""
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + " …"


@dataclass(frozen=True)
class Column:
    """A checkpoint that can be asked: its number, its name, the vectors of its corpus."""

    checkpoint: int
    label: str
    vectors: "Vectors"


def label_of(checkpoint: int) -> str:
    """Return what a checkpoint is called: zero-shot, episode 1, ..."""
    return f"episode {checkpoint}" if checkpoint else "zero-shot"


class Asker:
    """The checkpoints of a run, ready to be asked; a model is loaded at its first question, and then kept.

    Args:
        checkpoints: Of the run, whose folder is only read.
        cache: Where vectors that the run did not keep are encoded to.
        only_kept: Leave out the checkpoints that would have to be encoded first.
    """

    def __init__(self, checkpoints: Checkpoints, cache: Path, only_kept: bool = False) -> None:
        self._of, self._cache, self._lock = checkpoints, cache, threading.Lock()
        self._models: dict[int, SentenceTransformer] = {}
        trained = [n for n in range(1, checkpoints.recipe.episode.episodes + 1) if checkpoints.trained(n)]
        # The last one first: its tokenizer does for all, also where the model that the run began with is gone.
        self._device = checkpoints.load(max([0, *trained])).device
        found = ((number, self._open(number, only_kept)) for number in [*trained, 0])
        columns = [Column(number, label_of(number), vectors) for number, vectors in found if vectors is not None]
        self.columns = sorted(columns, key=lambda column: column.checkpoint)

    def _open(self, checkpoint: int, only_kept: bool) -> "Vectors | None":
        """Return the vectors of a checkpoint: kept by the run, or cached, or encoded now; None if left out."""
        from ance_tele.encode.encoder import resolve_precision
        from ance_tele.encode.vectors import encode_corpus, open_vectors

        of, config, tokens = self._of, self._of.recipe.encoder, self._of.passages
        try:
            weights = of.weights(checkpoint)
        except UserError as error:  # the model that the run began with is not part of the run
            log.info(f"{label_of(checkpoint)} is left out: {error}")
            return None
        kept = open_vectors(of.folder(checkpoint) / "vectors", weights, tokens.key, len(tokens))
        if kept is not None:
            return kept
        precision = resolve_precision(config.precision, self._device)
        key = fingerprint({"weights": weights, "tokens": tokens.key, "precision": precision})[:16]
        folder = self._cache / "explorer" / key
        cached = open_vectors(folder, weights, tokens.key, len(tokens))
        if cached is not None or only_kept:
            return cached
        log.info(
            f"encoding {len(tokens):,} passages with {label_of(checkpoint)}, once: the run did not keep its vectors"
        )
        with lock(folder.parent / f".{key}.lock", lambda: log.info("waiting for another process that encodes them")):
            return encode_corpus(of.load(checkpoint), tokens, "document", config, folder, weights)

    def ask(self, checkpoint: int, words: str, k: int) -> list[dict[str, Any]]:
        """Return the k best passages under a checkpoint, best first: rank, score, id, title, text.

        Raises:
            UserError: The question is empty or too long, k is out of bounds, or there is no such checkpoint.
        """
        if len(words) > MOST_CHARACTERS:
            raise UserError(f"The query has {len(words):,} characters; shorten it to {MOST_CHARACTERS:,}.")
        if k > MOST_PASSAGES:
            raise UserError(f"k is {k}; it must be at most {MOST_PASSAGES}.")
        check_question(words, k)
        column = next((column for column in self.columns if column.checkpoint == checkpoint), None)
        if column is None:
            raise UserError(f"There is no checkpoint {checkpoint} here; reload the page.")
        of = self._of
        with self._lock, of.explained(checkpoint):
            if checkpoint not in self._models:
                self._models[checkpoint] = of.load(checkpoint)
            hits = ask(
                self._models[checkpoint], column.vectors, of.collection.corpus, of.recipe.encoder, words.strip(), k
            )
        return [{**asdict(hit), "text": shortened(hit.text)} for hit in hits]
