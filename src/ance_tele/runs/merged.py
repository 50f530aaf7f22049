"""The result of a merge, ``merged/merge.json``: scores along the weight, and which weight was chosen by which rule."""

from collections.abc import Mapping
from dataclasses import dataclass, field

MERGED = "merged"
"""Folder within a run."""


@dataclass(frozen=True, kw_only=True)
class MergedOn:
    """One collection.

    Attributes:
        own: It is the collection of the run.
        split: That the weight was chosen on.
        metric: The main metric of the split.
        scores: Its mean by weight ("0.25"), in ascending order.
        final_split: The split of ``final``: test where there is one.
        final: The mean on it of "base", "trained" and "merged".
        differences: Merged minus "base" and "trained" there.
        p: Of paired permutation tests of these, Holm-adjusted over all collections.
    """

    collection: str
    own: bool
    split: str
    metric: str
    scores: Mapping[str, float]
    final_split: str
    final: Mapping[str, float]
    differences: Mapping[str, float] = field(default_factory=dict)
    p: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MergeSummary:
    """A merge of the trained model of a run with another of its kind.

    Attributes:
        base: Name of the other model.
        method: "linear" or "spherical".
        rule: How the weight was chosen.
        within: Of the rule "retain": share of its own best score that the run's collection may lose.
        weight: The chosen one: 0 is the base, 1 the trained model.
        episode: Of the trained model.
        on: The run's own collection, and others.
    """

    base: str | None
    method: str | None
    rule: str | None
    within: float | None
    weight: float
    episode: int | None
    on: tuple[MergedOn, ...]

    @property
    def own(self) -> MergedOn | None:
        """The run's own collection."""
        return next((one for one in self.on if one.own), None)
