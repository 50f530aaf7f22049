"""Open a checkpoint over vectors of the corpus that a run kept, that are cached, or that are encoded now."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ance_tele.console.errors import UserError
from ance_tele.runs.folder import AGAIN, OpenedRun
from ance_tele.store.fingerprints import fingerprint
from ance_tele.store.lock import lock

if TYPE_CHECKING:
    from ance_tele.encode.checkpoint import Checkpoint
    from ance_tele.encode.vectors import Vectors
    from ance_tele.search.dense import DenseRetriever

log = logging.getLogger(__name__)


def label_of(checkpoint: int) -> str:
    """Return the name of a checkpoint: zero-shot, episode 1, ..."""
    return f"episode {checkpoint}" if checkpoint else "zero-shot"


def place_of(cache: Path, weights: str, tokens: str, precision: str) -> Path:
    """Return the folder for vectors that a run did not keep."""
    return cache / "explorer" / fingerprint({"weights": weights, "tokens": tokens, "precision": precision})[:16]


def open_loaded(
    opened: OpenedRun, number: int, last: "DenseRetriever", cache: Path, encode: bool
) -> "DenseRetriever | None":
    """Return the retriever of a checkpoint, over vectors that the run kept, that are cached, or are encoded now.

    Args:
        opened: The run.
        number: The checkpoint.
        last: The last one: its tokens are those of all, and read or made now.
        cache: Folder for vectors that the run did not keep.
        encode: Encode the corpus where there are no vectors; else None is returned.

    Raises:
        UserError: The model cannot be loaded.
    """
    from ance_tele.search.dense import DenseRetriever

    tokens, config = last.tokens, opened.recipe.encoder
    checkpoint = last.checkpoint if number == opened.last else opened.retriever(number, cache).checkpoint
    weights, key = weights_of(opened, number, checkpoint), tokens.passages.key
    folder = place_of(cache, weights, key, precision_of(last))
    vectors = _kept(opened, number, weights, key, folder)
    if vectors is None and not encode:
        return None
    retriever = DenseRetriever(checkpoint, tokens, config, folder, vectors)
    if vectors is None:
        what = f"{len(tokens.passages):,} passages with {label_of(number)}"
        log.info(f"encoding {what}, once: the run did not keep its vectors")
        file = folder.parent / f".{folder.name}.lock"
        with lock(file, lambda: log.info("waiting for another process that encodes them")):
            retriever.vectors  # noqa: B018 (encoded now)
    return retriever


def open_encoded(opened: OpenedRun, number: int, of: Mapping[str, str], cache: Path) -> "DenseRetriever":
    """Return the retriever of a checkpoint that another process has encoded the corpus with.

    ``of`` are the fingerprints of the vectors' weights and tokens, and their precision. The model is loaded by the
    first question.

    Raises:
        UserError: The vectors are gone, or the model is damaged.
    """
    from ance_tele.encode.checkpoint import Checkpoint, TokenizedCollection
    from ance_tele.search.dense import DenseRetriever

    folder = place_of(cache, of["weights"], of["tokens"], of["precision"])
    vectors = _kept(opened, number, of["weights"], of["tokens"], folder)
    if vectors is None:
        raise UserError(f"Its vectors in {folder} are damaged or gone; {AGAIN}.")
    name, trained = opened.checkpoint_name(number), number > 0
    checkpoint = Checkpoint(name, opened.encoder_config, of["weights"], trained=trained)
    tokens = TokenizedCollection(checkpoint, opened.collection, opened.recipe.encoder, cache)
    return DenseRetriever(checkpoint, tokens, opened.recipe.encoder, folder, vectors)


def weights_of(opened: OpenedRun, number: int, checkpoint: "Checkpoint") -> str:
    """Return the fingerprint of a checkpoint's weights; its model is loaded only where that is not known."""
    return opened.known_weights(number) or checkpoint.weights


def precision_of(retriever: "DenseRetriever") -> str:
    """Return the precision that a retriever encodes in, "auto" resolved."""
    from ance_tele.encode.precision import resolve_precision

    return resolve_precision(retriever.config.precision, retriever.checkpoint.model.device)


def _kept(opened: OpenedRun, number: int, weights: str, tokens: str, folder: Path) -> "Vectors | None":
    from ance_tele.encode.vectors import open_vectors

    places = opened.folder.checkpoint(number) / "vectors", folder
    found = (open_vectors(place, weights, tokens, len(opened.collection.corpus)) for place in places)
    return next((one for one in found if one is not None), None)
