"""The data of a run for the report: summary, losses, analysis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ance_tele.runs.analysed import Analysis, Learned, New
from ance_tele.runs.summary import Summary
from ance_tele.store.files import read_json_object
from ance_tele.store.records import decode_list


@dataclass(frozen=True)
class RunData:
    """A run's data; ``name`` is for legends, ``folder`` the name of its folder."""

    name: str
    summary: Summary
    folder: str = ""
    losses: Mapping[int, Sequence[tuple[float, float]]] = field(default_factory=dict)
    analysis: Analysis = field(default_factory=Analysis)

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


def read_run(folder: Path) -> RunData:
    """Read a run folder; missing parts of the analysis are empty.

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
    return RunData(str(summary.recipe), summary, folder.resolve().name, losses, Analysis.read(folder))


def named_apart(runs: Sequence[RunData]) -> list[RunData]:
    """Give the runs distinct names: the recipe, with the folder if repeated, with a number if both are."""
    recipes = [run.name for run in runs]
    longer = [run.name if recipes.count(run.name) == 1 else f"{run.name} ({run.folder})" for run in runs]
    names: list[str] = []
    for name in longer:
        again = names.count(name) + sum(one.startswith(f"{name} #") for one in names)
        names.append(f"{name} #{again + 1}" if again else name)
    return [replace(run, name=name) for run, name in zip(runs, names, strict=True)]
