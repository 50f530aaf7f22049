"""The summary of a run, ``summary.json``, for terminal, report and comparison.

The fields are the keys of the file, in its order. Shares and metrics are fractions, times seconds.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.evaluate.config import headline
from ance_tele.runs.data_summary import BM25Summary, DataSummary
from ance_tele.store.files import read_json_object, write_json
from ance_tele.store.manifests import SCHEMA
from ance_tele.store.records import decode, encode

Metrics = Mapping[str, float]
"""Means over queries by name of the metric."""

BASELINES = ("bm25", "zero-shot")
"""The systems measured besides the trained model, in the order of tables."""


@dataclass(frozen=True, kw_only=True)
class PoolSummary:
    """The pool of an episode.

    Attributes:
        size: Number of negatives.
        by_source: By the source that they were drawn from.
        short_queries: Training queries with fewer negatives than the target.
        missing: Negatives that these lack.
        repeats: Negatives repeated within an epoch.
        without: Training queries without any negative.
        dropped: Candidates dropped by filters, by filter and source.
    """

    size: int | None
    by_source: Mapping[str, int]
    short_queries: int | None
    missing: int | None
    repeats: int | None
    without: int | None = None
    dropped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def shares(self) -> dict[str, float]:
        """Return the share of each source; they add up to 1 whatever ``size`` counts."""
        total = sum(self.by_source.values())
        return {name: amount / total for name, amount in self.by_source.items() if amount > 0}


@dataclass(frozen=True, kw_only=True)
class EpisodeSummary:
    """Mining, training and metrics of one episode.

    Attributes:
        number: From 1.
        metrics: Of its checkpoint, on the split that the episodes are measured on.
        forgetting_rate: Share of the training queries that rank their positive lower than before; None if unknown.
        new_negatives: Share of the mined lists that no earlier episode had mined.
        seconds: By phase: encode, search, mix, train, evaluate.
        steps: Of training.
        stopped_at_refresh: Training stopped before the end of its schedule.
        pool: Its pool.
        pairs: Pairs of query and positive: "used" and "all"; where queries have several positives.
        recall: Of an approximate search: "depth", "queries", "positives".
        learned_rate: Share of the training queries that rank their positive higher.
        unchanged_rate: Share of the others.
        training_mrr: Of the training queries.
        teacher: Share of the queries whose positive the teacher ranks first on its list ("teacher_first"), and the
            share for which the retriever does, "retriever_first"; {} where no teacher has scored.
    """

    number: int
    metrics: Metrics
    forgetting_rate: float | None
    new_negatives: float | None
    seconds: Mapping[str, float]
    steps: int | None
    stopped_at_refresh: bool | None
    pool: PoolSummary
    pairs: Mapping[str, int] = field(default_factory=dict)
    recall: Mapping[str, float] = field(default_factory=dict)
    learned_rate: float | None = None
    unchanged_rate: float | None = None
    training_mrr: float | None = None
    teacher: Mapping[str, float] = field(default_factory=dict)

    def spent(self, *phases: str) -> float | None:
        """Return the total seconds of some phases; None if none was timed."""
        taken = [self.seconds[name] for name in phases if name in self.seconds]
        return sum(taken) if taken else None


@dataclass(frozen=True, kw_only=True)
class GivenSummary:
    """A given run of another system, on the split of the episodes; ``final`` holds its metrics on the final split.

    ``usable`` says whether enough of the queries have a line for comparisons.
    """

    file: str | None
    queries: int | None
    found_nothing: int | None
    usable: bool | None
    metrics: Metrics
    final: Metrics


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One system against another in one metric; ``p`` is None without a test."""

    system: str | None
    baseline: str | None
    metric: str | None
    difference: float
    p: float | None


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Hardware and software of a run."""

    machine: str | None
    python: str | None
    packages: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A run, finished or in progress.

    Attributes:
        split: That the episodes are measured on.
        baselines: Metrics of the systems measured besides the trained model.
        final: Metrics of the last checkpoint on ``final_split``.
        training_metric: Metric of learning and forgetting; None in older runs, which used MRR@100.
        evaluation: By split: depth, relevance level, excluded passages, metrics not measured.
        sources: Title and colour of each user-defined source of negatives, by name.
        beside: Given runs of other systems, by name.
    """

    schema: int
    recipe: str | None
    collection: str | None
    model: str | None
    seed: int | None
    split: str | None
    data: DataSummary
    baselines: Mapping[str, Metrics]
    bm25: BM25Summary | None = None
    episodes: tuple[EpisodeSummary, ...]
    final: Metrics
    training_metric: str | None = None
    evaluation: Mapping[str, Mapping[str, Any]]
    comparisons: tuple[Comparison, ...]
    settings: Mapping[str, Any]
    environment: Environment
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    beside: Mapping[str, GivenSummary] = field(default_factory=dict)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Summary":
        """Return the summary with the content of a ``summary.json``; missing parts are empty."""
        return decode(cls, {"schema": SCHEMA, **content})

    @classmethod
    def read(cls, run: Path) -> "Summary":
        """Read and check the summary of a run folder.

        Raises:
            UserError: There is none, or this version cannot read it.
        """
        path = Path(run) / "summary.json"
        if not path.exists():
            raise UserError(
                f"There is no summary.json in {run}: the run has not finished or this is no run's folder, "
                "so let it finish or give another folder."
            )
        content = read_json_object(path, "let the run write it again, or restore it from a copy")
        _check(path, content)
        summary = cls.of(content)
        if len(summary.episodes) != len(content.get("episodes", [])):
            raise UserError(f"{path} has an episode without a number: let the run write it again.")
        return summary

    def content(self) -> dict[str, Any]:
        """Return the content of ``summary.json``."""
        content: dict[str, Any] = encode(self)
        return content

    def write(self, run: Path) -> None:
        """Write ``summary.json`` into a run folder."""
        write_json(Path(run) / "summary.json", self.content())

    @property
    def final_split(self) -> str | None:
        """The split of the final metrics: test, where there is one."""
        return "test" if "test" in self.data.queries else self.split

    @property
    def untrained(self) -> dict[str, Metrics]:
        """Metrics of the systems without training, by name.

        For a run without training and without baselines, its final metrics, if they are of the split shown.
        """
        measured = {name: self.baselines.get(name, {}) for name in BASELINES}
        lexical = str(self.recipe).partition(" ")[0].rpartition("/")[2] == "bm25"
        only = "bm25" if lexical else "zero-shot"
        if not self.episodes and not measured[only] and self.final_split == self.split:
            measured[only] = self.final
        return {name: metrics for name, metrics in measured.items() if metrics}

    @property
    def given(self) -> dict[str, Metrics]:
        """Metrics of the given runs of other systems, by name, as far as they rank for queries of the split shown."""
        return {name: one.metrics for name, one in self.beside.items() if one.metrics}

    @property
    def systems(self) -> dict[str, Metrics]:
        """Metrics of all systems, by name: those without training, those of others, then "episode 1" and so on."""
        return {**self.untrained, **self.given, **{f"episode {one.number}": one.metrics for one in self.episodes}}

    @property
    def measured(self) -> set[str]:
        """Names of the metrics that some system has."""
        return {metric for metrics in self.systems.values() for metric in metrics}

    @property
    def main_metric(self) -> str:
        """The main metric, for sentences, tests and curves."""
        return headline(self.measured)

    @property
    def forgetting_metric(self) -> str:
        """The metric of the training queries for forgetting, such as MRR@50 of lists of 50."""
        return self.training_metric or "MRR@100"

    def quality(self, metric: str | None = None) -> list[tuple[int, float]]:
        """Return a metric by checkpoint (0: before training), the main one by default."""
        name = metric or self.main_metric
        before = self.untrained.get("zero-shot", {}).get(name)
        points = [(0, before)] + [(one.number, one.metrics.get(name)) for one in self.episodes]
        return [(checkpoint, value) for checkpoint, value in points if value is not None]


_PARTS: Mapping[str, type] = {
    "data": dict,
    "baselines": dict,
    "episodes": list,
    "final": dict,
    "comparisons": list,
    "settings": dict,
    "environment": dict,
}


def _check(path: Path, content: Mapping[str, Any]) -> None:
    schema = content.get("schema")
    if schema != SCHEMA or isinstance(schema, bool):
        raise UserError(
            f"{path} has schema {json.dumps(schema)} where this version of ance-tele reads schema {SCHEMA}: "
            "use the version that wrote it, or run again with this one."
        )
    for name in ("recipe", "collection"):
        if not isinstance(content.get(name), str):
            raise UserError(f"{path} has no text under {name!r}: let the run write it again.")
    for name, kind in _PARTS.items():
        if name in content and not isinstance(content[name], kind):
            found, wanted = type(content[name]).__name__, kind.__name__
            raise UserError(f"{path} has a {found} under {name!r} instead of a {wanted}: let the run write it again.")
