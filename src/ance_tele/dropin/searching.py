"""Searching with a model in memory for the anchors of a dataset; candidates and pools from what is found."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer

from ance_tele.console.errors import UserError
from ance_tele.console.log import muted
from ance_tele.console.values import check, check_fields
from ance_tele.data.ragged import within
from ance_tele.dropin.pairs import Pairs
from ance_tele.encode.checkpoint import Checkpoint, TokenizedCollection
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.loading import adopt_model
from ance_tele.evaluate.evaluation import own_passages
from ance_tele.mining.candidates import CandidateLists, Candidates
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.context import MiningContext
from ance_tele.mining.filters import Dropped, filter_candidates
from ance_tele.mining.mine import mine
from ance_tele.mining.mix import mix
from ance_tele.mining.pool import Pool
from ance_tele.mining.quota import quota_at
from ance_tele.runs.learning import reciprocal_ranks
from ance_tele.search.dense import DenseRetriever
from ance_tele.search.retriever import PairScores
from ance_tele.search.scorer import CrossEncoderScorer, DenseScorer
from ance_tele.search.topk import TopK

# Sources that need more than pairs of texts.
_ELSEWHERE = ("bm25", "given")

# A pool counts the minings since a passage was first met in one byte.
MOST_MININGS = 255


@dataclass(frozen=True)
class Searched:
    """What a model finds for the anchors of a dataset; valid while :func:`searching` is open.

    Attributes:
        pairs: The dataset.
        retriever: The model over the distinct texts.
        config: The settings of mining.
        found: The ``config.depth`` nearest texts of each distinct anchor.
    """

    pairs: Pairs
    retriever: DenseRetriever
    config: MiningConfig
    found: TopK

    @cached_property
    def reciprocal_ranks(self) -> np.ndarray:
        """Reciprocal rank of each anchor's first positive within 100, 0 without: float64 [q].

        Texts that are the anchor itself do not count.
        """
        training = self.pairs.training
        own = own_passages(training.collection, training.positives, "text")
        ranked = CandidateLists.from_topk(self.found.without(*own, self.config.depth))
        return reciprocal_ranks(ranked, training.positives)

    def scores(self, cross_encoder: "CrossEncoder | str | None" = None) -> PairScores:
        """Return what scores pairs of an anchor and a text: the model, or a cross-encoder."""
        if cross_encoder is None:
            return DenseScorer(self.retriever).of(self.pairs.training.queries)
        check_cross_encoder("cross_encoder", cross_encoder)
        scorer = CrossEncoderScorer(cross_encoder, self.retriever.config, self.pairs.collection)
        return scorer.of(self.pairs.training.queries)

    def pool(self, history: Sequence[Pool], seed: int, score: PairScores, top: bool = False) -> tuple[Pool, Dropped]:
        """Mine, filter and mix the pool that follows those of ``history``.

        Args:
            history: The pools of all earlier minings, in order.
            seed: Of the draws.
            score: What decides on margins and ``max_score``.
            top: Take the best of each list, rather than draw from all of it.

        Returns:
            The pool; and how many candidates each filter dropped, by filter and source.

        Raises:
            UserError: No anchor has a negative.
        """
        training, config, episode = self.pairs.training, self.config, len(history) + 1
        if episode > MOST_MININGS:
            raise UserError(f"There were {MOST_MININGS} minings already, which is the most; mine less often.")

        def around(rows: np.ndarray) -> CandidateLists:
            vectors = self.retriever.vectors.take(rows)
            return CandidateLists.from_topk(self.retriever.nearest(vectors, config.depth, "searching around positives"))

        context = MiningContext(
            training.collection,
            training.positives,
            config,
            episode,
            seed,
            training.known,
            training.never,
            lambda: CandidateLists.from_topk(self.found),
            around,
            score=score,
        )
        candidates, dropped = filter_candidates(context, mine(context))
        if top:
            candidates = self._best(candidates, episode)
        pool = mix(candidates, training.known, config, episode, seed, history)
        if not len(pool):
            filters = [name for name, counts in dropped.items() if any(counts.values())]
            why = f"{', '.join(filters)} left out all others" if filters else "all that was found is relevant"
            raise UserError(
                f"There is no negative for any of the {len(training):,} anchors: {why}; loosen the margins, raise "
                "depth, or give a larger corpus."
            )
        return pool, dropped

    def _best(self, candidates: Candidates, episode: int) -> Candidates:
        """Return the best candidates of each list that are not relevant, as many as are drawn from it."""
        known, lists = self.pairs.training.never, {}
        sizes = quota_at(self.config, episode).new
        for source, one in candidates.lists.items():
            free = one.where(~known.among(one.query_positions, one.passages.astype(np.int64)))
            lists[source] = free.where(within(free.offsets) < sizes[source])
        return Candidates(candidates.queries, lists)


@contextmanager
def searching(
    pairs: Pairs, model: SentenceTransformer, config: MiningConfig, encoder: EncoderConfig, again: bool = False
) -> Iterator[Searched]:
    """Encode all texts with a model as it is now, in evaluation mode, and search for the anchors.

    The model's mode and all random number generators are as before when the block ends. Vectors live no longer
    than the block, so that none is ever read that other weights have made.

    Args:
        pairs: The dataset.
        model: Not modified.
        config: Sources, depth and filters.
        encoder: Prompts, lengths, precision.
        again: The model has been used before, so that nothing is logged about it.

    Raises:
        UserError: The model or the settings cannot be used.
    """
    check_model(model)
    check_settings(config, encoder)
    encoder = _as_loaded(model, encoder)
    was_training = [(module, module.training) for module in model.modules()]
    with _random_untouched(), TemporaryDirectory(dir=_made(pairs.cache)) as folder:
        try:
            with muted(again):
                adopted = adopt_model(model, encoder)
                checkpoint = Checkpoint(None, encoder, model=adopted, announce=not again)
                tokens = TokenizedCollection(checkpoint, pairs.collection, encoder, pairs.cache)
                retriever = DenseRetriever(checkpoint, tokens, encoder, Path(folder) / "vectors")
                found = retriever.search(pairs.training.queries, config.depth, "searching for anchors")
            yield Searched(pairs, retriever, config, found)
        finally:
            for module, mode in was_training:
                module.training = mode


def check_model(model: object) -> None:
    """Refuse what is no dense encoder.

    Raises:
        UserError: It is something else.
    """
    if not isinstance(model, SentenceTransformer):
        raise UserError(f"The model is a {type(model).__name__}; negatives are mined with a SentenceTransformer.")


COUNT, COUNT_OR_NONE = Annotated[int, (1, 1 << 20)], Annotated[int | None, (1, 1 << 20)]


def check_arguments(**given: tuple[object, Any]) -> None:
    """Refuse arguments, given with their types, of other types or out of their ranges.

    Raises:
        UserError: States name, value, and allowed values.
    """
    for name, (value, kind) in given.items():
        check(name, value, kind)


def check_cross_encoder(name: str, given: object) -> None:
    """Refuse what is neither a cross-encoder nor the name of one.

    Raises:
        UserError: It is something else.
    """
    if not isinstance(given, CrossEncoder | str | Path):
        raise UserError(f"{name} is a {type(given).__name__}; give a CrossEncoder, or its folder or hub name.")


def _check_kind(name: str, given: object, kind: type) -> None:
    """Refuse settings of another class, or out of their ranges."""
    if not isinstance(given, kind):
        raise UserError(f"{name} is a {type(given).__name__}; it must be an ance_tele.{kind.__name__}.")
    check_fields(given)


def check_settings(config: MiningConfig, encoder: EncoderConfig) -> None:
    """Refuse settings out of their ranges, and those that need more than pairs of texts.

    Raises:
        UserError: A setting or source is not possible here.
    """
    _check_kind("mining", config, MiningConfig)
    _check_kind("encoder", encoder, EncoderConfig)
    config.check()
    for source in (*config.sources, *(config.first_sources or ())):
        if source in _ELSEWHERE:
            raise UserError(
                f"The source '{source}' needs a collection: ance-tele run; here there are query and lookahead."
            )
    if config.search != "exact":
        raise UserError(f"search is '{config.search}', but here passages are found exactly; leave it out.")


def _as_loaded(model: SentenceTransformer, encoder: EncoderConfig) -> EncoderConfig:
    """Return the settings with the precision of weights that were loaded in half precision."""
    kind = next((one.dtype for one in model.parameters() if one.is_floating_point()), torch.float32)
    if kind == torch.bfloat16:
        return replace(encoder, precision="bf16")
    return replace(encoder, precision="float32") if kind == torch.float16 else encoder


@contextmanager
def _random_untouched() -> Iterator[None]:
    """Restore the state of Python's, numpy's and torch's generators when the block ends."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
