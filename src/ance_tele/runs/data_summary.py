"""The data of a run in its summary: the collection, what was added to it, its review, and how BM25 read it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ReviewSummary:
    """The review of a run: use and number of its relevant pairs.

    ``doubtful`` counts the doubtful pairs that are excluded from negatives, or have a ``weight`` among them,
    ``dropped`` the positives that it calls irrelevant and that are dropped; None where nothing becomes of them.
    """

    use: str | None = field(metadata={"key": "as"})
    pairs: int | None
    doubtful: int | None = None
    dropped: int | None = None
    weight: float | None = None


@dataclass(frozen=True, kw_only=True)
class ExpansionSummary:
    """The file that adds terms to passages or queries, and how many texts get some."""

    file: str | None
    filled: int | None
    texts: int | None


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """The collection: sizes, problems, truncated texts (``tokens``), texts with added terms (``expansions``)."""

    fingerprint: str | None
    passages: int | None
    queries: Mapping[str, int]
    training_queries_used: int | None
    training_queries_without_positive: int | None
    problems: Mapping[str, Any]
    notes: Mapping[str, Any]
    review: ReviewSummary | None = None
    tokens: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    expansions: Mapping[str, ExpansionSummary] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BM25Summary:
    """How BM25 tokenised, and whether it found enough for comparisons (``usable``)."""

    reads: str | None
    queries: int | None
    found_nothing: int | None
    usable: bool | None
