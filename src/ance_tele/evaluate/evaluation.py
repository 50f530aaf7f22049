"""The evaluation of a split: metrics, relevance level, excluded passages; the same for every system."""

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
    """How a search for the queries of a split is evaluated.

    Attributes:
        metrics: Metrics with a cut-off up to the search depth.
        not_measured: The other metrics.
        level: Grade from which on a passage is relevant.
        positions: Query position within the split of each excluded passage, int64 [n], ascending.
        own: The excluded passages, which are the queries themselves: rows of the corpus, int64 [n].
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
        """Return the evaluation of a split, by default that of the settings.

        Raises:
            UserError: There is no such split, or none of its judgements reaches the configured level.
        """
        split = split or config.split
        qrels, depth = collection.split(split), config.eval_depth
        possible: tuple[str, ...] = METRICS if len(qrels.judged()) else ()
        if np.isin(qrels.queries, collection.answers.queries).any():
            possible += ANSWER_METRICS
        # Nothing is deeper than the whole corpus.
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
        """Passages to search for, so that enough remain of every ranking after exclusion."""
        return self.config.eval_depth + int(np.bincount(self.positions).max(initial=0))

    @property
    def inputs(self) -> dict[str, Any]:
        """Everything but the system that decides the metrics, for manifests."""
        depth = self.config.eval_depth
        return {"data": self.collection.fingerprint, "split": self.split, "depth": depth, **self.unusual}

    @property
    def unusual(self) -> dict[str, Any]:
        """The settings that differ from the usual ones and affect this split."""
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
        """Facts for the manifest."""
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
        self.write_run(run, scores, folder, tag)
        return scores

    def write_run(self, run: Run, scores: Scores, folder: Path, tag: str) -> None:
        """Write a run of the system ``tag`` and its scores as :meth:`write` does."""
        folder.mkdir(parents=True, exist_ok=True)
        run.write_trec(folder / "run.trec", tag)
        write_parquet(pa.table({"query_id": scores.query_ids, **scores.values}), folder / "per_query.parquet")
        how = {"split": self.split, "queries": len(scores.query_ids), "missing_queries": scores.missing, **self.facts}
        write_json(folder / "metrics.json", {**how, "metrics": scores.means()})


def own_passages(collection: Collection, qrels: Qrels, which: ExcludeSelf) -> tuple[np.ndarray, np.ndarray]:
    """Return the passages that are a split's queries themselves, unless they are judged relevant.

    Returns:
        Query positions within the split, int64 [n], ascending; rows of the corpus, int64 [n].
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
