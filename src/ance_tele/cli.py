"""The command line: verbs only; each is a thin call of a public function."""

import errno
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from ance_tele.data.errors import UserError
from ance_tele.recipes import PARTS, RECIPES, Recipe, recipe, setting_types, unknown, wanted

HINTS = {
    "data": "a folder in BEIR layout, or 'demo'",
    "model": "folder or hub name of the model to start from",
    "out": "the run folder",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 2 after one sentence on what went wrong."""
    try:
        return _main(list(sys.argv[1:] if argv is None else argv))
    except UserError as error:
        return _fail(str(error))
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on where it was.", 130)
    except Exception as error:
        if _disk_is_full(error):
            return _fail("No space left on device; free some and run the same command again: what is finished stands.")
        if not isinstance(error, OSError):
            raise
        where = f" ({error.filename})" if error.filename else ""
        return _fail(f"{error.strerror or error}{where}; mend it and run the same command again.")


def _disk_is_full(error: Exception) -> bool:
    """Say whether an error, of whichever library, means that the disk is full."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # What safetensors, numpy and torch say, none of which gives an errno.
    signs = (
        r"No space left on device|\d+ requested and \d+ written|PytorchStreamWriter|inline_container.*unexpected pos"
    )
    return re.search(signs, str(error)) is not None


def _fail(sentence: str, code: int = 2) -> int:
    if os.environ.get("ANCE_TELE_DEBUG"):
        raise
    print(f"ance-tele: {sentence}", file=sys.stderr)
    return code


def _main(argv: list[str]) -> int:
    if argv and argv[0] not in (*VERBS, "-h", "--help", "--version"):
        raise UserError(unknown("verb", argv[0], tuple(VERBS)))
    if argv and argv[0] == "run":
        argv = _config_first(argv)
    parser, verbs = _parser(argv)
    if argv and argv[0] in verbs:
        _check_flags(argv, verbs[argv[0]])
    try:
        given = parser.parse_args(argv)
    except ArgumentError as error:
        raise UserError(_plainly(str(error), argv[0])) from None
    verb = given.verb
    if verb is None:
        parser.print_help()
        return 0
    return VERBS[verb](getattr(given, verb))


def _plainly(complaint: str, verb: str) -> str:
    """Turn what the parser complains about into a sentence."""
    complaint = " ".join(complaint.split()).replace(f"{verb}.", "")
    wrong = re.match(r'Parser key "(\w+)": .*?(?:Got value|Given value): (.*)', complaint)
    if wrong is None:
        return f"{complaint}; see ance-tele {verb} --help."
    name, value = wrong.groups()
    types = {"k": int, "lenient": bool, "full": bool, **setting_types()}
    return f"{name} is {value!r}; it must be {wanted(types.get(name, str))}."


def _parser(argv: list[str]) -> tuple[ArgumentParser, dict[str, ArgumentParser]]:
    """Return the parser, and those of the verbs."""
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
    evaluate.add_argument("--data", type=str | None, default=None, help=HINTS["data"])
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
    return parser, dict(verbs.choices)


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
    """Return the recipe that a command line of `run` names, itself or in its --config file.

    Raises:
        UserError: It names one, and the file another.
    """
    if not argv or argv[0] != "run":
        return None
    in_file = _config(argv).get("recipe")
    words = iter(argv[1:])
    for word in words:
        if not word.startswith("-"):
            if in_file not in (None, word):
                raise UserError(f"The --config file is of recipe '{in_file}', not '{word}'; leave one of the two out.")
            return word
        if "=" not in word and word not in ("--lenient", "--help", "-h", "--print_config"):
            next(words, None)  # its value
    return in_file


def _config_first(argv: list[str]) -> list[str]:
    """Put --config first: what the command line says is said last, wherever it stands."""
    configs: list[str] = []
    rest: list[str] = []
    words = iter(argv[1:])
    for word in words:
        value = next(words, None) if word == "--config" else None
        word = word if value is None else f"--config={value}"
        (configs if word.startswith("--config=") else rest).append(word)
    return [argv[0], *configs, *rest]


def _config(argv: list[str]) -> dict[str, Any]:
    """Return the content of the --config files of a command line, of which a later one wins; {} without one."""
    import yaml

    paths = [word.partition("=")[2] for word in argv if word.startswith("--config=")]
    settings = tuple(recipe("ance-tele").settings())
    found: dict[str, Any] = {}
    for path in paths:
        try:
            content = yaml.safe_load(Path(path).read_text("utf-8"))
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8 (at byte {error.start}); convert it.") from None
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise UserError(f"{path} line {line} is not valid YAML ({error.problem}).") from None
        except yaml.YAMLError as error:
            raise UserError(f"{path} is not valid YAML ({' '.join(str(error).split())}).") from None
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); --config takes a YAML file.") from None
        if not isinstance(content, dict):
            raise UserError(f"{path} holds no settings; one 'name: value' a line is needed.")
        for name in content:
            if name not in (*settings, "recipe", "data", "model", "out"):
                raise UserError(f"{path}: {unknown('setting', name, settings)}")
        found |= content
    return found


def _check_flags(argv: list[str], parser: ArgumentParser) -> None:
    """Refuse unknown flags of a verb, naming the nearest one there is."""
    flags = [*parser.get_defaults().as_dict(), "help", "print_config"]
    for word in argv[1:]:
        name = word[2:].partition("=")[0]
        if word.startswith("--") and name and name not in flags:
            near = get_close_matches(name.replace("-", "_"), flags, 1, 0.5)
            hint = f"did you mean --{near[0]}?" if near else f"see ance-tele {argv[0]} --help."
            raise UserError(f"There is no setting --{name}; {hint}")


# ---- the verbs -----------------------------------------------------------------------------------


def _print(line: str) -> None:
    print(line, flush=True)


def _run(given: Namespace) -> int:
    from ance_tele.data.load import load_collection

    if given.recipe is None:
        raise UserError(f"Which recipe? There are: {', '.join(RECIPES)}.")
    _need(given, "data", "out")
    settings = {name: getattr(given, name) for name in recipe(given.recipe).settings()}
    if given.lenient:
        settings["strict"] = False
    chosen = recipe(given.recipe).with_settings(**settings)
    model = None if given.recipe == "bm25" else given.model
    if given.recipe != "bm25":
        _need(given, "model")
    collection = load_collection(given.data, strict=chosen.episode.strict, say=_print)
    _announce(chosen, collection, model)

    from ance_tele.episode import run  # loads torch: after all that can be refused without it

    run(chosen, collection, model, given.out, given.data, say=_print)
    return _conclude(Path(given.out))


def _need(given: Namespace, *names: str) -> None:
    for name in names:
        if not getattr(given, name):
            raise UserError(f"--{name} is missing: {HINTS[name]}.")


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

    _need(given, "data")
    if given.run_file and (not Path(given.run_file).parent.is_dir() or Path(given.run_file).is_dir()):
        raise UserError(f"--run_file {given.run_file} cannot be written; it takes a file name in a folder there is.")
    settings = {setting.name: getattr(given, setting.name) for setting in fields(EncoderConfig)}
    config = recipe("zero-shot").with_settings(**settings).encoder
    collection = load_collection(given.data, strict=not given.lenient, say=_print)

    from ance_tele.evaluate.model import evaluate_model  # loads torch

    run, scores = evaluate_model(given.model, collection, given.split, config)
    if given.run_file:
        run.write_trec(Path(given.run_file))
    _print(f"{given.model} on {collection.name}, split {given.split}: {len(scores.query_ids):,} queries")
    for name, value in scores.means().items():
        _print(f"{name:<12} {value:.4f}")
    return 0


def _search(given: Namespace) -> int:
    from ance_tele.search import search_run

    for hit in search_run(given.run, given.words, given.k, given.data, say=_print):
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
