"""The verbs: each a thin call of a public function."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from ance_tele.cli.flags import settings_given
from ance_tele.cli.parsers import HINTS
from ance_tele.data.artefacts import silent
from ance_tele.data.errors import UserError
from ance_tele.recipes import OFFICIAL, RECIPES, STARTS, recipe
from ance_tele.settings import Recipe

if TYPE_CHECKING:
    from ance_tele.data.collection import Collection


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


def need(given: Namespace, *names: str) -> None:
    """Refuse a command line that lacks what the verb needs."""
    for name in names:
        if not getattr(given, name):
            raise UserError(f"--{name} is missing: {HINTS[name]}.")


def chosen_recipe(given: Namespace) -> Recipe:
    """Return the recipe of `run`, with the settings of the command line."""
    if given.recipe is None:
        raise UserError(f"Which recipe? There are: {', '.join(RECIPES)}.")
    made = recipe(given.recipe)
    settings = {name: getattr(given, name) for name in made.settings()}
    if given.lenient:
        settings["strict"] = False
    return made.with_settings(**{**settings, **(OFFICIAL if given.official else {})})


def run_verb(given: Namespace, argv: list[str]) -> int:
    """Carry out a recipe, or say what it would take."""
    from ance_tele.data.load import load_collection

    chosen = chosen_recipe(given)
    if given.plan:
        return plan_verb(chosen, given, argv)
    need(given, "data", "out")
    model = None if chosen.lexical else given.model or STARTS.get(given.recipe.partition("/")[0])
    if not chosen.lexical and not model:
        need(given, "model")
    collection = load_collection(given.data, strict=chosen.episode.strict, say=say).held_out(chosen.episode.hold_out)
    introduce(collection)
    if "split" not in settings_given(argv) and chosen.evaluation.split == "test" and "test" not in collection.qrels:
        chosen = chosen.with_settings(split="dev") if "dev" in collection.qrels else chosen
    say(f"recipe {chosen.name}, model {model or 'none'}, seed {chosen.episode.seed}")

    from ance_tele.encode.published import start_of
    from ance_tele.plan.facts import AtHand
    from ance_tele.suited import suited

    start, review = start_of(model) if model else None, given.review
    chosen = suited(chosen, AtHand(collection, start), settings_given(argv), Path(given.out), say)

    from ance_tele.episode import run  # loads torch: after all that can be refused without it

    run(chosen, collection, start, given.out, given.data, say=say, review=review, review_as=given.review_as)
    return conclude(Path(given.out))


def introduce(collection: "Collection") -> None:
    """Print what a collection holds, what was left out of it, and what to beware of."""
    from ance_tele.data.describe import warnings

    judged = ", ".join(f"{len(qrels):,} {split}" for split, qrels in collection.qrels.items())
    say(f"{collection.name}: {len(collection.corpus):,} passages; queries: {judged}")
    for problem, count in collection.problems.items():
        say(f"left out: {count:,} ({problem})")
    for note, count in collection.notes.items():
        say(f"note: {count:,} {note}")
    for line in warnings(collection):
        say(f"warning: {line}")
    if collection.hold_out is not None:
        final = (
            "" if "test" in collection.qrels else "; there is no test split, so the final figures are measured on them"
        )
        say(f"held out as dev: {len(collection.qrels['dev']):,} training queries{final}")


def plan_verb(chosen: Recipe, given: Namespace, argv: list[str]) -> int:
    """Print what a run would take, without touching data (unless --data is given), model or GPU."""
    from ance_tele.plan.facts import AtHand
    from ance_tele.plan.hardware import GPUS, gpu_of, model_shape
    from ance_tele.plan.plan import plan, plan_benchmark
    from ance_tele.plan.render import render
    from ance_tele.report.formats import duration
    from ance_tele.report.paper import benchmark_of
    from ance_tele.suited import suited

    shape, benchmark = model_shape(given.model), benchmark_of(chosen.name)
    if given.data:
        from ance_tele.data.load import load_collection

        collection = load_collection(given.data, strict=chosen.episode.strict, say=say)
        collection = collection.held_out(chosen.episode.hold_out)
        begun = Path(given.out) if given.out else None
        chosen = suited(chosen, AtHand(collection, given.model, download=False), settings_given(argv), begun, say)
        train, judged = (
            collection.split("train").relevant(chosen.mining.positive_level),
            collection.split(chosen.evaluation.split),
        )
        counts = len(collection.corpus), len(collection.queries), len(train), len(judged)
        pairs, name = len(train.passages), collection.name
        plans = {gpu: plan(chosen, *counts, shape, gpu, name, pairs=pairs) for gpu in GPUS}
    elif benchmark:
        plans = {gpu: plan_benchmark(chosen, benchmark, shape, gpu) for gpu in GPUS}
    else:
        raise UserError(
            f"--plan counts a collection: give --data, or a benchmark's recipe such as marco/{chosen.name}."
        )
    say(render(plans[gpu_of(given.gpu or "H100").name]))
    say("Hours in all, on one " + ", ".join(f"{gpu}: {duration(made.seconds)}" for gpu, made in plans.items()))
    return 0


def compare_verb(given: Namespace, argv: list[str]) -> int:
    """Compare recipes, models and seeds."""
    if not given.recipes:
        raise UserError(f"--recipes is missing: {HINTS['recipes']}.")
    return _comparison(given, argv, given.recipes, None)


def reproduce_verb(given: Namespace, argv: list[str]) -> int:
    """Compare the systems of one of the paper's tables."""
    from ance_tele.plan.defaults import NEGATIVES
    from ance_tele.reproduce import systems_of

    negatives = given.negatives_per_query
    if "negatives_per_query" not in settings_given(argv):
        negatives = recipe(given.scale).training.negatives_per_query if given.scale in RECIPES else NEGATIVES
    return _comparison(given, argv, systems_of(given.table, negatives), given.table)


def _comparison(given: Namespace, argv: list[str], names: Any, table: str | None) -> int:
    from rich.console import Console

    need(given, "data")
    if not given.out:
        raise UserError("--out is missing: the folder of the comparison.")
    models = [*given.models, *([given.model] if given.model else [])]
    if not models:
        raise UserError(f"--model is missing: {HINTS['model']}; --models takes several.")
    if given.parallel < 1:
        raise UserError(f"parallel is {given.parallel}; it must be at least 1.")
    settings = {name: getattr(given, name) for name in settings_given(argv) if name != "seed"}
    if given.lenient:
        settings["strict"] = False
    if given.official:
        settings |= OFFICIAL

    from ance_tele.compare import compare_systems
    from ance_tele.data.load import load_collection
    from ance_tele.encode.published import start_of
    from ance_tele.grid import own_settings, system
    from ance_tele.plan.facts import AtHand
    from ance_tele.report.comparison import cost, stem
    from ance_tele.report.comparison_tables import comparison_tables
    from ance_tele.suited import suited

    collection = load_collection(given.data, strict=not given.lenient, say=say).held_out(given.hold_out)
    introduce(collection)
    if "split" not in settings and "dev" in collection.qrels:
        settings["split"] = "dev"  # episodes are watched on dev; the last one is measured on test too
    systems = [system(name, given.scale, **settings) for name in names]
    for chosen in systems:
        stays = [
            f"{name} {value}"
            for name, value in chosen.settings().items()
            if name in settings and value != settings[name] and f" {name}=" not in chosen.name
        ]
        if stays:
            say(f"{chosen.name} stays what it is: {', '.join(stays)}")
    starts = [start_of(model) for model in models]
    at_hand = {start: AtHand(collection, start) for start in starts}
    told: set[str] = set()

    def suit(chosen: Recipe, start: str, folder: Path) -> Recipe:
        """Choose what is left open, and say so once for each model."""
        if given.scale:
            return chosen
        quiet = start in told or not chosen.episode.episodes
        if not quiet:
            say(f"{chosen.name} from {start}")
            told.add(start)
        chosen_by_name = own_settings(chosen.name)
        return suited(chosen, at_hand[start], {*settings, *chosen_by_name}, folder, silent if quiet else say)

    seeds = given.seeds or [given.seed]
    result = compare_systems(systems, starts, seeds, given.data, given.out, None, given.parallel, table, say, suit)
    say("")
    for one in comparison_tables(result):
        Console().print(one)
        say("")
    say(cost(result))
    say(f"Tables: {given.out}/{stem(result)}.md, .tex, .csv; curves: .png; all figures: .json")
    return 0


def conclude(out: Path) -> int:
    """Print the table of a finished run and name its report."""
    from rich.console import Console

    from ance_tele.report.tables import episode_table, significance_lines
    from ance_tele.report.write import read_summary

    summary = read_summary(out)
    say("")
    Console().print(episode_table(summary))
    for line in significance_lines(summary):
        say(line)
    say(f"\nReport: {out / 'report.html'}  (in short: {out / 'report.md'})")
    if summary["episodes"]:
        number = summary["episodes"][-1]["number"]
        say(f"Model:  {out / f'episode-{number}' / 'model'}  (load it with SentenceTransformer)")
        say(f'Try:    ance-tele search {out} "your words"')
    return 0


def recipes_verb(given: Namespace, argv: list[str]) -> int:
    """List the recipes."""
    for name, make in RECIPES.items():
        say(f"{name:<19} {(make.__doc__ or '').strip().splitlines()[0]}")
    return 0


def evaluate_verb(given: Namespace, argv: list[str]) -> int:
    """Measure a model, or a pair; a published checkpoint beside its published figures."""
    from ance_tele.data.load import load_collection
    from ance_tele.encode.config import EncoderConfig

    if given.on:
        return elsewhere_verb(given, argv)
    need(given, "data")
    pair = (given.query_model, given.passage_model)
    if any(pair) and (not all(pair) or given.model):
        raise UserError("A pair takes --query_model and --passage_model, both, and no other model.")
    if not any(pair) and not given.model:
        raise UserError(f"Which model? {HINTS['model'].capitalize()}; or --query_model and --passage_model.")
    if given.run_file and (not Path(given.run_file).parent.is_dir() or Path(given.run_file).is_dir()):
        raise UserError(f"--run_file {given.run_file} cannot be written; it takes a file name in a folder there is.")

    from ance_tele.encode.published import known, start_of
    from ance_tele.runfolder import settings_of

    main = given.model or given.passage_model
    published = known(main)
    own = {setting.name: getattr(given, setting.name) for setting in fields(EncoderConfig)}
    # What a model was trained with is what it is measured with, unless said otherwise.
    declared = published.settings if published is not None else settings_of(main)
    own |= {name: declared[name] for name in own if name in declared and name not in settings_given(argv)}
    config = recipe("zero-shot").with_settings(**own).encoder
    collection = load_collection(given.data, strict=not given.lenient, say=say).held_out(given.hold_out)
    split = given.split or ("test" if "test" in collection.qrels or "dev" not in collection.qrels else "dev")

    from ance_tele.evaluate.model import evaluate_model  # loads torch

    model = start_of(given.model) if given.model else None
    run, scores = evaluate_model(
        model,
        collection,
        split,
        config,
        query_model=given.query_model,
        passage_model=given.passage_model,
        relevance_level=given.relevance_level,
        exclude_self=given.exclude_self,
        say=say,
    )
    name = given.model or f"{given.query_model} + {given.passage_model}"
    if given.run_file:
        run.write_trec(Path(given.run_file), name)
    say(f"{name} on {collection.name}, split {split}: {len(scores.query_ids):,} queries")
    figures = published.figures if published is not None else {}
    if figures:
        say(f"{'':<12} measured  published")
    for metric, value in scores.means().items():
        beside = f"     {figures[metric]:.3f}" if metric in figures else ""
        say(f"{metric:<12}   {value:.4f}{beside}")
    return 0


def elsewhere_verb(given: Namespace, argv: list[str]) -> int:
    """Measure a run's start and its last model on other collections."""
    if not given.model or given.data or given.query_model or given.passage_model:
        raise UserError("--on stands between a run folder and collections: evaluate RUN --on DATA [DATA ...].")
    if own := settings_given(argv) - {"split"}:
        raise UserError(f"With --on the run's own settings hold; leave out --{', --'.join(sorted(own))}.")
    from ance_tele.elsewhere import evaluate_elsewhere
    from ance_tele.report.formats import p_value, score, signed

    found = evaluate_elsewhere(given.model, given.on, given.split, not given.lenient, say=say)
    say(f"{'collection':<24} {'split':<8} {'queries':>8}  {'metric':<10} zero-shot trained  difference")
    for one in found:
        before, after = (score(one.metrics[system][one.metric]) for system in ("zero-shot", "trained"))
        said = f"{before:>9} {after:>7}  {signed(one.difference)}, {p_value(one.p)}"
        say(f"{one.collection:<24.24} {one.split:<8.8} {one.queries:>8,}  {one.metric:<10} {said}")
    say(f"\nIn the report: ance-tele report {given.model}")
    return 0


def search_verb(given: Namespace, argv: list[str]) -> int:
    """Ask a run one question."""
    from ance_tele.search import search_run

    for hit in search_run(given.run, given.words, given.k, given.data, say=say):
        text = " ".join(hit.text.split())
        say(f"{hit.rank:>2}  {hit.score:.3f}  {hit.id}  {hit.title}")
        say(f"      {text[:160]}{'…' if len(text) > 160 else ''}")
    return 0


def serve_verb(given: Namespace, argv: list[str]) -> int:
    """Serve the explorer of a run until it is interrupted."""
    from ance_tele.explorer.serve import serve

    serve(given.run, given.data, given.host, given.port, given.episodes, say=say)
    return 0


def data_verb(given: Namespace, argv: list[str]) -> int:
    """Check a collection, or convert one, or what a run has made."""
    from ance_tele.data.describe import describe
    from ance_tele.data.load import load_collection

    if given.data == "convert":
        if not given.source or not given.target:
            raise UserError("data convert takes what to read and where to write: data convert FROM TO --to FORMAT.")
        from ance_tele.convert import convert

        say(convert(given.source, Path(given.target), given.to, given.episode, not given.lenient, say))
        return 0
    if given.source:
        whole = " ".join(word for word in (given.data, given.source, given.target) if word)
        raise UserError(f"data takes one collection; to convert it: data convert {whole} --to FORMAT.")
    collection = load_collection(given.data, strict=not given.lenient, say=say)
    for line in describe(collection):
        say(line)
    if given.model:
        from ance_tele.encode.published import start_of
        from ance_tele.evaluate.model import lengths_for  # loads torch

        for line in lengths_for(start_of(given.model), collection, say):
            say(line)
    return 0


def report_verb(given: Namespace, argv: list[str]) -> int:
    """Write the report of a run into its folder, or of several runs into a folder of its own."""
    from ance_tele.report.write import read_summary, write_report, write_reports

    runs = [Path(run) for run in given.runs]
    if len(runs) > 1 and not given.out:
        raise UserError("--out is missing: several runs take a folder for their common report.")
    for run in runs:
        read_summary(run)

    from ance_tele.analysis import analyse  # loads torch: after all that can be refused without it

    for run in runs:
        analyse(run, data=given.data, say=say)
    if given.out:
        say(str(write_reports(runs, Path(given.out), given.paper)))
    else:
        write_report(runs[0], given.paper, figures=True)
        say(f"{runs[0] / 'report.html'}\n{runs[0] / 'report.md'}  (figures: {runs[0] / 'figures'})")
    return 0


def suspects_verb(given: Namespace, argv: list[str]) -> int:
    """Show or write a run's suspects."""
    for name in ("k", "sample"):
        if getattr(given, name) is not None and getattr(given, name) < 1:
            raise UserError(f"{name} is {getattr(given, name)}; it must be at least 1.")
    from ance_tele.data.review import write_review
    from ance_tele.report.formats import percent
    from ance_tele.suspects import counts_of, suspects_of

    most = given.k if given.k or given.to or given.sample else 10
    choice = (most, given.sample, given.seed, given.reasons, given.sources, given.data)
    found = suspects_of(given.run, *choice, say=say)
    counts = counts_of(given.run)
    say(f"{counts['suspects']:,} of {counts['pairs']:,} pairs in the pools are suspect")
    for source, of in counts["by_source"].items():
        say(f"  {source:<10} {of['suspects']:>9,} of {of['pairs']:>11,}  {percent(of['share']):>5}%")
    say("  " + ", ".join(f"{reason} {count:,}" for reason, count in counts["by_reason"].items()))
    if given.to:
        write_review(given.to, found)
        say(f"{len(found):,} written to {given.to}: put 'relevant' or 'negative' into the column verdict, then")
        say(f"ance-tele run RECIPE ... --review {given.to} --review_as exclude     (or positives)")
        return 0
    for one in found:
        text = " ".join(one.text.split())
        say(f"\n{one.query_id}  {one.query}   ({one.reasons}; from {one.sources})")
        say(f"    {one.passage_id}  {one.title}{'  ' if one.title else ''}{text[:200]}{'…' if len(text) > 200 else ''}")
    return 0


def demo_verb(given: Namespace, argv: list[str]) -> int:
    """Train on the embedded demo data."""
    from ance_tele.demo import demo

    out = Path(given.out)
    demo(out, given.full, given.model, say=say)
    return conclude(out)


VERBS: dict[str, Callable[[Namespace, list[str]], int]] = {
    "run": run_verb,
    "compare": compare_verb,
    "reproduce": reproduce_verb,
    "recipes": recipes_verb,
    "evaluate": evaluate_verb,
    "search": search_verb,
    "serve": serve_verb,
    "data": data_verb,
    "report": report_verb,
    "suspects": suspects_verb,
    "demo": demo_verb,
}
