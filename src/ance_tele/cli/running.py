"""The verb `run`: carry out a recipe, or estimate its cost."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from ance_tele.cli.common import (
    ADDRESS,
    BESIDE,
    ENGINE,
    HINTS,
    PROCESSES,
    chosen_recipe,
    conclude,
    echo,
    introduce,
    need,
    print_config,
)
from ance_tele.cli.flags import Flag, Given, Result, Verb, switch
from ance_tele.cli.setting_flags import CONFIG, recipe_flags
from ance_tele.console.errors import UserError
from ance_tele.console.garbage import importing
from ance_tele.data.grades import ReviewAs, ReviewUse
from ance_tele.engine.choose import executor_for, serve_other_ranks
from ance_tele.evaluate.config import BASELINES
from ance_tele.paper.settings import START_OF_SCALE, start_of
from ance_tele.settings import Recipe
from ance_tele.store.urls import is_url

if TYPE_CHECKING:
    from ance_tele.data.collection import Collection
    from ance_tele.plan.hardware import GPU, ModelShape
    from ance_tele.plan.work import Plan


def run_verb(given: Given) -> Result:
    """Carry out a recipe, or print a plan of its cost."""
    from ance_tele.evaluate.given import named_runs
    from ance_tele.mining.plugins import load_all
    from ance_tele.runs.identity import collection_for
    from ance_tele.runs.working_copy import kept_at

    chosen = chosen_recipe(given)
    if given.print_config:
        return print_config(given, chosen.settings())
    load_all(chosen.mining)  # before data of any size are read
    if given.plan or given.dry_run:
        return plan_verb(chosen, given)
    if given.nodes != 1:
        raise UserError("--nodes goes with --plan; processes on several machines are started by torchrun, srun or Ray.")
    need(given, "data", "out")
    if serve_other_ranks():
        return None
    model = None if chosen.lexical else given.model or START_OF_SCALE.get(given.recipe.partition("/")[0])
    if not chosen.lexical and not model:
        need(given, "model")
    collection = collection_for(chosen, given.data)
    introduce(collection)
    chosen = _on_dev_without_test(chosen, collection, given)
    echo(f"recipe {chosen.name}, model {model or 'none'}, seed {chosen.episode.seed}")

    from ance_tele.plan.facts import AtHand
    from ance_tele.plan.suited import suited

    start, review = start_of(model) if model else None, given.review
    use = ReviewUse(given.review_as, given.review_doubtful, given.review_irrelevant, given.review_grades)
    beside = named_runs(given.beside, BASELINES)
    with kept_at(given.out) as out:
        with importing():  # loads torch: after all that can be refused without it
            from ance_tele.encode.files import resolve
            from ance_tele.episode import run

        if start is not None:
            resolve(start)  # before its defaults are listed: of a model that is none they would be guesses
        chosen = suited(chosen, AtHand(collection, start), given.settings, out)
        with executor_for(given.processes, given.engine, given.address) as executor:
            run(chosen, collection, start, out, given.data, None, None, review, use, executor, beside)
    return conclude(out, given.out)


def there(chosen: Recipe, out: Path) -> dict[str, Any]:
    """Print the phases of a run and which of them its folder holds already; return them."""
    from ance_tele.runs.identity import other_settings
    from ance_tele.runs.phases import artefact_of, phases_of
    from ance_tele.store.manifests import read_manifest

    if other := other_settings(out, chosen):
        raise UserError(f"{out} belongs to a run of other settings ({', '.join(other)}); give another --out.")
    phases = []
    for where, names in phases_of(chosen):
        for name in names:
            path = artefact_of(out, where, name)
            made = path.is_file() if name == "report" else read_manifest(path) is not None
            phases.append({"where": where, "phase": name, "state": "cached" if made else "to be made"})
        states = ", ".join(f"{one['phase']} {one['state']}" for one in phases if one["where"] == where)
        echo(f"{where:<10}  {states}")
    echo("")
    return {"phases": phases}


def plan_verb(chosen: Recipe, given: Given) -> Result:
    """Print the estimated cost of a run, without loading a model; data are read only if --data is given."""
    from ance_tele.console.numbers import duration
    from ance_tele.paper.figures import benchmark_of
    from ance_tele.plan.assumed import TOKENS, assumed_for
    from ance_tele.plan.facts import AtHand
    from ance_tele.plan.hardware import GPUS, gpu_of, model_shape
    from ance_tele.plan.plan import plan, plan_benchmark
    from ance_tele.plan.render import content, render
    from ance_tele.plan.suited import suited
    from ance_tele.runs.working_copy import working_copy

    shape, benchmark = model_shape(given.model), benchmark_of(chosen.name)
    many = {"processes": 1 if given.processes == "auto" else given.processes, "nodes": given.nodes}
    gpus, cpu = many["processes"] * many["nodes"], (given.gpu or "").lower() == "cpu"
    wanted = gpu_of(given.gpu) if given.gpu and not (cpu and given.data and gpus == 1) else None
    devices: dict[str, GPU] = dict(GPUS)
    if given.data:
        from ance_tele.runs.identity import collection_for

        collection = collection_for(chosen, given.data)
        begun = working_copy(given.out) if given.out else None
        chosen = _on_dev_without_test(chosen, collection, given)
        start = start_of(given.model) if given.model else None
        at_hand = AtHand(collection, start, download=False)
        chosen = suited(chosen, at_hand, given.settings, begun)
        tokens = {} if chosen.lexical else at_hand.means(chosen)
        measured, queries, pairs = collection.split(chosen.evaluation.split), 0, 0
        if chosen.episode.episodes:
            train = collection.split("train").relevant(chosen.mining.positive_level)
            queries, pairs = len(train), len(train.passages)
        counts = len(collection.corpus), len(collection.queries), queries, len(measured)
        if not chosen.lexical and wanted is None and gpus == 1 and (cpu or not _has_gpu()):
            wanted = _cpu(chosen, shape, round(tokens.get("passage_tokens", TOKENS[None][1])))
            devices = {wanted.name: wanted, **GPUS}
        elif not chosen.lexical and not _has_gpu():
            echo(f"This machine has no GPU; the times are those of {(wanted or GPUS['H100']).name}.\n")
        plans = {}
        for name, device in devices.items():
            assumed = replace(assumed_for(chosen, device, None), **tokens)
            plans[name] = plan(chosen, *counts, shape, device, collection.name, assumed, pairs=pairs, **many)
    elif benchmark:
        plans = {gpu: plan_benchmark(chosen, benchmark, shape, gpu, **many) for gpu in GPUS}
    else:
        raise UserError(
            f"--plan counts a collection: give --data, or a benchmark's recipe such as marco/{chosen.name}."
        )
    shown = plans[(wanted or GPUS["H100"]).name]
    found = there(chosen, Path(given.out)) if given.out and not is_url(given.out) else {}
    echo(render(shown))
    times = (f"{name}: {duration(made.seconds)} ({_source(made)})" for name, made in plans.items())
    echo(f"Time in all, on {'one' if gpus == 1 else f'{gpus:,} of'} {', '.join(times)}")
    return {**found, **content(shown), "gpus": {gpu: made.seconds for gpu, made in plans.items()}}


def _source(made: "Plan") -> str:
    """Return where the shares of its peak come from, that a device of a plan reaches."""
    if made.recipe.lexical:
        return "nothing runs on it"
    return f"share of its peak {f'measured {made.assumed.measured}' if made.assumed.measured else 'assumed'}"


def _has_gpu() -> bool:
    with importing():
        import torch
    return torch.cuda.is_available()


def _cpu(chosen: Recipe, shape: "ModelShape", tokens: int) -> "GPU":
    """Print that a plan is for the CPU of this machine; return it as a device, timed."""
    with importing():
        import torch

        from ance_tele.encode.precision import resolve_precision
    from ance_tele.plan.this_cpu import this_cpu

    here = torch.device("cpu")
    precisions = {resolve_precision(name, here) for name in (chosen.encoder.precision, chosen.training.train_precision)}
    found = this_cpu(shape, tokens, precisions == {"bf16"})
    which = "These are times of its CPU" if _has_gpu() else "This machine has no GPU: these are times of its CPU"
    echo(
        f"{which}, at the pace of one layer, timed now.\n"
        "It may take two or three times as long; a run prints an estimate once the untrained model is evaluated.\n"
    )
    return found


def _on_dev_without_test(chosen: Recipe, collection: "Collection", given: Given) -> Recipe:
    """Return the recipe, evaluated on dev if no split was named and the collection has dev but no test."""
    named = "split" in given.settings or chosen.evaluation.split != "test"
    if named or "test" in collection.qrels or "dev" not in collection.qrels:
        return chosen
    return chosen.with_settings(split="dev")


_KINDS = get_type_hints(ReviewUse)

RUN = Verb(
    run_verb,
    "Carry out a recipe; the same command resumes. Settings: by what is at hand < recipe < --config file < command "
    "line.",
    "RECIPE --data DATA --model MODEL --out FOLDER [settings]",
    recipe_flags(
        [
            Flag("recipe", "one of `ance-tele recipes`, or a function of yours: my_module:my_recipe"),
            Flag("--data", HINTS["data"]),
            Flag("--model", HINTS["model"]),
            Flag("--out", HINTS["out"] + ", or its URL, such as s3://bucket/run"),
            CONFIG,
            switch("--plan", "the same as --dry_run: steps, disk, memory, hours, and what --out holds already"),
            *("episodes", "negatives_per_query", "epochs", "batch_queries", "learning_rate"),
        ],
        [
            Flag("--review", "file of verdicts or grades: query_id, passage_id, verdict or grade; or lists by query"),
            BESIDE,
            Flag("--review_as", "passages called relevant: no negatives, or positives", ReviewAs, "exclude"),
            Flag("--review_doubtful", "doubtful ones: as without verdict, or no negatives", _KINDS["doubtful"], "keep"),
            Flag(
                "--review_irrelevant", "positives called irrelevant stay, or are dropped", _KINDS["irrelevant"], "keep"
            ),
            Flag("--review_grades", "relevant from this grade on, doubtful from that", tuple[float, ...], ()),
            Flag("--gpu", "with --plan: on which GPU, e.g. H100; cpu is this machine's"),
            PROCESSES,
            Flag("--nodes", "with --plan: on how many machines, of --processes GPUs each", int, 1),
            ENGINE,
            ADDRESS,
        ],
    ),
    run_verb,
)
