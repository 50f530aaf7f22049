"""Unlabelled queries: a teacher finds their positives among what the retriever finds (RocketQA's fourth step)."""

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyarrow.compute as pc

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection, Qrels
from ance_tele.data.ragged import offsets_of, ranges
from ance_tele.mining.candidates import CandidateLists, Candidates
from ance_tele.mining.mix import mix as draw
from ance_tele.mining.never import NeverNegative
from ance_tele.mining.pool import COLUMNS, Pool
from ance_tele.mining.seeding import hashed
from ance_tele.mining.storage import read_lists, read_pool, write_lists, write_pool
from ance_tele.mining.teacher_scores import TeacherScores, confident_pairs, without_relevant
from ance_tele.runs.folder import Episode
from ance_tele.runs.lists import nearest_to_queries
from ance_tele.runs.log import log_phase
from ance_tele.runs.teacher import Scored, scores
from ance_tele.runs.training_set import TrainingSet, hash_of
from ance_tele.search.dense import DenseRetriever
from ance_tele.search.scorer import CrossEncoderScorer
from ance_tele.settings import Recipe
from ance_tele.store.artefacts import Artefact, cached, writing
from ance_tele.store.fingerprints import fingerprint


def unlabelled_rows(collection: Collection, most: int) -> np.ndarray:
    """Return the rows of queries that no split names, int64, ascending: at most so many, the same for all seeds.

    Queries with the text of one that a split names are left out.
    """
    named = np.unique(np.concatenate([np.empty(0, np.int64), *(of.queries for of in collection.qrels.values())]))
    rows, texts = np.setdiff1d(np.arange(len(collection.queries)), named), collection.queries.table["text"]
    rows = rows[~pc.is_in(texts.take(rows), value_set=texts.take(named).combine_chunks()).to_numpy()]
    lot = hashed(42, 0, "unlabelled queries", rows)
    return np.sort(rows[np.argsort(lot, kind="stable")[:most]])


def check_unlabelled(collection: Collection, recipe: Recipe) -> None:
    """Refuse ``unlabelled_queries`` for a collection that has none.

    Raises:
        UserError: There are none.
    """
    wanted = recipe.teaching.unlabelled_queries
    if wanted and recipe.episode.episodes and not len(unlabelled_rows(collection, 1)):
        raise UserError(
            f"unlabelled_queries is {wanted:,}, but every query of collection '{collection.name}' is of a split: add "
            "queries without judgements to its file of queries, or leave unlabelled_queries out."
        )


def with_unlabelled(
    pool: Artefact[Pool],
    training: TrainingSet,
    retriever: DenseRetriever,
    teacher: CrossEncoderScorer | None,
    episode: Episode,
) -> tuple[Artefact[Pool], TrainingSet]:
    """Add to the pool and the training set of the last episode the unlabelled queries for which there are positives.

    ``retriever`` is that of the previous checkpoint. Other episodes, and recipes without such queries, are unchanged;
    momentum, learned and forgotten queries are those of the judged queries alone.
    """
    most = episode.recipe.teaching.unlabelled_queries
    if not (most and episode.last) or teacher is None:
        return pool, training
    queries = _Unlabelled(_asked(training.collection, most), retriever, teacher, episode)
    path, collection = episode.path / "taught_pool.parquet", training.collection
    inputs = {"pool": fingerprint(pool.manifest.inputs), "training": training.key, **queries.inputs}
    whole = joined_sets(training, queries.positives)
    read = partial(read_pool, path, whole.queries, collection.queries, collection.corpus)
    found = cached(path, inputs)
    both = Artefact(found, read) if found else None
    if both is None:
        with writing(path, "pool with unlabelled queries", inputs) as made:
            drawn = joined_pools(pool.load(), queries.pool())
            write_pool(made.target, drawn, collection.queries, collection.corpus)
            counts = {"asked": len(queries.asked), "labelled": len(queries.positives)}
            made.facts = {**counts, "positives": len(queries.positives.passages), "size": len(drawn)}
        both = made.artefact(read, drawn)
    facts = both.manifest.facts
    found_none = facts["asked"] - facts["labelled"]
    line = f"{facts['positives']:,} positives of {facts['labelled']:,} unlabelled queries; {found_none:,} have none"
    log_phase(f"episode {episode.number}", "unlabelled", line, both.manifest)
    return both, whole


@dataclass(frozen=True)
class _Unlabelled:
    """Unlabelled queries: what the retriever finds for them, and how the teacher judges it."""

    asked: TrainingSet
    retriever: DenseRetriever
    teacher: CrossEncoderScorer
    episode: Episode

    @property
    def inputs(self) -> dict[str, Any]:
        """What decides positives and negatives."""
        teaching, mining = self.episode.recipe.teaching, self.episode.recipe.mining
        return {
            "scores": fingerprint(self.scored.manifest.inputs),
            "thresholds": [teaching.teacher_positives, teaching.teacher_negatives],
            "negatives": [mining.pool_per_source, self.episode.recipe.episode.seed],
        }

    @cached_property
    def lists(self) -> Artefact[CandidateLists]:
        """The retriever's list of each query."""
        config, collection, rows = self.episode.recipe.mining, self.asked.collection, self.asked.queries
        path = self.episode.path / "unlabelled_lists.parquet"
        inputs = {**self.retriever.key, "queries": hash_of(rows), "depth": config.depth, **config.searching}
        read = partial(read_lists, path, rows, collection.queries, collection.corpus)
        if found := cached(path, inputs):
            return Artefact(found, read)
        with writing(path, "lists of unlabelled queries", inputs) as made:
            lists = nearest_to_queries(self.retriever, config, rows, "searching for unlabelled queries")
            write_lists(made.target, rows, lists, collection.queries, collection.corpus)
        return made.artefact(read, lists)

    @cached_property
    def scored(self) -> Scored:
        """The teacher's judgement of all of them."""

        def pairs() -> TeacherScores:
            return TeacherScores.unscored(self.asked.queries, self.lists.load())

        path, config = self.episode.path / "unlabelled_scores.parquet", self.episode.recipe.encoder
        inputs = {"lists": fingerprint(self.lists.manifest.inputs)}
        return scores(self.teacher, path, pairs, self.asked, inputs, config, executor=self.retriever.executor)

    @cached_property
    def positives(self) -> Qrels:
        """The queries that have positives, and these."""
        least = self.episode.recipe.teaching.teacher_positives
        assert least is not None, "checked with the settings"
        queries, passages = confident_pairs(self.scored.load(), least, self.asked.never)
        return Qrels.from_arrays(queries, passages, np.ones(len(queries), dtype=np.int64))

    def pool(self) -> Pool:
        """Draw negatives of the queries that have positives, of what the teacher has seen and not found relevant."""
        teaching, mining = self.episode.recipe.teaching, self.episode.recipe.mining
        positives = self.positives
        places = np.searchsorted(self.asked.queries, positives.queries)
        lists, labelled = self.lists.load().at(places), replace(self.asked, positives=positives, known=positives)
        lists = lists.where(~labelled.never.among(lists.query_positions, lists.passages.astype(np.int64)))
        candidates = Candidates(positives.queries, {"query": lists})
        if teaching.teacher_negatives is not None:
            of = self.scored.load().at(places), teaching.teacher_negatives, NeverNegative.rows(positives)
            candidates, _ = without_relevant(candidates, *of)
        plain = replace(mining, sources=("query",), first_sources=None, alpha=0.0)
        drawn = draw(candidates, positives, plain, 1, self.episode.recipe.episode.seed)
        return replace(drawn, first=np.full_like(drawn.first, self.episode.number))


def joined_pools(one: Pool, other: Pool) -> Pool:
    """Return the negatives of the queries of two pools that share none, in ascending order of the queries."""
    queries = np.concatenate([one.queries, other.queries])
    order = np.argsort(queries, kind="stable")
    starts, sizes = np.concatenate([one.offsets[:-1], len(one) + other.offsets[:-1]]), np.append(one.sizes, other.sizes)
    place = ranges(starts[order], sizes[order])
    columns = {name: np.concatenate([getattr(one, name), getattr(other, name)])[place] for name in COLUMNS}
    names = max(one.names, other.names, key=len)  # both begin with the built-in sources
    return Pool(queries[order], offsets_of(sizes[order]), **columns, shortage=one.shortage, names=names)


def _asked(collection: Collection, most: int) -> TrainingSet:
    """Return unlabelled queries as a training set without positives."""
    rows, none = unlabelled_rows(collection, most), np.empty(0, dtype=np.int64)
    unjudged = Qrels.from_arrays(none, none, none, rows)
    return TrainingSet(collection, unjudged, unjudged, none, none)


def joined_sets(training: TrainingSet, positives: Qrels) -> TrainingSet:
    """Return a training set with further queries, none of which it has, and their positives."""

    def added(to: Qrels) -> Qrels:
        parts = [(to.owners, positives.owners), (to.passages, positives.passages), (to.grades, positives.grades)]
        return Qrels.from_arrays(*(np.concatenate(part) for part in parts))

    whole = replace(training, positives=added(training.positives), known=added(training.known))
    doubtful = training.doubtful
    if doubtful is None:
        return whole
    # Nothing is doubtful for the further queries: an empty group of their own.
    groups = np.full(len(whole), len(doubtful.offsets) - 1)
    groups[np.searchsorted(whole.queries, training.queries)] = doubtful.groups
    offsets = np.append(doubtful.offsets, doubtful.offsets[-1])
    return replace(whole, doubtful=replace(doubtful, groups=groups, offsets=offsets))
