"""Training a teacher on a run: a cross-encoder that learns from the negatives that the run has mined."""

import logging
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import CrossEncoder

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Qrels
from ance_tele.encode.cross_encoder import new_cross_encoder
from ance_tele.encode.declared import separator_of
from ance_tele.encode.encoder import weights_fingerprint
from ance_tele.mining.storage import read_pool
from ance_tele.runs.folder import OpenedRun, open_run
from ance_tele.runs.ranker import train_ranker
from ance_tele.runs.reranking import Reranked, rerank
from ance_tele.runs.training_set import hash_of, read_pairs
from ance_tele.store.fingerprints import fingerprint
from ance_tele.store.manifests import Manifest, package_versions, read_manifest
from ance_tele.training.card import RANKER_CARD, model_card
from ance_tele.training.teaching import CrossEncoderConfig

log = logging.getLogger(__name__)


def train_teacher(
    run: str | Path,
    model: str,
    out: str | Path,
    config: CrossEncoderConfig | None = None,
    episode: int | None = None,
    data: str | Path | None = None,
) -> Manifest:
    """Train a cross-encoder on the positives of a run and the pool of one of its episodes; the same call resumes.

    Args:
        run: The run folder.
        model: Folder or hub name of an encoder, or of a cross-encoder that goes on learning.
        out: Folder of the trained cross-encoder.
        config: Settings.
        episode: Whose pool; None means the last one's.
        data: Where the collection lies now, if it was moved.

    Returns:
        The manifest of the trained model, which lies next to its folder; "reranked" among its facts says how it ranks
        what the run's retriever has found (:class:`ance_tele.runs.reranking.Reranked`).

    Raises:
        UserError: The run has no such pool, the model cannot be trained, or ``out`` holds something else.
    """
    config, run, out = config or CrossEncoderConfig(), Path(run), Path(out)
    config.check()
    opened = open_run(run, data)
    number = _last_pool(opened) if episode is None else episode
    path = opened.folder.checkpoint(number) / "pool.parquet"
    pooled = read_manifest(path)
    if pooled is None:
        raise UserError(f"{run} has no pool of episode {number}; negatives are mined by `ance-tele run`.")
    if out.exists() and read_manifest(out) is None and any(out.iterdir() if out.is_dir() else [out]):
        raise UserError(f"{out} exists and holds no cross-encoder of this command; give --out a new folder.")
    collection, encoder = opened.collection, opened.encoder_config
    queries, passages = read_pairs(run / "positives.parquet", collection)
    positives = Qrels.from_arrays(queries, passages, np.ones(len(queries), dtype=np.int64))
    pool = read_pool(path, positives.queries, collection.queries, collection.corpus)
    start = new_cross_encoder(model, encoder, config.seed)
    config = config.suited(len(positives), int(getattr(start.config, "hidden_size", 0)))
    inputs = {
        "start": weights_fingerprint(start),
        "max_length": start.max_seq_length,
        "pool": fingerprint(pooled.inputs),
        "training": [collection.fingerprint, hash_of(queries), hash_of(passages)],
        "title_separator": encoder.title_separator,
    }
    known = {
        "base": model,
        "recipe": opened.recipe.name,
        "collection": collection.name,
        "episode": number,
        "version": package_versions()["ance-tele"],
        "separator": separator_of(start.tokenizer, encoder.title_separator),
    }
    amount = f"{config.epochs} epochs" if config.steps is None else f"{config.steps:,} steps"
    log.info(
        f"training on {len(positives):,} queries and the {len(pool):,} negatives of episode {number}: {amount}, "
        f"learning rate {config.learning_rate:g}"
    )
    work = out.with_name(f".{out.name}.training")
    given = pool, positives, collection, encoder.title_separator, config, out, work, inputs
    found = train_ranker(lambda: start, *given, finish=partial(_finish, opened, known, config))
    if reranked := found.facts.get("reranked"):
        _log_reranked(Reranked(**reranked))
    return found


def _finish(
    opened: OpenedRun,
    known: dict[str, Any],
    config: CrossEncoderConfig,
    model: CrossEncoder,
    target: Path,
    facts: dict[str, Any],
) -> None:
    """Rerank what the run's retriever has found, and write the model card."""
    found = rerank(model, opened, config.rerank, config.precision) if config.rerank else None
    if found is not None:
        facts["reranked"] = found.content()
    measured = "" if found is None else f"\n\nR{found.line()[1:]}."
    (target / "README.md").write_text(
        model_card({**known, **facts, "measured": measured}, asdict(config), RANKER_CARD), "utf-8"
    )


def _log_reranked(found: Reranked) -> None:
    log.info(found.line())
    if found.after < found.before:
        log.warning("it ranks worse than the retriever, which would learn little from it: train it longer (--epochs)")


def _last_pool(opened: OpenedRun) -> int:
    """Return the last episode that has a pool; 1 where none has."""
    episodes = range(opened.recipe.episode.episodes, 0, -1)
    return next((n for n in episodes if read_manifest(opened.folder.checkpoint(n) / "pool.parquet")), 1)
