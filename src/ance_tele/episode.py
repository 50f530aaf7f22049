"""The story: mine, mix, train, evaluate, episode after episode; one command, one run folder, killed and resumed.

Every step below is an artefact with a manifest (:mod:`ance_tele.runs.phases`): what stands, made of the same
inputs, is not done again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ance_tele.analysis.analyse import analyse
from ance_tele.console.numbers import duration
from ance_tele.data.collection import Collection
from ance_tele.data.load import cache_folder
from ance_tele.data.review import ReviewAs, load_review
from ance_tele.evaluate.config import headline
from ance_tele.mining.config import NEW_SOURCES
from ance_tele.report.write import write_report
from ance_tele.runs.folder import claim, held_out, portable
from ance_tele.runs.phases import Phases
from ance_tele.runs.summarise import summarise
from ance_tele.settings import Recipe
from ance_tele.store.artefacts import Manifest, Say, adopt, silent


def run(
    recipe: Recipe,
    collection: Collection,
    model: str | Path | None,
    out: str | Path,
    data: str | Path | None = None,
    cache: Path | None = None,
    say: Say = silent,
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
        say: Gets one line per phase.
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
    phases = Phases(recipe, collection, model, out, cache or cache_folder(), say, judged, introduce=say)
    if judged is not None:
        what = "never drawn as negatives" if judged.use == "exclude" else "further positives"
        say(f"review {judged.path}: {len(judged.passages):,} passages called relevant, {what}")
    with claim(out, recipe, collection, model, data, phases):
        for name, folder in (adopted or {}).items():
            adopt(folder, out / name)
        if "bm25" in recipe.evaluation.baselines:
            told(say, "bm25", "evaluate", phases.evaluate_bm25())
        if model is not None:
            told(say, "zero-shot", "evaluate", phases.evaluate(0))
        if last:
            for line in filter(None, (phases.left_out_line(), phases.unused())):
                say(line)
            phases.write_positives()
        for episode in range(1, last + 1):
            told(say, f"episode {episode}", "mine", phases.training_lists(episode - 1), phases.mine(episode))
            phases.drop(episode - 1)
            told(say, f"episode {episode}", "mix", phases.mix(episode))
            told(say, f"episode {episode}", "train", phases.train(episode))
            told(say, f"episode {episode}", "evaluate", phases.evaluate(episode))
            if episode == last:
                phases.training_lists(last)
            summarise(phases, episode).write(out)
        summary = summarise(phases, last)
        summary.write(out)
        analyse(out, say=say, phases=phases)
        write_report(out)
    return summary.content()


def told(say: Say, where: str, phase: str, *manifests: Manifest) -> None:
    """Say in one line what a phase took and found."""
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
    say(f"{where:<10}  {phase:<9} {spent:>7}   {found}")
