"""The training set of a run: training queries, their positives, and passages excluded from their negatives."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection, Qrels
from ance_tele.data.copies import Copies
from ance_tele.data.reviewed import Review
from ance_tele.mining.candidates import CandidateLists
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.filters import answer_bearing_positives
from ance_tele.mining.never import NeverNegative
from ance_tele.mining.seeding import hashed
from ance_tele.search.retriever import Retriever
from ance_tele.settings import Recipe
from ance_tele.store.artefacts import cached, writing
from ance_tele.store.files import reading
from ance_tele.store.fingerprints import fingerprint
from ance_tele.store.tables import read_table, write_parquet


@dataclass(frozen=True)
class TrainingSet:
    """Training queries with positives and excluded passages.

    Attributes:
        positives: The training queries, and the relevant passages of each.
        known: Passages excluded from negatives: positives, and those excluded by a review.
        left_out: Rows of training queries with neither relevant passages nor answers, int64.
        without_positive: Rows of training queries with answers but without relevant passages, int64.
        review: Fingerprint of the review used; None without.
        doubtful: Passages that count as a share of a negative, by query; None without.
        weight: That share.
        found: Fingerprint of the positives that a teacher has found, for the training set of an episode.
    """

    collection: Collection
    positives: Qrels
    known: Qrels
    left_out: np.ndarray
    without_positive: np.ndarray
    review: str | None = None
    doubtful: NeverNegative | None = None
    weight: float = 1.0
    found: str | None = None

    @classmethod
    def of(
        cls,
        collection: Collection,
        mining: MiningConfig,
        limit: int | None = None,
        review: Review | None = None,
        out: Path | None = None,
        ranker: Retriever | None = None,
    ) -> "TrainingSet":
        """Choose the training queries and their positives.

        Args:
            collection: With a split "train".
            mining: ``positive_level``, ``without_positive``, ``depth``.
            limit: Number of training queries, the same for all seeds; None for all.
            review: Verdicts of people or models; None without.
            out: Run folder for positives found by answer.
            ranker: Retriever for these; None leaves out queries without relevant passages.

        Raises:
            UserError: No query has a positive.
        """
        split = collection.split("train")
        relevant = split.relevant(mining.positive_level)
        if review is not None and review.uses.irrelevant == "drop":
            relevant = without_pairs(relevant, *review.dropped)
        if review is not None and review.uses.relevant == "positives":
            relevant = relevant.extended(*review.relevant)
        answered = collection.answers.queries
        left_out = np.setdiff1d(split.queries, np.concatenate([relevant.queries, answered]))
        without = np.intersect1d(np.setdiff1d(split.queries, relevant.queries), answered)
        positives = relevant
        if len(without) and out is not None and ranker is not None:
            positives = relevant.extended(*_found_by_answer(collection, without, mining, ranker, out))
        positives = drawn_queries(positives, limit)
        if not len(positives):
            raise UserError(no_positives(collection, mining.positive_level))
        known = positives
        if review is not None and len(review.excluded[0]):
            queries, passages = review.excluded
            ours = np.isin(queries, positives.queries)
            known = positives.extended(queries[ours], passages[ours])
        if review is None:
            return cls(collection, positives, known, left_out, without)
        weighed: tuple[NeverNegative | None, float] = (None, 1.0)
        if isinstance(share := review.uses.doubtful, float):
            queries, passages = review.doubtful
            ours = np.isin(queries, positives.queries)
            grades = np.zeros(int(ours.sum()), dtype=np.int64)
            pairs = Qrels.from_arrays(queries[ours], passages[ours], grades, positives.queries)
            weighed = (NeverNegative.rows(pairs), share)
        return cls(collection, positives, known, left_out, without, review.fingerprint, *weighed)

    @classmethod
    def none(cls, collection: Collection) -> "TrainingSet":
        """Return an empty training set."""
        rows = np.empty(0, dtype=np.int64)
        nothing = Qrels.from_arrays(rows, rows, rows)
        return cls(collection, nothing, nothing, rows, rows)

    def __len__(self) -> int:
        return len(self.positives)

    @property
    def without(self) -> int:
        """Number of training queries without a judged relevant passage."""
        return len(self.without_positive) + len(self.left_out)

    @property
    def queries(self) -> np.ndarray:
        """Rows of the training queries, int64 [q], ascending."""
        return self.positives.queries

    @cached_property
    def never(self) -> NeverNegative:
        """Passages excluded from negatives: known passages, their duplicates, the query's own text."""
        return NeverNegative.of(self.known, self.collection, Copies.of(self.collection))

    @cached_property
    def key(self) -> str:
        """Fingerprint of the training queries and their positives."""
        parts = (self.positives.queries, self.positives.offsets, self.positives.passages)
        return fingerprint([self.collection.fingerprint, *(hash_of(part) for part in parts)])

    @property
    def same_texts(self) -> dict[str, str]:
        """Input of manifests if texts exclude negatives; {} if judgements alone do."""
        return {"never": "same text"} if self.never.by_text else {}

    def examples(self, positives: str) -> int:
        """Return the examples per epoch: training queries ("rotate"), or pairs of query and positive ("all")."""
        return len(self.positives.passages) if positives == "all" else len(self)

    def write(self, path: Path) -> None:
        """Write the positives by id, for readers of the run folder."""
        inputs = {"training": self.key}
        if cached(path, inputs) is None:
            with writing(path, "positives", inputs) as made:
                write_pairs(made.target, self.collection, self.positives.owners, self.positives.passages)


def without_pairs(qrels: Qrels, queries: np.ndarray, passages: np.ndarray) -> Qrels:
    """Return judgements without some pairs, given by row, int64 [n], and without the queries that keep none."""
    width = 1 + max(int(qrels.passages.max(initial=0)), int(passages.max(initial=0)))
    owner = qrels.owners
    keep = ~np.isin(owner * width + qrels.passages, queries * width + passages)
    return Qrels.from_arrays(owner[keep], qrels.passages[keep], qrels.grades[keep])


def check_given_negatives(queries: np.ndarray, collection: Collection, recipe: Recipe) -> None:
    """Refuse the source "given" where none of the training queries, rows, int64 [q], has given negatives.

    Raises:
        UserError: There are none.
    """
    if draws_given(recipe) and not np.isin(collection.negatives.queries, queries).any():
        raise UserError(
            f"sources names 'given', but collection '{collection.name}' gives no negatives of its training queries; "
            "name other sources, or bring files that have negatives (triplets, Tevatron, DPR)."
        )


def draws_given(recipe: Recipe) -> bool:
    """Return whether an episode uses given negatives."""
    return any("given" in recipe.mining.sources_at(number) for number in range(1, recipe.episode.episodes + 1))


def notices(training: TrainingSet, recipe: Recipe) -> list[str]:
    """Return log lines on training data that are left out or not used."""
    lines, collection, level = [], training.collection, recipe.mining.positive_level
    if len(training.left_out):
        graded = f" of grade {level} or more" if level > 1 else ""
        lines.append(f"{len(training.left_out):,} training queries have no relevant passage{graded}, and are left out")
    counts = {
        "given negatives": 0 if draws_given(recipe) else len(collection.negatives.passages),
        "scores of a teacher": int(np.isfinite(collection.teacher.scores).sum()),
    }
    parts = [f"{count:,} {what}" for what, count in counts.items() if count]
    if parts:
        how = "; sources '[query, given]' draws from the negatives" if counts["given negatives"] else ""
        lines.append(f"not used: {' and '.join(parts)}{how}")
    return lines


def no_positives(collection: Collection, level: int) -> str:
    """Return the error for a collection without positives."""
    grades = collection.split("train").grades
    if level > 1 and len(grades) and (grades >= 1).any():
        return (
            f"No training query of collection '{collection.name}' has a passage of grade {level} or more, its highest "
            f"grade is {grades.max()}; lower positive_level."
        )
    return f"Collection '{collection.name}' has no training query with a relevant passage."


def _found_by_answer(
    collection: Collection, rows: np.ndarray, mining: MiningConfig, ranker: Retriever, out: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of queries without relevant passages, and of their best-ranked passages with an answer."""
    path = out / "found_positives.parquet"
    depth = mining.depth
    inputs = {"data": collection.fingerprint, "depth": depth, "ranker": mining.without_positive, **ranker.key}
    if cached(path, inputs) is None:
        with writing(path, "positives found by answer", inputs) as made:
            found = CandidateLists.from_topk(ranker.search(rows, depth, "searching for answers"))
            queries, passages, missing = answer_bearing_positives(found, rows, collection.answers, collection.corpus)
            write_pairs(made.target, collection, queries, passages)
            made.facts = {"found": len(queries), "missing": missing}
        return queries, passages
    return read_pairs(path, collection)


def read_pairs(path: Path, collection: Collection) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of queries and of passages, int64 [n] each, that :func:`write_pairs` wrote."""
    table = read_table(path, ["query_id", "passage_id"])
    with reading(path):
        queries = collection.queries.rows(table["query_id"].combine_chunks())
        passages = collection.corpus.rows(table["passage_id"].combine_chunks())
    if (queries < 0).any() or (passages < 0).any():
        raise UserError(f"{path} names queries or passages that {collection.name} lacks; delete it and run again.")
    return queries, passages


def write_pairs(path: Path, collection: Collection, queries: np.ndarray, passages: np.ndarray) -> None:
    """Write pairs of query and passage, given by row, as Parquet of ids."""
    ids = collection.queries.take_ids(queries), collection.corpus.take_ids(passages)
    write_parquet(pa.table({"query_id": ids[0], "passage_id": ids[1]}), path)


def hash_of(array: np.ndarray) -> str:
    """Return the sha-256 (hex) of an integer array."""
    return hashlib.sha256(np.ascontiguousarray(array, dtype=np.int64).tobytes()).hexdigest()


def drawn_queries(positives: Qrels, limit: int | None) -> Qrels:
    """Return the judgements of as many queries, drawn by a lot that is the same for all seeds; None for all."""
    if limit is None or limit >= len(positives):
        return positives
    lot = hashed(42, 0, "training queries", positives.queries)
    return positives.select(positives.queries[np.argsort(lot, kind="stable")[:limit]])
