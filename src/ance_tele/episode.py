"""The story: mine, mix, train, evaluate, episode after episode; one command, one run folder, killed and resumed.

Every step below is an artefact with a manifest (:mod:`ance_tele.runs.phases`): what stands, made of the same
inputs, is not done again.
"""

import logging
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ance_tele.analysis.analyse import analyse
from ance_tele.console.numbers import duration
from ance_tele.data.collection import Collection
from ance_tele.data.grades import ReviewAs
from ance_tele.data.load import cache_folder
from ance_tele.data.review import load_review
from ance_tele.evaluate.config import headline
from ance_tele.mining.config import NEW_SOURCES
from ance_tele.report.write import write_report
from ance_tele.runs.folder import claim, comparisons, held_out, portable, unfit
from ance_tele.runs.phases import Phases
from ance_tele.settings import Recipe
from ance_tele.store.artefacts import SCHEMA, Manifest, adopt, package_versions, read_manifest, write_json

log = logging.getLogger(__name__)


def run(
    recipe: Recipe,
    collection: Collection,
    model: str | Path | None,
    out: str | Path,
    data: str | Path | None = None,
    cache: Path | None = None,
    adopted: Mapping[str, Path] | None = None,
    review: str | Path | None = None,
    review_as: ReviewAs = "exclude",
) -> dict[str, Any]:
    """Carry out a recipe; called again after an interruption, it goes on where it was.

    Args:
        recipe: What to do.
        collection: On which data.
        model: Folder or hub name of the model to start from; None for the recipe ``bm25``.
        out: The run folder, new or begun by the same call.
        data: Where the collection was loaded from, so that ``ance-tele search`` finds it again.
        cache: Folder for the token stores.
        adopted: Parts of other run folders to begin with, by their name here, e.g. ``{"episode-0": folder}``; what in
            them is made of other inputs is made again.
        review: A CSV file of verdicts on passages (:mod:`ance_tele.data.review`); it belongs to the run as its data do.
        review_as: What becomes of passages that it calls relevant: never drawn as negatives of their query
            ("exclude"), or further positives of it ("positives").

    Returns:
        The content of ``summary.json``.

    Raises:
        UserError: The folder belongs to another run, or the data, the model or the review cannot be used.
    """
    recipe, collection = held_out(portable(recipe), collection)
    out, last = Path(out), recipe.episode.episodes
    judged = None if review is None else load_review(review, collection, review_as)
    phases = Phases(recipe, collection, model, out, cache or cache_folder(), judged, announce=True)
    if judged is not None:
        what = "never drawn as negatives" if judged.use == "exclude" else "further positives"
        log.info(f"review {judged.path}: {len(judged.passages):,} passages called relevant, {what}")
    with claim(out, recipe, collection, model, data, phases):
        for name, folder in (adopted or {}).items():
            adopt(folder, out / name)
        if "bm25" in recipe.evaluation.baselines:
            log_phase("bm25", "evaluate", phases.evaluate_bm25())
        if model is not None:
            log_phase("zero-shot", "evaluate", phases.evaluate(0))
        if last:
            for line in filter(None, (phases.left_out_line(), phases.unused())):
                log.info(line)
            phases.write_positives()
        for episode in range(1, last + 1):
            log_phase(f"episode {episode}", "mine", phases.training_lists(episode - 1), phases.mine(episode))
            phases.drop(episode - 1)
            log_phase(f"episode {episode}", "mix", phases.mix(episode))
            log_phase(f"episode {episode}", "train", phases.train(episode))
            log_phase(f"episode {episode}", "evaluate", phases.evaluate(episode))
            if episode == last:
                phases.training_lists(last)
            summarise(phases, episode)
        summary = summarise(phases, last)
        analyse(out, phases=phases)
        write_report(out)
    return summary


def log_phase(where: str, phase: str, *manifests: Manifest) -> None:
    """Log in one line what a phase took and found."""
    facts = {name: value for manifest in manifests for name, value in manifest.facts.items()}
    made = [manifest.seconds for manifest in manifests if not manifest.stood]
    spent = duration(sum(made)) if made else "stands"
    if "metrics" in facts:
        shown = dict.fromkeys([headline(facts["metrics"]), "nDCG@10", "Answer@20"])
        names = [name for name in shown if name in facts["metrics"]]
        found = ", ".join(f"{name} {facts['metrics'][name]:.3f}" for name in names)
        if facts.get("found_nothing"):
            found += f"; found nothing for {facts['found_nothing']:,} of {facts['queries']:,} queries"
            if not facts["usable"]:
                found += ": no baseline to test against"
    elif phase == "mix":
        found = ", ".join(f"{count:,} {source}" for source, count in facts["by_source"].items())
        found += f"; {facts['missing']:,} short" if facts["missing"] else ""
        found += f"; {facts['without_negatives']:,} queries have none" if "without_negatives" in facts else ""
    elif phase == "train":
        found = f"{facts['steps']:,} of {facts['scheduled']:,} steps"
        if facts.get("pairs", 0) > facts.get("queries", 0):
            found += f", on {facts['pairs_used']:,} of {facts['pairs']:,} pairs of query and positive"
    else:
        sources = [name for name in NEW_SOURCES if name in facts]
        found = ", ".join(f"{facts[name]:,} {name}" for name in sources) + " candidates"
        if same := sum(facts.get("same_text", {}).values()):
            found += f"; {same:,} left out that have the text of a relevant passage or of the query"
        if dropped := sum(facts.get("answer_bearing", {}).values()):
            found += f"; {dropped:,} left out that hold an answer"
        filtered = {name: sum(counts.values()) for name, counts in facts.get("filtered", {}).items()}
        if filtered:
            found += "; left out: " + ", ".join(f"{count:,} by {name}" for name, count in filtered.items())
        if "recall" in facts:
            around = f", {facts['recall_around']:.3f} around positives" if "recall_around" in facts else ""
            found += f"; recall@{manifests[0].inputs['depth']} {facts['recall']:.3f} of exact{around}"
    log.info(f"{where:<10}  {phase:<9} {spent:>7}   {found}")


def summarise(phases: Phases, episodes: int) -> dict[str, Any]:
    """Write ``summary.json`` from the manifests of what stands, after any number of episodes."""
    recipe, collection, out = phases.recipe, phases.collection, phases.out
    baselines = {}
    for name, folder in (("bm25", "bm25"), ("zero-shot", "episode-0")):
        manifest = read_manifest(out / folder / "evaluation")
        if manifest is not None and name in recipe.evaluation.baselines:
            baselines[name] = manifest.facts["metrics"]
    last = phases.evaluate_final(episodes) if episodes == recipe.episode.episodes else {}
    summary = {
        "schema": SCHEMA,
        "recipe": recipe.name,
        "collection": collection.name,
        "model": Path(str(phases.model)).name if phases.model and Path(str(phases.model)).exists() else phases.model,
        "seed": recipe.episode.seed,
        "split": recipe.evaluation.split,
        "data": {
            "fingerprint": collection.fingerprint,
            "passages": len(collection.corpus),
            "queries": {split: len(qrels) for split, qrels in collection.qrels.items()},
            "training_queries_used": len(phases.positives) if recipe.episode.episodes else 0,
            "training_queries_without_positive": _without_positive(phases),
            "problems": collection.problems,
            "notes": collection.notes,
            **_review(phases),
            **_cut(phases),
        },
        "baselines": baselines,
        **_bm25(phases),
        "episodes": [_episode(phases, number) for number in range(1, episodes + 1)],
        "final": last,
        **({"training_metric": phases.training_metric} if recipe.episode.episodes else {}),
        "evaluation": {split: on.facts for split, on in phases.evaluations.items()},
        "comparisons": comparisons(out, episodes, [name for name in baselines if name not in unfit(out)]),
        "settings": recipe.settings(),
        "environment": {
            "machine": f"{platform.system()} {platform.machine()}, {_processor(phases)}",
            "python": sys.version.split()[0],
            "packages": package_versions(),
        },
    }
    write_json(out / "summary.json", summary)
    return summary


def _episode(phases: Phases, number: int) -> dict[str, Any]:
    """Gather one episode's figures from its manifests."""
    folder, before = phases.folder(number), phases.folder(number - 1)
    names = ("candidates.parquet", "pool.parquet", "model", "evaluation")
    mined, mixed, trained, measured = (read_manifest(folder / name) for name in names)
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
    if read_manifest(folder / "training_lists") is not None:
        facts = phases.look_back(number).facts
        figures["forgetting_rate"] = facts["forgotten"]
        figures["learned_rate"], figures["unchanged_rate"] = facts["learned"], facts["unchanged"]
        figures["new_negatives"], figures["training_mrr"] = facts["new_negatives"], facts["training_mrr"]
    return figures


def _bm25(phases: Phases) -> dict[str, Any]:
    """Return how BM25 read the texts, and for how many queries it found nothing, where it was measured."""
    measured = read_manifest(phases.out / "bm25" / "evaluation")
    if measured is None or "usable" not in measured.facts:  # of an older version
        return {}
    from ance_tele.search.terms import describe

    language, auto = phases.language, phases.recipe.evaluation.language == "auto"
    said = f"{language.named(auto)}, {describe(language.code)}"
    return {"bm25": {"reads": said, **{name: measured.facts[name] for name in ("queries", "found_nothing", "usable")}}}


def _without_positive(phases: Phases) -> int:
    """Return how many training queries have no relevant passage."""
    return len(phases.without_positive) + len(phases.left_out) if phases.recipe.episode.episodes else 0


def _review(phases: Phases) -> dict[str, Any]:
    """Say what a review gave, where there is one."""
    review = phases.review
    return {} if review is None else {"review": {"as": review.use, "pairs": len(review.passages)}}


def _cut(phases: Phases) -> dict[str, Any]:
    """Return token lengths of queries and passages, and how many of them are cut."""
    if phases.model is None:
        return {}
    stores = {"queries": phases.queries, "passages": phases.passages}
    return {"tokens": {what: asdict(store.cut) for what, store in stores.items() if store.cut is not None}}


def _dropped(mined: Manifest) -> dict[str, Any]:
    """Gather which candidates the filters left out, by filter and source, where one is on."""
    answers = {name: mined.facts[name] for name in ("same_text", "answer_bearing") if name in mined.facts}
    dropped = {**answers, **mined.facts.get("filtered", {})}
    return {"dropped": dropped} if dropped else {}


def _processor(phases: Phases) -> str:
    if phases.model is None:
        return "cpu"
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
