"""The summary of a run, from the manifests and tables of its folder."""

import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from ance_tele.console.errors import UserError
from ance_tele.data.reviewed import Review
from ance_tele.evaluate.config import headline
from ance_tele.evaluate.given import GivenRun
from ance_tele.evaluate.statistics import compare_with
from ance_tele.mining.plugins import plugin_sources
from ance_tele.runs.data_summary import BM25Summary, DataSummary, ExpansionSummary, ReviewSummary
from ance_tele.runs.folder import RunFolder
from ance_tele.runs.inputs import RunInputs
from ance_tele.runs.learning import training_metric
from ance_tele.runs.summary import (
    BASELINES,
    Comparison,
    Environment,
    EpisodeSummary,
    GivenSummary,
    PoolSummary,
    Summary,
)
from ance_tele.runs.training_set import TrainingSet
from ance_tele.search.bm25 import BM25Retriever
from ance_tele.store.manifests import SCHEMA, Manifest, package_versions, read_manifest
from ance_tele.store.tables import read_table

FOLDERS = {"bm25": "bm25", "zero-shot": "episode-0"}
"""Where a baseline is measured."""


def summarise(
    inputs: RunInputs, training: TrainingSet | None, episodes: int, final: Mapping[str, float] | None = None
) -> Summary:
    """Write the summary of a run after any number of episodes.

    ``final`` holds the metrics of the last checkpoint on the final split, if measured.
    """
    recipe, collection, out = inputs.recipe, inputs.collection, inputs.folder.path
    measured = {name: read_manifest(out / FOLDERS[name] / "evaluation") for name in BASELINES}
    baselines = {name: made for name, made in measured.items() if made and name in recipe.evaluation.baselines}
    usable = [name for name, made in baselines.items() if made.facts.get("usable", True)]
    model = None if inputs.start is None else str(inputs.start.name)
    processor = "cpu"
    if model is not None:
        processor = (
            torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
        )
    metric = training_metric(recipe.mining.depth, len(collection.corpus))
    summary = Summary(
        schema=SCHEMA,
        recipe=recipe.name,
        collection=collection.name,
        model=Path(model).name if model is not None and Path(model).exists() else model,
        seed=recipe.episode.seed,
        split=recipe.evaluation.split,
        data=_data(inputs, training),
        baselines={name: made.facts["metrics"] for name, made in baselines.items()},
        bm25=_bm25(inputs.bm25, measured["bm25"]),
        episodes=tuple(_episode(inputs.folder, number) for number in range(1, episodes + 1)),
        final=final or {},
        training_metric=metric if recipe.episode.episodes else None,
        evaluation={split: on.facts for split, on in inputs.evaluations.items()},
        comparisons=comparisons(out, episodes, usable, inputs),
        settings=recipe.settings(),
        environment=Environment(
            machine=f"{platform.system()} {platform.machine()}, {processor}",
            python=sys.version.split()[0],
            packages=package_versions(),
        ),
        sources=plugin_sources(recipe.mining),
        beside={given.name: _given(inputs, given) for given in inputs.given},
    )
    summary.write(out)
    return summary


def comparisons(out: Path, episodes: int, baselines: list[str], inputs: RunInputs) -> tuple[Comparison, ...]:
    """Compare the last episode with each baseline on MRR@10; on answer recall where the split has no judgements.

    Given runs of other systems are compared with, too; without training, only these, with the model or BM25 as it is.
    """
    untrained = "bm25" if inputs.start is None else "zero-shot"
    system, place = (f"episode {episodes}", f"episode-{episodes}") if episodes else (untrained, FOLDERS[untrained])
    folders = {name: out / FOLDERS[name] for name in baselines if episodes}
    for given in inputs.given:
        folder = inputs.folder.given(given.name) / inputs.recipe.evaluation.split
        if (made := read_manifest(folder / "evaluation")) and made.facts["usable"]:
            folders[given.name] = folder
    if not folders:
        return ()
    table = read_table(out / place / "per_query.parquet")
    metric = headline([name for name in table.column_names[1:] if not np.isnan(table[name].to_numpy()).all()])
    tables = {name: read_table(folder / "per_query.parquet") for name, folder in folders.items()}
    others = {name: one[metric].to_numpy() for name, one in tables.items() if metric in one.column_names}
    found = compare_with(table[metric].to_numpy(), others)
    return tuple(
        Comparison(system=system, baseline=name, metric=metric, difference=difference, p=p)
        for name, (difference, p) in found.items()
    )


def _given(inputs: RunInputs, given: GivenRun) -> GivenSummary:
    """Return what was measured of a given run."""
    shown, final = inputs.recipe.evaluation.split, inputs.final_split
    made = {split: read_manifest(inputs.folder.given(given.name) / split / "evaluation") for split in (shown, final)}
    facts = {split: manifest.facts if manifest else {"metrics": {}} for split, manifest in made.items()}
    counts = {name: facts[shown].get(name) for name in ("queries", "found_nothing", "usable")}
    return GivenSummary(file=given.path.name, metrics=facts[shown]["metrics"], final=facts[final]["metrics"], **counts)


def _data(inputs: RunInputs, training: TrainingSet | None) -> DataSummary:
    collection, review, tokens = inputs.collection, inputs.review, inputs.tokens
    stores = {} if inputs.start is None else {"queries": tokens.queries, "passages": tokens.passages}
    return DataSummary(
        fingerprint=collection.fingerprint,
        passages=len(collection.corpus),
        queries={split: len(qrels) for split, qrels in collection.qrels.items()},
        training_queries_used=0 if training is None else len(training),
        training_queries_without_positive=0 if training is None else training.without,
        problems=collection.problems,
        notes=collection.notes,
        review=None if review is None else _review(review),
        tokens={what: asdict(store.cut) for what, store in stores.items() if store.cut is not None},
        expansions={
            part: ExpansionSummary(file=Path(added.path).name, filled=added.filled, texts=added.texts)
            for part, added in collection.expansions.items()
        },
    )


def _review(review: Review) -> ReviewSummary:
    return ReviewSummary(
        use=review.uses.relevant,
        pairs=len(review.relevant[0]),
        doubtful=len(review.doubtful[0]) if review.uses.doubtful != "keep" else None,
        dropped=len(review.dropped[0]) if review.uses.irrelevant != "keep" else None,
        weight=review.uses.doubtful if isinstance(review.uses.doubtful, float) else None,
    )


def _bm25(bm25: BM25Retriever, measured: Manifest | None) -> BM25Summary | None:
    """Return how BM25 tokenised, and for how many queries it found nothing, if it was evaluated."""
    if measured is None:
        return None
    names = ("queries", "found_nothing", "usable")
    return BM25Summary(reads=bm25.reads, **{name: measured.facts[name] for name in names})


def _episode(run: RunFolder, number: int) -> EpisodeSummary:
    """Return one episode's figures from its manifests."""
    folder, before = run.checkpoint(number), run.checkpoint(number - 1)
    names = ("candidates.parquet", "pool.parquet", "model", "evaluation")
    mined, mixed, trained, measured = (read_manifest(folder / name) for name in names)
    lists = read_manifest(before / "training_lists")
    if not (mined and mixed and trained and measured and lists):
        raise UserError(
            f"{folder} is not whole any more: something in it, or in {before.name}, was deleted or changed while the "
            "run was at work; run the same command again."
        )
    scored = [read_manifest(folder / name) for name in ("teacher_scores.parquet", "mined_scores.parquet")]
    taught = [scored[0], read_manifest(folder / "teacher")]
    several = trained.facts.get("pairs", 0) > trained.facts.get("queries", 0)
    dynamics = read_manifest(folder / "dynamics.json")
    learned = {} if dynamics is None else dynamics.facts
    return EpisodeSummary(
        number=number,
        metrics=measured.facts["metrics"],
        forgetting_rate=learned.get("forgotten"),
        new_negatives=learned.get("new_negatives"),
        seconds={
            "encode": measured.facts["encode_seconds"],
            "search": round(lists.seconds + mined.seconds, 3),
            "mix": mixed.seconds,
            "train": round(trained.seconds + sum(one.seconds for one in taught if one is not None), 3),
            "evaluate": measured.facts["search_seconds"],
        },
        steps=trained.facts["steps"],
        stopped_at_refresh=trained.facts["steps"] < trained.facts["whole"],
        pool=_pool(mined, mixed, trained),
        pairs={"used": trained.facts["pairs_used"], "all": trained.facts["pairs"]} if several else {},
        recall=_recall(lists, mined),
        learned_rate=learned.get("learned"),
        unchanged_rate=learned.get("unchanged"),
        training_mrr=learned.get("training_mrr"),
        teacher=_teacher(scored),
    )


def _pool(mined: Manifest, mixed: Manifest, trained: Manifest) -> PoolSummary:
    answers = {name: mined.facts[name] for name in ("same_text", "answer_bearing") if name in mined.facts}
    return PoolSummary(
        size=mixed.facts["size"],
        by_source=mixed.facts["by_source"],
        short_queries=mixed.facts["short_queries"],
        missing=mixed.facts["missing"],
        repeats=trained.facts["repeats_per_epoch"],
        without=mixed.facts.get("without_negatives"),
        dropped={**answers, **mined.facts.get("filtered", {})},
    )


def _teacher(scored: Sequence[Manifest | None]) -> dict[str, float]:
    """Return how often teacher and retriever have ranked a positive first, of the first scores that were compared."""
    names = ("teacher_first", "retriever_first")
    return next(({name: one.facts[name] for name in names} for one in scored if one and names[0] in one.facts), {})


def _recall(lists: Manifest, mined: Manifest) -> dict[str, float]:
    """Return the recall of approximate searches; {} without."""
    if "recall" not in lists.facts:
        return {}
    of_anchors = {"positives": mined.facts["recall_around"]} if "recall_around" in mined.facts else {}
    return {"depth": lists.inputs["depth"], "queries": lists.facts["recall"], **of_anchors}
