"""The results of an out-of-domain evaluation, ``elsewhere/NAME.json``."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ance_tele.runs.summary import Comparison


@dataclass(frozen=True)
class OutOfDomain:
    """A file of ``elsewhere/``: the initial and the trained model on a collection they were not trained on.

    ``difference`` (trained minus initial) and ``p`` (paired permutation test, Holm-adjusted over all collections of the
    run) are of ``metric``; ``before`` and ``after`` hold the means of both models by metric.
    """

    collection: str | None
    split: str | None
    metric: str | None
    difference: float | None
    p: float | None
    before: Mapping[str, float] = field(metadata={"key": "zero-shot"})
    after: Mapping[str, float] = field(metadata={"key": "trained"})
    queries: int | None = None

    @property
    def comparison(self) -> Comparison | None:
        """The trained model against the initial one, if measured."""
        metric, found = self.metric or "MRR@10", self.difference
        systems = {"system": "the trained model", "baseline": "zero-shot"}
        return None if found is None else Comparison(**systems, metric=metric, difference=found, p=self.p)
