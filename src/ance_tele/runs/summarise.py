"""Make the summary of a run from the manifests and tables of its folder."""

import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from ance_tele.evaluate.config import headline
from ance_tele.evaluate.statistics import compare_with
from ance_tele.runs.phases import Phases
from ance_tele.runs.summary import (
    BASELINES,
    BM25Summary,
    Comparison,
    DataSummary,
    Environment,
    EpisodeSummary,
    PoolSummary,
    ReviewSummary,
    Summary,
)
from ance_tele.search.terms import describe
from ance_tele.store.artefacts import SCHEMA, Manifest, package_versions, read_manifest

FOLDERS = {"bm25": "bm25", "zero-shot": "episode-0"}
"""Where a baseline is measured."""


def summarise(phases: Phases, episodes: int) -> Summary:
    """Return the summary of a run after any number of episodes."""
    recipe, collection, out = phases.recipe, phases.collection, phases.out
    measured = {name: read_manifest(out / FOLDERS[name] / "evaluation") for name in BASELINES}
    baselines = {
        name: manifest.facts["metrics"]
        for name, manifest in measured.items()
        if manifest is not None and name in recipe.evaluation.baselines
    }
    final = phases.evaluate_final(episodes) if episodes == recipe.episode.episodes else {}
    trains = recipe.episode.episodes > 0
    return Summary(
        schema=SCHEMA,
        recipe=recipe.name,
        collection=collection.name,
        model=_model_name(phases.model),
        seed=recipe.episode.seed,
        split=recipe.evaluation.split,
        data=_data(phases, trains),
        baselines=baselines,
        bm25=_bm25(phases, measured["bm25"]),
        episodes=tuple(_episode(phases, number) for number in range(1, episodes + 1)),
        final=final,
        training_metric=phases.training_metric if trains else None,
        evaluation={split: on.facts for split, on in phases.evaluations.items()},
        comparisons=comparisons(out, episodes, [name for name in baselines if _usable(measured[name])]),
        settings=recipe.settings(),
        environment=Environment(
            machine=f"{platform.system()} {platform.machine()}, {_processor(phases)}",
            python=sys.version.split()[0],
            packages=package_versions(),
        ),
    )


def comparisons(out: Path, episodes: int, baselines: list[str]) -> tuple[Comparison, ...]:
    """Compare the last episode with each baseline on MRR@10; on answer recall where the split has no judgements."""
    if not episodes:
        return ()
    table = pq.read_table(out / f"episode-{episodes}" / "per_query.parquet")
    metric = headline([name for name in table.column_names[1:] if not np.isnan(table[name].to_numpy()).all()])
    others = {name: pq.read_table(out / FOLDERS[name] / "per_query.parquet")[metric].to_numpy() for name in baselines}
    found = compare_with(table[metric].to_numpy(), others)
    return tuple(
        Comparison(system=f"episode {episodes}", baseline=name, metric=metric, difference=difference, p=p)
        for name, (difference, p) in found.items()
    )


def _usable(manifest: Manifest | None) -> bool:
    """Return whether a baseline can be tested against: BM25 that finds nothing for most queries cannot."""
    return manifest is not None and bool(manifest.facts.get("usable", True))


def _model_name(model: Any) -> str | None:
    return None if model is None else Path(str(model)).name if Path(str(model)).exists() else str(model)


def _data(phases: Phases, trains: bool) -> DataSummary:
    collection, review = phases.collection, phases.review
    stores = {} if phases.model is None else {"queries": phases.queries, "passages": phases.passages}
    return DataSummary(
        fingerprint=collection.fingerprint,
        passages=len(collection.corpus),
        queries={split: len(qrels) for split, qrels in collection.qrels.items()},
        training_queries_used=len(phases.positives) if trains else 0,
        training_queries_without_positive=len(phases.without_positive) + len(phases.left_out) if trains else 0,
        problems=collection.problems,
        notes=collection.notes,
        review=None if review is None else ReviewSummary(use=review.use, pairs=len(review.passages)),
        tokens={what: asdict(store.cut) for what, store in stores.items() if store.cut is not None},
    )


def _bm25(phases: Phases, measured: Manifest | None) -> BM25Summary | None:
    """Return how BM25 read the texts, and for how many queries it found nothing, where it was measured."""
    if measured is None or "usable" not in measured.facts:  # of an older version
        return None
    language, detected = phases.language, phases.recipe.evaluation.language == "auto"
    reads = f"{language.named(detected)}, {describe(language.code)}"
    return BM25Summary(reads=reads, **{name: measured.facts[name] for name in ("queries", "found_nothing", "usable")})


def _episode(phases: Phases, number: int) -> EpisodeSummary:
    """Gather one episode's figures from its manifests."""
    folder, before = phases.folder(number), phases.folder(number - 1)
    names = ("candidates.parquet", "pool.parquet", "model", "evaluation")
    mined, mixed, trained, measured = (read_manifest(folder / name) for name in names)
    lists = read_manifest(before / "training_lists")
    assert mined and mixed and trained and measured and lists
    several = trained.facts.get("pairs", 0) > trained.facts.get("queries", 0)
    seen = read_manifest(folder / "training_lists") is not None
    learned = phases.look_back(number).facts if seen else {}
    return EpisodeSummary(
        number=number,
        metrics=measured.facts["metrics"],
        forgetting_rate=learned.get("forgotten"),
        new_negatives=learned.get("new_negatives"),
        seconds={
            "encode": measured.facts["encode_seconds"],
            "search": round(lists.seconds + mined.seconds, 3),
            "mix": mixed.seconds,
            "train": trained.seconds,
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


def _recall(lists: Manifest, mined: Manifest) -> dict[str, float]:
    """Return how much of the exact lists an approximate search found, where there was one."""
    if "recall" not in lists.facts:
        return {}
    around = {"positives": mined.facts["recall_around"]} if "recall_around" in mined.facts else {}
    return {"depth": lists.inputs["depth"], "queries": lists.facts["recall"], **around}


def _processor(phases: Phases) -> str:
    if phases.model is None:
        return "cpu"
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
