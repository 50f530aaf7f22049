"""Runs of several systems and seeds side by side: means, spreads, significance, and what they cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from ance_tele.evaluate.statistics import holm, pairwise_tests
from ance_tele.store.files import read_json
from ance_tele.store.manifests import SCHEMA

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Entry:
    """One finished run of a comparison."""

    system: str
    model: str
    seed: int
    folder: Path


def tabulate(entries: Sequence[Entry], collection: str, metrics: Sequence[str]) -> dict[str, Any]:
    """Set finished runs side by side.

    Two systems are compared on the same queries: the values of a query are averaged over the seeds of each system,
    then a paired permutation test is made over the queries (two-sided), Holm-adjusted over all pairs of a column. BM25
    takes no part where it finds nothing for most queries.

    Args:
        entries: Runs, in the order of the rows; those that differ in nothing but the seed share one.
        collection: Name of the data.
        metrics: What the columns show and the tests are about; of these, those that were measured.
    """
    runs: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        runs.setdefault((entry.model, entry.system), []).append(entry)
    names = list(dict.fromkeys(system for _, system in runs))
    letters = {name: ascii_lowercase[place % 26] * (1 + place // 26) for place, name in enumerate(names)}
    values = {key: [per_query(entry.folder) for entry in group] for key, group in runs.items()}
    shown = [name for name in metrics if any(name in table for run in values.values() for table in run[0].values())]
    splits = list(dict.fromkeys(split for run in values.values() for split in run[0]))
    rows = [_row(key, runs[key], values[key], letters[key[1]]) for key in runs]
    untested = {key[1] for key in runs if _finds_little(runs[key][0].folder)}
    tested = {key: value for key, value in values.items() if key[1] not in untested}
    tests = []
    for model in dict.fromkeys(model for model, _ in runs):
        for split in splits:
            for metric in shown:
                tests += _tests(model, split, metric, tested)
    for test in tests:
        winner = test["a"] if test["difference"] > 0 else test["b"]
        loser = test["b"] if winner == test["a"] else test["a"]
        if test["p"] < SIGNIFICANT:
            row = next(row for row in rows if (row["model"], row["system"]) == (test["model"], winner))
            row["values"][test["split"]][test["metric"]]["better_than"].append(letters[loser])
    return {
        "schema": SCHEMA,
        "collection": collection,
        "metrics": shown,
        "splits": splits,
        "models": list(dict.fromkeys(model for model, _ in runs)),
        "seeds": sorted({entry.seed for entry in entries}),
        "rows": rows,
        "tests": tests,
        "untested": sorted(untested),
        "cost": _cost(entries),
    }


def _finds_little(folder: Path) -> bool:
    """Return whether a run is of BM25 alone, and found nothing for most queries."""
    summary = read_json(folder / "summary.json")
    return summary["model"] is None and summary.get("bm25", {}).get("usable") is False


def per_query(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Return the final per-query values of a run by split and metric: of the chosen split, and of the test split."""
    summary = read_json(folder / "summary.json")
    episodes = len(summary["episodes"])
    last = folder / ("bm25" if summary["model"] is None else f"episode-{episodes}")
    places = {summary["split"]: last}
    if (folder / "final" / "per_query.parquet").exists():
        places["test"] = folder / "final"
    found = {}
    for split, place in places.items():
        table = pq.read_table(place / "per_query.parquet")
        columns = {name: table[name].to_numpy() for name in table.column_names if name != "query_id"}
        found[split] = {name: column for name, column in columns.items() if not np.isnan(column).all()}
    return found


def _row(
    key: tuple[str, str], group: list[Entry], values: list[dict[str, dict[str, np.ndarray]]], letter: str
) -> dict[str, Any]:
    model, system = key
    summaries = [read_json(entry.folder / "summary.json") for entry in group]
    figures: dict[str, Any] = {}
    for split, tables in values[0].items():
        figures[split] = {}
        for metric in tables:
            by_seed = [float(np.nanmean(run[split][metric])) for run in values]
            figures[split][metric] = {**spread(by_seed), "better_than": []}
    summary, episodes = summaries[0], []
    for number in range(1, max(len(summary["episodes"]) for summary in summaries) + 1):
        every = [summary["episodes"][number - 1] for summary in summaries]
        one: dict[str, Any] = {"number": number, "metrics": {}}
        for metric in every[0]["metrics"]:
            one["metrics"][metric] = spread([episode["metrics"][metric] for episode in every])
        for name in ("forgetting_rate", "learned_rate", "new_negatives", "training_mrr"):
            known = [episode[name] for episode in every if episode.get(name) is not None]
            one[name] = spread(known) if len(known) == len(every) else None
        episodes.append(one)
    return {
        "letter": letter,
        "system": system,
        "model": model,
        "seeds": [entry.seed for entry in group],
        "shares": {name: summary["settings"][name] for name in ("alpha", "beta", "negatives_per_query")},
        "values": figures,
        "episodes": episodes,
        "folders": [entry.folder.name for entry in group],
    }


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return the mean, the standard deviation over seeds (n - 1; None for a single one) and the values."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "spread": deviation, "by_seed": list(values)}


def _tests(
    model: str, split: str, metric: str, values: dict[tuple[str, str], list[dict[str, dict[str, np.ndarray]]]]
) -> list[dict[str, Any]]:
    """Compare all pairs of systems of a model on one column."""
    means = {
        system: np.mean([run[split][metric] for run in runs], axis=0)
        for (owner, system), runs in values.items()
        if owner == model and metric in runs[0].get(split, {})
    }
    if len(means) < 2:
        return []
    table = np.stack(list(means.values()))
    table = table[:, ~np.isnan(table).any(axis=0)]
    p = pairwise_tests(table)
    pairs = list(combinations(range(len(means)), 2))
    names, adjusted = list(means), holm([float(p[a, b]) for a, b in pairs])
    return [
        {
            "model": model,
            "split": split,
            "metric": metric,
            "a": names[a],
            "b": names[b],
            "difference": float((table[a] - table[b]).mean()),
            "p": value,
        }
        for (a, b), value in zip(pairs, adjusted, strict=True)
    ]


def _cost(entries: Sequence[Entry]) -> dict[str, Any]:
    """Add up the seconds of all runs by phase; the largest memory of a process."""
    seconds: dict[str, float] = {}
    counted: set[tuple[Any, ...]] = set()
    peak = 0
    for entry in entries:
        for episode in read_json(entry.folder / "summary.json")["episodes"]:
            # An episode that several runs have in common has the same times, to the millisecond, in all of them.
            times = (episode["number"], *episode["seconds"].items())
            for phase, spent in episode["seconds"].items() if times not in counted else ():
                seconds[phase] = seconds.get(phase, 0.0) + spent
            counted.add(times)
        if (entry.folder / "cost.json").exists():
            peak = max(peak, read_json(entry.folder / "cost.json")["peak_bytes"])
    total = sum(seconds.values())
    return {
        "seconds": {phase: round(spent, 1) for phase, spent in seconds.items()},
        "training_share": seconds.get("train", 0.0) / total if total else 0.0,
        "peak_bytes": peak,
    }
