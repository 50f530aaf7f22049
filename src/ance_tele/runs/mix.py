"""Mixing: the pool of an episode, drawn from its candidates and the previous pools."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from ance_tele.console.errors import UserError
from ance_tele.mining.candidates import Candidates
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.mix import mix as draw
from ance_tele.mining.pool import Pool
from ance_tele.mining.storage import read_pool, write_pool
from ance_tele.runs.folder import Episode
from ance_tele.runs.log import log_phase, mixed
from ance_tele.runs.look_back import forgotten_queries
from ance_tele.runs.training_set import TrainingSet, hash_of
from ance_tele.store.artefacts import Artefact, cached, writing
from ance_tele.store.fingerprints import fingerprint
from ance_tele.store.manifests import Manifest
from ance_tele.store.plugins import plain_name

Pools = list[Artefact[Pool]]
"""The pools of a run, by episode."""


def mix(candidates: Artefact[Candidates], training: TrainingSet, history: Pools, episode: Episode) -> Artefact[Pool]:
    """Draw the pool of an episode; ``history`` holds the pools of all earlier episodes, in order.

    Raises:
        UserError: No training query has a negative.
    """
    config, seed, collection = episode.recipe.mining, episode.recipe.episode.seed, training.collection
    number, path = episode.number, episode.path / "pool.parquet"
    forgotten = forgotten_queries(episode) if history and config.by_forgetting else None
    carries = config.alpha_of(False) or config.alpha_of(True)
    decay = [config.momentum_decay] if config.momentum_decay and len(history) > 1 else []
    inputs = {
        "candidates": fingerprint(candidates.manifest.inputs),
        "history": [fingerprint(pool.manifest.inputs) for pool in history],
        **{name: getattr(config, name) for name in ("pool_per_source", "dedup")},
        # Only inputs that the episode uses, so that recipes with the same beginning share it.
        "beta": config.beta_at(number),
        "momentum": [config.momentum, config.alpha, *decay] if history and carries else None,
        "episode": number,
        "seed": seed,
        **({"found": training.found} if training.found else {}),
        **({} if forgotten is None else {"forgotten": _by_forgetting(forgotten, config)}),
    }
    read = partial(read_pool, path, training.queries, collection.queries, collection.corpus)
    found = cached(path, inputs)
    pool = Artefact(found, read) if found else None
    if pool is None:
        with writing(path, "pool", inputs) as made:
            past = [one.load() for one in history]
            drawn = draw(candidates.load(), training.known, config, number, seed, past, forgotten)
            if not len(drawn) and episode.recipe.training.negatives_per_query:
                raise UserError(no_negatives(training, episode, candidates.manifest))
            write_pool(made.target, drawn, collection.queries, collection.corpus)
            empty = int((drawn.sizes == 0).sum())
            made.facts = {"size": len(drawn), "by_source": drawn.by_source(), **drawn.shortage}
            made.facts |= {"without_negatives": empty} if empty else {}
            made.facts |= {} if forgotten is None else {"forgotten": int(forgotten.sum())}
        pool = made.artefact(read, drawn)
    log_phase(f"episode {number}", "mix", mixed(pool.manifest), pool.manifest)
    return pool


def _by_forgetting(forgotten: np.ndarray, config: MiningConfig) -> dict[str, Any]:
    """Return the inputs of a pool whose shares go by what was forgotten."""
    shares = {"alpha": config.alpha_forgotten, "beta": config.beta_forgotten}
    return {"queries": hash_of(np.flatnonzero(forgotten)), **shares}


def no_negatives(training: TrainingSet, episode: Episode, mined: Manifest) -> str:
    """Return why no training query has a negative, and what to do about it."""
    facts: Mapping[str, Any] = mined.facts
    dropped = {name: facts[name] for name in ("same_text", "answer_bearing") if name in facts}
    dropped |= facts.get("filtered", {})
    found = {
        source: facts[source] + sum(counts[source] for counts in dropped.values())
        for source in map(plain_name, episode.recipe.mining.sources_at(episode.number))
    }
    filters = [name for name, counts in dropped.items() if name != "same_text" and any(counts.values())]
    if not any(found.values()):
        why, remedy = "found no passage at all", "name another source of negatives in sources"
        if list(found) == ["bm25"]:
            why, remedy = "found no passage that shares a word with a query", f"{remedy}, such as '[query]'"
    elif filters:
        why = f"found {sum(found.values()):,} passages, all relevant or left out by {', '.join(filters)}"
        remedy = "loosen what leaves them out"
        if "teacher_negatives" in filters:
            remedy = (
                "train the teacher longer (ance-tele teach, with its --loss binary), so that it finds fewer of them "
                "relevant, or raise teacher_negatives"
            )
    else:
        why = f"found {sum(found.values()):,} passages, all of them relevant"
        remedy = "raise depth, or add passages that are not relevant"
    return (
        f"There is no negative for any of the {len(training):,} training queries of episode {episode.number}: "
        f"{' and '.join(found)} {why} (the collection has {len(training.collection.corpus):,}); {remedy}."
    )
