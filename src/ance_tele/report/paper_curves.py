"""The paper's own curves (MS MARCO), as references in a report's figures and as figures of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ance_tele.paper.figures import composition, curve, forgetting
from ance_tele.report.runs import RunData

MARCO = "msmarco"
Curves = Sequence[tuple[str, Sequence[tuple[float, float]]]]

STARTS = {"bert-base": "BERT", "co-condenser": "coCondenser"}
MINED_OF = "ANCE, BERT"
"""Whose negatives the notebooks count."""


@dataclass(frozen=True)
class Reference:
    """Curves of the paper: (name, points by episode), and ANCE's negatives by who met them first.

    Attributes:
        forgetting: Forgetting rate.
        quality: MRR@10 on dev.
        mined: (episode, share by the episode that met them first; "1" is BM25's).
    """

    forgetting: Curves
    quality: Curves
    mined: Sequence[tuple[int, dict[str, float]]]


def reference() -> Reference:
    """Return the paper's curves that a report draws beside a run's own."""
    rates = [(f"ANCE, {name}", curve(MARCO, "forgetting rate", "ance", start)) for start, name in STARTS.items()]
    rates.append(("ANCE-Tele", forgetting(MARCO, "ance-tele")))
    longer = "dev MRR@10 over five episodes"
    quality = [(f"ANCE, {name}", curve(MARCO, longer, "ance", start)) for start, name in STARTS.items()]
    quality.append(("ANCE-Tele", curve(MARCO, "dev MRR@10", "ance-tele", "co-condenser")))
    mined = composition(MARCO) or {}
    return Reference(
        [(name, sorted(points.items())) for name, points in rates if points],
        [(name, sorted(points.items())) for name, points in quality if points],
        [(episode, {"1" if first == "bm25" else first: share for first, share in shares.items()})
         for episode, shares in sorted(mined.items())],
    )  # fmt: skip


def paper_runs() -> list[RunData]:
    """Return the systems of the paper's curves as if they were runs, for the functions that draw runs."""
    known = reference()
    rates, quality = dict(known.forgetting), dict(known.quality)
    made = []
    for name in dict.fromkeys([*rates, *quality]):
        metrics = [
            {"number": episode, "metrics": {"MRR@10": value}, "forgetting_rate": dict(rates.get(name, ())).get(episode)}
            for episode, value in quality.get(name, ())
        ]
        summary = {"schema": 1, "recipe": name, "collection": "MS MARCO", "split": "dev", "episodes": metrics}
        mined = [{"round": episode, "first": shares} for episode, shares in known.mined] if name == MINED_OF else []
        dynamics = {"rounds": [{"round": 1, "source": "bm25"}], "composition": {"mined": mined}} if mined else {}
        made.append(RunData(name, summary, dynamics=dynamics))
    return made
