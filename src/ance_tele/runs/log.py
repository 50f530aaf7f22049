"""Log lines of the phases of a run."""

import logging
from collections.abc import Mapping

from ance_tele.console.events import Finished, announce
from ance_tele.console.numbers import duration
from ance_tele.evaluate.config import headline
from ance_tele.store.manifests import Manifest
from ance_tele.store.plugins import plain_name

log = logging.getLogger(__name__)


def log_phase(where: str, phase: str, found: str, *manifests: Manifest) -> None:
    """Log a phase in one line, with the time of the artefacts that were made now."""
    made = [manifest.seconds for manifest in manifests if not manifest.reused]
    metrics = _shown(manifests[0].facts.get("metrics", {})) if manifests else {}
    announce(phase, finished=Finished(where, phase, sum(made) if made else None, metrics))
    log.info(f"{where:<10}  {phase:<9} {duration(sum(made)) if made else 'cached':>7}   {found}")


def evaluated(measured: Manifest) -> str:
    """Return the main metrics of an evaluation."""
    facts = measured.facts
    found = ", ".join(f"{name} {value:.3f}" for name, value in _shown(facts["metrics"]).items())
    if facts.get("found_nothing"):
        found += f"; found nothing for {facts['found_nothing']:,} of {facts['queries']:,} queries"
        if not facts["usable"]:
            found += ": no baseline to test against"
    return found


def _shown(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the main metrics, the first of them first."""
    names = dict.fromkeys([headline(metrics), "nDCG@10", "Answer@20"]) if metrics else {}
    return {name: metrics[name] for name in names if name in metrics}


def mined(lists: Manifest, candidates: Manifest) -> str:
    """Return the number of candidates of an episode, and of dropped ones."""
    facts = {**lists.facts, **candidates.facts}
    found = (
        ", ".join(f"{facts[name]:,} {name}" for name in map(plain_name, candidates.inputs["sources"])) + " candidates"
    )
    if same := sum(facts.get("same_text", {}).values()):
        found += f"; {same:,} left out that have the text of a relevant passage or of the query"
    if dropped := sum(facts.get("answer_bearing", {}).values()):
        found += f"; {dropped:,} left out that hold an answer"
    filtered = {name: sum(counts.values()) for name, counts in facts.get("filtered", {}).items()}
    if filtered:
        found += "; left out: " + ", ".join(f"{count:,} by {name}" for name, count in filtered.items())
    if "recall" in facts:
        anchors = f", {facts['recall_around']:.3f} for positives" if "recall_around" in facts else ""
        found += f"; recall@{lists.inputs['depth']} {facts['recall']:.3f} of exact{anchors}"
    return found


def mixed(pool: Manifest) -> str:
    """Return the size of a pool by source, and its shortage."""
    facts = pool.facts
    found = ", ".join(f"{count:,} {source}" for source, count in facts["by_source"].items())
    found += f"; {facts['missing']:,} fewer than wanted" if facts["missing"] else ""
    found += f"; {facts['without_negatives']:,} queries have none" if "without_negatives" in facts else ""
    found += f"; {facts['forgotten']:,} queries were forgotten" if "forgotten" in facts else ""
    return found


def trained(model: Manifest) -> str:
    """Return steps and loss of an episode."""
    facts = model.facts
    found = f"{facts['steps']:,} of {facts['scheduled']:,} steps"
    if facts.get("pairs", 0) > facts.get("queries", 0):
        found += f", on {facts['pairs_used']:,} of {facts['pairs']:,} pairs of query and positive"
    if "replayed" in facts:
        found += f"; {facts['replayed']:,} forgotten queries are replayed"
    return found
