"""Where the lists of a finished run lie: T and L of every round, the pools, the positives."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from ance_tele.analysis.tables import Order
from ance_tele.console.errors import UserError
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.plugins import every_source
from ance_tele.mining.sources import SOURCES
from ance_tele.runs.learning import read_reciprocal_ranks
from ance_tele.store.manifests import read_manifest
from ance_tele.store.plugins import plain_name


@dataclass(frozen=True)
class Round:
    """A round of mining.

    Attributes:
        number: From 1; the one after the last episode has been mined, but not trained with.
        lists: The file of T, one list per training query, positives included.
        source: Which source these are of: "query", or "bm25" where that is what the round mined.
        ahead: The file of L, and the source under which it stands there; None where the positives were not searched.
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
        rounds: In order; one more than there are episodes.
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

        Args:
            out: The run folder.
            mining: Its settings, which say what each round mined.
            episodes: How many it trained.

        Raises:
            UserError: A list or a pool is missing.
        """
        rounds = []
        for number in range(1, episodes + 2):
            source = mining.main_source(number)
            folder = out / ("bm25" if source == "bm25" else f"episode-{number - 1}")
            pool = out / f"episode-{number}" / "pool.parquet" if number <= episodes else None
            ahead = _ahead(out / f"episode-{number}", mining, number)
            lists = folder / "training_lists.parquet"
            for path in (lists, pool):
                if path is not None and not path.is_file():
                    raise UserError(f"{path} is missing: the run is not finished; run the same command again.")
            rounds.append(Round(number, lists, source, ahead, pool))
        ids = pq.read_table(out / "episode-0" / "per_training_query.parquet", columns=["query_id"])["query_id"]
        return cls(out, tuple(rounds), Order(ids), source_names(mining))

    def reciprocal_ranks(self) -> np.ndarray:
        """Return the reciprocal rank of each training query by checkpoint, float64 [episodes + 1, queries]."""
        paths = [self.out / f"episode-{number}" / "per_training_query.parquet" for number in range(len(self.rounds))]
        return np.stack([read_reciprocal_ranks(path) for path in paths])

    def positive_scores(self) -> np.ndarray | None:
        """Return the final model's score of each query's best positive, float32 [queries]; None in older runs."""
        path = self.out / f"episode-{len(self.rounds) - 1}" / "per_training_query.parquet"
        table = pq.read_table(path)
        return table["positive_score"].to_numpy() if "positive_score" in table.column_names else None


def source_names(mining: MiningConfig) -> tuple[str, ...]:
    """Return the sources that pools of a run may name: the built-in ones, then the user's own."""
    return tuple(dict.fromkeys((*SOURCES, *map(plain_name, every_source(mining)))))


def _ahead(folder: Path, mining: MiningConfig, number: int) -> Path | None:
    """Return the file that holds the whole of L: the one made to be looked at, else the candidates."""
    if read_manifest(folder / "lookahead_lists.parquet") is not None:
        return folder / "lookahead_lists.parquet"
    candidates = folder / "candidates.parquet"
    whole = "lookahead" in mining.sources_at(number) and not mining.filtered
    return candidates if whole and candidates.is_file() else None
