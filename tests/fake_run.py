"""A run folder written by hand: the tables that the analysis reads, and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from ance_tele.recipes import recipe
from ance_tele.store.files import write_json
from ance_tele.store.manifests import Manifest, file_sizes

Ranked = Sequence[str]


@dataclass
class FakeRun:
    """What a run has mined: lists by round and query, pools by episode and query.

    Attributes:
        queries: Ids.
        positives: Ids, by query.
        lists: T, by round (episodes + 1 of them) and query; positives may be in them.
        ahead: L, likewise, by episode; None where an episode did not look.
        pools: By episode and query: (passage, source, origin, first episode).
        mrr: By checkpoint and query.
        scores: Score of each entry of the last lists, by query; falling by default.
        positive_scores: The final model's score of each query's best positive.
        settings: Of the recipe.
    """

    queries: list[str]
    positives: list[list[str]]
    lists: list[list[list[str]]]
    ahead: list[list[list[str]] | None]
    pools: list[list[list[tuple[str, str, str, int]]]]
    mrr: list[list[float]]
    scores: list[list[float]] = field(default_factory=list)
    positive_scores: list[float] = field(default_factory=list)
    settings: Mapping[str, object] = field(default_factory=dict)
    passages: int = 100

    def write(self, out: Path, rows_per_group: int = 16384) -> Path:
        """Write the folder; row groups may be small, so that blocks of queries cut through them."""
        episodes = len(self.pools)
        chosen = recipe("ance-tele").with_settings(episodes=episodes, **self.settings)
        settings = {k: list(v) if isinstance(v, tuple) else v for k, v in chosen.settings().items()}
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.yaml").write_text(yaml.safe_dump({"recipe": "ance-tele", **settings}), "utf-8")
        write_json(out / "summary.json", {"schema": 1, "recipe": "ance-tele", "data": {"passages": self.passages}})
        pairs = [(q, p) for q, relevant in zip(self.queries, self.positives, strict=True) for p in relevant]
        positives = pa.table({"query_id": [q for q, _ in pairs], "passage_id": [p for _, p in pairs]})
        self._save(out / "positives.parquet", positives, rows_per_group)
        for number, lists in enumerate(self.lists):
            folder = out / f"episode-{number}"
            folder.mkdir(exist_ok=True)
            last = number == episodes
            scores = self.scores if last and self.scores else None
            if self._bm25(chosen, number + 1):
                (out / "bm25").mkdir(exist_ok=True)
                self._save(out / "bm25" / "training_lists.parquet", self._ranked(lists, "bm25"), rows_per_group)
                lists = [[] for _ in lists]
            self._save(folder / "training_lists.parquet", self._ranked(lists, "query", scores), rows_per_group)
            self._exists(folder / "training_lists", [folder / "training_lists.parquet"])
            columns = {"query_id": self.queries, "MRR@100": self.mrr[number]}
            if last and self.positive_scores:
                columns["positive_score"] = pa.array(self.positive_scores, pa.float32())
            pq.write_table(pa.table(columns), folder / "per_training_query.parquet")
        for number, (pool, ahead) in enumerate(zip(self.pools, self.ahead, strict=True), 1):
            folder = out / f"episode-{number}"
            rows = [(q, *entry) for q, entries in zip(self.queries, pool, strict=True) for entry in entries]
            names = ("query_id", "passage_id", "source", "origin", "first_episode")
            kinds = (pa.string(), pa.string(), *[pa.dictionary(pa.int8(), pa.string())] * 2, pa.uint8())
            table = {
                name: pa.array([row[place] for row in rows], kind if "dict" not in str(kind) else pa.string())
                for place, (name, kind) in enumerate(zip(names, kinds, strict=True))
            }
            table |= {name: table[name].dictionary_encode() for name in ("source", "origin")}
            self._save(folder / "pool.parquet", pa.table(table), rows_per_group)
            if ahead is not None:
                self._save(folder / "lookahead_lists.parquet", self._ranked(ahead, "lookahead"), rows_per_group)
        return out

    def _bm25(self, chosen: object, number: int) -> bool:
        return chosen.mining.main_source(number) == "bm25"  # type: ignore[attr-defined]

    def _ranked(
        self, lists: Sequence[Ranked], source: str, scores: Sequence[Sequence[float]] | None = None
    ) -> pa.Table:
        rows = [
            (query, passage, rank, scores[place][rank - 1] if scores else -float(rank))
            for place, (query, ranking) in enumerate(zip(self.queries, lists, strict=True))
            for rank, passage in enumerate(ranking, 1)
        ]
        return pa.table(
            {
                "query_id": pa.array([row[0] for row in rows], pa.large_string()),
                "passage_id": pa.array([row[1] for row in rows], pa.large_string()),
                "source": pa.array([source] * len(rows), pa.string()).dictionary_encode(),
                "rank": pa.array([row[2] for row in rows], pa.int16()),
                "score": pa.array([row[3] for row in rows], pa.float32()),
            }
        )

    def _save(self, path: Path, table: pa.Table, rows_per_group: int) -> None:
        pq.write_table(table, path, row_group_size=rows_per_group)
        self._exists(path, [path])

    def _exists(self, path: Path, files: Sequence[Path]) -> None:
        sizes = {name: size for file in files for name, size in file_sizes(file).items()}
        Manifest("fake", {"name": path.name}, sizes).save(path)
