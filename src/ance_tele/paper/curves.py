"""The paper's curves (MS MARCO), as references next to those of a run."""

from collections.abc import Sequence
from dataclasses import dataclass

from ance_tele.paper.figures import composition, curve, forgetting

MARCO = "msmarco"
STARTS = {"bert-base": "BERT", "co-condenser": "coCondenser"}
MINED_OF = "ANCE, BERT"
"""The system whose negatives the notebooks count."""

Curves = Sequence[tuple[str, Sequence[tuple[float, float]]]]


@dataclass(frozen=True)
class Reference:
    """Curves of the paper, a name and points by episode each: forgetting rate, MRR@10 on dev, and what ANCE mined.

    ``mined`` has the shares of an episode's negatives by the episode that met them first; "1" is BM25's.
    """

    forgetting: Curves
    quality: Curves
    mined: Sequence[tuple[int, dict[str, float]]]


def reference() -> Reference:
    """Return the paper's curves for a report."""
    rates = [(f"ANCE, {name}", curve(MARCO, "forgetting rate", "ance", start)) for start, name in STARTS.items()]
    rates.append(("ANCE-Tele", forgetting(MARCO, "ance-tele")))
    longer = "dev MRR@10 over five episodes"
    quality = [(f"ANCE, {name}", curve(MARCO, longer, "ance", start)) for start, name in STARTS.items()]
    quality.append(("ANCE-Tele", curve(MARCO, "dev MRR@10", "ance-tele", "co-condenser")))
    mined = [
        (episode, {"1" if first == "bm25" else first: share for first, share in shares.items()})
        for episode, shares in sorted((composition(MARCO) or {}).items())
    ]
    return Reference(
        forgetting=[(name, sorted(points.items())) for name, points in rates if points],
        quality=[(name, sorted(points.items())) for name, points in quality if points],
        mined=mined,
    )
