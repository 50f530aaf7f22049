"""``mine_teleportation_negatives``: our negatives in the datasets of sentence-transformers' ``mine_hard_negatives``."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from datasets import Dataset
from sentence_transformers import CrossEncoder, SentenceTransformer

from ance_tele.console.errors import UserError, unknown
from ance_tele.dropin.drawing import FORMATS, OutputFormat, draw
from ance_tele.dropin.pairs import Pairs
from ance_tele.dropin.searching import (
    COUNT,
    COUNT_OR_NONE,
    check_arguments,
    check_cross_encoder,
    check_model,
    check_settings,
    searching,
)
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.in_use import Task
from ance_tele.encode.lengths import declared_length
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.pool import Pool
from ance_tele.mining.quota import quota_at
from ance_tele.runs.learning import Change, change

log = logging.getLogger(__name__)

Strategy: TypeAlias = Literal["random", "top"]


@dataclass(frozen=True)
class Mined:
    """What :func:`mine_teleportation_negatives` returns; the next mining takes it as ``history``.

    Attributes:
        dataset: Anchors, positives and negatives.
        pools: What was mined so far, one pool for each mining; the last is that of ``dataset``.
        reciprocal_ranks: Reciprocal rank of the first positive of each distinct anchor within 100, under the model that
            mined: float64 [anchors].
        change: Shares of anchors whose rank got worse, better, or stayed since the mining before; None in the first.
        key: Fingerprint of anchors, positives and corpus.

    Example:
        >>> from datasets import Dataset
        >>> from sentence_transformers import SentenceTransformer
        >>> model = SentenceTransformer("my-model", device="cpu")
        >>> pairs = Dataset.from_dict({"query": ["t1 u7", "t2 u8"], "answer": ["t1 u7 w9", "t2 u8 w5"]})
        >>> mined = mine_teleportation_negatives(pairs, model, corpus=["t1 w3", "t2 w4"], num_negatives=1)
        >>> isinstance(mined, Mined), 0 < mined.training_mrr <= 1, mined.change is None
        (True, True, True)
    """

    dataset: Dataset
    pools: tuple[Pool, ...] = field(repr=False)
    reciprocal_ranks: np.ndarray = field(repr=False)
    change: Change | None
    key: str = field(repr=False)

    @property
    def training_mrr(self) -> float:
        """MRR@100 of the distinct anchors among all texts, under the model that mined."""
        return float(self.reciprocal_ranks.mean())


def mine_teleportation_negatives(
    dataset: Dataset,
    model: SentenceTransformer,
    anchor_column_name: str | None = None,
    positive_column_name: str | None = None,
    corpus: Sequence[str] | None = None,
    cross_encoder: CrossEncoder | str | None = None,
    range_min: int = 0,
    max_score: float | None = None,
    absolute_margin: float | None = None,
    relative_margin: float | None = None,
    num_negatives: int = 3,
    sampling_strategy: Strategy = "random",
    query_prompt_name: str | None = None,
    query_prompt: str | None = None,
    corpus_prompt_name: str | None = None,
    corpus_prompt: str | None = None,
    output_format: OutputFormat = "triplet",
    output_scores: bool = False,
    batch_size: int | None = None,
    *,
    precision: Literal["auto", "float32", "bf16"] = "auto",
    history: Mined | None = None,
    alpha: float = 0.5,
    beta: float = 0.5,
    depth: int = 200,
    pool_per_source: int = 30,
    momentum: Literal["weighted", "all"] = "weighted",
    seed: int = 42,
    cache: Path | None = None,
) -> Mined:
    """Mine query, lookahead and momentum negatives for a dataset of (anchor, positive) pairs.

    Arguments and datasets are those of ``sentence_transformers.util.mine_hard_negatives`` where they have its names.
    Different are: ``sampling_strategy`` is "random" by default, as training draws; texts are compared by the similarity
    that the model declares, where it is cosine for all models there; the anchor itself and copies of its positives but
    for white space are no negatives; a name of a column that is not there is an error; vectors are never kept.

    Args:
        dataset: Rows of an anchor and a positive; equal anchors are one, with the positives of all of their rows.
        model: Any dense model; its mode and all random number generators are left as they are.
        anchor_column_name: Column of anchors; the first by default.
        positive_column_name: Column of positives; the second by default.
        corpus: Texts to mine in addition to the positives.
        cross_encoder: A cross-encoder (or its folder or hub name) whose scores decide on the margins and ``max_score``
            instead of the model's, and order the negatives.
        range_min: Skip so many of the best negatives of each list.
        max_score: Leave out negatives that score above this.
        absolute_margin: Leave out negatives that score less than this below the positive (of several, the lowest).
        relative_margin: Leave out negatives that score above the positive less this share of its magnitude.
        num_negatives: Of each anchor.
        sampling_strategy: "random" draws from the pool; "top" takes the best of each list.
        query_prompt_name: Name of the model's prompt for anchors.
        query_prompt: Text of it, which wins; by default that of ``encode_query``.
        corpus_prompt_name: Name of the model's prompt for all other texts.
        corpus_prompt: Text of it, which wins; by default that of ``encode_document``.
        output_format: "triplet", "n-tuple", "labeled-pair" or "labeled-list".
        output_scores: Add the scores of positives and negatives.
        batch_size: Texts encoded at a time; by default as many as make 32,768 tokens.
        precision: Of encoding; "auto" is bf16 where the hardware is faster with it, float32 otherwise.
        history: What an earlier mining of the same dataset has returned: there are momentum negatives then.
        alpha: Share of momentum negatives in the pool, where there is a past.
        beta: Share of lookahead negatives among those newly mined; with 0 there are none.
        depth: Length of a mined list.
        pool_per_source: Drawn from each list into the pool.
        momentum: "weighted" draws from the last pool by ``alpha``; "all" takes the whole of it.
        seed: Of all draws.
        cache: Folder of Arrow files and tokens; that of the package by default.

    Returns:
        The dataset, and what the next mining takes as ``history``.

    Raises:
        UserError: A column is missing, a setting is not possible, or the history is of another dataset.

    Example:
        >>> from datasets import Dataset
        >>> from sentence_transformers import SentenceTransformer
        >>> model = SentenceTransformer("my-model", device="cpu")
        >>> pairs = Dataset.from_dict({"query": ["t1 u7", "t2 u8"], "answer": ["t1 u7 w9", "t2 u8 w5"]})
        >>> corpus = ["t1 w3", "t2 w4", "t1 w9"]
        >>> mined = mine_teleportation_negatives(pairs, model, corpus=corpus, num_negatives=2, output_format="n-tuple")
        >>> mined.dataset.column_names, len(mined.dataset)
        (['query', 'answer', 'negative_1', 'negative_2'], 2)
        >>> later = mine_teleportation_negatives(pairs, model, corpus=corpus, num_negatives=2, history=mined)
        >>> len(later.pools), later.change.unchanged
        (2, 1.0)
    """
    if output_format not in FORMATS:
        raise UserError(unknown("output_format", output_format, FORMATS))
    check_arguments(
        num_negatives=(num_negatives, COUNT),
        sampling_strategy=(sampling_strategy, Strategy),
        batch_size=(batch_size, COUNT_OR_NONE),
        seed=(seed, int),
    )
    if history is not None and not isinstance(history, Mined):
        raise UserError(f"history is a {type(history).__name__}; give what the mining before has returned.")
    if cross_encoder is not None:
        check_cross_encoder("cross_encoder", cross_encoder)
    check_model(model)
    config = MiningConfig(
        depth=depth,
        pool_per_source=pool_per_source,
        alpha=alpha,
        beta=beta,
        momentum=momentum,
        range_min=range_min,
        max_score=max_score,
        absolute_margin=absolute_margin,
        relative_margin=relative_margin,
    )
    encoder = EncoderConfig(
        query_prompt=_prompt(model, query_prompt, query_prompt_name),
        passage_prompt=_prompt(model, corpus_prompt, corpus_prompt_name),
        precision=precision,
    )
    check_settings(config, encoder)
    past = () if history is None else history.pools
    drawn_from = quota_at(config, len(past) + 1).total
    if num_negatives > drawn_from:
        raise UserError(f"num_negatives is {num_negatives}, but the pool holds {drawn_from}; raise pool_per_source.")
    if cross_encoder is not None and not config.needs_scores:
        raise UserError("There is a cross_encoder, but nothing for it to decide; set a margin or max_score too.")
    pairs = Pairs.of(dataset, corpus, anchor_column_name, positive_column_name, cache)
    key = pairs.training.key
    if history is not None and history.key != key:
        raise UserError("The history is of other anchors, positives or corpus; leave it out, or give the same dataset.")
    if batch_size is not None:
        encoder = replace(encoder, encode_tokens=batch_size * _longest(model))
    with searching(pairs, model, config, encoder, again=history is not None) as searched:
        score = searched.scores(cross_encoder)
        pool, dropped = searched.pool(past, seed, score, sampling_strategy == "top")
        drawn = draw(pairs, pool, num_negatives, seed, score, sampling_strategy == "top")
        ranks = searched.reciprocal_ranks
    for name, counts in dropped.items():
        if any(counts.values()):
            log.info(f"{name} left out {sum(counts.values()):,} candidates")
    mined = Dataset.from_dict(drawn.rows_of(output_format, output_scores))
    if drawn.short:
        left = " and are left out" if output_format == "n-tuple" else ""
        few = f"{drawn.short:,} of {len(ranks):,} anchors have fewer than {num_negatives} negatives{left}"
        if not len(mined):
            raise UserError(f"{few}, so there is no row; lower num_negatives, raise depth, or give a larger corpus.")
        log.warning(few)
    changed = None if history is None else change(history.reciprocal_ranks, ranks)
    return Mined(mined, (*past, pool), ranks, changed, key)


def _prompt(model: SentenceTransformer, text: str | None, name: str | None) -> str | None:
    """Return a prompt given as text or by its name in the model; None for the model's own."""
    if text is not None or name is None:
        return text
    if name not in model.prompts:
        raise UserError(unknown("prompt of the model", name, model.prompts))
    return str(model.prompts[name])


def _longest(model: SentenceTransformer) -> int:
    """Return the most tokens that a model reads of a text."""
    tasks: tuple[Task, ...] = ("query", "document")
    return max(declared_length(model, task) or 512 for task in tasks)
