"""The command line: verbs only; each is a thin call of a public function."""

import errno
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from ance_tele.data.errors import UserError
from ance_tele.recipes import PARTS, RECIPES, Recipe, recipe, unknown

HINTS = {"data": "a folder in BEIR layout, or 'demo'", "model": "folder or hub name of the model to start from"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 2 after one sentence on what went wrong."""
    try:
        return _main(list(sys.argv[1:] if argv is None else argv))
    except UserError as error:
        return _fail(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.ENOENT):
            raise
        where = f" ({error.filename})" if error.filename else ""
        remedy = (
            "free some and run the same command again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "mend it"
        )
        return _fail(f"{os.strerror(error.errno)}{where}; {remedy}: what is finished stands.")
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on where it was.", 130)


def _fail(sentence: str, code: int = 2) -> int:
    if os.environ.get("ANCE_TELE_DEBUG"):
        raise
    print(f"ance-tele: {sentence}", file=sys.stderr)
    return code


def _main(argv: list[str]) -> int:
    parser = _parser(argv)
    _check_names(argv)
    try:
        given = parser.parse_args(argv)
    except ArgumentError as error:
        raise UserError(" ".join(str(error).split())) from None
    verb = given.verb
    if verb is None:
        parser.print_help()
        return 0
    return VERBS[verb](getattr(given, verb))


def _parser(argv: list[str]) -> ArgumentParser:
    from ance_tele import __version__

    parser = ArgumentParser(
        prog="ance-tele",
        description="Train dense retrievers with self-mined teleportation negatives, episode by episode.",
        exit_on_error=False,
        version=__version__,
    )
    verbs = parser.add_subcommands(required=False, dest="verb", metavar="VERB")
    verbs.add_subcommand("run", _run_parser(argv), help="Carry out a recipe; the same command resumes.")
    verbs.add_subcommand("recipes", _plain("The recipes, one line each."), help="List the recipes.")

    evaluate = _plain("Measure a model on a split of a collection.")
    evaluate.add_argument("model", type=str, help="Folder or hub name of a model.")
    evaluate.add_argument("--data", type=str, required=True, help=HINTS["data"])
    evaluate.add_argument("--split", type=str, default="test", help="which split")
    evaluate.add_argument("--run_file", type=str | None, default=None, help="write the run here, in TREC format")
    _encoder_arguments(evaluate)
    _lenient(evaluate)
    verbs.add_subcommand("evaluate", evaluate, help="Measure a model on a collection.")

    search = _plain("Search the corpus of a run with its last model.")
    search.add_argument("run", type=str, help="A run folder.")
    search.add_argument("words", type=str, help="The query.")
    search.add_argument("-k", type=int, default=5, help="how many passages")
    search.add_argument("--data", type=str | None, default=None, help="where the collection lies now, if it was moved")
    verbs.add_subcommand("search", search, help="Ask a trained run one question.")

    data = _plain("Check a collection: counts, lengths, problems found.")
    data.add_argument("data", type=str, help=HINTS["data"])
    _lenient(data)
    verbs.add_subcommand("data", data, help="Check a collection.")

    report = _plain("Write report.md and curves.png of a finished run again.")
    report.add_argument("run", type=str, help="A run folder.")
    verbs.add_subcommand("report", report, help="Write a run's report again.")

    demo = _plain("Train on the embedded demo data: the command behind `make demo`.")
    demo.add_argument("--out", type=str, default="runs/demo", help="the run folder")
    demo.add_argument("--full", action="store_true", help="longer passages, more negatives, all training queries")
    demo.add_argument("--model", type=str | None, default=None, help="another model to start from")
    verbs.add_subcommand("demo", demo, help="Train on the embedded demo data.")
    return parser


def _plain(description: str) -> ArgumentParser:
    return ArgumentParser(description=description, exit_on_error=False)


def _lenient(parser: ArgumentParser) -> None:
    parser.add_argument("--lenient", action="store_true", help="leave out what does not add up, and count it")


def _encoder_arguments(parser: ArgumentParser) -> None:
    from ance_tele.encode.config import EncoderConfig

    parser.add_class_arguments(EncoderConfig, None)


def _run_parser(argv: list[str]) -> ArgumentParser:
    parser = _plain("Carry out a recipe; the same command resumes. Settings: recipe < --config file < command line.")
    parser.add_argument("recipe", type=str | None, nargs="?", help="see `ance-tele recipes`")
    parser.add_argument("--config", action="config", help="YAML file of settings, such as a run's config.yaml")
    parser.add_argument("--data", type=str | None, default=None, help=HINTS["data"])
    parser.add_argument("--model", type=str | None, default=None, help=HINTS["model"])
    parser.add_argument("--out", type=str | None, default=None, help="the run folder")
    _lenient(parser)
    chosen = recipe("ance-tele")
    name = _recipe_named(argv)
    if name is not None:
        chosen = recipe(name)
    for part in PARTS:
        parser.add_class_arguments(type(getattr(chosen, part)), None)
    parser.set_defaults({**chosen.settings(), "recipe": name})
    return parser


def _recipe_named(argv: list[str]) -> str | None:
    """Return the recipe that a command line of `run` names, itself or in its --config file."""
    if not argv or argv[0] != "run":
        return None
    if len(argv) > 1 and not argv[1].startswith("-"):
        return argv[1]
    return _config(argv).get("recipe")


def _config(argv: list[str]) -> dict[str, Any]:
    """Return the content of the --config file of a command line; {} where there is none."""
    import yaml

    path = None
    for place, word in enumerate(argv):
        if word.startswith("--config="):
            path = word.partition("=")[2]
        elif word == "--config" and place + 1 < len(argv):
            path = argv[place + 1]
    if path is None:
        return {}
    try:
        found = yaml.safe_load(Path(path).read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no settings; one 'name: value' a line is needed.")
    return found


def _check_names(argv: list[str]) -> None:
    """Refuse unknown verbs, flags and settings, naming the nearest one there is."""
    verbs = tuple(VERBS)
    if argv and not argv[0].startswith("-") and argv[0] not in verbs:
        raise UserError(unknown("verb", argv[0], verbs))
    if not argv or argv[0] != "run":
        return
    settings = [setting.name for part in PARTS for setting in fields(getattr(recipe("ance-tele"), part))]
    for name in _config(argv):
        if name not in (*settings, "recipe", "data", "model", "out"):
            raise UserError(unknown("setting", name, tuple(settings)))
    flags = [*settings, "data", "model", "out", "config", "lenient", "help"]
    for word in argv[1:]:
        name = word[2:].partition("=")[0]
        if word.startswith("--") and name and name.rstrip("+") not in flags:
            near = get_close_matches(name.replace("-", "_"), flags, 1, 0.5)
            hint = f"did you mean --{near[0]}?" if near else "see ance-tele run --help."
            raise UserError(f"There is no setting --{name}; {hint}")


# ---- the verbs -----------------------------------------------------------------------------------


def _print(line: str) -> None:
    print(line, flush=True)


def _run(given: Namespace) -> int:
    from ance_tele.data.load import load_collection
    from ance_tele.episode import run

    if given.recipe is None:
        raise UserError(f"Which recipe? There are: {', '.join(RECIPES)}.")
    for name in ("data", "out"):
        if getattr(given, name) is None:
            raise UserError(f"--{name} is missing: {HINTS.get(name, 'the run folder')}.")
    settings = {name: getattr(given, name) for name in recipe(given.recipe).settings()}
    if given.lenient:
        settings["strict"] = False
    chosen = recipe(given.recipe).with_settings(**settings)
    model = None if given.recipe == "bm25" else given.model
    if model is None and given.recipe != "bm25":
        raise UserError(f"--model is missing: {HINTS['model']}.")
    collection = load_collection(given.data, strict=chosen.episode.strict, say=_print)
    _announce(chosen, collection, model)
    run(chosen, collection, model, given.out, given.data, say=_print)
    return _conclude(Path(given.out))


def _announce(chosen: Recipe, collection: Any, model: object) -> None:
    judged = ", ".join(f"{len(qrels):,} {split}" for split, qrels in collection.qrels.items())
    _print(f"{collection.name}: {len(collection.corpus):,} passages; queries: {judged}")
    for problem, count in collection.problems.items():
        _print(f"left out: {count:,} ({problem})")
    _print(f"recipe {chosen.name}, model {model or 'none'}, seed {chosen.episode.seed}")


def _conclude(out: Path) -> int:
    """Print the table of a finished run and name its report."""
    from rich.console import Console

    from ance_tele.report.tables import episode_table, significance_lines
    from ance_tele.report.write import read_summary

    summary = read_summary(out)
    _print("")
    Console().print(episode_table(summary))
    for line in significance_lines(summary):
        _print(line)
    _print(f"\nReport: {out / 'report.md'}  (figures: {out / 'curves.png'})")
    if summary["episodes"]:
        number = summary["episodes"][-1]["number"]
        _print(f"Model:  {out / f'episode-{number}' / 'model'}  (load it with SentenceTransformer)")
        _print(f'Try:    ance-tele search {out} "your words"')
    return 0


def _recipes(given: Namespace) -> int:
    for name, make in RECIPES.items():
        _print(f"{name:<16} {(make.__doc__ or '').strip().splitlines()[0]}")
    return 0


def _evaluate(given: Namespace) -> int:
    from ance_tele.data.load import load_collection
    from ance_tele.encode.config import EncoderConfig
    from ance_tele.evaluate.model import evaluate_model

    collection = load_collection(given.data, strict=not given.lenient, say=_print)
    config = EncoderConfig(**{setting.name: getattr(given, setting.name) for setting in fields(EncoderConfig)})
    run, scores = evaluate_model(given.model, collection, given.split, config)
    if given.run_file:
        run.write_trec(Path(given.run_file))
    _print(f"{given.model} on {collection.name}, split {given.split}: {len(scores.query_ids):,} queries")
    for name, value in scores.means().items():
        _print(f"{name:<12} {value:.4f}")
    return 0


def _search(given: Namespace) -> int:
    from ance_tele.search import search

    for hit in search(given.run, given.words, given.k, given.data, say=_print):
        text = " ".join(hit.text.split())
        _print(f"{hit.rank:>2}  {hit.score:.3f}  {hit.id}  {hit.title}")
        _print(f"      {text[:160]}{'…' if len(text) > 160 else ''}")
    return 0


def _data(given: Namespace) -> int:
    from ance_tele.data.describe import describe
    from ance_tele.data.load import load_collection

    for line in describe(load_collection(given.data, strict=not given.lenient, say=_print)):
        _print(line)
    return 0


def _report(given: Namespace) -> int:
    from ance_tele.report.write import write_report

    _print(str(write_report(Path(given.run))))
    return 0


def _demo(given: Namespace) -> int:
    from ance_tele.demo import demo

    out = Path(given.out)
    demo(out, given.full, given.model, say=_print)
    return _conclude(out)


VERBS = {
    "run": _run,
    "recipes": _recipes,
    "evaluate": _evaluate,
    "search": _search,
    "data": _data,
    "report": _report,
    "demo": _demo,
}
