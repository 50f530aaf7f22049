"""How a split is measured: metrics, relevance level, passages left out; the same for every system."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ance_tele.data.collection import Collection, Qrels
from ance_tele.data.copies import Copies, meeting, queries_by_id
from ance_tele.data.ragged import owners
from ance_tele.evaluate.config import ANSWER_METRICS, METRICS, EvaluateConfig, ExcludeSelf, cutoff
from ance_tele.evaluate.levels import relevance_level
from ance_tele.evaluate.metrics import Scores
from ance_tele.evaluate.retrieval import run_of, score
from ance_tele.evaluate.run import Run
from ance_tele.search.topk import TopK
from ance_tele.store.files import write_json
from ance_tele.store.tables import write_parquet

log = logging.getLogger(__name__)

_SAME: Mapping[ExcludeSelf, str] = {"id_and_text": "same id and text", "id": "same id", "text": "same text"}


@dataclass(frozen=True)
class Evaluation:
    """A split, and how a search for its queries is measured.

    Attributes:
        collection: With the split.
        split: Its name.
        config: The settings.
        metrics: Those that need no more than the passages retrieved.
        not_measured: The others.
        level: Grade from which on a passage is relevant.
        positions: Position among the split's queries of each passage that is left out, int64 [n], ascending.
        own: These passages, each the query itself: rows of the corpus, int64 [n].
    """

    collection: Collection
    split: str
    config: EvaluateConfig
    metrics: tuple[str, ...]
    not_measured: tuple[str, ...]
    level: int
    positions: np.ndarray
    own: np.ndarray

    @classmethod
    def of(cls, config: EvaluateConfig, collection: Collection, split: str | None = None) -> "Evaluation":
        """Decide how a split, by default that of the settings, is measured.

        Raises:
            UserError: There is no such split, or none of its judgements reaches the level that is asked for.
        """
        split = split or config.split
        qrels, depth = collection.split(split), config.eval_depth
        possible: tuple[str, ...] = METRICS if len(qrels.judged()) else ()
        if np.isin(qrels.queries, collection.answers.queries).any():
            possible += ANSWER_METRICS
        # Where the whole corpus is retrieved, nothing lies deeper.
        deeper = [name for name in possible if cutoff(name) > depth and depth < len(collection.corpus)]
        if deeper:
            log.info(f"not measured on {split}, where {depth} passages are retrieved (eval_depth): {', '.join(deeper)}")
        level = relevance_level(config.relevance_level, collection, split)
        positions, own = own_passages(collection, qrels, config.exclude_self)
        if len(own):
            count = len(np.unique(positions))
            log.info(
                f"{count:,} of {len(qrels):,} {split} queries are passages themselves ({_SAME[config.exclude_self]}), "
                "which are left out of their rankings"
            )
        kept = tuple(name for name in possible if name not in deeper)
        return cls(collection, split, config, kept, tuple(deeper), level, positions, own)

    @property
    def qrels(self) -> Qrels:
        """The split's queries and judgements."""
        return self.collection.split(self.split)

    @property
    def search_depth(self) -> int:
        """How many passages to search for, so that enough are left of every ranking."""
        return self.config.eval_depth + int(np.bincount(self.positions).max(initial=0))

    @property
    def inputs(self) -> dict[str, Any]:
        """What decides the figures apart from the system: for the manifests of evaluations."""
        depth = self.config.eval_depth
        return {"data": self.collection.fingerprint, "split": self.split, "depth": depth, **self.unusual}

    @property
    def unusual(self) -> dict[str, Any]:
        """The settings that change figures on this split."""
        found: dict[str, Any] = {}
        if self.level != 1:
            found["relevance_level"] = self.level
        if len(self.own):
            found["exclude_self"] = self.config.exclude_self
        if self.not_measured:
            found["not_measured"] = list(self.not_measured)
        return found

    @property
    def facts(self) -> dict[str, Any]:
        """What a reader of the figures should know."""
        return {
            "eval_depth": self.config.eval_depth,
            "relevance_level": self.level,
            "exclude_self": self.config.exclude_self,
            "queries_excluded": len(np.unique(self.positions)),
            "not_measured": list(self.not_measured),
        }

    def measure(self, found: TopK) -> tuple[Run, Scores]:
        """Score a search for the split's queries, ``search_depth`` passages each."""
        found = found.without(self.positions, self.own, self.config.eval_depth)
        run = run_of(found, self.qrels.queries, self.collection)
        return run, score(run, self.qrels, self.collection, self.metrics, self.level)

    def write(self, found: TopK, folder: Path, tag: str) -> Scores:
        """Score a search; write ``run.trec`` (of the system ``tag``), ``metrics.json`` and ``per_query.parquet``."""
        run, scores = self.measure(found)
        folder.mkdir(parents=True, exist_ok=True)
        run.write_trec(folder / "run.trec", tag)
        write_parquet(pa.table({"query_id": scores.query_ids, **scores.values}), folder / "per_query.parquet")
        how = {"split": self.split, "queries": len(scores.query_ids), "missing_queries": scores.missing, **self.facts}
        write_json(folder / "metrics.json", {**how, "metrics": scores.means()})
        return scores


def own_passages(collection: Collection, qrels: Qrels, which: ExcludeSelf) -> tuple[np.ndarray, np.ndarray]:
    """Return the passages that are a split's queries themselves, but for those that are judged relevant to them.

    Returns:
        Positions among the split's queries, int64 [n], ascending; rows of the corpus, int64 [n].
    """
    none = np.empty(0, dtype=np.int64)
    if which == "never":
        return none, none
    if which == "text":  # under whatever id
        copies = Copies.of(collection)
        asking, first = copies.of_queries(collection.queries, qrels.queries)
        own, places = meeting(copies.first, first)
        positions = asking[places]
    else:
        if which == "id":
            rows = collection.corpus.rows(collection.queries.take_ids(qrels.queries))
        else:
            rows = queries_by_id(collection, qrels.queries)
        positions = np.flatnonzero(rows >= 0)
        own = rows[positions]
    relevant = qrels.grades > 0
    width = len(collection.corpus)
    kept = ~np.isin(positions * width + own, (owners(qrels.offsets) * width + qrels.passages)[relevant])
    return positions[kept], own[kept]
