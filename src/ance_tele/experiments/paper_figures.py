"""The paper's curves (MS MARCO), drawn as those of runs."""

from pathlib import Path

from ance_tele.paper.curves import MINED_OF, reference
from ance_tele.report.drawing import save
from ance_tele.report.figures_learning import curves, rates
from ance_tele.report.figures_negatives import composition
from ance_tele.report.load import RunData
from ance_tele.report.style import the_style
from ance_tele.runs.analysed import Analysis, Dynamics
from ance_tele.runs.summary import Summary
from ance_tele.store.records import decode


def paper_figures(folder: Path) -> list[Path]:
    """Draw the paper's curves (MS MARCO) as a report does; return the files, PNG, SVG and CSV."""
    shown = _paper_runs()
    with the_style():
        drawings = [draw(shown) for draw in (rates, curves, composition)]
        return [file for drawing in drawings if drawing is not None for file in save(drawing, Path(folder))]


def _paper_runs() -> list[RunData]:
    """Return the systems of the paper's curves as runs."""
    known = reference()
    rates, quality = dict(known.forgetting), dict(known.quality)
    made = []
    for name in dict.fromkeys([*rates, *quality]):
        episodes = [
            {"number": number, "metrics": {"MRR@10": value}, "forgetting_rate": dict(rates.get(name, ())).get(number)}
            for number, value in quality.get(name, ())
        ]
        summary = {"recipe": name, "collection": "MS MARCO", "split": "dev", "episodes": episodes}
        mined = [{"round": episode, "first": shares} for episode, shares in known.mined] if name == MINED_OF else []
        dynamics = {"rounds": [{"round": 1, "source": "bm25"}], "composition": {"mined": mined}} if mined else {}
        made.append(RunData(name, Summary.of(summary), analysis=Analysis(dynamics=decode(Dynamics, dynamics))))
    return made
