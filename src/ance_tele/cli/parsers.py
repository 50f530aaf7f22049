"""The parsers of the verbs; settings become flags as their dataclasses declare them."""

from argparse import Action

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from ance_tele.cli.flags import ReviewAs, recipe_named
from ance_tele.evaluate.config import ExcludeSelf
from ance_tele.plan.defaults import SETTINGS
from ance_tele.recipes import SCALES, recipe
from ance_tele.settings import PARTS

HINTS = {
    "data": "a folder (BEIR, MS MARCO, DPR, Tevatron ...), a training file, 'irds:ID', 'hub:NAME', 'demo'",
    "model": "folder or hub name of the model to start from",
    "out": "the run folder",
    "recipes": "systems: a recipe's name and, after spaces, settings of its own, e.g. 'ance-tele alpha=0.3'",
}


class OpenSettings(DefaultHelpFormatter):
    """Help formatter that shows which defaults depend on data and model, instead of a number."""

    def _get_help_string(self, action: Action) -> str:
        shown = str(super()._get_help_string(action))
        return shown.replace("%(default)s", "by what is at hand") if action.dest in SETTINGS else shown


def make_parser(argv: list[str]) -> tuple[ArgumentParser, dict[str, ArgumentParser]]:
    """Return the parser, and those of the verbs."""
    from ance_tele import __version__

    parser = ArgumentParser(
        prog="ance-tele",
        description="Train dense retrievers with self-mined teleportation negatives, episode by episode.",
        exit_on_error=False,
        version=__version__,
    )
    verbs = parser.add_subcommands(required=False, dest="verb", metavar="VERB")
    verbs.add_subcommand("run", _run(argv), help="Carry out a recipe; the same command resumes.")
    verbs.add_subcommand("compare", _compare(), help="Recipes x models x seeds: one table, with significance.")
    verbs.add_subcommand("reproduce", _reproduce(), help="A table of the paper, on your data and models.")
    verbs.add_subcommand("recipes", _plain("The recipes, one line each."), help="List the recipes.")

    evaluate = _plain(
        "Measure a model, or a pair of encoders, on a split of a collection.",
        "ance-tele evaluate MODEL --data DATA [--split SPLIT] [settings], or evaluate RUN --on DATA [DATA ...]",
    )
    evaluate.add_argument("model", type=str | None, nargs="?", help="Folder or hub name of a model.")
    evaluate.add_argument("--query_model", type=str | None, default=None, help="with --passage_model: a pair instead")
    evaluate.add_argument("--passage_model", type=str | None, default=None, help="the passages' encoder of a pair")
    evaluate.add_argument("--data", type=str | None, default=None, help=HINTS["data"])
    evaluate.add_argument(
        "--split", type=str | None, default=None, help="which split; test, or dev where there is none"
    )
    evaluate.add_argument(
        "--on", type=str, nargs="+", default=[], help="collections: is a run's model worse there than its start?"
    )
    evaluate.add_argument("--hold_out", type=float | None, default=None, help="as in run: training queries as dev")
    evaluate.add_argument(
        "--relevance_level", type=int | None, default=None, help="grade from which on a passage is relevant; the usual"
    )
    evaluate.add_argument(
        "--exclude_self", type=ExcludeSelf, default="id_and_text", help="what makes a passage the query itself"
    )
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

    serve = _plain("Explore a finished run in the browser: search, follow training queries, mark suspects.")
    serve.add_argument("run", type=str, help="A run folder.")
    serve.add_argument("--data", type=str | None, default=None, help="where the collection lies now, if it was moved")
    serve.add_argument("--host", type=str, default="127.0.0.1", help="address to listen on; this machine only")
    serve.add_argument("--port", type=int, default=8000, help="port to listen on; 0 takes any that is free")
    serve.add_argument("--episodes", type=str, default="all", help="all, or only those whose vectors were kept: kept")
    verbs.add_subcommand("serve", serve, help="Explore a run in the browser.")

    data = _plain(
        "Check a collection: counts, lengths, problems found. Or `ance-tele data convert FROM TO --to FORMAT`."
    )
    data.add_argument("data", type=str, help=HINTS["data"] + "; or 'convert'")
    data.add_argument("source", type=str | None, nargs="?", help="convert: a collection, or a run folder")
    data.add_argument("target", type=str | None, nargs="?", help="convert: the file or folder to write")
    data.add_argument("--to", type=str, default="beir", help="beir, tevatron, tevatron2, flagembedding, triplets, dpr")
    data.add_argument("--model", type=str | None, default=None, help="how long are the texts for this model?")
    data.add_argument("--episode", type=int | None, default=None, help="convert a run: which episode; the last one")
    _lenient(data)
    verbs.add_subcommand("data", data, help="Check or convert a collection.")

    report = _plain(
        "Write the report of a finished run into its folder, or of several beside each other into another: one page, "
        "and each figure as PNG, SVG and CSV.",
        "ance-tele report RUN [RUN ...] [--out FOLDER] [--paper]",
    )
    report.add_argument("runs", type=str, nargs="+", help="Run folders.")
    report.add_argument("--out", type=str | None, default=None, help="folder of the report; needed for several runs")
    report.add_argument("--paper", action="store_true", help="the paper's curves (MS MARCO) beside the runs' own")
    report.add_argument("--data", type=str | None, default=None, help="where the collection lies now, if it was moved")
    verbs.add_subcommand("report", report, help="Write the report of a run, or of several.")

    verbs.add_subcommand("suspects", _suspects(), help="Negatives of a run that are probably relevant.")

    demo = _plain("Train on the embedded demo data: the command behind `make demo`.")
    demo.add_argument("--out", type=str, default="runs/demo", help="the run folder")
    demo.add_argument("--full", action="store_true", help="longer passages, more negatives, all training queries")
    demo.add_argument("--model", type=str | None, default=None, help="another model to start from")
    verbs.add_subcommand("demo", demo, help="Train on the embedded demo data.")
    scaled = (recipe_named(argv) or "").partition("/")[0] in SCALES
    for name in ("compare", "reproduce") if scaled else ("run", "compare", "reproduce"):
        verbs.choices[name].formatter_class = OpenSettings  # adding a parser to a verb takes its own away
    return parser, dict(verbs.choices)


def _suspects() -> ArgumentParser:
    parser = _plain("Negatives of a finished run that are probably relevant, to be judged and given to the next run.")
    parser.add_argument("run", type=str, help="A run folder.")
    parser.add_argument("-k", type=int | None, default=None, help="how many, most suspect first; 10, or all with --to")
    parser.add_argument("--to", type=str | None, default=None, help="write them here, as a review file (CSV)")
    parser.add_argument("--sample", type=int | None, default=None, help="so many drawn at random instead")
    parser.add_argument("--seed", type=int, default=42, help="of that draw")
    parser.add_argument("--reasons", type=str, nargs="+", default=[], help="only these: copy, outscores, kept")
    parser.add_argument("--sources", type=str, nargs="+", default=[], help="only of these, such as lookahead")
    parser.add_argument("--data", type=str | None, default=None, help="where the collection lies now, if moved")
    return parser


def _plain(description: str, usage: str | None = None) -> ArgumentParser:
    return ArgumentParser(description=description, usage=usage, exit_on_error=False)


def _lenient(parser: ArgumentParser) -> None:
    parser.add_argument("--lenient", action="store_true", help="leave out what does not add up, and count it")


def _encoder_arguments(parser: ArgumentParser) -> None:
    from ance_tele.encode.config import EncoderConfig

    parser.add_class_arguments(EncoderConfig, None)


def _settings(parser: ArgumentParser, name: str | None = None) -> None:
    chosen = recipe(name or "ance-tele")
    for part in PARTS:
        parser.add_class_arguments(type(getattr(chosen, part)), None)
    parser.set_defaults(chosen.settings())


def _run(argv: list[str]) -> ArgumentParser:
    parser = _plain(
        "Carry out a recipe; the same command resumes. Settings: by what is at hand < recipe < --config file < command "
        "line.",
        "ance-tele run RECIPE --data DATA --model MODEL --out FOLDER [settings]",
    )
    parser.add_argument("recipe", type=str | None, nargs="?", help="see `ance-tele recipes`")
    parser.add_argument("--config", action="config", help="YAML file of settings, such as a run's config.yaml")
    parser.add_argument("--data", type=str | None, default=None, help=HINTS["data"])
    parser.add_argument("--model", type=str | None, default=None, help=HINTS["model"])
    parser.add_argument("--out", type=str | None, default=None, help=HINTS["out"])
    parser.add_argument(
        "--review", type=str | None, default=None, help="CSV of verdicts: query_id, passage_id, verdict"
    )
    parser.add_argument(
        "--review_as", type=ReviewAs, default="exclude", help="passages called relevant: no negatives, or positives"
    )
    parser.add_argument("--plan", action="store_true", help="print steps, disk, memory and hours; touch nothing")
    parser.add_argument("--gpu", type=str | None, default=None, help="with --plan: on which GPU, e.g. H100")
    parser.add_argument("--official", action="store_true", help="do as the authors' code where it leaves the paper")
    _lenient(parser)
    name = recipe_named(argv)
    _settings(parser, name)
    parser.set_defaults({"recipe": name})
    return parser


def _compare() -> ArgumentParser:
    parser = _plain(
        "Run recipes x models x seeds on one collection and set them side by side. The same command resumes. Settings "
        "that are given hold for all systems, but for what makes a recipe what it is: DPR keeps its one episode.",
        "ance-tele compare --recipes q-neg ance-tele 'ance-tele alpha=0.3' --seeds 1 2 3\n"
        "                         --data DATA --model MODEL --out FOLDER [settings]",
    )
    parser.add_argument("--recipes", type=str, nargs="+", default=[], help=HINTS["recipes"])
    _grid(parser)
    return parser


def _reproduce() -> ArgumentParser:
    parser = _plain(
        "Run the systems of one of the paper's tables or figures on your data and models.",
        "ance-tele reproduce table3 --seeds 1 2 3 --data DATA --model MODEL --out FOLDER\n"
        "                         [settings]",
    )
    parser.add_argument("table", type=str, help="table1, table2, table3, table8, table9, figure4 or figure8")
    _grid(parser)
    return parser


def _grid(parser: ArgumentParser) -> None:
    parser.add_argument("--config", action="config", help="YAML file of settings, recipes, models, seeds")
    parser.add_argument("--models", type=str, nargs="+", default=[], help="folders or hub names of models")
    parser.add_argument("--model", type=str | None, default=None, help="the same, for a single one")
    parser.add_argument("--seeds", type=int, nargs="+", default=[], help="one run each; else that of --seed")
    parser.add_argument("--data", type=str | None, default=None, help=HINTS["data"])
    parser.add_argument("--out", type=str | None, default=None, help="folder of the comparison")
    parser.add_argument("--parallel", type=int, default=1, help="cells at a time, spread over the GPUs there are")
    parser.add_argument("--scale", type=str | None, default=None, help="settings of marco, nq or triviaqa (Table 5)")
    parser.add_argument("--official", action="store_true", help="do as the authors' code where it leaves the paper")
    _lenient(parser)
    _settings(parser)
