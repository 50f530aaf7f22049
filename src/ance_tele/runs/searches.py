"""What a run searches for in mining, each an artefact: lists of the training queries, around positives, BM25's."""

import logging
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ance_tele.evaluate.evaluation import own_passages
from ance_tele.mining.candidates import Candidates, Lists
from ance_tele.mining.filters import Score
from ance_tele.mining.known import without_same_texts
from ance_tele.mining.sources import lookahead
from ance_tele.mining.storage import read_lists, write_candidates, write_lists
from ance_tele.runs.checkpoints import hash_of
from ance_tele.runs.learning import read_reciprocal_ranks, reciprocal_ranks, training_metric
from ance_tele.runs.training_set import TrainingSet
from ance_tele.search.approximate import recall_of_exact
from ance_tele.search.topk import TopK
from ance_tele.store.artefacts import Manifest, build, read_manifest

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

log = logging.getLogger(__name__)

# Training queries and positives are searched for in one pass over the vectors, as long as what both hold fits.
ONE_PASS_BYTES = 4 << 30


class Searches(TrainingSet):
    """Searches the corpus for training queries and around positives, each once for a checkpoint."""

    def training_lists(self, checkpoint: int) -> Manifest:
        """Search for every training query: T of the next episode, and what the model has learned so far.

        Where the next episode looks around positives too, the same pass over the vectors finds their neighbours.
        """
        depth = self.recipe.mining.depth
        inputs = {**self.encoding(checkpoint), "training": self.training_key, "depth": depth}
        inputs |= self.recipe.mining.searching
        own = own_passages(self.collection, self.positives, self.recipe.evaluation.exclude_self)
        if len(own[0]):  # a query's own passage is no miss of its positive
            inputs["exclude_self"] = self.recipe.evaluation.exclude_self

        def make(target: Path) -> dict[str, Any]:
            target.mkdir()
            from ance_tele.encode.vectors import pair_scores

            asked, positives = self.query_vectors(checkpoint, self.positives.queries), self.positives
            found = self._nearest_both(checkpoint, asked, depth)
            lists = Lists.from_topk(found)
            rr = reciprocal_ranks(Lists.from_topk(found.without(*own, depth)), positives)
            scores = pair_scores(asked, self.vectors(checkpoint), positives.offsets, positives.passages)
            best = np.maximum.reduceat(scores, positives.offsets[:-1])
            ids = self.collection.queries.take_ids(self.positives.queries)
            metric = self.training_metric
            columns = {"query_id": ids, metric: rr, "positive_score": best}
            pq.write_table(pa.table(columns), target / "per_training_query.parquet")
            path = target / "training_lists.parquet"
            write_lists(path, self.positives.queries, lists, self.collection.queries, self.collection.corpus)
            recall = self.recall(checkpoint, found, lambda places: asked[places])
            return {metric: float(rr.mean()), "search_engine": found.engine, **recall}

        path = self.folder(checkpoint) / "training_lists"
        return build(path, "lists of training queries", inputs, make, spread=True)

    @property
    def training_metric(self) -> str:
        """What learning and forgetting are read from: MRR@100, or as deep as is mined."""
        return training_metric(self.recipe.mining.depth, len(self.collection.corpus))

    def _nearest_both(self, checkpoint: int, asked: np.ndarray, depth: int) -> TopK:
        """Search for training queries, float32 [q, dimension], and in the same pass around positives, if they are due.

        What is found around positives is an artefact of its own; killed after it, only the queries are searched again.
        """
        queries, rows = len(asked), self._positives_due(checkpoint)
        fits = (queries + len(rows)) * (4 * asked.shape[1] + 20 * depth) <= ONE_PASS_BYTES
        # An index takes as long to build as to ask, and more memory than both.
        if len(rows) and (fits or self.recipe.mining.search != "exact"):
            both = np.concatenate([asked, self.vectors(checkpoint).take(rows)])
            what = "searching for training queries and around positives"
            found = self.nearest(checkpoint, both, depth, what, mining=True)
            self.around_positives(checkpoint, rows, TopK(found.rows[queries:], found.scores[queries:], found.engine))
            return TopK(found.rows[:queries], found.scores[:queries], found.engine)
        return self.nearest(checkpoint, asked, depth, "searching for training queries", mining=True)

    def _positives_due(self, checkpoint: int) -> np.ndarray:
        """Return the positives (rows) that the next episode will search around, none if that is done or not wanted."""
        episode, config = checkpoint + 1, self.recipe.episode
        wanted = episode <= config.episodes and (
            config.watch_lookahead or "lookahead" in self.recipe.mining.sources_at(episode)
        )
        made = (self.folder(checkpoint) / "around_positives.parquet", self.folder(episode) / "candidates.parquet")
        done = any(read_manifest(path) is not None for path in made)
        return self.lookahead_rows if wanted and not done else np.empty(0, dtype=np.int64)

    def read_training_lists(self, checkpoint: int) -> Lists:
        """Read back the lists of the training queries."""
        path = self.folder(checkpoint) / "training_lists.parquet"
        return read_lists(path, self.positives.queries, self.collection.queries, self.collection.corpus)

    def around_positives(self, checkpoint: int, rows: np.ndarray, found: TopK | None = None) -> Lists:
        """Search around passages given by row, ascending: L of the next episode, before it is joined by query.

        Where a pass for something else has ``found`` them already, they are only written.
        """
        depth, corpus = self.recipe.mining.depth, self.collection.corpus
        inputs = {**self.encoding(checkpoint), "positives": hash_of(rows), "depth": depth}
        inputs |= self.recipe.mining.searching

        def make(target: Path) -> dict[str, Any]:
            best = found or self.search(checkpoint, rows, depth, "document", "searching around positives", mining=True)
            write_lists(target, rows, Lists.from_topk(best), corpus, corpus)
            recall = self.recall(checkpoint, best, lambda places: self.vectors(checkpoint).take(rows[places]))
            return {"search_engine": best.engine, **recall}

        path = self.folder(checkpoint) / "around_positives.parquet"
        build(path, "lists around positives", inputs, make)
        return read_lists(path, rows, corpus, corpus)

    def bm25_lists(self) -> Lists:
        """Search for every training query with BM25."""
        depth, queries = self.recipe.mining.depth, self.collection.queries
        inputs = {"data": self.collection.fingerprint, "training": self.training_key, "depth": depth, **self.lexical}

        def make(target: Path) -> dict[str, int]:
            found = Lists.from_topk(self.bm25(self.positives.queries, depth))
            write_lists(target, self.positives.queries, found, queries, self.collection.corpus)
            asked, without = len(self.positives), int((np.diff(found.offsets) == 0).sum())
            if without:
                log.info(f"BM25 found nothing for {without:,} of {asked:,} training queries")
            return {"queries": asked, "found_nothing": without}

        path = self.out / "bm25" / "training_lists.parquet"
        build(path, "BM25 lists of training queries", inputs, make)
        return read_lists(path, self.positives.queries, queries, self.collection.corpus)

    def watch(self, episode: int) -> None:
        """Write L of an episode by query, where its candidates do not hold the whole of it: only to be looked at."""
        config, before, collection = self.recipe.mining, episode - 1, self.collection
        which = {"depth": config.depth, "lookahead_positives": config.lookahead_positives}
        inputs = {
            **self.encoding(before),
            "training": self.training_key,
            **which,
            **config.searching,
            **self.same_texts,
        }

        def make(target: Path) -> None:
            around = config.lookahead_positives
            seen = lookahead(self.positives, lambda rows: self.around_positives(before, rows), around)
            found = Candidates(self.positives.queries, {"lookahead": seen})
            if self.never.by_text:
                found, _ = without_same_texts(found, self.known, self.never)
            write_candidates(target, found, collection.queries, collection.corpus)

        path = self.folder(episode) / "lookahead_lists.parquet"
        build(path, "lists around positives, by query", inputs, make)

    def write_positives(self) -> Manifest:
        """Write which passages are relevant to each training query, by id, for what reads run folders alone."""
        positives, collection = self.positives, self.collection

        def make(target: Path) -> None:
            owner = positives.owners
            ids = collection.queries.take_ids(owner), collection.corpus.take_ids(positives.passages)
            pq.write_table(pa.table({"query_id": ids[0], "passage_id": ids[1]}), target)

        return build(self.out / "positives.parquet", "positives", {"training": self.training_key}, make)

    def mined_lists(self, episode: int) -> Lists:
        """Read back T of an episode: what it mined for the queries."""
        lexical = self.recipe.mining.main_source(episode) == "bm25"
        return self.bm25_lists() if lexical else self.read_training_lists(episode - 1)

    def reciprocal_ranks(self, checkpoint: int) -> np.ndarray:
        """Read back the reciprocal rank of each training query under a checkpoint, float64 [q]."""
        return read_reciprocal_ranks(self.folder(checkpoint) / "per_training_query.parquet")

    def recall(self, checkpoint: int, found: TopK, asked: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
        """Measure how much of the exact lists a mining has found; {} where it searches exactly.

        Args:
            checkpoint: Under which it searched.
            found: What it found.
            asked: Gives the vectors that it searched for, by position.
        """
        if self.recipe.mining.search == "exact":
            return {}
        rank = self.collection.corpus.id_rank
        recall = recall_of_exact(found, asked, self.vectors(checkpoint), rank, self.device(checkpoint))
        return {"recall": round(recall, 4)}

    def pair_score(self, checkpoint: int) -> Score | None:
        """Return what scores training queries with passages while filtering; None where no filter looks at scores."""
        config, rows = self.recipe.mining, self.positives.queries
        if not config.filters.keys() - {"range_min"}:
            return None
        if config.cross_encoder is None:
            from ance_tele.encode.vectors import pair_scores

            asked, vectors = self.query_vectors(checkpoint, rows), self.vectors(checkpoint)
            return lambda start, stop, *lists: pair_scores(asked[start:stop], vectors, *lists)
        from ance_tele.encode.cross_encoder import cross_scores

        texts, corpus = self.collection.queries.table["text"].take(rows), self.collection.corpus
        judge, separator = self.cross_encoder, self.recipe.encoder.title_separator

        def score(start: int, stop: int, offsets: np.ndarray, passages: np.ndarray) -> np.ndarray:
            return cross_scores(judge, texts[start:stop].to_pylist(), offsets, passages, corpus, separator)

        return score

    @cached_property
    def cross_encoder(self) -> "CrossEncoder":
        """The cross-encoder of the filters."""
        from ance_tele.encode.cross_encoder import load_cross_encoder

        assert self.recipe.mining.cross_encoder is not None
        return load_cross_encoder(self.recipe.mining.cross_encoder, self.recipe.encoder)

    @cached_property
    def cross_encoder_key(self) -> str | None:
        """Fingerprint of the cross-encoder's weights; None without one."""
        from ance_tele.encode.encoder import weights_fingerprint

        return None if self.recipe.mining.cross_encoder is None else weights_fingerprint(self.cross_encoder)
