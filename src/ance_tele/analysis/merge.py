"""Merging a run's trained model with the one it started from: measured along the weight, and the best one saved.

What training made a model forget elsewhere, a model between the two has often kept (Wortsman et al. 2022, WiSE-FT).
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa

from ance_tele.console.errors import UserError
from ance_tele.console.log import muted
from ance_tele.console.numbers import score
from ance_tele.data.collection import Collection
from ance_tele.data.load import load_collection
from ance_tele.encode.checkpoint import Checkpoint
from ance_tele.encode.encoder import weights_fingerprint
from ance_tele.encode.loading import load_model
from ance_tele.encode.merging import Merge, MergeMethod
from ance_tele.encode.saving import save_model
from ance_tele.evaluate.config import EvaluateConfig, headline
from ance_tele.evaluate.evaluation import Evaluation
from ance_tele.evaluate.model import evaluate_model
from ance_tele.evaluate.statistics import holm, permutation_test
from ance_tele.report import merging
from ance_tele.runs.folder import OpenedRun, open_run
from ance_tele.runs.merged import MERGED, MergedOn, MergeSummary
from ance_tele.store.artefacts import build
from ance_tele.store.files import file_name, write_json
from ance_tele.store.fingerprints import fingerprint
from ance_tele.store.manifests import Manifest
from ance_tele.store.records import encode
from ance_tele.store.tables import read_table, write_parquet

log = logging.getLogger(__name__)

Rule: TypeAlias = Literal["mean", "retain"]

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Place:
    """A collection to measure on: its evaluation for the choice of a weight, and the final one."""

    own: bool
    choice: Evaluation
    final: Evaluation

    @classmethod
    def of(cls, collection: Collection, config: EvaluateConfig, own: bool) -> "Place":
        """Choose on dev, where there is one, else on the configured split; the final split is test, where there is."""
        choice = "dev" if "dev" in collection.qrels else config.split
        final = "test" if "test" in collection.qrels else choice
        with muted(own):  # what is unusual there, the run has said
            on = {split: Evaluation.of(replace(config, split=split), collection) for split in (choice, final)}
        return cls(own, on[choice], on[final])

    @property
    def name(self) -> str:
        """Name of the collection."""
        return self.choice.collection.name


@dataclass(frozen=True)
class Merging:
    """The merges of a run's trained model with a base, loaded on first use; each measured one is cached."""

    opened: OpenedRun
    base: str | Path
    method: MergeMethod

    @cached_property
    def trained(self) -> Checkpoint:
        """The trained model."""
        last = self.opened.last
        name, weights = self.opened.checkpoint_name(last), self.opened.known_weights(last)
        return Checkpoint(name, self.opened.encoder_config, weights, trained=True)

    @cached_property
    def start(self) -> Checkpoint:
        """The base; its fingerprint is known if it is the run's own, unchanged."""
        known = self.opened.known_weights(0) if str(self.base) == str(self.opened.model) else None
        return Checkpoint(self.base, self.opened.encoder_config, known)

    @cached_property
    def merge(self) -> Merge:
        """The models between the two."""
        return Merge(self.start.model, load_model(str(self.trained.name), self.opened.encoder_config), self.method)

    @property
    def key(self) -> dict[str, Any]:
        """What decides all merges."""
        return {"base": self.start.weights, "trained": self.trained.weights, "method": self.method}

    def measure(self, weight: float, on: Evaluation) -> tuple[Manifest, Path]:
        """Measure the merge at a weight; return the manifest and the folder of its values by query."""
        folder = self.opened.folder.path / MERGED / self.method / f"weight-{weight:g}"
        path = folder / f"{file_name(on.collection.name)}-{file_name(on.split)}"

        def make(target: Path) -> dict[str, Any]:
            target.mkdir()
            how, recipe = on.config, self.opened.recipe
            own = on.collection is self.opened.collection
            config = self.opened.encoder_config if own else recipe.encoder
            with muted():
                _, scores = evaluate_model(
                    self.merge.at(weight),
                    on.collection,
                    on.split,
                    config,
                    how.eval_depth,
                    relevance_level=how.relevance_level,
                    exclude_self=how.exclude_self,
                )
            write_parquet(pa.table({"query_id": scores.query_ids, **scores.values}), target / "per_query.parquet")
            means = scores.means()
            metric = headline(means)
            log.info(f"weight {weight:g}: {on.collection.name}, {on.split}: {metric} {score(means[metric])}")
            return {"metrics": means}

        return build(path, "merged model on a collection", {**self.key, "weight": weight, **on.inputs}, make), path


def merge_run(
    run: str | Path,
    base: str | Path | None = None,
    weights: Sequence[float] = WEIGHTS,
    method: MergeMethod = "linear",
    on: Sequence[str | Path] = (),
    rule: Rule = "mean",
    within: float = 0.01,
    data: str | Path | None = None,
) -> MergeSummary:
    """Measure models between a run's trained model and its start, and save the best; cached results are reused.

    Args:
        run: A run folder, finished.
        base: Folder or hub name of the other model, of the same kind; the model that the run started from by default.
        weights: Shares of the trained model, from 0 (the base) to 1.
        method: "linear" or "spherical", tensor by tensor (:func:`ance_tele.encode.merging.interpolated`).
        on: Other collections, as ``--data`` takes them.
        rule: "mean": the highest mean of the main metric over all collections. "retain": the highest mean over the
            others, among the weights whose score on the run's own collection is at most ``within`` below the best.
            Scores are of dev, where a collection has one. Of equal weights the larger one is taken.
        within: Share of the best own score.
        data: Where the run's collection lies now, if it was moved.

    Returns:
        Scores along the weight, the chosen weight, and the final comparison with both ends, as in
        ``RUN/merged/merge.json``. The model is in ``RUN/merged/model``.

    Raises:
        UserError: This is no run with a trained model, the models are not of one kind, or a collection or its split
            cannot be used.

    Example::

        merged = at.merge_run("runs/mine", on=["scifact", "nfcorpus"], rule="retain")
        print(merged.weight, merged.own.scores)
    """
    out = Path(run)
    opened, chosen_from = open_run(out, data), checked(weights, rule, within, on)
    if opened.model is None or not opened.last:
        raise UserError(f"{out} holds no trained model; let the run finish, or give another run folder.")
    places = list(_places(opened, on))
    made = Merging(opened, base or opened.model, method)
    scores: list[dict[float, float]] = []
    metrics = []
    for place in places:
        found = {weight: made.measure(weight, place.choice)[0].facts["metrics"] for weight in chosen_from}
        final = made.measure(1.0, place.final)[0].facts["metrics"]
        metrics.append(headline(found[chosen_from[-1]].keys() & final.keys()))
        scores.append({weight: means[metrics[-1]] for weight, means in found.items()})
    weight = best_weight(scores, rule, within)
    summary = MergeSummary(
        base=Path(made.base).name if Path(made.base).exists() else str(made.base),
        method=method,
        rule=rule,
        within=within if rule == "retain" else None,
        weight=weight,
        episode=opened.last,
        on=tuple(_compared(made, weight, places, metrics, scores)),
    )
    log.info(merging.choice(summary))
    _save(made, summary)
    write_json(out / MERGED / "merge.json", encode(summary))
    return summary


def checked(weights: Sequence[float], rule: Rule, within: float, on: Sequence[str | Path]) -> list[float]:
    """Return the weights in ascending order, each once.

    Raises:
        UserError: There is none or one lies outside 0 to 1; or the rule cannot be followed.
    """
    found = sorted({float(f"{weight:g}") for weight in weights})
    if not found or not 0 <= found[0] <= found[-1] <= 1:
        given = ", ".join(f"{weight:g}" for weight in weights) or "none"
        raise UserError(f"weight is {given}; weights lie between 0, the base, and 1, the trained model.")
    if rule == "retain" and not on:
        raise UserError("The rule retain chooses by other collections; name some with --on.")
    if not 0 <= within < 1:
        raise UserError(f"within is {within:g}; it must be a share, from 0 to below 1.")
    return found


def best_weight(scores: Sequence[Mapping[float, float]], rule: Rule, within: float) -> float:
    """Return the weight that a rule chooses; of equal ones the largest.

    Args:
        scores: By weight, of each collection; the first is the run's own.
        rule: "mean" or "retain".
        within: Share of the best own score that "retain" may lose.

    Example:
        >>> own, other = {0.0: 0.2, 0.5: 0.497, 1.0: 0.5}, {0.0: 0.6, 0.5: 0.4, 1.0: 0.1}
        >>> best_weight([own, other], "mean", 0.01), best_weight([own, other], "retain", 0.01)
        (0.5, 0.5)
    """
    own, *others = scores
    compared: Sequence[Mapping[float, float]] = scores
    candidates = list(own)
    if rule == "retain":
        compared, candidates = others, [one for one in own if own[one] >= (1 - within) * max(own.values())]
    means = {one: float(np.mean([on[one] for on in compared])) for one in candidates}
    return max(one for one in candidates if means[one] >= max(means.values()) - 1e-12)


def _places(opened: OpenedRun, on: Sequence[str | Path]) -> Iterator[Place]:
    """Yield the run's own collection and the others.

    Raises:
        UserError: Two have the same name, or one has no split to measure on.
    """
    evaluation = opened.recipe.evaluation
    yield Place.of(opened.collection, evaluation, own=True)
    names = {file_name(opened.collection.name)}
    for source in on:
        collection = load_collection(source, strict=opened.recipe.episode.strict)
        if file_name(collection.name) in names:
            raise UserError(f"Two collections are named '{collection.name}'; name each once, and not the run's own.")
        names.add(file_name(collection.name))
        # A configured level refers to the grades of the run's own collection.
        yield Place.of(collection, EvaluateConfig("test", None, evaluation.exclude_self), own=False)


def _compared(
    made: Merging,
    weight: float,
    places: Sequence[Place],
    metrics: Sequence[str],
    scores: Sequence[Mapping[float, float]],
) -> Iterator[MergedOn]:
    """Compare the chosen merge with both ends on the final splits; p-values are adjusted together."""
    ends = {"base": 0.0, "trained": 1.0, "merged": weight}
    values: list[dict[str, np.ndarray]] = []
    for place, metric in zip(places, metrics, strict=True):
        folders = {name: made.measure(one, place.final)[1] for name, one in ends.items()}
        columns = {name: read_table(path / "per_query.parquet")[metric].to_numpy() for name, path in folders.items()}
        known = ~np.isnan(columns["merged"])
        values.append({name: column[known] for name, column in columns.items()})
    pairs = [(place, name) for place in range(len(places)) for name in ("base", "trained")]
    adjusted = holm([permutation_test(values[place]["merged"], values[place][name]) for place, name in pairs])
    p = dict(zip(pairs, adjusted, strict=True))
    for number, (place, metric) in enumerate(zip(places, metrics, strict=True)):
        final = {name: float(column.mean()) for name, column in values[number].items()}
        yield MergedOn(
            collection=place.name,
            own=place.own,
            split=place.choice.split,
            metric=metric,
            scores={f"{one:g}": value for one, value in scores[number].items()},
            final_split=place.final.split,
            final=final,
            differences={name: final["merged"] - final[name] for name in ("base", "trained")},
            p={name: p[number, name] for name in ("base", "trained")},
        )


def _save(made: Merging, summary: MergeSummary) -> None:
    """Save the chosen merge as a sentence-transformers folder with a card."""
    inputs = {**made.key, "weight": summary.weight, "summary": fingerprint(encode(summary))}

    def make(target: Path) -> dict[str, Any]:
        model = made.merge.at(summary.weight)
        save_model(model, target)
        weights = weights_fingerprint(model)
        trained = Path(str(made.trained.name)) / "README.md"
        before = trained.read_text("utf-8") if trained.is_file() else ""
        (target / "README.md").write_text(merging.card(before, summary, weights), "utf-8")
        return {"weights": weights}

    build(made.opened.folder.path / MERGED / "model", "merged model", inputs, make)
