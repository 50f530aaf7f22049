"""The data of a run for the report: summary, losses, analysis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ance_tele.runs.analysed import Analysis, Learned, New
from ance_tele.runs.summary import Summary
from ance_tele.store.files import read_json_object
from ance_tele.store.records import decode_list
from ance_tele.store.tables import read_table


@dataclass(frozen=True)
class RunData:
    """A run's data; ``name`` is for legends, ``folder`` the name of its folder.

    ``queries`` are the ids of the final split's queries, ``per_query`` their values by metric, float [queries]; empty
    where the folder has none.
    """

    name: str
    summary: Summary
    folder: str = ""
    losses: Mapping[int, Sequence[tuple[float, float]]] = field(default_factory=dict)
    analysis: Analysis = field(default_factory=Analysis)
    queries: Sequence[str] = ()
    per_query: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def training_metric(self) -> str:
        """The metric of learning and forgetting: MRR@100, or MRR of shorter lists."""
        return self.analysis.dynamics.metric or self.summary.forgetting_metric

    @property
    def learning(self) -> list[Learned]:
        """Learning by episode, from the analysis or the summary."""
        return list(self.analysis.dynamics.learning) or [
            Learned(one.number, one.forgetting_rate, one.learned_rate, one.unchanged_rate)
            for one in self.summary.episodes
            if one.forgetting_rate is not None
        ]

    @property
    def most_forgetting(self) -> Learned | None:
        """The episode with the highest forgetting rate."""
        return max(self.learning, key=lambda one: one.forgotten, default=None)

    @property
    def new(self) -> list[New]:
        """New negatives by round, from the second on."""
        return [one for one in self.analysis.dynamics.new if one.round != 1]

    @property
    def pools(self) -> list[tuple[int, dict[str, float]]]:
        """Shares of the sources by episode, from the analysis or the summary."""
        analysed = self.analysis.dynamics.composed("sources")
        summed = [(one.number, one.pool.shares()) for one in self.summary.episodes]
        return analysed or [(number, shares) for number, shares in summed if shares]


def read_run(folder: Path, by_query: bool = False) -> RunData:
    """Read a run folder, with ``by_query`` also the final values by query; missing parts of the analysis are empty.

    Raises:
        UserError: The summary is missing, or a file is broken; the message says which, and what to do.
    """
    folder = Path(folder)
    summary = Summary.read(folder)
    losses: dict[int, Sequence[tuple[float, float]]] = {}
    for one in summary.episodes:
        path = folder / f"episode-{one.number}" / "training_log.json"
        if path.exists():
            log = read_json_object(path, "restore it, or delete it to have the report without its loss curve")
            pairs = decode_list(tuple[float, ...], log.get("loss"))  # without NaN
            losses[one.number] = sorted((pair[0], pair[1]) for pair in pairs if len(pair) == 2)
    found = RunData(str(summary.recipe), summary, folder.resolve().name, losses, Analysis.read(folder))
    measured = _final(folder, summary) / "per_query.parquet"
    if not by_query or not measured.exists():
        return found
    table = read_table(measured)
    columns = {name: table[name].to_numpy() for name in table.column_names if name != "query_id"}
    return replace(found, queries=table["query_id"].to_pylist(), per_query=columns)


def _final(folder: Path, summary: Summary) -> Path:
    """Return the folder of a run's final evaluation."""
    if summary.final_split != summary.split:
        return folder / "final"
    return folder / ("bm25" if summary.model is None else f"episode-{len(summary.episodes)}")


def named_apart(runs: Sequence[RunData]) -> list[RunData]:
    """Give the runs distinct names: the recipe, with the folder if repeated, with a number if both are."""
    recipes = [run.name for run in runs]
    longer = [run.name if recipes.count(run.name) == 1 else f"{run.name} ({run.folder})" for run in runs]
    names: list[str] = []
    for name in longer:
        again = names.count(name) + sum(one.startswith(f"{name} #") for one in names)
        names.append(f"{name} #{again + 1}" if again else name)
    return [replace(run, name=name) for run, name in zip(runs, names, strict=True)]
