"""Where the lists of a finished run lie: T and L of every round, the pools, the positives."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ance_tele.analysis.tables import Order
from ance_tele.console.errors import UserError
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.plugins import every_source
from ance_tele.mining.sources import SOURCES
from ance_tele.runs.learning import read_reciprocal_ranks
from ance_tele.store.manifests import read_manifest
from ance_tele.store.plugins import plain_name
from ance_tele.store.tables import read_parquet


@dataclass(frozen=True)
class Round:
    """A round of mining.

    Attributes:
        number: From 1; the one after the last episode has been mined, but not trained with.
        lists: The file of T, one list per training query, positives included.
        source: Which source these are of: "query", or "bm25" where that is what the round mined.
        ahead: The file of L, as rows of the source "lookahead"; None where the positives were not searched.
        pool: The file of the pool; None after the last episode.
    """

    number: int
    lists: Path
    source: str
    ahead: Path | None
    pool: Path | None


@dataclass(frozen=True)
class Rounds:
    """All rounds of a run.

    Attributes:
        out: The run folder.
        rounds: In order; one more than there are episodes, or none where nothing was trained.
        order: The training queries.
        sources: The names that pools may hold: the built-in sources, then the user's own.
    """

    out: Path
    rounds: tuple[Round, ...]
    order: Order
    sources: tuple[str, ...]

    @classmethod
    def of(cls, out: Path, mining: MiningConfig, episodes: int) -> "Rounds":
        """Find the rounds of a finished run.

        Raises:
            UserError: A list or a pool is missing.
        """
        sources = source_names(mining)
        if not episodes:
            return cls(out, (), Order(pa.chunked_array([], pa.large_string())), sources)
        rounds = []
        for number in range(1, episodes + 2):
            source = mining.main_source(number)
            lists = out / ("bm25" if source == "bm25" else f"episode-{number - 1}") / "training_lists.parquet"
            pool = out / f"episode-{number}" / "pool.parquet" if number <= episodes else None
            for path in (lists, pool):
                if path is not None and not path.is_file():
                    raise UserError(f"{path} is missing: the run is not finished; run the same command again.")
            rounds.append(Round(number, lists, source, _ahead(out / f"episode-{number}", mining, number), pool))
        ids = read_parquet(out / "episode-0" / "per_training_query.parquet", columns=["query_id"])["query_id"]
        return cls(out, tuple(rounds), Order(ids), sources)

    @property
    def positives(self) -> Path:
        """The file of the positives: query_id and passage_id."""
        return self.out / "positives.parquet"

    def reciprocal_ranks(self) -> np.ndarray:
        """Return the reciprocal rank of each training query by checkpoint, float64 [rounds, queries]."""
        ranks = (read_reciprocal_ranks(self._per_query(number)) for number in range(len(self.rounds)))
        return np.stack([*ranks]) if self.rounds else np.empty((0, 0))

    def positive_scores(self) -> np.ndarray:
        """Return the final model's score of each query's best positive, float64 [queries]; NaN in older runs."""
        table = read_parquet(self._per_query(len(self.rounds) - 1))
        if "positive_score" not in table.column_names:
            return np.full(len(table), np.nan)
        return table["positive_score"].to_numpy().astype(np.float64)

    def _per_query(self, checkpoint: int) -> Path:
        return self.out / f"episode-{checkpoint}" / "per_training_query.parquet"


def source_names(mining: MiningConfig) -> tuple[str, ...]:
    """Return the sources that pools of a run may name: the built-in ones, then the user's own."""
    return tuple(dict.fromkeys((*SOURCES, *map(plain_name, every_source(mining)))))


def _ahead(folder: Path, mining: MiningConfig, number: int) -> Path | None:
    """Return the file that holds the whole of L: the one written for the analysis, else the candidates."""
    if read_manifest(folder / "lookahead_lists.parquet") is not None:
        return folder / "lookahead_lists.parquet"
    candidates = folder / "candidates.parquet"
    whole = "lookahead" in mining.sources_at(number) and not mining.filtered
    return candidates if whole and candidates.is_file() else None
