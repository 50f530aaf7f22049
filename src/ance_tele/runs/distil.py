"""The query side of a run's model learned by another encoder, for the passage vectors that there are."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from ance_tele.console.errors import UserError
from ance_tele.console.log import muted
from ance_tele.console.numbers import counted
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.checkpoint import Checkpoint, TokenizedCollection
from ance_tele.encode.encoder import text_format, weights_fingerprint
from ance_tele.encode.ensemble import OWN
from ance_tele.encode.inference import encode_texts
from ance_tele.encode.lengths import first_module
from ance_tele.encode.loading import load_query_encoder, normalizes
from ance_tele.encode.precision import resolve_precision
from ance_tele.encode.saving import save_model
from ance_tele.encode.several import vectors_each
from ance_tele.evaluate.config import headline
from ance_tele.evaluate.evaluation import Evaluation
from ance_tele.runs.folder import OpenedRun, open_run
from ance_tele.runs.training_set import hash_of, read_pairs
from ance_tele.search.dense import DenseRetriever
from ance_tele.store.artefacts import as_read_back, cached, writing
from ance_tele.store.files import remove
from ance_tele.store.fingerprints import fingerprint
from ance_tele.store.manifests import Manifest, difference, package_versions, read_manifest
from ance_tele.training.card import LARGEST, QUERY_CARD, model_card
from ance_tele.training.query_side import train_query_encoder
from ance_tele.training.teaching import DistilConfig

log = logging.getLogger(__name__)

_KIND = "query encoder"

# Settings that decide nothing, or by what was chosen of them.
_FREE = ("epochs", "save_steps", "precision")


def distil(
    run: str | Path,
    model: str | Path,
    out: str | Path,
    config: DistilConfig | None = None,
    data: str | Path | None = None,
) -> Manifest:
    """Train an encoder to give the query vectors of a run's last model; the same call resumes.

    Of an ensemble (DrBoost, Lewis et al. 2022) all query encoders become one; of any other run, a smaller encoder takes
    the place of the model for queries. The run's passage vectors stay as they are. What comes out is an ordinary
    sentence-transformers folder: the encoder and, unless its vectors have as many numbers already, a Dense layer.

    Args:
        run: The run folder; its training queries are learned from.
        model: Folder or hub name of the encoder to train.
        out: Folder of the trained encoder.
        config: Settings.
        data: Where the collection lies now, if it was moved.

    Returns:
        The manifest of the trained encoder, which lies next to its folder. Among its facts are "mse", the mean squared
        error on dev queries before and after, and "ranked": by split, the run's own query side and this one on the
        run's passage vectors.

    Raises:
        UserError: The run has no trained model, the encoder cannot be trained, or ``out`` holds something else.
    """
    config, run, out = config or DistilConfig(), Path(run), Path(out)
    config.check()
    opened = open_run(run, data)
    number = _last(opened, run)
    known = read_manifest(out)
    foreign = out.exists() and any(out.iterdir() if out.is_dir() else [out]) if known is None else known.kind != _KIND
    if foreign:
        raise UserError(f"{out} exists and holds no {_KIND} of this command; give --out a new folder.")
    retriever, collection = opened.retriever(number), opened.collection
    with muted():
        teacher = retriever.checkpoint.model
    rows = np.unique(read_pairs(run / "positives.parquet", collection)[0])
    normal, encoder = normalizes(teacher, "query"), opened.encoder_config
    dimension = retriever.encode_queries(rows[:1]).shape[1]
    student = load_query_encoder(model, encoder, dimension, normal, config.seed)
    tokens = TokenizedCollection(Checkpoint(None, encoder, "", student), collection, encoder).queries
    width = getattr(getattr(first_module(student, "query"), "config", None), "hidden_size", 0)
    config = config.suited(len(rows), width)
    precision = resolve_precision(config.precision, student.device)
    inputs = as_read_back(
        {
            "start": weights_fingerprint(student),
            "teacher": retriever.checkpoint.weights,
            "tokens": [tokens.key, retriever.tokens.queries.key],
            "data": collection.fingerprint,
            "training": hash_of(rows),
            "settings": {name: one for name, one in asdict(config).items() if name not in _FREE},
            "precision": precision,
        }
    )
    if known is not None and known.inputs != inputs:
        changed = difference(known.inputs, inputs)
        raise UserError(f"{out} holds a {_KIND} of another training ({changed}); give --out a new folder.")
    manifest, work = cached(out, inputs), out.with_name(f".{out.name}.training")
    if manifest is None:
        log.info(
            f"learning the query vectors of episode {number}, {dimension} numbers each, from {len(rows):,} queries: "
            f"{config.steps:,} steps, learning rate {config.learning_rate:g}"
        )
        with writing(out, _KIND, inputs) as made:
            same = {"training": fingerprint(inputs)}
            made.facts |= {"episode": number, "queries": len(rows), "dimension": dimension}
            learned, made.earlier_seconds = _trained(
                student, tokens, rows, retriever, _splits(opened), config, work, same
            )
            made.facts |= learned
            save_model(student, made.target)
            (made.target / "README.md").write_text(_card(made.facts, opened, teacher, str(model), config), "utf-8")
        manifest = made.manifest
    retriever.close(keep_vectors=True)
    remove(work)
    for line in lines(manifest.facts):
        log.info(line)
    return manifest


def _trained(
    student: SentenceTransformer,
    tokens: TokenStore,
    rows: np.ndarray,
    retriever: DenseRetriever,
    splits: Sequence[Evaluation],
    config: DistilConfig,
    work: Path,
    same: Mapping[str, Any],
) -> tuple[dict[str, Any], float]:
    """Train an encoder on a retriever's vectors of queries.

    Returns:
        What is known of it, measured on held-out splits, and the seconds before a resumption.
    """
    encode = partial(encode_texts, student, tokens, task="query", config=retriever.config)
    held_out = splits[0].qrels.queries
    aims = retriever.encode_queries(held_out)
    before = _error(encode(rows=held_out), aims)
    trained = train_query_encoder(student, tokens, rows, retriever.encode_queries(rows), config, work, dict(same))
    found = {"before": before, "after": _error(encode(rows=held_out), aims)}
    learned = {
        "weights": weights_fingerprint(student),
        "steps": trained.steps,
        "loss": trained.loss[-1:],
        "mse": {"split": splits[0].split, "queries": len(held_out), **found},
        "ranked": {on.split: _ranked(retriever, on, encode(rows=on.qrels.queries)) for on in splits},
    }
    return learned, trained.earlier_seconds


def lines(facts: Mapping[str, Any]) -> list[str]:
    """Return what was measured, in words.

    Example:
        >>> error = {"split": "dev", "queries": 24, "before": 0.0312, "after": 0.00041}
        >>> ranked = {"dev": {"metric": "MRR@10", "queries": 24, "own": 0.431, "distilled": 0.4254}}
        >>> for line in lines({"episode": 5, "mse": error, "ranked": ranked}):
        ...     print(line)
        query vectors of dev: mean squared error 0.0312 -> 0.00041 (24 queries)
        ranking dev: MRR@10 0.431 by the model of episode 5, 0.425 with the new query encoder (24 queries)
    """
    error = facts["mse"]
    first = f"query vectors of {error['split']}: mean squared error {error['before']:.3g} -> {error['after']:.3g}"
    found = [f"{first} ({counted(error['queries'], 'query', 'queries')})"]
    for split, one in facts["ranked"].items():
        own, new = (f"{one['metric']} {one['own']:.3f}", f"{one['distilled']:.3f} with the new query encoder")
        count = counted(one["queries"], "query", "queries")
        found.append(f"ranking {split}: {own} by the model of episode {facts['episode']}, {new} ({count})")
    return found


def _last(opened: OpenedRun, run: Path) -> int:
    """Return the last trained episode."""
    if opened.model is None:
        raise UserError(
            f"{run} ranks by words (recipe {opened.recipe.name}), without a query encoder; give another run."
        )
    if not (number := opened.last):
        raise UserError(f"{run} holds no trained model; let the run finish, or give another run folder.")
    return number


def _splits(opened: OpenedRun) -> list[Evaluation]:
    """Return the evaluations of the held-out queries: dev, or the split of the run; then test, if there is one."""
    config, known = opened.recipe.evaluation, opened.collection.qrels
    names = dict.fromkeys(["dev" if "dev" in known else config.split, *(["test"] if "test" in known else [])])
    with muted():
        return [Evaluation.of(config, opened.collection, name) for name in names]


def _error(found: np.ndarray, aims: np.ndarray) -> float:
    """Return the mean squared error of vectors, both float32 [n, dimension]."""
    return float(np.square(found.astype(np.float64) - aims).mean())


def _ranked(retriever: DenseRetriever, on: Evaluation, vectors: np.ndarray) -> dict[str, Any]:
    """Return how a retriever ranks with its own query vectors and with others, float32 [n, dimension]."""
    metric, queries = headline(on.metrics), on.qrels.queries
    own, other = (
        on.measure(retriever.nearest(each, on.search_depth, f"searching for {on.split} queries"))[1].means()[metric]
        for each in (retriever.encode_queries(queries), vectors)
    )
    return {"metric": metric, "queries": len(queries), "own": own, "distilled": other}


def _card(
    facts: dict[str, Any], opened: OpenedRun, teacher: SentenceTransformer, base: str, config: DistilConfig
) -> str:
    known = {
        "base": base,
        "recipe": opened.recipe.name,
        "collection": opened.collection.name,
        "teacher": opened.folder.weights(facts["episode"]),
        "version": package_versions()["ance-tele"],
        "separator": text_format(teacher, opened.recipe.encoder, "document").title_separator,
        "measured": "\n".join(f"- {line[0].upper()}{line[1:]}." for line in lines(facts)),
        "compared": LARGEST if vectors_each(teacher) > 1 else "queries @ passages.T",
    }
    if any(type(module) in OWN.values() for module in teacher.modules()):
        known["options"] = ", trust_remote_code=True"  # modules of ance-tele, which must be installed
    return model_card({**facts, **known}, asdict(config), QUERY_CARD)
