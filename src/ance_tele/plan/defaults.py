"""Defaults from training queries, texts and model: a pure function of such facts, each value with a reason.

The paper's own settings are those of ``marco``, ``nq`` and ``triviaqa``; how these rules were chosen, and what they
gave, is in docs/decisions.md. Nothing here looks at the machine: a run goes on elsewhere with the same settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Kind = Literal["encoder", "retriever", "adapter", "static"]

KINDS: Mapping[Kind, str] = {
    "encoder": "a plain encoder",
    "retriever": "a model that retrieves already",
    "adapter": "adapters on a frozen model",
    "static": "static embeddings",
}

SETTINGS = (
    "batch_queries",
    "negatives_per_query",
    "epochs",
    "refresh_fraction",
    "learning_rate",
    "query_max_len",
    "passage_max_len",
    "depth",
    "pool_per_source",
)
"""The settings that have such a default, in the order in which they are printed."""

# The width of BERT-base; its usual rates are scaled by the width of the model at hand.
BASE_WIDTH = 768

# Passages of a list, however small the corpus: a third of it, from two sources or twice from one, is enough for N.
LEAST_DEPTH = 24

# N, whatever is at hand: the queries of a batch lend each other many more.
NEGATIVES = 7


@dataclass(frozen=True)
class Facts:
    """What defaults depend on: the size of the data, the lengths of the texts, the kind of model.

    Attributes:
        queries: Queries to train on.
        passages: Size of the corpus.
        query_tokens: 99% of the queries have at most so many tokens, special tokens included.
        passage_tokens: 95% of the passages have at most so many.
        kind: Of the model.
        width: Its hidden size; 0 where it is not known or has none.
        query_most: What the model reads of a query at most, as it declares; None where there is no limit.
        passage_most: The same of a passage.
    """

    queries: int
    passages: int
    query_tokens: int
    passage_tokens: int
    kind: Kind = "encoder"
    width: int = BASE_WIDTH
    query_most: int | None = 512
    passage_most: int | None = 512


class Default(NamedTuple):
    """A value, and why."""

    value: int | float | None
    reason: str


def defaults(facts: Facts, given: Mapping[str, Any] | None = None) -> dict[str, Default]:
    """Return the settings that suit what is at hand, each with its reason.

    Args:
        facts: What is at hand.
        given: Settings that somebody has chosen: they are not among what is returned, and the rest suits them.

    Returns:
        By the name of the setting, one of :data:`SETTINGS`.
    """
    given = given or {}
    found: dict[str, Default] = {}

    def value(name: str, default: Default) -> Any:
        found[name] = default
        return given.get(name, default.value)

    batch = value("batch_queries", _batch(facts))
    value("negatives_per_query", _negatives(batch))
    per_epoch = -(-facts.queries // batch)
    epochs = value("epochs", _epochs(per_epoch))
    if given.get("refresh_step") is None:  # which wins over the share
        value("refresh_fraction", _refresh(per_epoch * epochs))
    value("learning_rate", _rate(facts))
    if facts.kind == "static":
        for name in ("query_max_len", "passage_max_len"):
            value(name, Default(None, "static embeddings read texts whole"))
    else:
        value("query_max_len", _length("queries", 99, facts.query_tokens, facts.query_most))
        value("passage_max_len", _length("passages", 95, facts.passage_tokens, facts.passage_most))
    depth = value("depth", _depth(facts.passages))
    value("pool_per_source", _pool(depth))
    return {name: default for name, default in found.items() if name not in given}


def _batch(facts: Facts) -> Default:
    """Return the largest power of two that leaves 100 steps an epoch, from 8 to 32.

    With 7 negatives and 256 tokens, 32 are the most whose gradients need no caching, which costs a third more.
    """
    batch = 8
    while batch < 32 and facts.queries >= 200 * batch:
        batch *= 2
    steps = -(-facts.queries // batch)
    queries = _counted(facts.queries, "training query gives", "training queries give")
    return Default(batch, f"{queries} {_steps(steps)} an epoch")


def _negatives(batch: int) -> Default:
    others = (batch - 1) * (1 + NEGATIVES)
    return Default(NEGATIVES, f"the other queries of a step lend {others:,} more passages to each")


def _epochs(per_epoch: int) -> Default:
    """Return as many epochs as give 250 steps, from 1 to 5."""
    epochs = max(1, min(5, -(-250 // max(1, per_epoch))))
    return Default(epochs, f"{_steps(epochs * per_epoch)} in all")


def _refresh(whole: int) -> Default:
    """Return the paper's tenth, or more where that would be fewer than 50 steps; at most a third."""
    share = max(0.1, min(0.3, round(50 / max(1, whole), 2)))
    return Default(share, f"every episode but the long one takes {_steps(max(1, round(share * whole)))}")


def _rate(facts: Facts) -> Default:
    if facts.kind == "static":
        return Default(5e-3, "static embeddings take large steps")
    if facts.kind == "adapter":
        return Default(1e-4, "adapters take larger steps than whole models")
    base = 5e-5 if facts.kind == "encoder" else 2e-5
    rate = base * BASE_WIDTH / (facts.width or BASE_WIDTH)
    width = f"width {facts.width}" if facts.width else "of unknown width, taken as BERT-base"
    return Default(_rounded(rate), f"{KINDS[facts.kind]}, {width}; smaller models take larger steps")


def _length(what: str, share: int, tokens: int, most: int | None) -> Default:
    """Return a length that holds most texts: a multiple of 16 from 32 to 256, and no more than the model reads."""
    low, high = 32, 256
    wanted = max(low, -(-tokens // 16) * 16)
    length = min(wanted, high, most or high)
    if length == wanted:
        return Default(length, f"{share}% of the {what} have at most {tokens:,} tokens")
    why = "the model reads no more" if length == most else "more would cost more than it gives"
    return Default(length, f"{share}% of the {what} have at most {tokens:,} tokens, but {why}")


def _depth(passages: int) -> Default:
    """Return the paper's 200, but at most a tenth of the corpus, and at least 24.

    Of fewer passages a model that retrieves well finds the relevant ones alone, and too few negatives are left.
    """
    depth = min(200, max(LEAST_DEPTH, passages // 10))
    if depth == 200:
        return Default(depth, "the paper's")
    if depth == LEAST_DEPTH:
        return Default(depth, f"the least, of {passages:,} passages: of fewer, too many may be relevant")
    return Default(depth, f"a tenth of {passages:,} passages: the rest are not hard")


def _pool(depth: int) -> Default:
    """Return the paper's 30, but at most a third of a list: a lone source gives twice that, and positives drop out."""
    pool = max(1, min(30, depth // 3))
    return Default(
        pool, "the paper's for MS MARCO" if pool == 30 else "a third of a list, from which positives drop out"
    )


def _rounded(rate: float) -> float:
    """Round to two figures that are read at a glance."""
    return float(f"{rate:.1e}")


def _steps(count: int) -> str:
    return _counted(count, "step", "steps")


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
