"""The comparison of finished runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from pathlib import Path
from string import ascii_lowercase

import numpy as np

from ance_tele.console.numbers import SIGNIFICANT
from ance_tele.evaluate.comparison import ComparisonResult, Cost, EpisodeScores, Score, Spread, System, Test
from ance_tele.evaluate.statistics import holm, pairwise_tests
from ance_tele.runs.summary import EpisodeSummary, Summary
from ance_tele.store.files import read_json
from ance_tele.store.manifests import SCHEMA
from ance_tele.store.tables import read_table

Columns = Mapping[str, Mapping[str, np.ndarray]]
"""Per-query values by split and metric, float [queries] each."""


@dataclass(frozen=True)
class Entry:
    """One finished run of a comparison."""

    system: str
    model: str
    seed: int
    folder: Path


@dataclass(frozen=True)
class Measured:
    """A finished run with its summary and its final per-query values.

    Of a system that others have run, the TREC file takes the place of the summary.
    """

    entry: Entry
    summary: Summary | None
    values: Columns
    finds_little: bool = False
    file: str | None = None

    @property
    def episodes(self) -> Sequence[EpisodeSummary]:
        """The episodes of the run."""
        return () if self.summary is None else self.summary.episodes


def tabulate(
    entries: Sequence[Entry],
    collection: str,
    metrics: Sequence[str],
    table: str | None = None,
    given: Sequence[Measured] = (),
) -> ComparisonResult:
    """Compare finished runs.

    Two systems are compared by a two-sided paired permutation test over queries, whose values are averaged over seeds;
    p-values are Holm-adjusted over all pairs of a column. BM25, or a system that others have run, is not tested if it
    finds nothing for most queries.

    Args:
        entries: Runs, in the order of the rows; runs that differ only in the seed share a row.
        collection: Name of the data.
        metrics: Of the columns and tests, as far as they were measured.
        table: Name of the paper's table that is reproduced.
        given: Systems that others have run, for a row each next to those of every model.
    """
    runs: dict[tuple[str, str], list[Measured]] = {}
    for entry in entries:
        summary = Summary.read(entry.folder)
        measured = Measured(entry, summary, per_query(entry.folder, summary), _finds_little(summary))
        runs.setdefault((entry.model, entry.system), []).append(measured)
    for model, one in product(dict.fromkeys(model for model, _ in runs), given):
        runs[model, one.entry.system] = [replace(one, entry=replace(one.entry, model=model))]
    models, systems = (tuple(dict.fromkeys(names)) for names in zip(*runs, strict=True))
    letters = {name: ascii_lowercase[place % 26] * (1 + place // 26) for place, name in enumerate(systems)}
    first = [group[0].values for group in runs.values()]
    shown = [name for name in metrics if any(name in columns for values in first for columns in values.values())]
    splits = list(dict.fromkeys(split for values in first for split in values))
    untested = {system for (_, system), group in runs.items() if group[0].finds_little}
    tested = {key: group for key, group in runs.items() if key[1] not in untested}
    columns = product(models, splits, shown)
    tests = tuple(test for column in columns for test in _tests(*column, tested))
    return ComparisonResult(
        schema=SCHEMA,
        collection=collection,
        metrics=tuple(shown),
        splits=tuple(splits),
        models=models,
        seeds=tuple(sorted({entry.seed for entry in entries})),
        rows=tuple(_row(model, system, group, letters, tests) for (model, system), group in runs.items()),
        tests=tests,
        untested=tuple(sorted(untested)),
        cost=_cost([one for group in runs.values() for one in group]),
        table=table,
    )


def _finds_little(summary: Summary) -> bool:
    """Return whether a run is of BM25 alone, and found nothing for most queries."""
    return summary.model is None and summary.bm25 is not None and summary.bm25.usable is False


def per_query(folder: Path, summary: Summary) -> dict[str, dict[str, np.ndarray]]:
    """Return the final per-query values of a run by split and metric, on its split and on test."""
    last = folder / ("bm25" if summary.model is None else f"episode-{len(summary.episodes)}")
    places = {str(summary.split): last}
    if (folder / "final" / "per_query.parquet").exists():
        places["test"] = folder / "final"
    return {split: measured_columns(place) for split, place in places.items()}


def measured_columns(folder: Path) -> dict[str, np.ndarray]:
    """Return the per-query values in a folder by metric, as far as they were measured."""
    table = read_table(folder / "per_query.parquet")
    columns = {name: table[name].to_numpy() for name in table.column_names if name != "query_id"}
    return {name: column for name, column in columns.items() if not np.isnan(column).all()}


def _row(
    model: str, system: str, group: Sequence[Measured], letters: Mapping[str, str], tests: Sequence[Test]
) -> System:
    values: dict[str, dict[str, Score]] = {}
    for split, columns in group[0].values.items():
        values[split] = {}
        for metric in columns:
            by_seed = spread([float(np.nanmean(run.values[split][metric])) for run in group])
            column = [one for one in tests if (one.model, one.split, one.metric) == (model, split, metric)]
            worse = _worse(system, column)
            values[split][metric] = Score(**vars(by_seed), better_than=tuple(letters[one] for one in worse))
    settings = group[0].summary.settings if group[0].summary else {}
    return System(
        letter=letters[system],
        system=system,
        model=model,
        seeds=tuple(run.entry.seed for run in group),
        shares={name: settings[name] for name in ("alpha", "beta", "negatives_per_query") if name in settings},
        values=values,
        episodes=tuple(_episode(one, group) for one in range(max(len(run.episodes) for run in group))),
        folders=tuple(run.entry.folder.name for run in group),
        file=group[0].file,
    )


def _worse(system: str, column: Sequence[Test]) -> list[str]:
    """Return the systems that are significantly worse than a system in a column."""
    signs = [
        (one, one.difference if one.a == system else -one.difference) for one in column if system in (one.a, one.b)
    ]
    return [one.b if one.a == system else one.a for one, lead in signs if one.p < SIGNIFICANT and lead > 0]


def _episode(place: int, group: Sequence[Measured]) -> EpisodeScores:
    """Return the values of an episode over the seeds of a system."""
    every = [run.episodes[place] for run in group]

    def over_seeds(name: str) -> Spread | None:
        known = [value for one in every if (value := getattr(one, name)) is not None]
        return spread(known) if len(known) == len(every) else None

    return EpisodeScores(
        number=place + 1,
        metrics={metric: spread([one.metrics[metric] for one in every]) for metric in every[0].metrics},
        forgetting_rate=over_seeds("forgetting_rate"),
        learned_rate=over_seeds("learned_rate"),
        new_negatives=over_seeds("new_negatives"),
        training_mrr=over_seeds("training_mrr"),
    )


def spread(values: Sequence[float]) -> Spread:
    """Return mean, standard deviation and the values themselves."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(mean=float(np.mean(values)), spread=deviation, by_seed=tuple(values))


def _tests(model: str, split: str, metric: str, runs: Mapping[tuple[str, str], Sequence[Measured]]) -> list[Test]:
    """Compare all pairs of systems of a model on one column."""
    means = {
        system: np.mean([run.values[split][metric] for run in group], axis=0)
        for (owner, system), group in runs.items()
        if owner == model and metric in group[0].values.get(split, {})
    }
    if len(means) < 2:
        return []
    table = np.stack(list(means.values()))
    table = table[:, ~np.isnan(table).any(axis=0)]
    p, names = pairwise_tests(table), list(means)
    pairs = list(combinations(range(len(means)), 2))
    adjusted = holm([float(p[a, b]) for a, b in pairs])
    return [
        Test(model, split, metric, names[a], names[b], float((table[a] - table[b]).mean()), value)
        for (a, b), value in zip(pairs, adjusted, strict=True)
    ]


def _cost(runs: Sequence[Measured]) -> Cost:
    """Add up the seconds of all runs by phase; the largest memory of a process."""
    seconds: dict[str, float] = {}
    counted: set[tuple[object, ...]] = set()
    peak = 0
    for run in runs:
        for episode in run.episodes:
            # A shared episode has exactly the same times in all its runs.
            times = (episode.number, *episode.seconds.items())
            for phase, spent in episode.seconds.items() if times not in counted else ():
                seconds[phase] = seconds.get(phase, 0.0) + spent
            counted.add(times)
        if (run.entry.folder / "cost.json").exists():
            peak = max(peak, read_json(run.entry.folder / "cost.json")["peak_bytes"])
    total = sum(seconds.values())
    return Cost(
        seconds={phase: round(spent, 1) for phase, spent in seconds.items()},
        training_share=seconds.get("train", 0.0) / total if total else 0.0,
        peak_bytes=peak,
    )
