"""The verb `evaluate`: a model on a collection, or a run on other collections."""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ance_tele.cli.common import HINTS, LENIENT, echo, need
from ance_tele.cli.flags import Flag, Given, Result, Verb
from ance_tele.cli.setting_flags import setting_flags
from ance_tele.console.errors import UserError
from ance_tele.console.garbage import importing
from ance_tele.data.notes import IN_PASSAGES
from ance_tele.encode.config import EncoderConfig
from ance_tele.evaluate.config import EvaluateConfig
from ance_tele.paper.settings import start_of
from ance_tele.settings import EpisodeConfig, Recipe

if TYPE_CHECKING:
    from ance_tele.data.collection import Collection
    from ance_tele.evaluate.metrics import Scores


def evaluate_verb(given: Given) -> Result:
    """Evaluate a model or a pair of encoders; show published figures of a published checkpoint."""
    from ance_tele.data.load import load_collection
    from ance_tele.paper.published import known

    if given.on:
        return out_of_domain_verb(given)
    if given.mteb:
        return mteb_verb(given)
    need(given, "data")
    pair = (given.query_model, given.passage_model)
    if any(pair) and (not all(pair) or given.model):
        raise UserError("A pair takes --query_model and --passage_model, both, and no other model.")
    if not any(pair) and not given.model:
        raise UserError(f"Which model? {HINTS['model'].capitalize()}; or --query_model and --passage_model.")
    if given.run_file:
        writable("run_file", given.run_file)
    main = given.model or given.passage_model
    config = encoder_config(main, given.settings)
    collection = expanded(load_collection(given.data, strict=not given.lenient), given.settings)
    collection = collection.held_out(given.settings.get("hold_out"))
    split = given.settings.get("split") or collection.usual_split

    with importing():  # loads torch
        from ance_tele.evaluate.model import evaluate_model

    model = start_of(given.model) if given.model else None
    run, scores = evaluate_model(
        model,
        collection,
        split,
        config,
        query_model=given.query_model,
        passage_model=given.passage_model,
        relevance_level=given.settings.get("relevance_level"),
        exclude_self=given.settings.get("exclude_self", EvaluateConfig().exclude_self),
    )
    name = given.model or f"{given.query_model} + {given.passage_model}"
    if given.run_file:
        run.write_trec(Path(given.run_file), name)
    published = known(main)
    figures = published.figures if published is not None else {}
    return {**echo_scores(name, collection, split, scores, figures), "published": figures}


def mteb_verb(given: Given) -> Result:
    """Evaluate a model on tasks of mteb, or on collections as mteb does."""
    if not given.model or given.data or given.query_model or given.passage_model:
        raise UserError("--mteb comes between a model and tasks or collections: evaluate MODEL --mteb SciFact.")
    if own := given.settings.keys() - {one.name for one in fields(EncoderConfig)}:
        raise UserError(f"mteb measures in its own way; leave out --{', --'.join(sorted(own))}.")
    model = start_of(given.model)
    config = encoder_config(given.model, given.settings)
    with importing():  # loads torch
        from ance_tele.evaluate.with_mteb import evaluate_mteb

    found = evaluate_mteb(model, given.mteb, config)
    for task, metrics in found.items():
        echo(f"{given.model} on {task} by mteb")
        for metric, value in metrics.items():
            echo(f"{metric:<12}   {value:.4f}")
    return {"model": given.model, "tasks": found}


def writable(flag: str, file: str) -> None:
    """Refuse a file that cannot be written, before the work begins."""
    if not Path(file).parent.is_dir() or Path(file).is_dir():
        raise UserError(f"--{flag} {file} cannot be written; it takes a file name in a folder there is.")


def encoder_config(model: str, settings: Mapping[str, Any]) -> EncoderConfig:
    """Return how a model encodes: with its training settings unless flags override them."""
    from ance_tele.paper.published import known
    from ance_tele.runs.identity import settings_of

    published = known(model)
    chosen = {**(published.settings if published is not None else settings_of(model)), **settings}
    own = {one.name: chosen[one.name] for one in fields(EncoderConfig) if one.name in chosen}
    return Recipe("", encoder=EncoderConfig()).with_settings(**own).encoder


def expanded(collection: "Collection", settings: Mapping[str, Any]) -> "Collection":
    """Return a collection with the terms of the files that were given."""
    from ance_tele.data.expansion import expand

    return expand(collection, *(settings.get(name) for name in EXPANSIONS))


def echo_scores(
    name: str, collection: "Collection", split: str, scores: "Scores", published: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Print the mean of every metric, next to published figures, if any; return what was measured."""
    echo(f"{name} on {collection.name}, split {split}: {len(scores.query_ids):,} queries")
    if within := collection.notes.get(IN_PASSAGES):
        echo(f"warning: {within:,} {IN_PASSAGES}")
    figures = published or {}
    if figures:
        echo(f"{'':<12} measured  published")
    for metric, value in scores.means().items():
        figure = f"     {figures[metric]:.3f}" if metric in figures else ""
        echo(f"{metric:<12}   {value:.4f}{figure}")
    measured = {"model": name, "collection": collection.name, "split": split, "queries": len(scores.query_ids)}
    return {**measured, "metrics": scores.means()}


def out_of_domain_verb(given: Given) -> Result:
    """Evaluate a run's initial and trained model on other collections."""
    if not given.model or given.data or given.query_model or given.passage_model:
        raise UserError("--on comes between a run folder and collections: evaluate RUN --on DATA [DATA ...].")
    if own := given.settings.keys() - {"split"}:
        raise UserError(f"With --on the run's own settings hold; leave out --{', --'.join(sorted(own))}.")
    from ance_tele.analysis.out_of_domain import evaluate_out_of_domain
    from ance_tele.console.numbers import count, p_value, score, signed
    from ance_tele.runs.working_copy import kept_at

    with kept_at(given.model, begun=True) as run:
        found = evaluate_out_of_domain(run, given.on, given.settings.get("split"), not given.lenient)
    echo(f"{'collection':<24} {'split':<8} {'queries':>8}  {'metric':<10} zero-shot trained  difference")
    for one in found:
        assert one.metric is not None and one.difference is not None and one.p is not None, "measured just now"
        before, after = score(one.before.get(one.metric)), score(one.after.get(one.metric))
        figures = f"{before:>9} {after:>7}  {signed(one.difference)}, {p_value(one.p)}"
        echo(f"{one.collection:<24.24} {one.split:<8.8} {count(one.queries):>8}  {one.metric:<10} {figures}")
    echo(f"\nIn the report: ance-tele report {given.model}")
    return {"run": given.model, "collections": found}


EXPANSIONS = ("expand_passages", "expand_queries")
_EPISODE = setting_flags(EpisodeConfig())
EXPANSION_FLAGS = [_EPISODE[name] for name in EXPANSIONS]
_FIRST, _EVALUATION = "Most used", setting_flags(EvaluateConfig())

EVALUATE = Verb(
    evaluate_verb,
    "Measure a model, or a pair of encoders, on a split of a collection.",
    "MODEL --data DATA [--split SPLIT] [settings], or evaluate RUN --on DATA [DATA ...], "
    "or evaluate MODEL --mteb TASK [TASK ...]",
    [
        Flag("model", "folder or hub name of a model; with --on, a run folder", heading=_FIRST),
        Flag("--data", HINTS["data"], heading=_FIRST),
        replace(_EVALUATION["split"], help="which split", default="test, or dev if there is none", heading=_FIRST),
        Flag("--on", "collections: is a run's model worse there than its start?", tuple[str, ...], (), heading=_FIRST),
        Flag("--mteb", "tasks of mteb, or collections, by mteb's code", tuple[str, ...], (), heading=_FIRST),
        Flag("--run_file", "write the run here, in TREC format", heading=_FIRST),
        Flag("--query_model", "with --passage_model: a pair instead", heading=_FIRST),
        Flag("--passage_model", "the passages' encoder of a pair", heading=_FIRST),
        replace(LENIENT, heading="More"),
        _EPISODE["hold_out"],
        *EXPANSION_FLAGS,
        _EVALUATION["relevance_level"],
        _EVALUATION["exclude_self"],
        *setting_flags(EncoderConfig(), "Encoding").values(),
    ],
)
