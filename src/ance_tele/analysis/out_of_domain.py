"""Out-of-domain evaluation: a run's trained model against the model it started from, on other collections."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ance_tele.console.errors import UserError
from ance_tele.console.log import muted
from ance_tele.data.collection import Collection
from ance_tele.data.load import load_collection
from ance_tele.evaluate.config import EvaluateConfig, headline
from ance_tele.evaluate.evaluation import Evaluation
from ance_tele.evaluate.statistics import compare_with, holm
from ance_tele.runs.folder import read_identity, recipe_of, resolve
from ance_tele.runs.out_of_domain import OutOfDomain
from ance_tele.settings import Recipe
from ance_tele.store.artefacts import build
from ance_tele.store.files import file_name, write_json
from ance_tele.store.manifests import read_manifest
from ance_tele.store.records import decode
from ance_tele.store.tables import write_parquet

log = logging.getLogger(__name__)

SYSTEMS = ("zero-shot", "trained")


def evaluate_out_of_domain(
    run: str | Path, data: Sequence[str | Path], split: str | None = None, strict: bool = True
) -> list[OutOfDomain]:
    """Measure a run's initial and trained model on collections it was not trained on; cached results are reused.

    Args:
        run: A run folder, finished.
        data: Collections, as ``--data`` takes them.
        split: Which judgements; the test split by default, or dev where there is none.
        strict: Refuse a collection with inconsistent files.

    Returns:
        All results of this run, earlier ones included, by name of the collection: means by metric of both models, the
        difference (trained minus initial) of the main metric, and the p-value of a paired permutation test, adjusted by
        Holm for all collections. Each is in ``RUN/elsewhere/NAME.json`` too.

    Raises:
        UserError: This is no run with a trained model, or a collection or its split cannot be used.

    Example::

        for one in at.evaluate_out_of_domain("runs/mine", ["scifact", "nfcorpus"]):
            print(one.collection, one.metric, one.difference, one.p)
    """
    out = Path(run)
    identity, recipe = read_identity(out), recipe_of(out)
    last = recipe.episode.episodes
    trained = read_manifest(out / f"episode-{last}" / "model")
    if identity["model"] is None or not last or trained is None:
        raise UserError(f"{out} holds no trained model; let the run finish, or give another run folder.")
    models = {"zero-shot": resolve(identity["model"], out), "trained": str(out / f"episode-{last}" / "model")}
    weights = {"zero-shot": identity["fingerprints"]["model"], "trained": trained.facts["weights"]}
    for source in data:
        collection = load_collection(source, strict=strict)
        chosen = split or ("test" if "test" in collection.qrels or "dev" not in collection.qrels else "dev")
        collection.split(chosen)
        _measure(out, recipe, collection, chosen, models, weights)
    return _results(out)


def _measure(
    out: Path, recipe: Recipe, collection: Collection, split: str, models: dict[str, str], weights: dict[str, str]
) -> None:
    """Measure both models on one collection unless a cached result exists."""
    from ance_tele.evaluate.model import evaluate_model  # loads torch

    # A configured level refers to the grades of the run's own collection.
    how = EvaluateConfig(split, None, recipe.evaluation.exclude_self)
    unusual = Evaluation.of(how, collection).unusual
    inputs = {"weights": weights, "data": collection.fingerprint, "split": split, **unusual}

    def make(target: Path) -> dict[str, Any]:
        target.mkdir()
        means: dict[str, dict[str, float]] = {}
        columns: dict[str, np.ndarray] = {}
        for system in SYSTEMS:
            own = how.exclude_self
            with muted():  # what is unusual was logged above, once for both
                _, scores = evaluate_model(models[system], collection, split, recipe.encoder, exclude_self=own)
            means[system] = scores.means()
            columns |= {f"{system} {metric}": values for metric, values in scores.values.items()}
            log.info(f"{collection.name}: {system} measured on {len(scores.query_ids):,} {split} queries")
        metric = headline(means["trained"])
        before, after = (columns[f"{system} {metric}"] for system in SYSTEMS)
        difference, p = compare_with(after, {"zero-shot": before})["zero-shot"]
        write_parquet(pa.table({"query_id": scores.query_ids, **columns}), target / "per_query.parquet")
        return {
            "collection": collection.name,
            "split": split,
            "queries": int((~np.isnan(after)).sum()),
            "episode": recipe.episode.episodes,
            "metric": metric,
            "difference": difference,
            "p": p,
            **means,
        }

    path = out / "elsewhere" / file_name(collection.name) / "evaluation"
    build(path, "out-of-domain evaluation", inputs, make)


def _results(out: Path) -> list[OutOfDomain]:
    """Read all results, adjust their p-values together, and write each back."""
    manifests = [read_manifest(path) for path in sorted((out / "elsewhere").glob("*/evaluation"))]
    facts = [manifest.facts for manifest in manifests if manifest is not None]
    results = []
    for one, p in zip(facts, holm([one["p"] for one in facts]), strict=True):
        found = {**one, "p": p}
        write_json(out / "elsewhere" / f"{file_name(one['collection'])}.json", found)
        results.append(decode(OutOfDomain, found))
    return results
