"""Settings of mining and mixing."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from ance_tele.console.errors import UserError

# In the order in which they act, as in sentence-transformers; a candidate counts for the first that drops it.
THRESHOLDS = ("absolute_margin", "relative_margin", "max_score", "range_min")


@dataclass(frozen=True)
class MiningConfig:
    """Sources, filters and mixing of negatives (Sun et al., EMNLP 2022, Section 4, Table 5, Appendix C.2).

    Attributes:
        sources: Newly mined lists: "query", "lookahead", "bm25", "random"; "given", the negatives that training files
            name, in their order or by a teacher's scores; or functions of your own, as ``module:function``.
        first_sources: The same for the first episode; None means ``sources``.
        positive_level: Grade from which on a passage is a positive of its training query.
        depth: Length K of a mined list (the paper's top-200).
        pool_per_source: Ids drawn from each list into the pool (30 for MS MARCO, 80 for NQ and TriviaQA).
        alpha: Share of momentum negatives in the pool, where there is a past; 0 turns momentum off.
        beta: Share of lookahead among the query and lookahead negatives that are newly mined.
        momentum: "weighted" draws from the previous pool by ``alpha``; "all" takes the whole of it, as the
            authors' public code does.
        momentum_decay: Also draw momentum from what all earlier episodes have mined, in a lottery in which that of k
            episodes ago has this weight to the power of k - 1; 0 draws from the previous pool alone.
        alpha_forgotten: ``alpha`` of the training queries whose positive the last episode ranks lower than the one
            before it; null is ``alpha``. Pools of all queries have one size, at which both shares hold.
        beta_forgotten: ``beta`` of these queries; null is ``beta``.
        dedup: Keep an id that several sources name only once (the paper keeps all: Table 8).
        lookahead_positives: "all" positives of a query are searched, or the "first" only (official code).
        filter_answers: Drop candidates that hold an answer string of the query (OpenQA).
        filters: Functions of your own that drop candidates, as ``module:function``.
        relative_margin: Drop candidates that score above the positive less this share of its magnitude: 0.05 keeps what
            scores at least 5% below it (NV-Retriever's 95%). Of several positives the lowest score counts.
        absolute_margin: Drop candidates that score less than this below the positive.
        max_score: Drop candidates that score above this.
        range_min: Skip so many of the best places of each query's list, positives and what else was dropped not
            counted.
        cross_encoder: Folder or hub name of a cross-encoder whose scores decide on margins and ``max_score``, instead
            of the mining model's own.
        search: How passages near training queries and positives are found: "exact", or approximately, where exact takes
            too long: "ivf" (faiss's inverted lists), on the CPU, with all vectors in memory. Recall against exact is
            measured on a sample at each mining. It holds for mining alone, and so for what is read from the mined
            lists (forgetting, training MRR); evaluation, the explorer and the search for answers of
            ``without_positive`` are always exact. So are corpora of fewer than 100,000 passages.
        search_probes: Lists that "ivf" looks into, of 4 times the square root of the corpus; None means 1/64 of them,
            more in corpora that are small for ``depth``.
        without_positive: For training queries that have answers but no relevant passage: "drop" them, or take the
            best-ranked passage that holds an answer, as ranked by the "model" at the start or by "bm25".

    Example:
        >>> config = MiningConfig(first_sources=("bm25",), relative_margin=0.05)
        >>> config.sources_at(1), config.sources_at(2), config.thresholds
        (('bm25',), ('query', 'lookahead'), {'relative_margin': 0.05})
    """

    sources: tuple[str, ...] = ("query", "lookahead")
    first_sources: tuple[str, ...] | None = None
    positive_level: Annotated[int, (1, 1 << 30)] = 1
    depth: Annotated[int, (1, 32767)] = 200
    pool_per_source: Annotated[int, (1, 32767)] = 30
    alpha: Annotated[float, (0, 1)] = 0.5
    beta: Annotated[float, (0, 1)] = 0.5
    momentum: Literal["weighted", "all"] = "weighted"
    momentum_decay: Annotated[float, (0, 1)] = 0.0
    alpha_forgotten: Annotated[float | None, (0, 1)] = None
    beta_forgotten: Annotated[float | None, (0, 1)] = None
    dedup: bool = False
    lookahead_positives: Literal["all", "first"] = "all"
    filter_answers: bool = False
    filters: tuple[str, ...] = ()
    relative_margin: Annotated[float | None, (0, 1)] = None
    absolute_margin: Annotated[float | None, (0, 1 << 30)] = None
    max_score: Annotated[float | None, (-(1 << 30), 1 << 30)] = None
    range_min: Annotated[int, (0, 32766)] = 0
    cross_encoder: str | None = None
    search: Literal["exact", "ivf"] = "exact"
    search_probes: Annotated[int | None, (1, 1 << 20)] = None
    without_positive: Literal["drop", "model", "bm25"] = "drop"

    def check(self) -> None:
        """Check what types and ranges of the fields do not."""
        if self.range_min >= self.depth:
            raise UserError(
                f"range_min is {self.range_min}; it must be below depth ({self.depth}), or nothing is left."
            )
        for name, given in (
            ("momentum_decay", self.momentum_decay > 0),
            ("alpha_forgotten", self.alpha_forgotten is not None),
        ):
            if self.momentum == "all" and given:
                raise UserError(
                    f"{name} is {getattr(self, name)}, but momentum 'all' takes the whole previous pool; set momentum "
                    f"to 'weighted', or leave {name} out."
                )
        if self.cross_encoder is not None and not self.needs_scores:
            raise UserError(
                f"cross_encoder is {self.cross_encoder}, but there is nothing for its scores to decide; set "
                "relative_margin, absolute_margin or max_score too, or leave it out."
            )
        if self.search_probes is not None and self.search != "ivf":
            raise UserError(
                f"search_probes is {self.search_probes}, but search is '{self.search}'; set search to 'ivf', or leave "
                "search_probes out."
            )

    @property
    def thresholds(self) -> dict[str, float]:
        """Return the active filters by score and rank, in the order in which they act."""
        values = {name: getattr(self, name) for name in THRESHOLDS}
        return {name: value for name, value in values.items() if value is not None and (name != "range_min" or value)}

    @property
    def needs_scores(self) -> bool:
        """Return whether an active filter uses scores."""
        return bool(self.thresholds.keys() - {"range_min"})

    @property
    def filtered(self) -> bool:
        """Return whether any filter is active."""
        return bool(self.filter_answers or self.filters or self.thresholds)

    @property
    def searching(self) -> dict[str, Any]:
        """Return the search settings for manifests of mined lists; {} for exact search."""
        return {} if self.search == "exact" else {"search": self.search, "search_probes": self.search_probes}

    @property
    def by_forgetting(self) -> bool:
        """Return whether shares go by what the last episode has forgotten."""
        return self.alpha_forgotten is not None or self.beta_forgotten is not None

    def alpha_of(self, forgotten: bool) -> float:
        """Return ``alpha`` of queries that were forgotten, or of the others."""
        return self.alpha_forgotten if forgotten and self.alpha_forgotten is not None else self.alpha

    def beta_of(self, forgotten: bool) -> float:
        """Return ``beta`` of queries that were forgotten, or of the others."""
        return self.beta_forgotten if forgotten and self.beta_forgotten is not None else self.beta

    def beta_at(self, episode: int) -> float | None:
        """Return ``beta`` if an episode mixes query and lookahead negatives, else None: it has no effect."""
        return self.beta if {"query", "lookahead"} <= set(self.sources_at(episode)) else None

    def main_source(self, episode: int) -> Literal["query", "bm25"]:
        """Return the source of T in an episode: BM25 if it mines that and no query negatives."""
        sources = self.sources_at(episode)
        return "bm25" if "bm25" in sources and "query" not in sources else "query"

    def sources_at(self, episode: int) -> tuple[str, ...]:
        """Return the sources that are mined in an episode, counted from 1."""
        sources = self.first_sources if episode == 1 and self.first_sources is not None else self.sources
        one_beta = episode == 1 or self.beta_forgotten in (None, self.beta)
        if {"query", "lookahead"} <= set(sources) and self.beta in (0, 1) and one_beta:
            unused = "query" if self.beta == 1 else "lookahead"  # nothing would be drawn from it
            return tuple(name for name in sources if name != unused)
        return sources
