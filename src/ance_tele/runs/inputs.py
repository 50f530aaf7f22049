"""The inputs of a run: recipe, collection and initial model, and what all phases share."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ance_tele.console.errors import UserError
from ance_tele.console.log import muted
from ance_tele.data.collection import Collection
from ance_tele.data.grades import ReviewAs, ReviewUse
from ance_tele.data.reviewed import Review, load_review
from ance_tele.encode.checkpoint import Checkpoint, TokenizedCollection
from ance_tele.encode.prompts import with_common_prompt
from ance_tele.engine.executor import IN_PROCESS, Executor
from ance_tele.evaluate.evaluation import Evaluation
from ance_tele.evaluate.given import GivenRun, given_runs
from ance_tele.runs.folder import Episode, OpenedRun, RunFolder
from ance_tele.runs.identity import agreeing, portable
from ance_tele.runs.training_set import TrainingSet, notices
from ance_tele.search.bm25 import BM25Retriever
from ance_tele.search.dense import DenseRetriever
from ance_tele.search.ensemble import EnsembleRetriever
from ance_tele.search.retriever import Retriever
from ance_tele.search.scorer import CrossEncoderScorer
from ance_tele.settings import Recipe
from ance_tele.store.urls import is_url

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunInputs:
    """The inputs of a run; ``start``, the initial model, is None for a recipe without one.

    ``cross_encoder`` replaces the model in filters; ``evaluations`` holds the evaluation of each split; ``executor``
    decides in which processes models run; ``given`` are runs of other systems to compare with.
    """

    recipe: Recipe
    collection: Collection
    folder: RunFolder
    start: Checkpoint | None
    tokens: TokenizedCollection
    bm25: BM25Retriever
    review: Review | None
    cross_encoder: CrossEncoderScorer | None
    evaluations: dict[str, Evaluation]
    executor: Executor = IN_PROCESS
    given: tuple[GivenRun, ...] = ()

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        collection: Collection,
        model: str | Path | None,
        out: str | Path,
        cache: Path | None = None,
        review: str | Path | None = None,
        review_as: ReviewAs | ReviewUse = "exclude",
        announce: bool = True,
        executor: Executor = IN_PROCESS,
        beside: Mapping[str, str | Path] | None = None,
    ) -> "RunInputs":
        """Return the inputs of a run; models are loaded and texts tokenised on first use.

        With ``announce``, facts about the initial model and lengths of texts are logged.

        Raises:
            UserError: A split is missing, or the review cannot be used, or ``out`` is a URL.
        """
        if is_url(out):
            raise UserError(f"{out} is a URL: give the folder of `with ance_tele.runs.working_copy.kept_at(url)`.")
        recipe, collection = agreeing(recipe, collection, cache)
        recipe = portable(recipe)
        verdicts = None if review is None else load_review(review, collection, review_as)
        splits = [recipe.evaluation.split, *(["test"] if "test" in collection.qrels else [])]
        evaluations = {split: Evaluation.of(recipe.evaluation, collection, split) for split in dict.fromkeys(splits)}
        start = None
        if model is not None:
            with muted(not announce):
                config = with_common_prompt(recipe.encoder, collection)
            start = Checkpoint(model, config, announce=announce)
        tokens, cross_encoder = TokenizedCollection(start, collection, recipe.encoder, cache), None
        if recipe.mining.cross_encoder is not None:
            cross_encoder = CrossEncoderScorer(recipe.mining.cross_encoder, recipe.encoder, collection)
        bm25 = BM25Retriever(collection, recipe.evaluation.language)
        parts = (start, tokens, bm25, verdicts, cross_encoder, evaluations, executor)
        return cls(recipe, collection, RunFolder(Path(out)), *parts, given_runs(beside or {}, collection))

    def retriever(self, checkpoint: Checkpoint, number: int) -> DenseRetriever:
        """Return the retriever of a checkpoint, given its number."""
        vectors = self.folder.checkpoint(number) / "vectors"
        given = checkpoint, self.tokens, self.recipe.encoder, vectors
        if not (number and self.recipe.episode.ensemble):
            return DenseRetriever(*given, executor=self.executor)
        weights = self.folder.weights(number - 1)
        before = weights and (self.folder.checkpoint(number - 1) / "vectors", weights)
        return EnsembleRetriever(*given, before=before or None, executor=self.executor)

    @cached_property
    def teacher(self) -> CrossEncoderScorer | None:
        """The cross-encoder that the recipe learns from, loaded on first use; None where it learns from none.

        Raises:
            UserError: The recipe learns from one, and none is given.
        """
        name = teacher_of(self.recipe)
        return None if name is None else CrossEncoderScorer(name, self.recipe.encoder, self.collection)

    @cached_property
    def judged(self) -> TrainingSet | None:
        """The training set by judgements and review alone; None if positives are also found by answer.

        Raises:
            UserError: No query has a positive.
        """
        mining = self.recipe.mining
        if mining.without_positive != "drop" and len(self.collection.answers):
            return None
        return TrainingSet.of(self.collection, mining, self.recipe.episode.max_train_queries, self.review)

    def training_set(self) -> TrainingSet:
        """Return the training set; positives by answer are searched for now.

        Raises:
            UserError: No query has a positive.
        """
        if not self.recipe.episode.episodes:
            return TrainingSet.none(self.collection)
        training = self.judged
        if training is None:
            assert self.start is not None
            mining, limit = self.recipe.mining, self.recipe.episode.max_train_queries
            ranker = self.retriever(self.start, 0) if mining.without_positive == "model" else self.bm25
            training = TrainingSet.of(self.collection, mining, limit, self.review, self.folder.path, ranker)
        for line in notices(training, self.recipe):
            log.info(line)
        training.write(self.folder.path / "positives.parquet")
        return training

    @property
    def final_split(self) -> str:
        """The split of the final evaluation: test if there is one."""
        return "test" if "test" in self.collection.qrels else self.recipe.evaluation.split

    def episodes(self) -> Iterator[Episode]:
        """Yield the episodes of the run."""
        for number in range(1, self.recipe.episode.episodes + 1):
            yield Episode(number, self.recipe, self.folder)

    def opened(self) -> OpenedRun:
        """Return the run as an :class:`OpenedRun`."""
        model = None if self.start is None else str(self.start.name)
        return OpenedRun(self.folder, self.recipe, self.collection, model, self.review)

    def tag(self, retriever: Retriever, number: int) -> str:
        """Return a unique name of a system for TREC runs: recipe, seed, episode, digits of its fingerprint."""
        if not isinstance(retriever, DenseRetriever):
            return "bm25"
        name = f"{self.recipe.name}-s{self.recipe.episode.seed}-e{number}" if number else "zero-shot"
        return f"{name}-{retriever.checkpoint.weights[:6]}"


def teacher_of(recipe: Recipe) -> str | None:
    """Return the name of the cross-encoder that a recipe learns from; None where it learns from none.

    Raises:
        UserError: The recipe learns from one, and none is given.
    """
    teaching = recipe.teaching
    if not (teaching.asks and recipe.episode.episodes):
        return None  # one may be given all the same, for other systems of a comparison
    if teaching.teacher is None:
        raise UserError(
            f"Recipe {recipe.name} learns from a teacher: give a cross-encoder's folder or hub name with "
            "--teacher; `ance-tele teach` trains one."
        )
    return teaching.teacher
