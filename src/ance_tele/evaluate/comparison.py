"""The comparison of systems, ``comparison.json``: means and spreads over seeds, significance, cost.

The fields are the keys of the file, in its order. Metrics are fractions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ance_tele.store.records import decode, encode


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A figure over seeds: mean, standard deviation (n - 1; None for a single seed), and the values."""

    mean: float
    spread: float | None
    by_seed: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Score(Spread):
    """A metric of a system; ``better_than`` holds the letters of the systems that are significantly worse."""

    better_than: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class EpisodeScores:
    """Metrics, forgetting and learning rates of an episode; None where a seed lacks the value."""

    number: int
    metrics: Mapping[str, Spread]
    forgetting_rate: Spread | None
    learned_rate: Spread | None
    new_negatives: Spread | None
    training_mrr: Spread | None


@dataclass(frozen=True, kw_only=True)
class System:
    """A row: a system started from a model.

    Attributes:
        letter: Of the system, in ``better_than``.
        seeds: Of its runs.
        shares: Its alpha, beta and negatives_per_query.
        values: Final scores by split and metric.
        folders: Of its runs, names only.
        file: Of a system that others have run: its TREC file.
        start: In Table 1, where each row starts from a model of its own: the short name of that.
        seconds: In Table 1: mean over seeds by what took them, with what it started from and learned from.
        paper: In Table 1: the published figures, by benchmark and metric ("MARCO MRR@10").
    """

    letter: str
    system: str
    model: str
    seeds: tuple[int, ...]
    shares: Mapping[str, Any]
    values: Mapping[str, Mapping[str, Score]]
    episodes: tuple[EpisodeScores, ...]
    folders: tuple[str, ...]
    file: str | None = None
    start: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    paper: Mapping[str, float] = field(default_factory=dict)

    def score(self, split: str, metric: str) -> Score | None:
        """Return a final score, or None where it was not measured."""
        return self.values.get(split, {}).get(metric)


@dataclass(frozen=True)
class Test:
    """System ``a`` against ``b`` in one column, for one model; ``p`` is adjusted over all pairs of the column."""

    model: str
    split: str
    metric: str
    a: str
    b: str
    difference: float
    p: float


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds of all runs by phase, the share of training, the peak memory of a process."""

    seconds: Mapping[str, float]
    training_share: float
    peak_bytes: int


@dataclass(frozen=True, kw_only=True)
class ComparisonResult:
    """A whole comparison.

    Attributes:
        metrics: Of the columns; the first is the one of the curves.
        splits: Of the columns.
        untested: Systems that find too little for a test.
        table: The reproduced table of the paper, such as "table3", or None.
        notes: Sentences below the table.
    """

    schema: int
    collection: str
    metrics: tuple[str, ...]
    splits: tuple[str, ...]
    models: tuple[str, ...]
    seeds: tuple[int, ...]
    rows: tuple[System, ...]
    tests: tuple[Test, ...]
    untested: tuple[str, ...]
    cost: Cost
    table: str | None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "ComparisonResult":
        """Return the comparison with the content of a ``comparison.json``."""
        return decode(cls, content)

    def content(self) -> dict[str, Any]:
        """Return the content of ``comparison.json``."""
        content: dict[str, Any] = encode(self)
        return content

    def of_model(self, model: str) -> list[System]:
        """Return the rows of a model."""
        return [row for row in self.rows if row.model == model]
