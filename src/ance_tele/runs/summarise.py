"""The summary of a run, gathered from the manifests in its folder."""

import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from ance_tele.encode.checkpoint import TokenizedCollection
from ance_tele.evaluate.config import headline
from ance_tele.evaluate.statistics import holm, permutation_test
from ance_tele.mining.plugins import plugin_sources
from ance_tele.runs.folder import RunFolder
from ance_tele.runs.inputs import RunInputs
from ance_tele.runs.learning import training_metric
from ance_tele.runs.training_set import TrainingSet
from ance_tele.search.bm25 import BM25Retriever
from ance_tele.store.files import write_json
from ance_tele.store.manifests import SCHEMA, Manifest, package_versions, read_manifest


def summarise(
    inputs: RunInputs, training: TrainingSet | None, episodes: int, final: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Write ``summary.json`` from the manifests of what is there, after any number of episodes.

    Args:
        inputs: What the run is made of.
        training: What it trains on; None where nothing is trained.
        episodes: How many are done.
        final: Metrics of the last checkpoint on the final split, once they are measured.
    """
    recipe, collection, folder, review = inputs.recipe, inputs.collection, inputs.folder, inputs.review
    model, tokens = None if inputs.start is None else inputs.start.name, inputs.tokens
    baselines = {}
    for name, path in (("bm25", folder.path / "bm25"), ("zero-shot", folder.checkpoint(0))):
        manifest = read_manifest(path / "evaluation")
        if manifest is not None and name in recipe.evaluation.baselines:
            baselines[name] = manifest.facts["metrics"]
    own_sources, metric = plugin_sources(recipe.mining), training_metric(recipe.mining.depth, len(collection.corpus))
    without = 0 if training is None else len(training.without_positive) + len(training.left_out)
    summary = {
        "schema": SCHEMA,
        "recipe": recipe.name,
        "collection": collection.name,
        "model": Path(str(model)).name if model and Path(str(model)).exists() else model,
        "seed": recipe.episode.seed,
        "split": recipe.evaluation.split,
        "data": {
            "fingerprint": collection.fingerprint,
            "passages": len(collection.corpus),
            "queries": {split: len(qrels) for split, qrels in collection.qrels.items()},
            "training_queries_used": 0 if training is None else len(training),
            "training_queries_without_positive": without,
            "problems": collection.problems,
            "notes": collection.notes,
            **({} if review is None else {"review": {"as": review.use, "pairs": len(review.passages)}}),
            **({} if model is None else _lengths(tokens)),
        },
        **({"sources": own_sources} if own_sources else {}),
        "baselines": baselines,
        **_bm25(folder, inputs.bm25),
        "episodes": [_episode(folder, number) for number in range(1, episodes + 1)],
        "final": dict(final or {}),
        **({"training_metric": metric} if recipe.episode.episodes else {}),
        "evaluation": {split: on.facts for split, on in inputs.evaluations.items()},
        "comparisons": comparisons(
            folder.path, episodes, [name for name in baselines if name not in unfit(folder.path)]
        ),
        "settings": recipe.settings(),
        "environment": {
            "machine": f"{platform.system()} {platform.machine()}, {'cpu' if model is None else _processor()}",
            "python": sys.version.split()[0],
            "packages": package_versions(),
        },
    }
    write_json(folder.path / "summary.json", summary)
    return summary


def _episode(folder: RunFolder, number: int) -> dict[str, Any]:
    """Gather one episode's figures from its manifests."""
    home, before = folder.checkpoint(number), folder.checkpoint(number - 1)
    names = ("candidates.parquet", "pool.parquet", "model", "evaluation")
    mined, mixed, trained, measured = (read_manifest(home / name) for name in names)
    lists = read_manifest(before / "training_lists")
    assert mined and mixed and trained and measured and lists
    figures: dict[str, Any] = {
        "number": number,
        "metrics": measured.facts["metrics"],
        "forgetting_rate": None,
        "new_negatives": None,
        "seconds": {
            "encode": measured.facts["encode_seconds"],
            "search": round(lists.seconds + mined.seconds, 3),
            "mix": mixed.seconds,
            "train": trained.seconds,
            "evaluate": measured.facts["search_seconds"],
        },
        "steps": trained.facts["steps"],
        "stopped_at_refresh": trained.facts["steps"] < trained.facts["whole"],
        "pool": {
            "size": mixed.facts["size"],
            "by_source": mixed.facts["by_source"],
            "short_queries": mixed.facts["short_queries"],
            "missing": mixed.facts["missing"],
            "repeats": trained.facts["repeats_per_epoch"],
            **({"without": mixed.facts["without_negatives"]} if "without_negatives" in mixed.facts else {}),
            **_dropped(mined),
        },
    }
    if trained.facts.get("pairs", 0) > trained.facts.get("queries", 0):
        figures["pairs"] = {"used": trained.facts["pairs_used"], "all": trained.facts["pairs"]}
    if "recall" in lists.facts:
        around = {"positives": mined.facts["recall_around"]} if "recall_around" in mined.facts else {}
        figures["recall"] = {"depth": lists.inputs["depth"], "queries": lists.facts["recall"], **around}
    dynamics = read_manifest(home / "dynamics.json")
    if dynamics is not None and read_manifest(home / "training_lists") is not None:
        facts = dynamics.facts
        figures["forgetting_rate"] = facts["forgotten"]
        figures["learned_rate"], figures["unchanged_rate"] = facts["learned"], facts["unchanged"]
        figures["new_negatives"], figures["training_mrr"] = facts["new_negatives"], facts["training_mrr"]
    return figures


def _bm25(folder: RunFolder, bm25: BM25Retriever) -> dict[str, Any]:
    """Return how BM25 read the texts, and for how many queries it found nothing, where it was measured."""
    measured = read_manifest(folder.path / "bm25" / "evaluation")
    if measured is None or "usable" not in measured.facts:  # of an older version
        return {}
    facts = {name: measured.facts[name] for name in ("queries", "found_nothing", "usable")}
    return {"bm25": {"reads": bm25.reads, **facts}}


def _lengths(tokens: TokenizedCollection) -> dict[str, Any]:
    """Return token lengths of queries and passages, and how many of them are cut."""
    stores = {"queries": tokens.queries, "passages": tokens.passages}
    return {"tokens": {what: asdict(store.cut) for what, store in stores.items() if store.cut is not None}}


def _dropped(mined: Manifest) -> dict[str, Any]:
    """Gather which candidates the filters left out, by filter and source, where one is on."""
    answers = {name: mined.facts[name] for name in ("same_text", "answer_bearing") if name in mined.facts}
    dropped = {**answers, **mined.facts.get("filtered", {})}
    return {"dropped": dropped} if dropped else {}


def _processor() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"


def unfit(out: Path) -> set[str]:
    """Return the baselines of a run that nothing can be held against: BM25 where it finds nothing for most queries."""
    measured = read_manifest(out / "bm25" / "evaluation")
    return {"bm25"} if measured is not None and not measured.facts.get("usable", True) else set()


def comparisons(out: Path, episodes: int, baselines: Iterable[str]) -> list[dict[str, Any]]:
    """Compare the last episode with each baseline, query by query (paired permutation test, Holm).

    On MRR@10; on answer recall where the split has no judgements.
    """
    if not episodes:
        return []
    table = pq.read_table(out / f"episode-{episodes}" / "per_query.parquet")
    metric = headline([name for name in table.column_names[1:] if not np.isnan(table[name].to_numpy()).all()])
    last = table[metric].to_numpy()
    measured = ~np.isnan(last)
    rows, p_values = [], []
    for name in baselines:
        folder = "bm25" if name == "bm25" else "episode-0"
        other = pq.read_table(out / folder / "per_query.parquet")[metric].to_numpy()
        row = {"system": f"episode {episodes}", "baseline": name, "metric": metric}
        rows.append({**row, "difference": float((last - other)[measured].mean())})
        p_values.append(permutation_test(last[measured], other[measured]))
    return [{**row, "p": p} for row, p in zip(rows, holm(p_values), strict=True)]
