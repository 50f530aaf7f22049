"""Encoding and searching alone, in parts that any number of machines do: no part knows of another but by its files."""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection
from ance_tele.encode.checkpoint import Checkpoint, TokenizedCollection
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.corpus import encode_shards
from ance_tele.encode.shards import EncodeJob, shards_of
from ance_tele.encode.vectors import Vectors, not_encoded, open_vectors
from ance_tele.engine.array import ArrayTask
from ance_tele.engine.executor import IN_PROCESS, Executor
from ance_tele.engine.work import Unit, missing, share
from ance_tele.search.dense import DenseRetriever
from ance_tele.search.grid import SearchJob, grid, merged, search
from ance_tele.search.several import by_passage, ranks_apart
from ance_tele.search.topk import TopK, ranked, resolve_engine
from ance_tele.store.artefacts import build
from ance_tele.store.files import remove
from ance_tele.store.fingerprints import fingerprint
from ance_tele.store.tables import write_array

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How much of a whole is on disk.

    Attributes:
        own: Units of this task, all done.
        done: Units that are done, whoever has done them.
        units: Units there are.
    """

    own: int
    done: int
    units: int


def encode_part(
    model: str | Path,
    collection: Collection,
    config: EncoderConfig,
    folder: Path,
    task: ArrayTask | None = None,
    executor: Executor = IN_PROCESS,
) -> Progress:
    """Encode a task's share of a corpus into shards in ``folder``, or all of it without a task.

    Shards that are there already, of the same model and texts, are not encoded again.
    """
    checkpoint = Checkpoint(model, config, announce=True)
    tokens = TokenizedCollection(checkpoint, collection, config).passages
    with checkpoint.explained():
        loaded, weights = checkpoint.model, checkpoint.weights
        job = EncodeJob.of(loaded, tokens, "document", config, folder, weights, "passages", model)
        units = shards_of(len(tokens), config.shard_passages)
        own = _own(units, task)
        encode_shards(job, own, executor)
    return Progress(len(own), len(units) - len(missing(job, units)), len(units))


def retrieve_part(
    model: str | Path,
    collection: Collection,
    queries: np.ndarray,
    depth: int,
    config: EncoderConfig,
    folder: Path,
    task: ArrayTask | None = None,
    executor: Executor = IN_PROCESS,
) -> tuple[Progress, TopK | None]:
    """Search a task's share of a corpus that :func:`encode_part` has encoded, or all of it without a task.

    How the search is cut into units depends on the number of tasks alone. Partial lists lie in ``folder``; without a
    task those of an array are used and completed, merged, and removed.

    Args:
        model: Folder or hub name of the model that has encoded the corpus.
        queries: Rows, int64 [q].
        depth: Passages for each query.

    Returns:
        How much is done; and the result, once all is.

    Raises:
        UserError: Passages are not encoded, or not all in the same way.
    """
    checkpoint = Checkpoint(model, config, announce=True)
    tokens = TokenizedCollection(checkpoint, collection, config)
    vectors = _whole(folder, checkpoint, tokens)
    retriever = DenseRetriever(checkpoint, tokens, config, folder, vectors)
    asked, key = _encoded_queries(retriever, queries, folder)
    each = retriever.each
    k = each * min(depth, len(vectors))
    precision, engine = resolve_engine("auto", checkpoint.device, len(queries), each * len(vectors), k)
    key = fingerprint([key, vectors.key, k])
    rank = collection.corpus.id_rank
    single, of = ranks_apart(rank, each), {"data": collection.fingerprint} | ({"each": each} if each > 1 else {})
    ranks = folder / f"ids-{collection.fingerprint[:16]}{f'-{each}' if each > 1 else ''}.npy"
    build(ranks, "ranks of ids", of, lambda target: write_array(target, single), shared=True)
    files = [str(Path(str(getattr(shard, "filename"))).resolve()) for shard in vectors.shards]  # noqa: B009
    device = checkpoint.device.partition(":")[0]

    def cut(count: int) -> tuple[SearchJob, list[Unit]]:
        lists = str((folder / f"search-{key[:16]}-of-{count}").resolve())
        job = SearchJob(str(asked.resolve()), files, str(ranks.resolve()), k, precision, device, lists, key)
        return job, grid(len(queries), len(files), count)

    if task is None:
        begun = [int(path.name.rpartition("-")[2]) for path in folder.glob(f"search-{key[:16]}-of-*")]
        cuts = [cut(count) for count in begun or [executor.workers]]
        job, units = min(cuts, key=lambda one: len(missing(*one)) / len(one[1]))
        if begun and (absent := missing(job, units)):
            log.info(f"{len(units) - len(absent)} of {len(units)} parts are searched; this command does the others")
    else:
        job, units = cut(task.count)
    own = _own(units, task)
    search(job, own, vectors, "searching", executor)
    done = len(units) - len(missing(job, units))
    progress = Progress(len(own), done, len(units))
    if done < len(units):
        return progress, None
    found = by_passage(ranked(merged(job, units), single, engine), depth, rank, each)
    if task is None:
        for path in folder.glob(f"search-{key[:16]}-of-*"):
            remove(path)
    return progress, found


def _own(units: list[Unit], task: ArrayTask | None) -> list[Unit]:
    return units if task is None else share(units, task.index, task.count)


def _whole(folder: Path, checkpoint: Checkpoint, tokens: TokenizedCollection) -> Vectors:
    """Return the vectors of the whole corpus, or say what is missing."""
    key, count = tokens.passages.key, len(tokens.passages)
    vectors = open_vectors(folder, checkpoint.weights, key, count)
    if vectors is not None:
        return vectors
    again = f"ance-tele encode {checkpoint.name} --data DATA --out {folder}"
    gaps = not_encoded(folder, checkpoint.weights, key, count)
    if not gaps:
        raise UserError(
            f"The shards in {folder} were not all encoded in one way (precision, encode_tokens, shard_passages); "
            f"encode into an empty folder, with the same settings everywhere: {again}."
        )
    rows = sum(end - first for first, end in gaps)
    which = ", ".join(f"{first:,} to {end - 1:,}" for first, end in gaps[:3]) + (", ..." if len(gaps) > 3 else "")
    raise UserError(
        f"Of {count:,} passages {rows:,} (rows {which}) have no vectors of this model and these lengths and prompts in "
        f"{folder}; encode what is missing: {again}."
    )


def _encoded_queries(retriever: DenseRetriever, rows: np.ndarray, folder: Path) -> tuple[Path, str]:
    """Return the file of the queries' vectors, encoded once for all tasks, and the fingerprint of what decides them."""
    of = hashlib.sha256(np.ascontiguousarray(rows, np.int64).tobytes()).hexdigest()
    inputs: dict[str, Any] = {**retriever.key, "rows": of}
    path = folder / f"queries-{fingerprint(inputs)[:16]}.npy"
    build(
        path, "query vectors", inputs, lambda target: write_array(target, retriever.encode_queries(rows)), shared=True
    )
    return path, fingerprint(inputs)
