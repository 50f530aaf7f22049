"""Mining: the candidates of an episode, from all its sources, without what the filters drop."""

from dataclasses import replace
from functools import partial
from typing import Any

from ance_tele.mining.candidates import Candidates, Lists
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.filters import without_answers, without_false_negatives
from ance_tele.mining.known import without_same_texts
from ance_tele.mining.sources import lookahead
from ance_tele.mining.sources import mine as collect
from ance_tele.mining.storage import read_candidates, write_candidates
from ance_tele.runs.artefact import Artefact, cached, writing
from ance_tele.runs.folder import Episode
from ance_tele.runs.lists import Searched, anchor_lists, bm25_lists, lookahead_rows, training_lists
from ance_tele.runs.log import log_phase, mined
from ance_tele.runs.look_back import look_back
from ance_tele.runs.training_set import TrainingSet
from ance_tele.search.bm25 import BM25Retriever
from ance_tele.search.dense import DenseRetriever
from ance_tele.search.scorer import CrossEncoderScorer, DenseScorer, Scorer
from ance_tele.store.artefacts import read_manifest, remove


def mine(
    training: TrainingSet,
    retriever: DenseRetriever,
    bm25: BM25Retriever,
    episode: Episode,
    cross_encoder: CrossEncoderScorer | None = None,
) -> Artefact[Candidates]:
    """Collect the candidates of an episode with the checkpoint before it.

    Args:
        training: The training queries and their positives.
        retriever: The checkpoint before the episode.
        bm25: For the source "bm25".
        episode: Its sources, depth, filters, seed.
        cross_encoder: What decides in filters, instead of the checkpoint itself.
    """
    config, seed, collection = episode.recipe.mining, episode.recipe.episode.seed, training.collection
    searched = search(training, retriever, episode)
    sources, path = config.sources_at(episode.number), episode.path / "candidates.parquet"
    inputs: dict[str, Any] = {
        **retriever.key,
        "training": training.key,
        "sources": sources,
        "depth": config.depth,
        "lookahead_positives": config.lookahead_positives,
        "filter_answers": config.filter_answers,
        "draw": [episode.number, seed] if "random" in sources else None,
        **config.searching,
        **training.same_texts,
    }
    if config.filters:
        key = None if cross_encoder is None else cross_encoder.key
        inputs["filters"] = {**config.filters, "cross_encoder": key}
    if training.review is not None:
        inputs["review"] = training.review
    read = partial(read_candidates, path, training.queries, collection.queries, collection.corpus)
    found = cached(path, inputs)
    candidates = Artefact(found, read) if found else None
    if candidates is None:
        with writing(path, "candidates", inputs) as made:
            lists = collect(
                training.positives,
                config,
                episode.number,
                seed,
                len(collection.corpus),
                searched.queries.load,
                lambda rows: _anchors(searched, training, retriever, episode).load(),
                lambda: bm25_lists(training, bm25, config.depth, episode.folder.path).load(),
                collection.negatives,
            )
            scorer: Scorer = cross_encoder or DenseScorer(retriever)
            kept, made.facts = filtered(lists, training, config, scorer)
            around = read_manifest(episode.before / "around_positives.parquet")
            if "lookahead" in sources and around is not None and "recall" in around.facts:
                made.facts["recall_around"] = around.facts["recall"]  # the lists themselves are removed
            write_candidates(made.target, kept, collection.queries, collection.corpus)
            made.facts |= {source: len(one.passages) for source, one in kept.lists.items()}
        candidates = made.artefact(read, kept)
    if cross_encoder is not None:
        cross_encoder.release()  # memory that training needs
    partial_lookahead = "lookahead" not in sources or config.filter_answers or config.filters
    if episode.recipe.episode.watch_lookahead and partial_lookahead:
        write_lookahead(searched, training, retriever, episode)
    for name in ("around_positives.parquet", "around_positives.parquet.manifest.json"):
        remove(episode.before / name)  # the candidates hold them, by query
    manifests = searched.queries.manifest, candidates.manifest
    log_phase(f"episode {episode.number}", "mine", mined(*manifests), *manifests)
    return candidates


def search(training: TrainingSet, retriever: DenseRetriever, episode: Episode) -> Searched:
    """Search with the checkpoint before an episode: for the training queries and, where that is due, for the anchors.

    After the last episode too: the lists of a checkpoint show what its episode has learned and forgotten.
    """
    recipe, number = episode.recipe, episode.number
    wanted = number <= recipe.episode.episodes and (
        recipe.episode.watch_lookahead or "lookahead" in recipe.mining.sources_at(number)
    )
    finished = episode.before / "around_positives.parquet", episode.path / "candidates.parquet"
    due = wanted and not any(read_manifest(path) for path in finished)
    anchors = lookahead_rows(training, recipe.mining) if due else None
    exclude_self = recipe.evaluation.exclude_self
    searched = training_lists(training, retriever, recipe.mining, episode.before, exclude_self, anchors)
    if number > 1:
        look_back(training, replace(episode, number=number - 1))
    return searched


def filtered(
    found: Candidates, training: TrainingSet, config: MiningConfig, scorer: Scorer
) -> tuple[Candidates, dict[str, Any]]:
    """Drop what is no negative or may be none: copies of relevant passages, answers, what scores near a positive.

    Returns:
        The candidates, and how many were dropped: by source, and by filter.
    """
    facts: dict[str, Any] = {}
    if training.never.by_text:
        found, facts["same_text"] = without_same_texts(found, training.known, training.never)
    if config.filter_answers:
        lists: dict[str, Lists] = {}
        answers, corpus = training.collection.answers, training.collection.corpus
        facts["answer_bearing"] = {}
        for source, one in found.lists.items():
            lists[source], facts["answer_bearing"][source] = without_answers(one, found.queries, answers, corpus)
        found = Candidates(found.queries, lists)
    if config.filters:
        score = scorer.of(training.queries) if config.filters.keys() - {"range_min"} else None
        found, facts["filtered"] = without_false_negatives(
            found, training.positives, training.known, config.filters, score
        )
    return found, facts


def write_lookahead(searched: Searched, training: TrainingSet, retriever: DenseRetriever, episode: Episode) -> None:
    """Write L of an episode by query, where its candidates do not hold the whole of it: only to be looked at."""
    path, collection, config = episode.path / "lookahead_lists.parquet", training.collection, episode.recipe.mining
    inputs = {
        **retriever.key,
        "training": training.key,
        "depth": config.depth,
        "lookahead_positives": config.lookahead_positives,
        **config.searching,
        **training.same_texts,
    }
    if cached(path, inputs):
        return
    with writing(path, "lists around positives, by query", inputs) as made:
        lists = lookahead(
            training.positives,
            lambda rows: _anchors(searched, training, retriever, episode).load(),
            config.lookahead_positives,
        )
        found = Candidates(training.queries, {"lookahead": lists})
        if training.never.by_text:
            found, _ = without_same_texts(found, training.known, training.never)
        write_candidates(made.target, found, collection.queries, collection.corpus)


def _anchors(searched: Searched, training: TrainingSet, retriever: DenseRetriever, episode: Episode) -> Artefact[Lists]:
    """Return the lists of the anchors: those that the search for the queries has found in passing, or searched now."""
    return searched.anchors or anchor_lists(training, retriever, episode.recipe.mining, episode.before)
