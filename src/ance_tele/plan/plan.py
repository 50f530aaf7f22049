"""Estimated cost of a run from its settings and a few counts, without data, torch or a GPU."""

from dataclasses import replace
from pathlib import Path

from ance_tele.console.errors import UserError
from ance_tele.paper.figures import benchmark_of, hours, sizes
from ance_tele.plan.assumed import Assumed, assumed_for
from ance_tele.plan.hardware import GPU, GPUS, ModelShape, gpu_of
from ance_tele.plan.hardware import model_shape as model_shape_of
from ance_tele.plan.work import Plan
from ance_tele.settings import Recipe

# Recipes whose hours Table 6 gives.
PAPER_TIMED = ("ance-tele", "marco", "nq", "triviaqa")


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
    processes: int = 1,
    nodes: int = 1,
) -> Plan:
    """Estimate the cost of a run.

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
        processes: Processes of a node, each with a GPU of its own.
        nodes: Machines, which share a disk.

    Raises:
        UserError: The GPU is not in the table, or there are no processes or nodes.
    """
    for what, many in (("processes", processes), ("nodes", nodes)):
        if many < 1:
            raise UserError(f"{what} is {many}; it must be at least 1.")
    gpu = gpu_of(gpu) if isinstance(gpu, str) else gpu
    benchmark = benchmark_of(collection) or benchmark_of(recipe.name)
    used = min(train_queries, recipe.episode.max_train_queries or train_queries)
    examples = used
    if recipe.training.positives == "all":
        examples = round((pairs or train_queries) * used / max(1, train_queries))
    published = sizes(benchmark or "")
    timed = recipe.name in PAPER_TIMED and recipe.episode.episodes == 3 and recipe.episode.max_train_queries is None
    at_scale = timed and published is not None and passages == published.passages
    return Plan(
        recipe,
        passages,
        queries,
        used,
        eval_queries,
        model_shape or ModelShape(),
        gpu,
        _cut(assumed or assumed_for(recipe, gpu, benchmark), recipe),
        positives or used,
        examples,
        hours(benchmark or "") if at_scale else None,
        processes,
        nodes,
        _teacher(recipe, model_shape or ModelShape()),
    )


def _teacher(recipe: Recipe, model: ModelShape) -> ModelShape:
    """Return the shape of the teacher by its folder; the model's own where there is none."""
    name = recipe.teaching.teacher
    known = recipe.teaching.asks and name is not None and Path(name).is_dir()
    return model_shape_of(name) if known else model


def _cut(assumed: Assumed, recipe: Recipe) -> Assumed:
    """Limit mean lengths to the maximum lengths of the recipe."""
    queries, passages = recipe.encoder.query_max_len, recipe.encoder.passage_max_len
    return replace(
        assumed,
        query_tokens=min(assumed.query_tokens, queries or assumed.query_tokens),
        passage_tokens=min(assumed.passage_tokens, passages or assumed.passage_tokens),
    )


def plan_benchmark(
    recipe: Recipe,
    collection: str,
    model_shape: ModelShape | None = None,
    gpu: GPU | str = "A100-40G",
    processes: int = 1,
    nodes: int = 1,
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
    counts = size.passages, total, size.train, measured
    return plan(recipe, *counts, model_shape, gpu, collection, processes=processes, nodes=nodes)


def refresh_seconds(plan: Plan) -> float:
    """Return the mean time of an index refresh: encode the corpus, search for queries and positives, mix."""
    encoded = [phase for phase in plan.of("encode corpus") if phase.episode < plan.episodes]
    mined = plan.of("search queries", "search positives", "mix")
    return sum(phase.seconds for phase in (*encoded, *mined)) / max(1, plan.episodes)


def paper_share(plan: Plan) -> float:
    """Return the share of its GPUs' 16-bit peak that the paper's training reached, by the FLOPs counted here.

    Without the second forward pass of gradient caching, which is no part of the method.
    """
    assert plan.paper is not None, "the paper has no hours for this work"
    flops = sum(phase.flops for phase in plan.of("train")) * (3 / 4 if plan.cached else 1)
    return flops / (3600 * sum(plan.paper.training) * plan.paper.gpus * GPUS[plan.paper.gpu].tflops * 1e12)


def scaled(plan: Plan, paper_hours: float) -> float:
    """Return the paper's hours scaled to one GPU of this plan, at the same share of its 16-bit peak."""
    assert plan.paper is not None, "the paper has no hours for this work"
    return paper_hours * plan.paper.gpus * GPUS[plan.paper.gpu].tflops / plan.gpu.tflops
