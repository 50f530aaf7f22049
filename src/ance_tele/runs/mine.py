"""Mining: the filtered candidates of an episode, from all its sources."""

from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np

from ance_tele.mining.candidates import CandidateLists, Candidates
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.context import MiningContext
from ance_tele.mining.filters import filter_candidates, mined_facts
from ance_tele.mining.mine import mine as collect
from ance_tele.mining.never import same_text
from ance_tele.mining.plugins import plugin_inputs
from ance_tele.mining.sources import lookahead
from ance_tele.mining.storage import read_candidates, write_candidates
from ance_tele.runs.folder import Episode
from ance_tele.runs.judging import judge_inputs, judged, positives_are_found
from ance_tele.runs.lists import Searched, anchor_lists, bm25_lists, lookahead_rows, nearest_passages, training_lists
from ance_tele.runs.log import log_phase, mined
from ance_tele.runs.look_back import look_back
from ance_tele.runs.outlook import log_outlook
from ance_tele.runs.training_set import TrainingSet
from ance_tele.search.bm25 import BM25Retriever
from ance_tele.search.dense import DenseRetriever
from ance_tele.search.retriever import Scorer
from ance_tele.search.scorer import CrossEncoderScorer, DenseScorer
from ance_tele.store.artefacts import Artefact, cached, writing
from ance_tele.store.files import remove
from ance_tele.store.manifests import read_manifest


def mine(
    training: TrainingSet,
    retriever: DenseRetriever,
    bm25: BM25Retriever,
    episode: Episode,
    cross_encoder: CrossEncoderScorer | None = None,
    teacher: CrossEncoderScorer | None = None,
) -> Artefact[Candidates]:
    """Return the candidates of an episode, mined with the previous checkpoint.

    ``retriever`` is that of the previous checkpoint; ``cross_encoder`` replaces it in filters; ``teacher`` judges what
    is mined, if the recipe asks for it.
    """
    config, collection = episode.recipe.mining, training.collection
    searched = search(training, retriever, episode)
    sources, path = config.sources_at(episode.number), episode.path / "candidates.parquet"
    inputs = {
        **_searched(training, retriever, config),
        "sources": sources,
        "filter_answers": config.filter_answers,
        "draw": [episode.number, episode.recipe.episode.seed] if "random" in sources else None,
    }
    if config.thresholds:
        key = None if cross_encoder is None else cross_encoder.key
        inputs["filters"] = {**config.thresholds, "cross_encoder": key}
    inputs |= plugin_inputs(config, episode.number)
    if training.review is not None:
        inputs["review"] = training.review
    judge = teacher if episode.recipe.teaching.judges else None
    if judge is not None:
        inputs |= judge_inputs(judge, episode)
    read = partial(read_candidates, path, training.queries, collection.queries, collection.corpus)
    context = mining_context(training, searched, retriever, bm25, episode, cross_encoder)
    found = cached(path, inputs) if positives_are_found(episode, inputs) else None
    candidates = Artefact(found, read) if found else None
    if candidates is None:
        with writing(path, "candidates", inputs) as made:
            mined_lists = collect(context)
            kept, dropped = filter_candidates(context, mined_lists)
            if judge is not None:
                kept, by_judge = judged(kept, mined_lists, judge, retriever, training, episode, inputs)
                dropped |= by_judge
            made.facts = mined_facts(kept, dropped)
            anchored = read_manifest(episode.before / "around_positives.parquet")
            if "lookahead" in sources and anchored is not None and "recall" in anchored.facts:
                made.facts["recall_around"] = anchored.facts["recall"]  # the lists themselves are removed
            write_candidates(made.target, kept, collection.queries, collection.corpus)
        candidates = made.artefact(read, kept)
    if cross_encoder is not None:
        cross_encoder.release()  # memory that training needs
    if episode.recipe.episode.watch_lookahead and ("lookahead" not in sources or config.filtered or judge is not None):
        write_lookahead(context, training, retriever, episode)
    for name in ("around_positives.parquet", "around_positives.parquet.manifest.json"):
        remove(episode.before / name)  # the candidates hold them, by query
    manifests = searched.queries.manifest, candidates.manifest
    log_phase(f"episode {episode.number}", "mine", mined(*manifests), *manifests)
    log_outlook(training, retriever, episode)
    return candidates


def search(training: TrainingSet, retriever: DenseRetriever, episode: Episode) -> Searched:
    """Search with the checkpoint before an episode for the training queries and, if needed, for the anchors.

    Called once more after the last episode: the lists show what it has learned and forgotten.
    """
    recipe, number = episode.recipe, episode.number
    looks_ahead = number <= recipe.episode.episodes and (
        recipe.episode.watch_lookahead or "lookahead" in recipe.mining.sources_at(number)
    )
    finished = episode.before / "around_positives.parquet", episode.path / "candidates.parquet"
    due = looks_ahead and not any(read_manifest(path) for path in finished)
    anchors = lookahead_rows(training, recipe.mining) if due else None
    exclude_self = recipe.evaluation.exclude_self
    searched = training_lists(training, retriever, recipe.mining, episode.before, exclude_self, anchors)
    if number > 1:
        look_back(training, replace(episode, number=number - 1))
    return searched


def mining_context(
    training: TrainingSet,
    searched: Searched,
    retriever: DenseRetriever,
    bm25: BM25Retriever,
    episode: Episode,
    cross_encoder: CrossEncoderScorer | None = None,
) -> MiningContext:
    """Return the mining context of an episode; its searches run, or are read, on first use."""
    config = episode.recipe.mining
    scorer: Scorer = cross_encoder or DenseScorer(retriever)
    score = cache(lambda: scorer.of(training.queries))  # encodes the queries on first use
    load_anchors = cache(lambda: (searched.anchors or anchor_lists(training, retriever, config, episode.before)).load())

    def search_passages(rows: np.ndarray) -> CandidateLists:
        if np.array_equal(rows, lookahead_rows(training, config)):
            return load_anchors()
        return CandidateLists.from_topk(nearest_passages(retriever, config, rows, "searching around passages"))

    return MiningContext(
        training.collection,
        training.positives,
        config,
        episode.number,
        episode.recipe.episode.seed,
        training.known,
        training.never,
        cache(searched.queries.load),
        search_passages,
        lambda: bm25_lists(training, bm25, config.depth, episode.folder.path).load(),
        lambda positions, passages: score()(positions, passages),
    )


def _searched(training: TrainingSet, retriever: DenseRetriever, config: MiningConfig) -> dict[str, Any]:
    """Return the inputs of the lists of an episode, before filters."""
    return {
        **retriever.key,
        "training": training.key,
        "depth": config.depth,
        "lookahead_positives": config.lookahead_positives,
        **config.searching,
        **training.same_texts,
    }


def write_lookahead(context: MiningContext, training: TrainingSet, retriever: DenseRetriever, episode: Episode) -> None:
    """Write the unfiltered L of an episode by query for the analysis, if its candidates do not contain it."""
    path, collection, config = episode.path / "lookahead_lists.parquet", training.collection, episode.recipe.mining
    inputs = _searched(training, retriever, config)
    if cached(path, inputs):
        return
    with writing(path, "lists around positives, by query", inputs) as made:
        lists = lookahead(context)
        if training.never.by_text:
            lists = lists.where(~same_text(lists, training.known, training.never))
        found = Candidates(training.queries, {"lookahead": lists})
        write_candidates(made.target, found, collection.queries, collection.corpus)
