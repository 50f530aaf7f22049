"""Plans as plain text."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from io import StringIO
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from ance_tele.console.numbers import DASH, count, counted, duration, words
from ance_tele.mining.plugins import every_source
from ance_tele.plan.assumed import GIB
from ance_tele.plan.plan import paper_share, refresh_seconds, scaled
from ance_tele.plan.work import Plan
from ance_tele.store.plugins import is_plugin, plain_name

_FLOPS = (("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9))


def content(made: Plan) -> dict[str, Any]:
    """Return a plan in numbers: work by phase, seconds, bytes."""
    return {
        "recipe": made.recipe.name,
        "gpu": made.gpu.name,
        "work": [asdict(phase) for phase in made.phases],
        "steps": sum(phase.amount for phase in made.of("train")) if made.phases else 0,
        "seconds": made.seconds if made.phases else 0.0,
        "disk_bytes": sum(made.disk.values()) if made.phases else 0.0,
        "gpu_bytes": max(made.gpu_memory.values()) if made.phases else 0.0,
        "host_bytes": made.host_memory if made.phases else 0.0,
    }


def render(made: Plan) -> str:
    """Return a plan as plain text of at most 100 columns."""
    shape, gpu = made.shape, made.gpu
    bits = "16 bits" if gpu.bf16 or gpu.kind == "GPU" else "float32"
    out = StringIO()
    console = Console(file=out, width=100, color_system=None, highlight=False, markup=False)
    console.print(
        f"{made.recipe.name}: {count(made.passages)} passages, {count(made.train_queries)} queries to train on, "
        f"{count(made.eval_queries)} to measure."
    )
    if not made.phases:
        console.print("No model: nothing runs on the GPU.")
        return out.getvalue()
    console.print(
        f"{shape.name}: {shape.layers} layers x {shape.hidden}, {_large(shape.parameters)} parameters. "
        f"{_gpus(made)}{gpu.name}: {gpu.tflops:.3g} TFLOP/s in {bits}{' each' if made.gpus > 1 else ''}."
    )
    if steps := [count(phase.amount) for phase in made.of("train")]:
        console.print(
            f"{counted(made.steps_per_epoch, 'step', 'steps')} an epoch, {count(made.whole)} in all epochs; "
            f"the episodes take {words(steps)}{' (gradients cached)' if made.cached else ''}."
        )
    for part in (_phases(made), _space(made), _paper_hours(made) if made.paper else None):
        if part is not None:
            console.print()
            console.print(part)
    console.print()
    for note in (*_assumptions(made), *notes(made)):
        console.print(note)
    return out.getvalue()


def _gpus(made: Plan) -> str:
    if made.gpus == 1:
        return "One "
    return f"{counted(made.nodes, 'node', 'nodes')} x {made.processes} " if made.nodes > 1 else f"{made.processes} x "


def _table(*headings: str, right: int) -> Table:
    """Return an empty table whose columns from number ``right`` on are right-aligned."""
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number >= right else "left")
    return table


def _phases(made: Plan) -> Table:
    unit, one = next(((name, one) for name, one in _FLOPS if made.flops >= one), _FLOPS[-1])
    table = _table("episode", "phase", "work", unit, "time", right=2)
    before = -1
    for phase in made.phases:
        if phase.episode != before and before >= 0:
            table.add_section()
        name = str(phase.episode) if phase.episode != before else ""
        flops = f"{phase.flops / one:,.1f}" if phase.flops else DASH
        table.add_row(name, phase.name, f"{count(phase.amount)} {phase.unit}", flops, duration(phase.seconds))
        before = phase.episode
    table.add_section()
    table.add_row("all", "", "", f"{made.flops / one:,.1f}", duration(made.seconds))
    return table


def _space(made: Plan) -> Table:
    table = _table("space", "GiB", "of which", right=1)
    table.columns[2].justify = "left"
    table.add_row("disk", _gib(sum(made.disk.values())), _each(made.disk))
    most = max(made.gpu_memory.values())
    fits = "" if most <= made.gpu.memory * GIB else f"; more than its {made.gpu.memory:g}: set grad_cache to true"
    table.add_row(
        made.gpu.kind if made.gpus == 1 else "each GPU",
        _gib(most),
        f"{_each(made.gpu_memory)}, one after another{fits}",
    )
    table.add_row("host", _gib(made.host_memory), "")
    return table


def _paper_hours(made: Plan) -> Table:
    """Compare the plan's hours with the paper's, as published and scaled to this GPU."""
    paper = made.paper
    assert paper is not None, "the paper has no hours for this work"
    theirs = f"paper, {paper.gpus} x {paper.gpu}"
    table = _table("hours", "this plan", theirs, f"scaled to one {made.gpu.name}", right=1)
    ours = [(f"training, episode {phase.episode}", phase.seconds) for phase in made.of("train")]
    ours.append((f"index refresh, each of {paper.refreshes}", refresh_seconds(made)))
    ours.append(("training and refreshes", sum(s for _, s in ours[:-1]) + paper.refreshes * refresh_seconds(made)))
    for (name, seconds), published in zip(ours, (*paper.training, paper.refresh, paper.overall), strict=True):
        table.add_row(name, f"{seconds / 3600:.1f}", f"{published:.1f}", f"{scaled(made, published):.1f}")
    return table


def _assumptions(made: Plan) -> Iterator[str]:
    assumed = made.assumed
    shares = f"{assumed.training:.0%} of the {made.gpu.kind}'s peak in training, {assumed.encoding:.0%} in encoding"
    yield (
        f"Assumed: {assumed.passage_tokens:g} tokens a passage and {assumed.query_tokens:g} a query on average; "
        f"{'' if assumed.measured else f'{shares}, '}"
        f"{assumed.searching:.0%} of the float32 peak ({made.gpu.tflops_float32:.3g} TFLOP/s) in searching; "
        f"{assumed.tokenised:,.0f} tokens tokenised and {assumed.mixed:,.0f} candidates mixed a second."
    )
    if assumed.measured:
        yield f"Measured {assumed.measured}: {shares}."
    if made.of("judge", "score pool"):
        yield (
            f"Teacher: {made.teacher.layers} layers x {made.teacher.hidden}; {made.pairs_per_second:,.0f} pairs a "
            f"second on one GPU, at its share in encoding{', which all share' if made.gpus > 1 else ''}."
        )
    if made.gpus > 1:
        link = f"{assumed.network:g} GB/s between nodes" if made.nodes > 1 else f"NVLink, {assumed.nvlink:g} GB/s"
        yield (
            f"Assumed of {made.gpus:,} processes with a GPU each: the texts of a step divide evenly, summing gradients "
            f"adds {1000 * made.summing:.1f} ms a step ({link}), vectors go to and from a shared disk at "
            f"{assumed.disk:g} GB/s; tokenising and mixing are one process's."
        )
    if made.paper:
        yield (
            f"The paper's hours (Table 6) are of {made.paper.gpus} x {made.paper.gpu} in fp16; by the FLOPs counted "
            f"here its training reached {paper_share(made):.0%} of their peak. Scaled: at that share of this GPU's."
        )


def notes(made: Plan) -> Iterator[str]:
    """Yield sentences on what the figures leave out."""
    if made.recipe.lexical or "bm25" in made.recipe.evaluation.baselines:
        yield "BM25 runs on the CPU; its hours are not in the plan."
    elif any("bm25" in made.recipe.mining.sources_at(e) for e in range(1, made.episodes + 1)):
        yield "BM25 negatives are searched on the CPU; those hours are not in the plan."
    named = (*every_source(made.recipe.mining), *made.recipe.mining.filters)
    own = [plain_name(name) for name in named if is_plugin(name)]
    if own and made.episodes:
        yield f"The hours of your own {' and '.join(own)} are not in the plan."
    if made.recipe.teaching.unlabelled_queries and made.episodes:
        yield "For how many unlabelled queries there are positives is not known: their steps are not in the plan."
    if made.recipe.mining.filter_answers:
        yield "Matching answers runs on the CPU; its hours are not in the plan."
    if made.episodes and (made.recipe.training.lora_rank or made.recipe.training.gradient_checkpointing):
        yield "Memory is planned for training all weights; lora_rank and gradient_checkpointing need less."
    if not made.gpu.bf16 and made.gpu.kind == "GPU" and not made.recipe.lexical:
        peak = f"{made.gpu.tflops_float32:g} TFLOP/s"
        yield f"A {made.gpu.name} has no bf16: runs compute in float32, at a peak of {peak}."


def _each(sizes: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {_gib(size)}" for name, size in sizes.items() if size)


def _large(number: int) -> str:
    return f"{number / 1e6:.1f} M" if number >= 1e5 else count(number)


def _gib(size: float) -> str:
    return "<0.1" if 0 < size < GIB / 20 else f"{size / GIB:,.1f}"
