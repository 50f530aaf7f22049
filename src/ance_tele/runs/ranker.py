"""Training a cross-encoder on a pool: lists of texts in the order of batches, and the model as an artefact."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sentence_transformers import CrossEncoder

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection, Qrels
from ance_tele.data.ragged import spans
from ance_tele.encode.cross_encoder import passage_texts
from ance_tele.encode.encoder import weights_fingerprint
from ance_tele.encode.loading import quiet
from ance_tele.mining.pool import Pool
from ance_tele.mining.teacher_scores import TeacherScores
from ance_tele.store.artefacts import build, cached, writing
from ance_tele.store.files import remove
from ance_tele.store.fingerprints import fingerprint
from ance_tele.store.manifests import Manifest
from ance_tele.training.batches import BatchPlan, by_turn
from ance_tele.training.cross_encoder import train_cross_encoder
from ance_tele.training.teaching import CrossEncoderConfig

# Steps whose texts are in memory at a time.
STEPS_PER_BLOCK = 256

# Logit of what is not relevant: its share of the distribution is 0.
NOTHING = -1e4

_PAIRS = pa.schema([("query", pa.large_string()), ("passage", pa.large_string()), ("label", pa.float32())])
_LISTS = pa.schema(
    [("query", pa.large_string()), ("passages", pa.list_(pa.large_string())), ("labels", pa.list_(pa.float32()))]
)

# Settings without effect on the result.
_FREE = ("rerank", "save_steps")


def train_ranker(
    start: Callable[[], CrossEncoder],
    pool: Pool,
    positives: Qrels,
    collection: Collection,
    separator: str,
    config: CrossEncoderConfig,
    path: Path,
    work: Path,
    inputs: Mapping[str, Any],
    retriever: Callable[[], TeacherScores] | None = None,
    finish: Callable[[CrossEncoder, Path, dict[str, Any]], None] | None = None,
) -> Manifest:
    """Train a cross-encoder on a pool and save it as the artefact ``path``; return its manifest.

    Args:
        start: Returns the model to train.
        pool: Negatives.
        positives: Relevant passages of the same queries.
        collection: Their texts.
        separator: Between title and body.
        config: Settings.
        path: Folder of the trained model.
        work: Folder of lists and checkpoints, removed in the end.
        inputs: What it is made of, besides the settings.
        retriever: Returns a retriever's scores of all pairs, whose ranking is learned too (loss "list").
        finish: Gets the trained model, its folder, and the manifest's facts, to which it may add.

    Raises:
        UserError: No query has a negative, or training has diverged.
    """
    config.check()
    settings = {name: value for name, value in asdict(config).items() if name not in _FREE}
    inputs = {**inputs, "settings": settings}
    if found := cached(path, inputs):
        return found
    with writing(path, "cross-encoder", inputs) as made:
        turns, sizes = by_turn(positives, config.seed), (config.batch_queries, config.negatives_per_query)
        plan = BatchPlan(pool, turns, *sizes, config.seed)
        if not (pool.sizes > 0).any():
            raise UserError("None of the training queries has a negative, from which a cross-encoder could learn.")
        model, lists, same = start(), work / "lists.arrow", {"training": fingerprint(inputs)}

        def make(target: Path) -> None:
            ranking = None if retriever is None else retriever()
            write_training_lists(target, plan, config, model, collection, separator, ranking)

        build(lists, "lists of a cross-encoder", same, make)
        rows = config.batch_queries * (1 + config.negatives_per_query if config.loss == "binary" else 1)
        trained = train_cross_encoder(model, lists, rows, config, work, same)
        made.earlier_seconds = trained.earlier_seconds
        with quiet():
            model.save_pretrained(str(made.target), create_model_card=False)
        made.facts = {"weights": weights_fingerprint(model), "steps": trained.steps, "loss": trained.loss[-1:]}
        if finish is not None:
            finish(model, made.target, made.facts)
    remove(work)
    return made.manifest


def write_training_lists(
    path: Path,
    plan: BatchPlan,
    config: CrossEncoderConfig,
    model: CrossEncoder,
    collection: Collection,
    separator: str,
    retriever: TeacherScores | None = None,
) -> None:
    """Write what a cross-encoder is trained on, in the order of batches, as an Arrow stream.

    Queries without a negative are left out. Arguments as of :func:`train_ranker`.
    """
    steps = config.steps or plan.steps_per_epoch * (config.epochs or 1)
    schema = _PAIRS if config.loss == "binary" else _LISTS
    texts = collection.queries.table["text"]
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as stream:
        for start, stop in spans(steps, STEPS_PER_BLOCK):
            drawn = [
                plan.passages(example, epoch)
                for epoch, examples in map(plan.step, range(start, stop))
                for example in examples.tolist()
            ]
            drawn = [(query, rows) for query, rows in drawn if len(rows) > 1]
            if not drawn:
                continue
            distinct = np.unique(np.concatenate([rows for _, rows in drawn]))
            shown = np.array(passage_texts(model, collection.corpus, distinct, separator), dtype=object)
            asked = texts.take(plan.positives.queries[[query for query, _ in drawn]]).to_pylist()
            listed = [shown[np.searchsorted(distinct, rows)].tolist() for _, rows in drawn]
            if config.loss == "binary":
                columns = [
                    [query for query, passages in zip(asked, listed, strict=True) for _ in passages],
                    [passage for passages in listed for passage in passages],
                    [float(place == 0) for passages in listed for place in range(len(passages))],
                ]
            else:
                columns = [asked, listed, [target_logits(query, rows, retriever).tolist() for query, rows in drawn]]
            arrays = [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
            stream.write_batch(pa.record_batch(arrays, schema=schema))


def target_logits(query: int, rows: np.ndarray, retriever: TeacherScores | None = None) -> np.ndarray:
    """Return the logits of the distribution that a list is to have, float32 [passages]; the positive is first.

    All of it on the positive; with a retriever's scores half of it, and half as the retriever has it: the cross-entropy
    with the mean of two distributions is the mean of the two cross-entropies.
    """
    relevant = np.where(np.arange(len(rows)) == 0, 1.0, 0.0)
    if retriever is not None:
        scores = retriever.of(query, rows).astype(np.float64)
        likely = np.exp(scores - scores.max())
        relevant = (relevant + likely / likely.sum()) / 2
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(relevant), NOTHING).astype(np.float32)
