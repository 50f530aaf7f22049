"""What a run will take, by its settings and a few counts: no data, no torch, no GPU.

Work becomes time by the assumptions of :class:`~ance_tele.plan.work.Assumed`. One process, one GPU.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ance_tele.console.errors import UserError
from ance_tele.paper.figures import Hours, benchmark_of, hours, sizes
from ance_tele.plan.hardware import GPU, GPUS, ModelShape, gpu_of
from ance_tele.plan.work import TOKENS, Assumed, Phase, Work, cut
from ance_tele.settings import Recipe

# Recipes whose hours Table 6 gives.
PAPER_TIMED = ("ance-tele", "marco", "nq", "triviaqa")


@dataclass(frozen=True)
class Plan:
    """What a run will take.

    Attributes:
        recipe: Its name.
        counts: Passages, queries, training queries, queries that are measured.
        shape: Of the model.
        gpu: The one GPU.
        assumed: What was assumed.
        steps_per_epoch: ceil(training queries / batch_queries).
        whole: Steps of all epochs.
        cached: Whether gradients are cached, which takes a second forward pass.
        phases: In the order of the run.
        disk: Bytes by kind of artefact, at the fullest moment.
        gpu_memory: Bytes by activity.
        host_memory: Bytes of the process at its peak, without what is memory-mapped.
        paper: The paper's hours for the same work (Table 6), where it gives any.
        notes: What the figures leave out.
    """

    recipe: str
    counts: Mapping[str, int]
    shape: ModelShape
    gpu: GPU
    assumed: Assumed
    steps_per_epoch: int
    whole: int
    cached: bool
    phases: tuple[Phase, ...]
    disk: Mapping[str, float]
    gpu_memory: Mapping[str, float]
    host_memory: float
    paper: Hours | None = None
    notes: tuple[str, ...] = ()

    @property
    def flops(self) -> float:
        """Operations of all phases."""
        return sum(phase.flops for phase in self.phases)

    @property
    def seconds(self) -> float:
        """Time of all phases."""
        return sum(phase.seconds for phase in self.phases)

    def of(self, name: str) -> list[Phase]:
        """Return the phases of a name."""
        return [phase for phase in self.phases if phase.name == name]

    def refresh_seconds(self) -> float:
        """Return the mean time of an index refresh: encode the corpus, search for queries and positives, mix."""
        episodes = len(self.of("train"))
        names = ("encode corpus", "search queries", "search positives", "mix")
        spent = sum(
            p.seconds for p in self.phases if p.name in names and (p.name != "encode corpus" or p.episode < episodes)
        )
        return spent / episodes if episodes else 0.0

    def paper_share(self) -> float:
        """Return the share of its GPUs' 16-bit peak that the paper's training reached, by the FLOPs counted here.

        Without the second forward pass of gradient caching, which is no part of the method.
        """
        assert self.paper is not None, "the paper has no hours for this work"
        flops = sum(phase.flops for phase in self.of("train")) * (3 / 4 if self.cached else 1)
        return flops / (3600 * sum(self.paper.training) * self.paper.gpus * GPUS[self.paper.gpu].tflops * 1e12)

    def scaled(self, paper_hours: float) -> float:
        """Return hours of the paper for this one GPU, were it used at the same share of its 16-bit peak."""
        assert self.paper is not None, "the paper has no hours for this work"
        return paper_hours * self.paper.gpus * GPUS[self.paper.gpu].tflops / self.gpu.tflops


def plan(
    recipe: Recipe,
    passages: int,
    queries: int,
    train_queries: int,
    eval_queries: int,
    model_shape: ModelShape | None = None,
    gpu: GPU | str = "A100-40G",
    collection: str = "",
    assumed: Assumed | None = None,
    positives: int | None = None,
    pairs: int | None = None,
) -> Plan:
    """Count what a run will take.

    Args:
        recipe: Its settings.
        passages: Size of the corpus.
        queries: All queries of the collection.
        train_queries: Those with a relevant passage to train on.
        eval_queries: Those of the split that every episode is measured on.
        model_shape: Of the model; BERT-base by default.
        gpu: One of :data:`ance_tele.plan.hardware.GPUS`, or any other as an object.
        collection: Its name, by which mean lengths and the paper's hours are known; the recipe's by default.
        assumed: Lengths and rates, where they are known better.
        positives: Distinct relevant passages of the training queries; one for each query by default.
        pairs: Pairs of training query and relevant passage, where ``positives`` is "all"; likewise.

    Raises:
        UserError: The GPU is not in the table.
    """
    gpu = gpu_of(gpu) if isinstance(gpu, str) else gpu
    shape = model_shape or ModelShape()
    benchmark = benchmark_of(collection) or benchmark_of(recipe.name)
    assumed = cut(assumed or Assumed(*TOKENS[benchmark]), recipe)
    used = min(train_queries, recipe.episode.max_train_queries or train_queries)
    examples = (
        round((pairs or train_queries) * used / max(1, train_queries)) if recipe.training.positives == "all" else used
    )
    train_queries = used
    around = positives or train_queries
    work = Work(recipe, passages, queries, train_queries, eval_queries, shape, gpu, assumed, around, examples)
    per_epoch = -(-examples // recipe.training.batch_queries)
    published = sizes(benchmark or "")
    timed = recipe.name in PAPER_TIMED and recipe.episode.episodes == 3 and recipe.episode.max_train_queries is None
    at_scale = timed and published is not None and passages == published.passages
    return Plan(
        recipe.name,
        {"passages": passages, "queries": queries, "train_queries": train_queries, "eval_queries": eval_queries},
        shape,
        gpu,
        assumed,
        per_epoch,
        per_epoch * recipe.training.epochs,
        work.cached,
        tuple(work.phases()),
        work.disk(),
        work.gpu_memory(),
        work.host_memory(),
        hours(benchmark or "") if at_scale else None,
        tuple(work.notes()),
    )


def plan_benchmark(
    recipe: Recipe, collection: str, model_shape: ModelShape | None = None, gpu: GPU | str = "A100-40G"
) -> Plan:
    """Plan a run on a benchmark by its published size (Table 4), without its data.

    MS MARCO is measured on Dev, NQ and TriviaQA on Test.

    Raises:
        UserError: It is none of the paper's benchmarks, or the GPU is not in the table.
    """
    size = sizes(collection)
    if size is None:
        raise UserError(
            f"The size of '{collection}' is not published; give the collection itself, or marco, nq, triviaqa."
        )
    measured = size.dev if recipe.evaluation.split == "dev" else size.test
    total = size.train + size.dev + size.test
    return plan(recipe, size.passages, total, size.train, measured, model_shape, gpu, collection)
