"""What is exported: an encoder, the vectors that it has given a corpus, and queries to compare results with."""

import logging
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection
from ance_tele.data.load import cache_folder, load_collection
from ance_tele.encode.checkpoint import Checkpoint, TokenizedCollection
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.shards import located
from ance_tele.encode.vectors import Vectors, open_vectors
from ance_tele.evaluate.config import headline
from ance_tele.runs.folder import open_run
from ance_tele.runs.summary import Summary
from ance_tele.search.dense import DenseRetriever
from ance_tele.store.fingerprints import fingerprint

log = logging.getLogger(__name__)

# Splits whose queries are asked, in order of preference.
SPLITS = ("test", "dev", "train")


@dataclass(frozen=True)
class Source:
    """An encoder over a corpus; ``name`` is for people."""

    name: str
    collection: Collection
    retriever: DenseRetriever

    @property
    def vectors(self) -> Vectors:
        """One vector for each passage; encoded now if they were not kept.

        Raises:
            UserError: There are several.
        """
        vectors, passages = self.retriever.vectors, len(self.collection.corpus)
        if len(vectors) != passages:
            raise UserError(
                f"{self.name} has {len(vectors):,} vectors for {passages:,} passages; only one vector a passage can "
                "be exported."
            )
        return vectors

    def queries(self, most: int) -> np.ndarray:
        """Return rows of queries of the test split (or dev, or train), evenly chosen, at most ``most``, int64."""
        split = next((name for name in SPLITS if name in self.collection.qrels), None)
        rows = np.arange(len(self.collection.queries)) if split is None else self.collection.qrels[split].queries
        return rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64))]


def of_run(run: str, episode: int | None = None, best: bool = False, data: str | None = None) -> Source:
    """Return the last checkpoint of a run, that of an episode (0 is the initial model), or the best one.

    Raises:
        UserError: This is no run folder, its data is gone, there is no such episode, or it has no model.
    """
    opened = open_run(Path(run), data)
    if opened.model is None:
        raise UserError(f"{run} is a run without a model (recipe '{opened.recipe.name}'); it has no vectors.")
    if best and episode is not None:
        raise UserError("--best and --episode name two checkpoints; give one of them.")
    number = best_of(Path(run)) if best else opened.last if episode is None else episode
    if not 0 <= number <= opened.last:
        raise UserError(f"{run} has no episode {number}; its last one is {opened.last}.")
    retriever = opened.retriever(number)
    tokens, checkpoint = retriever.tokens, retriever.checkpoint
    kept = open_vectors(retriever.folder, checkpoint.weights, tokens.passages.key, len(opened.collection.corpus))
    name = f"{Path(run).name}, {f'episode {number}' if number else 'zero-shot'}"
    if kept is None:
        log.info(f"{name}: the run did not keep its vectors; {len(opened.collection.corpus):,} passages are encoded")
    config, folder = opened.recipe.encoder, retriever.folder
    return Source(name, opened.collection, DenseRetriever(checkpoint, tokens, config, folder, kept))


def best_of(run: Path) -> int:
    """Return the number of the checkpoint with the highest headline metric on the split of the episodes."""
    summary = Summary.read(run)
    metric = headline({name for episode in summary.episodes for name in episode.metrics})
    measured = {episode.number: episode.metrics[metric] for episode in summary.episodes if metric in episode.metrics}
    if metric in summary.baselines.get("zero-shot", {}):
        measured[0] = summary.baselines["zero-shot"][metric]
    if not measured:
        raise UserError(f"No checkpoint of {run} is measured; give --episode N.")
    number = max(sorted(measured), key=measured.__getitem__)
    log.info(f"best by {metric} on {summary.split}: {f'episode {number}' if number else 'zero-shot'}")
    return number


def of_model(model: str, collection: Collection, config: EncoderConfig, folder: Path | None = None) -> Source:
    """Return a model over a collection; vectors lie in ``folder``, as ``ance-tele encode`` leaves them, or the cache.

    Raises:
        UserError: The model cannot be loaded.
    """
    checkpoint = Checkpoint(model, config, announce=True)
    tokens = TokenizedCollection(checkpoint, collection, config)
    key, weights = tokens.passages.key, checkpoint.weights
    place = folder or cache_folder() / "vectors" / fingerprint({"weights": weights, "tokens": key})[:16]
    kept = open_vectors(place, weights, key, len(collection.corpus))
    if kept is None:
        log.info(f"{len(collection.corpus):,} passages are encoded; their vectors are kept in {place}")
    return Source(Path(model).name, collection, DenseRetriever(checkpoint, tokens, config, place, kept))


def is_run(source: str) -> bool:
    """Return whether a source is a run folder, and no model."""
    return (Path(source) / "run.json").is_file()


def source_of(
    source: str,
    data: str | Path | Collection | None,
    episode: int | None,
    best: bool,
    config: EncoderConfig | None,
    folder: Path | None = None,
) -> Source:
    """Return a run's checkpoint (:func:`of_run`), or a model over the collection in ``data`` (:func:`of_model`).

    Raises:
        UserError: As of these two; or a model is asked for an episode.
    """
    if is_run(source):
        return of_run(source, episode, best, None if data is None else str(data))
    if episode is not None or best:
        raise UserError(f"{source} is no run folder, and has no episodes; leave out --episode and --best.")
    collection = data if isinstance(data, Collection) else load_collection(str(data))
    return of_model(source, collection, config or EncoderConfig(), folder)


def loading(retriever: DenseRetriever, query: str, vector: np.ndarray) -> tuple[str, str]:
    """Return Python that loads the encoder: the import, and the line.

    sentence-transformers alone, if that gives a query the vector that it has here, float32 [dimension]; else our
    loader with the settings that differ from the defaults.
    """
    from sentence_transformers import SentenceTransformer

    from ance_tele.encode.loading import quiet

    name, config = str(retriever.checkpoint.name), retriever.checkpoint.config
    folder = located(name)
    set_here = {one.name: getattr(config, one.name) for one in fields(config)}
    chosen = {name: value for name, value in set_here.items() if value != getattr(EncoderConfig(), name)}
    if not config.trust_remote_code:
        with quiet():
            plain = SentenceTransformer(folder, device="cpu", model_kwargs={"use_safetensors": True})
            found = plain.encode_query(query, show_progress_bar=False)
        if found.shape == vector.shape and np.abs(found - vector).max() <= 0.02 * np.abs(vector).max():
            return "from sentence_transformers import SentenceTransformer", f"model = SentenceTransformer({folder!r})"
    settings = ", ".join(f"{name}={value!r}" for name, value in chosen.items())
    return "import ance_tele as at", f"model = at.load_model({folder!r}, at.EncoderConfig({settings}))"
