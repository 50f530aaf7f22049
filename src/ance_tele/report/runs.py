"""A run as the report shows it: its summary, its logs, and what the analysis found; what is absent is empty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ance_tele.console.errors import UserError
from ance_tele.console.numbers import number
from ance_tele.report.reading import read_json, read_logs, read_object, read_summary
from ance_tele.report.summary import SOURCES, Summary, episodes, part, shares, training_metric

if TYPE_CHECKING:
    import numpy as np

AGAIN = "write it again with `ance-tele report`, or delete it to have the report without it"
SHOWN_SUSPECTS = 20
"""How many suspects the report lists."""


@dataclass(frozen=True)
class Trajectories:
    """How each training query fared: its reciprocal rank under checkpoint 0..E.

    Attributes:
        ids: Of the queries, (n).
        mrr: (n, E + 1), float.
        lost: Sum of its falls by query, (n), float.
    """

    ids: Sequence[str]
    mrr: np.ndarray
    lost: np.ndarray


@dataclass(frozen=True)
class RunData:
    """All that the report knows of a run; ``name`` is what legends call it, ``folder`` its folder's name."""

    name: str
    summary: Summary
    folder: str = ""
    logs: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    dynamics: Mapping[str, Any] = field(default_factory=dict)
    trajectories: Trajectories | None = None
    suspects: Mapping[str, Any] = field(default_factory=dict)
    suspect_rows: Sequence[Mapping[str, Any]] = ()
    cases: Sequence[Mapping[str, Any]] = ()
    projection: Mapping[str, Any] = field(default_factory=dict)
    elsewhere: Sequence[Mapping[str, Any]] = ()

    @property
    def training_metric(self) -> str:
        """What learning and forgetting are read from: MRR@100, or less far down."""
        return str(self.dynamics.get("metric") or training_metric(self.summary))


def read_run(folder: Path) -> RunData:
    """Read a run folder; whatever part of the analysis is absent is empty.

    Raises:
        UserError: The summary is missing, or a file is broken; the message says which, and what to do.
    """
    folder = Path(folder)
    summary = read_summary(folder)
    found = folder / "analysis"
    return RunData(
        name=str(summary["recipe"]),
        folder=folder.resolve().name,
        summary=summary,
        logs=read_logs(folder, summary),
        dynamics=_object(found / "dynamics.json"),
        trajectories=_trajectories(found / "per_query.parquet"),
        suspects=_object(found / "suspects.json"),
        suspect_rows=_first_rows(found / "suspects.parquet", SHOWN_SUSPECTS),
        cases=_list(found / "cases.json"),
        projection=_object(found / "projection.json"),
        elsewhere=[_object(path) for path in sorted((folder / "elsewhere").glob("*.json"))
                   if not path.name.endswith(".manifest.json")],
    )  # fmt: skip


def named_apart(runs: Sequence[RunData]) -> list[RunData]:
    """Give the runs names that differ: the recipe, its folder too where it repeats, and a number where both do."""
    recipes = [run.name for run in runs]
    longer = [run.name if recipes.count(run.name) == 1 else f"{run.name} ({run.folder})" for run in runs]
    names: list[str] = []
    for name in longer:
        again = names.count(name) + sum(one.startswith(f"{name} #") for one in names)
        names.append(f"{name} #{again + 1}" if again else name)
    return [replace(run, name=name) for run, name in zip(runs, names, strict=True)]


def listed(of: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Read a named list of mappings; anything else is left out."""
    return mappings(of.get(name))


def mappings(found: Any) -> list[Mapping[str, Any]]:
    """Keep what is a mapping of what should be a list of them."""
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def at(one: Mapping[str, Any], name: str) -> int | None:
    """Read a round or an episode."""
    value = number(one.get(name))
    return None if value is None else int(value)


def series(found: Sequence[Mapping[str, Any]], x: str, y: str) -> list[tuple[int, float]]:
    """Read points (round or episode, value), leaving out those without a value."""
    points = [(at(one, x), number(one.get(y))) for one in found]
    return [(place, value) for place, value in points if place is not None and value is not None]


def learning(run: RunData) -> list[Mapping[str, Any]]:
    """List what each episode changed: forgotten, learned, unchanged, training_mrr, by episode.

    From the analysis; without one, from the summary.
    """
    if analysed := listed(run.dynamics, "learning"):
        return analysed
    return [
        {
            "episode": one["number"],
            "forgotten": one.get("forgetting_rate"),
            "learned": one.get("learned_rate"),
            "unchanged": one.get("unchanged_rate"),
            "training_mrr": one.get("training_mrr"),
        }
        for one in episodes(run.summary)
    ]


def composed(run: RunData, name: str, by: str) -> list[tuple[int, dict[str, float]]]:
    """List the bars of a composition: (round or episode, shares by what they are shares of).

    Args:
        run: A run.
        name: "mined", "pools", "sources" or "origins".
        by: Under what its numbers stand: "round" or "episode".
    """
    bars = []
    for one in listed(part(run.dynamics, "composition"), name):
        place = at(one, by)
        of = part(one, "first") if name in ("mined", "pools") else one
        found = {str(key): number(value) for key, value in of.items() if key not in ("round", "episode", "size")}
        known = {key: value for key, value in found.items() if value is not None}
        if place is not None and known:
            bars.append((place, known))
    if not bars and name == "sources":
        bars = [(int(one["number"]), shares(part(one, "pool"))) for one in episodes(run.summary)]
    return [(place, known) for place, known in bars if known]


def sources_of(bars: Sequence[tuple[int, Mapping[str, float]]]) -> list[str]:
    """List the sources that some bar has, known ones first."""
    found = {name for _, bar in bars for name in bar}
    return [name for name in SOURCES if name in found] + sorted(found - set(SOURCES))


def _object(path: Path) -> Mapping[str, Any]:
    return read_object(path, AGAIN) if path.is_file() else {}


def _list(path: Path) -> list[Mapping[str, Any]]:
    return mappings(read_json(path, AGAIN)) if path.is_file() else []


def _trajectories(path: Path) -> Trajectories | None:
    if not path.is_file():
        return None
    import numpy as np

    with _table(path) as file:
        columns = sorted((n for n in file.schema_arrow.names if n.startswith("mrr_")), key=lambda n: int(n[4:]))
        table = file.read(["query_id", *columns, "lost"])
    mrr = np.column_stack([table[name].to_numpy() for name in columns]) if columns else np.empty((table.num_rows, 0))
    if mrr.shape[1] < 2 or not len(mrr):
        return None
    return Trajectories(table["query_id"].to_pylist(), mrr, table["lost"].to_numpy())


def _first_rows(path: Path, amount: int) -> list[Mapping[str, Any]]:
    if not path.is_file():
        return []
    with _table(path) as file:
        for batch in file.iter_batches(batch_size=amount):
            rows: list[Mapping[str, Any]] = batch.to_pylist()
            return rows
    return []


@contextmanager
def _table(path: Path) -> Iterator[Any]:
    """Open a Parquet file; whatever is wrong with it is one sentence."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except Exception as error:
        trouble = " ".join(str(error).split())[:120]
        raise UserError(f"{path} is not a table this version can read ({trouble}): {AGAIN}.") from error
