"""Encode a corpus into shards, or some texts into memory, wherever an executor has the models work."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

from ance_tele.console.progress import progress
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import weights_fingerprint
from ance_tele.encode.in_use import Task
from ance_tele.encode.inference import encode_texts
from ance_tele.encode.shards import EncodeJob, shards_of
from ance_tele.encode.vectors import Vectors
from ance_tele.engine.executor import IN_PROCESS, Executor
from ance_tele.engine.work import Facts, Unit, missing
from ance_tele.store.files import atomic, remove
from ance_tele.store.fingerprints import fingerprint
from ance_tele.store.manifests import read_manifest
from ance_tele.store.tables import open_array, write_array

# Texts of a piece, where they are encoded into memory.
PIECE = 8192


def encode_corpus(
    model: SentenceTransformer,
    tokens: TokenStore,
    task: Task,
    config: EncoderConfig,
    folder: Path,
    weights: str | None = None,
    what: str = "passages",
    name: str | Path | None = None,
    executor: Executor = IN_PROCESS,
) -> Vectors:
    """Encode all texts of a token store into shards in ``folder``; existing shards are reused.

    Args:
        model: The encoder.
        tokens: The texts.
        task: "query" or "document".
        config: Precision, batch and shard sizes.
        folder: Where the shards belong.
        weights: Fingerprint of the model's weights, if known.
        what: What the texts are, for the progress bar.
        name: Folder or hub name of the model: other processes load it from there. None keeps the work in this one.
        executor: Where shards are encoded.

    Returns:
        Memory-mapped vectors, float32 [texts, dimension], in the order of the token store.

    Example:
        >>> import ance_tele as at
        >>> from ance_tele.encode.encoder import tokens_of
        >>> config = at.EncoderConfig()
        >>> encoder = at.load_model("my-model", config, device="cpu")
        >>> collection = at.collection_from_dicts({"p1": "t1", "p2": "t2"}, {"q1": "t1"}, {"test": {"q1": {"p1": 1}}})
        >>> tokens = tokens_of(encoder, config, "document", collection.corpus, Path("cache"), collection.texts)
        >>> vectors = encode_corpus(encoder, tokens, "document", config, Path("vectors"))
        >>> len(vectors), vectors.dimension
        (2, 32)
    """
    weights = weights or weights_fingerprint(model)
    job = EncodeJob.of(model, tokens, task, config, folder, weights, what, name)
    units = shards_of(len(tokens), config.shard_passages)
    encode_shards(job, units, executor)
    paths = [job.path(unit) for unit in units]
    manifests = [read_manifest(path) for path in paths]
    seconds = sum(manifest.seconds for manifest in manifests if manifest is not None)
    return Vectors(tuple(map(open_array, paths)), fingerprint(job.inputs(None)), seconds)


def encode_shards(job: EncodeJob, units: Sequence[Unit], executor: Executor = IN_PROCESS) -> None:
    """Encode the shards among these that are not on disk."""
    absent = missing(job, units)
    elsewhere = executor if len(absent) > 1 and job.portable else IN_PROCESS
    with progress(f"encoding {job.what}", sum(stop - start for _, start, stop in absent), job.what) as advance:

        def done(unit: Unit, facts: Facts) -> None:
            if elsewhere is not IN_PROCESS:
                advance(unit[2] - unit[1])

        elsewhere.run(replace(job, _advance=advance), absent, done)


def encode_many(
    model: SentenceTransformer,
    tokens: TokenStore,
    rows: np.ndarray,
    task: Task,
    config: EncoderConfig,
    folder: Path,
    weights: str,
    name: str | Path | None = None,
    executor: Executor = IN_PROCESS,
) -> np.ndarray:
    """Encode texts given by row, int64 [n], into memory: float32 [n, dimension].

    They go through the model in the same pieces wherever that is, so that the vectors are the same. What other
    processes do of it lies in ``folder`` until all is there; the other arguments are those of :func:`encode_corpus`.
    """
    pieces = shards_of(len(rows), PIECE)
    if len(pieces) == 1:
        return encode_texts(model, tokens, rows, task, config)
    job = EncodeJob.of(model, tokens, task, config, folder, weights, "texts", name)
    if executor is IN_PROCESS or not job.portable:
        return np.concatenate([encode_texts(model, tokens, rows[a:b], task, config) for _, a, b in pieces])
    of = hashlib.sha256(rows.tobytes()).hexdigest()
    folder = folder / f"texts-{of[:16]}"
    with atomic(folder / "rows.npy") as temporary:
        write_array(temporary, rows)
    job = replace(job, folder=str(folder.resolve()), rows=str((folder / "rows.npy").resolve()), rows_key=of)
    executor.run(job, missing(job, pieces))
    vectors = np.concatenate([np.load(job.path(unit)) for unit in pieces])
    remove(folder)
    return vectors
