"""Vectors of a whole corpus: memory-mapped shards, encoded once per checkpoint, resumed shard by shard."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from ance_tele.console.log import muted
from ance_tele.console.progress import progress
from ance_tele.data.ragged import owners
from ance_tele.data.tokens import TokenStore, made_ahead
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import Task, resolve_precision, weights_fingerprint
from ance_tele.encode.rows import encode_rows
from ance_tele.store.artefacts import build
from ance_tele.store.fingerprints import fingerprint
from ance_tele.store.manifests import read_manifest
from ance_tele.store.tables import open_npy


@dataclass(frozen=True)
class Vectors:
    """Vectors in shards, row after row.

    Attributes:
        shards: float32 [rows of the shard, dimension] each, memory-mapped or in memory.
        key: Fingerprint of weights, tokens and precision.
        seconds: Time that encoding took, over all shards, whenever it was.
    """

    shards: tuple[np.ndarray, ...]
    key: str
    seconds: float = 0.0

    def __len__(self) -> int:
        return sum(len(shard) for shard in self.shards)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self.shards[0].shape[1])

    def blocks(self, rows: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the first row and the vectors of blocks of at most ``rows`` rows."""
        first = 0
        for shard in self.shards:
            for start in range(0, len(shard), rows):
                yield first + start, np.asarray(shard[start : start + rows])
            first += len(shard)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of the given rows, float32 [n, dimension]."""
        out = np.empty((len(rows), self.dimension), dtype=np.float32)
        first = 0
        for shard in self.shards:
            inside = np.flatnonzero((rows >= first) & (rows < first + len(shard)))
            out[inside] = shard[rows[inside] - first]
            first += len(shard)
        return out


def joined(blocks: Iterator[tuple[int, np.ndarray]], rows: int) -> Iterator[tuple[int, np.ndarray]]:
    """Join blocks that follow each other, up to ``rows`` rows; what is not joined is not copied.

    One, then two, then four, and so on: whoever reads ahead has the first ones soon.
    """
    start, parts, most = 0, list[np.ndarray](), 1
    for first, block in blocks:
        if len(parts) == most or (parts and sum(map(len, parts)) + len(block) > rows):
            yield start, parts[0] if len(parts) == 1 else np.concatenate(parts)
            parts, most = [], 2 * most
        start, parts = (start if parts else first), [*parts, block]
    if parts:
        yield start, parts[0] if len(parts) == 1 else np.concatenate(parts)


def ahead(blocks: Iterator[tuple[int, np.ndarray]]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield blocks while a thread reads the next one, if it is on disk, into the page cache."""

    def read(block: tuple[int, np.ndarray]) -> tuple[int, np.ndarray]:
        if block[1].size:
            block[1].reshape(-1)[::1024].max()  # one number of every page
        return block

    return made_ahead(map(read, blocks))


def pair_scores(
    queries: np.ndarray, vectors: Vectors, offsets: np.ndarray, passages: np.ndarray, query_rows: int = 512
) -> np.ndarray:
    """Return the dot product of each query with each passage of its own list, float32 [n].

    Queries are float32 [q, dimension]; the passages (rows of the corpus, int [n]) of query i are
    ``offsets[i]:offsets[i + 1]``. So many ``query_rows`` are scored at a time: it bounds the memory.
    """
    scores = np.empty(len(passages), dtype=np.float32)
    for start in range(0, len(queries), query_rows):
        stop = min(start + query_rows, len(queries))
        part = slice(offsets[start], offsets[stop])
        distinct, place = np.unique(passages[part], return_inverse=True)
        held, asking = vectors.take(distinct), start + owners(offsets[start : stop + 1])
        # A passage may be in a list twice, which the sparse products of ``pair_products`` do not allow.
        scores[part] = np.einsum("nd,nd->n", queries[asking], held[place], optimize=False)
    return scores


def encode_corpus(
    model: SentenceTransformer,
    tokens: TokenStore,
    task: Task,
    config: EncoderConfig,
    folder: Path,
    weights: str | None = None,
    what: str = "passages",
) -> Vectors:
    """Encode all texts of a token store into shards in ``folder``; shards that are there already are reused.

    Args:
        model: The encoder.
        tokens: The texts.
        task: "query" or "document".
        config: Precision, batch and shard sizes.
        folder: Where the shards belong.
        weights: Fingerprint of the model's weights, if it is known already.
        what: What the texts are, for the progress bar.

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
    inputs: dict[str, Any] = {
        "weights": weights or weights_fingerprint(model),
        "tokens": tokens.key,
        "task": task,
        "precision": resolve_precision(config.precision, model.device),
        "batch_tokens": config.encode_tokens,
    }
    shards, seconds, remade = [], 0.0, False
    with progress(f"encoding {what}", len(tokens), what) as advance:
        for number, start in enumerate(range(0, max(1, len(tokens)), config.shard_passages)):
            rows = np.arange(start, min(start + config.shard_passages, len(tokens)))
            path = folder / f"{what}-{number:05d}.npy"

            def make(target: Path, rows: np.ndarray = rows) -> None:
                vectors = encode_rows(model, tokens, rows, task, config, advance)
                with target.open("wb") as file:
                    np.save(file, vectors)

            with muted(remade):  # why one shard is made again is why all are
                manifest = build(path, "vectors", {**inputs, "rows": [start, len(rows)]}, make)
            remade = remade or not manifest.reused
            seconds += manifest.seconds
            shards.append(open_npy(path))
    return Vectors(tuple(shards), fingerprint(inputs), seconds)


def open_vectors(folder: Path, weights: str, tokens: str, count: int) -> Vectors | None:
    """Open the vectors of ``count`` passages cached in ``folder``, of whatever precision; nothing is encoded.

    None where they are not all there, or are of other weights or tokens (given by fingerprint).
    """
    shards: list[np.ndarray] = []
    made, seconds = dict[str, Any](), 0.0
    while (first := sum(map(len, shards))) < count:
        path = folder / f"passages-{len(shards):05d}.npy"
        manifest = read_manifest(path)
        if manifest is None or manifest.inputs["rows"][0] != first:
            return None
        inputs = {name: value for name, value in manifest.inputs.items() if name != "rows"}
        if (inputs["weights"], inputs["tokens"]) != (weights, tokens) or (shards and inputs != made):
            return None
        made, seconds = inputs, seconds + manifest.seconds
        shards.append(open_npy(path))
    return Vectors(tuple(shards), fingerprint(made), seconds)
