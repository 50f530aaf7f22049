"""Default settings as a pure function of facts about training queries, texts and model, each with a reason.

The paper's settings are those of ``marco``, ``nq`` and ``triviaqa``; docs/decisions.md has the choice and evaluation of
these rules. They do not depend on the machine, so that a run can be resumed on another one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from ance_tele.console.numbers import counted

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

# The width of BERT-base; learning rates are scaled by the width of the model.
BASE_WIDTH = 768

# Passages of a list, however small the corpus: a third of it, from two sources or twice from one, is enough for N.
LEAST_DEPTH = 24

# N; in-batch negatives add many more.
NEGATIVES = 7


@dataclass(frozen=True)
class Facts:
    """Facts that defaults depend on: size of the data, lengths of texts, kind of model.

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
    """Return default settings with their reasons.

    Args:
        facts: Of data and model.
        given: Chosen settings, which are not returned; the others are adapted to them.

    Returns:
        By the name of the setting, one of :data:`SETTINGS`.
    """
    given = given or {}
    found: dict[str, Default] = {}

    def value(name: str, default: Default) -> Any:
        found[name] = default
        return given.get(name, default.value)

    batch = value("batch_queries", _batch(facts.queries))
    lent = (batch - 1) * (1 + NEGATIVES)
    reason = f"the other queries of a step lend {lent:,} more passages to each"
    value("negatives_per_query", Default(NEGATIVES, reason))
    per_epoch = -(-facts.queries // batch)
    epochs = value("epochs", _epochs(per_epoch))
    if given.get("refresh_step") is None:  # which wins over the share
        value("refresh_fraction", _refresh(per_epoch * epochs))
    value("learning_rate", _rate(replace(facts, kind="adapter") if given.get("lora_rank") else facts))
    value("query_max_len", _length("queries", 99, facts.query_tokens, facts.query_most, facts.kind))
    value("passage_max_len", _length("passages", 95, facts.passage_tokens, facts.passage_most, facts.kind))
    depth = value("depth", _depth(facts.passages))
    value("pool_per_source", _pool(depth))
    return {name: default for name, default in found.items() if name not in given}


def _batch(queries: int) -> Default:
    """Return the largest power of two with at least 100 steps per epoch, from 8 to 32.

    With 7 negatives and 256 tokens, 32 is the largest without gradient caching, which costs a third more.
    """
    batch = 8
    while batch < 32 and queries >= 200 * batch:
        batch *= 2
    give = counted(queries, "training query gives", "training queries give")
    return Default(batch, f"{give} {counted(-(-queries // batch), 'step', 'steps')} an epoch")


def _epochs(per_epoch: int) -> Default:
    """Return the epochs for 250 steps, from 1 to 5."""
    epochs = max(1, min(5, -(-250 // max(1, per_epoch))))
    return Default(epochs, f"{counted(epochs * per_epoch, 'step', 'steps')} in all")


def _refresh(whole: int) -> Default:
    """Return the paper's tenth, or more where that would be fewer than 50 steps; at most a third."""
    share = max(0.1, min(0.3, round(50 / max(1, whole), 2)))
    steps = counted(max(1, round(share * whole)), "step", "steps")
    return Default(share, f"every episode but the long one takes {steps}")


def _rate(facts: Facts) -> Default:
    if facts.kind == "static":
        return Default(5e-3, "static embeddings take large steps")
    if facts.kind == "adapter":
        return Default(1e-4, "adapters take larger steps than whole models")
    base = 5e-5 if facts.kind == "encoder" else 2e-5
    rate = float(f"{base * BASE_WIDTH / (facts.width or BASE_WIDTH):.1e}")  # two figures, read at a glance
    width = f"width {facts.width}" if facts.width else "of unknown width, taken as BERT-base"
    return Default(rate, f"{KINDS[facts.kind]}, {width}; smaller models take larger steps")


def _length(what: str, share: int, tokens: int, most: int | None, kind: Kind) -> Default:
    """Return a length for most texts: a multiple of 16 from 32 to 256, and no more than the model reads."""
    if kind == "static":
        return Default(None, "static embeddings read texts whole")
    low, high = 32, 256
    wanted = max(low, -(-tokens // 16) * 16)
    length = min(wanted, high, most or high)
    reason = f"{share}% of the {what} have at most {tokens:,} tokens"
    if length < wanted:
        reason += f", but {'the model reads no more' if length == most else 'more would cost more than it gives'}"
    return Default(length, reason)


def _depth(passages: int) -> Default:
    """Return the paper's 200, but at most a tenth of the corpus, and at least 24.

    With fewer, a good model retrieves mostly relevant passages, and too few negatives remain.
    """
    depth = min(200, max(LEAST_DEPTH, passages // 10))
    if depth == 200:
        return Default(depth, "the paper's")
    if depth == LEAST_DEPTH:
        return Default(depth, f"the least, of {passages:,} passages: of fewer, too many may be relevant")
    return Default(depth, f"a tenth of {passages:,} passages: the rest are not hard")


def _pool(depth: int) -> Default:
    """Return the paper's 30, but at most a third of a list: a single source gives twice that, without positives."""
    pool = max(1, min(30, depth // 3))
    return Default(
        pool, "the paper's for MS MARCO" if pool == 30 else "a third of a list, from which positives drop out"
    )
