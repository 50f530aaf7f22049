"""The training queries of a run, their positives, and what is never a negative of them."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Qrels
from ance_tele.data.copies import Copies
from ance_tele.mining.candidates import Lists
from ance_tele.mining.filters import answer_bearing_positives
from ance_tele.mining.known import Known
from ance_tele.mining.seeding import hashed
from ance_tele.mining.sources import around
from ance_tele.runs.checkpoints import Checkpoints, hash_of
from ance_tele.store.artefacts import build, fingerprint


class TrainingSet(Checkpoints):
    """What a run trains on; its start or BM25 finds positives by answer, for queries that have none."""

    @cached_property
    def positives(self) -> Qrels:
        """Relevant passages of the training queries; of some of them, always the same, where so asked."""
        positives = self._relevant
        if len(self.without_positive) and self.recipe.mining.without_positive != "drop":
            positives = self._with_found(positives)
        limit = self.recipe.episode.max_train_queries
        if limit is not None and limit < len(positives):
            lot = hashed(42, 0, "training queries", positives.queries)
            positives = positives.select(positives.queries[np.argsort(lot, kind="stable")[:limit]])
        if not len(positives):
            raise UserError(self._no_positives())
        return positives

    def refuse(self) -> None:
        """Refuse what cannot be trained on.

        Raises:
            UserError: No query has a positive; or given negatives are a source, and there are none.
        """
        ours, given = self.positives.queries, self.collection.negatives.queries
        asked = any("given" in self.recipe.mining.sources_at(number) for number in self._episodes)
        if asked and not np.isin(given, ours).any():
            raise UserError(
                f"sources names 'given', but collection '{self.collection.name}' gives no negatives of its training "
                "queries; name other sources, or bring files that have negatives (triplets, Tevatron, DPR)."
            )

    @property
    def _episodes(self) -> range:
        return range(1, self.recipe.episode.episodes + 1)

    def unused(self) -> str | None:
        """Return a line on given negatives and scores that the recipe does not use; None where it uses all."""
        negatives, teacher = self.collection.negatives, self.collection.teacher
        drawn = any("given" in self.recipe.mining.sources_at(number) for number in self._episodes)
        counts = {
            "given negatives": 0 if drawn else len(negatives.passages),
            "scores of a teacher": int(np.isfinite(teacher.scores).sum()),
        }
        parts = [f"{count:,} {what}" for what, count in counts.items() if count]
        how = "; sources '[query, given]' draws from the negatives" if counts["given negatives"] else ""
        return f"not used: {' and '.join(parts)}{how}" if parts else None

    @cached_property
    def left_out(self) -> np.ndarray:
        """Training queries (rows) that have neither a relevant passage nor answer strings: nothing to train on."""
        usable = np.concatenate([self._relevant.queries, self.collection.answers.queries])
        return np.setdiff1d(self.collection.split("train").queries, usable)

    def left_out_line(self) -> str | None:
        """Return a line on the training queries that are left out; None where none is."""
        if not len(self.left_out):
            return None
        level = self.recipe.mining.positive_level
        graded = f" of grade {level} or more" if level > 1 else ""
        return f"{len(self.left_out):,} training queries have no relevant passage{graded}, and are left out"

    def _no_positives(self) -> str:
        """Return why there is nothing to train on."""
        level, grades = self.recipe.mining.positive_level, self.collection.split("train").grades
        if level > 1 and len(grades) and (grades >= 1).any():
            return (
                f"No training query of collection '{self.collection.name}' has a passage of grade {level} or more, its "
                f"highest grade is {grades.max()}; lower positive_level."
            )
        return f"Collection '{self.collection.name}' has no training query with a relevant passage."

    @cached_property
    def _relevant(self) -> Qrels:
        """Relevant passages of training queries: those that were judged, and those that a review adds."""
        judged, review = self.collection.split("train").relevant(self.recipe.mining.positive_level), self.review
        return judged if review is None or review.use != "positives" else judged.extended(*review.pairs)

    @cached_property
    def known(self) -> Qrels:
        """Passages named as no negatives of the training queries: their positives, and what a review excludes."""
        if self.review is None or self.review.use != "exclude":
            return self.positives
        queries, passages = self.review.pairs
        ours = np.isin(queries, self.positives.queries)
        return self.positives.extended(queries[ours], passages[ours])

    @cached_property
    def never(self) -> Known:
        """What is never a negative of the training queries, copies and the queries themselves with it."""
        return Known.of(self.known, self.collection, Copies.of(self.collection))

    @property
    def examples(self) -> int:
        """Examples of an epoch: training queries, or pairs of these with their positives."""
        every = self.recipe.training.positives == "all"
        return len(self.positives.passages) if every else len(self.positives)

    @property
    def same_texts(self) -> dict[str, str]:
        """Input of manifests where texts decide what is never a negative; {} where judgements alone do."""
        return {"never": "same text"} if self.never.by_text else {}

    @cached_property
    def lookahead_rows(self) -> np.ndarray:
        """Rows of the distinct positives that lookahead searches around, ascending."""
        passages, _ = around(self.positives, self.recipe.mining.lookahead_positives)
        return np.unique(passages)

    @cached_property
    def without_positive(self) -> np.ndarray:
        """Training queries (rows) that have answer strings, but no relevant passage."""
        split = self.collection.split("train")
        rest = np.setdiff1d(split.queries, self._relevant.queries)
        return np.intersect1d(rest, self.collection.answers.queries)

    def _with_found(self, positives: Qrels) -> Qrels:
        """Add the best-ranked passage that holds an answer, for the queries that have no relevant one."""
        rows, depth, ranker = self.without_positive, self.recipe.mining.depth, self.recipe.mining.without_positive
        inputs = {"data": self.collection.fingerprint, "depth": depth, "ranker": ranker}
        inputs |= self.encoding(0) if ranker == "model" else self.lexical

        def make(target: Path) -> dict[str, Any]:
            if ranker == "model":
                found = self.search(0, rows, depth, "query", "searching for answers")
            else:
                found = self.bm25(rows, depth)
            collection = self.collection
            queries, passages, missing = answer_bearing_positives(
                Lists.from_topk(found), rows, collection.answers, collection.corpus
            )
            ids = collection.queries.take_ids(queries), collection.corpus.take_ids(passages)
            pq.write_table(pa.table({"query_id": ids[0], "passage_id": ids[1]}), target)
            return {"found": len(queries), "missing": missing}

        path = self.out / "found_positives.parquet"
        build(path, "positives found by answer", inputs, make)
        table = pq.read_table(path)
        queries = self.collection.queries.rows(table["query_id"].combine_chunks())
        passages = self.collection.corpus.rows(table["passage_id"].combine_chunks())
        return positives.extended(queries, passages)

    @cached_property
    def training_key(self) -> str:
        """Fingerprint of the training queries and their positives."""
        parts = (self.positives.queries, self.positives.offsets, self.positives.passages)
        return fingerprint([self.collection.fingerprint, *(hash_of(part) for part in parts)])
