"""The verbs, each a thin call of a public function, and their flags."""

import shutil
import textwrap
from contextlib import ExitStack
from pathlib import Path

from ance_tele.cli.alone import ENCODE, RETRIEVE
from ance_tele.cli.common import HINTS, LENIENT, MOVED, conclude, echo
from ance_tele.cli.comparing import COMPARE, REPRODUCE
from ance_tele.cli.completion import completion
from ance_tele.cli.distilling import DISTIL
from ance_tele.cli.dry import shown, would_write
from ance_tele.cli.exporting import EXPORT
from ance_tele.cli.flags import Flag, Given, Result, Verb, switch
from ance_tele.cli.from_raw import FLAGS as FROM_RAW
from ance_tele.cli.from_raw import check_flags, check_raw, from_csv, from_folder
from ance_tele.cli.measuring import EVALUATE
from ance_tele.cli.merging import MERGE
from ance_tele.cli.pretraining import PRETRAIN
from ance_tele.cli.pushing import PUSH
from ance_tele.cli.running import RUN
from ance_tele.cli.teaching import TEACH
from ance_tele.console.errors import UserError
from ance_tele.console.garbage import importing
from ance_tele.paper.settings import start_of
from ance_tele.recipes import RECIPES


def recipes_verb(given: Given) -> Result:
    """List the recipes."""
    found = {name: (make.__doc__ or "").strip().splitlines()[0] for name, make in RECIPES.items()}
    for name, what in found.items():
        echo(f"{name:<19} {what}")
    return {"recipes": [{"name": name, "what": what} for name, what in found.items()]}


def search_verb(given: Given) -> Result:
    """Search with a run."""
    from ance_tele.explorer.search import search_run
    from ance_tele.report.run_tables import cut
    from ance_tele.runs.working_copy import fetched

    hits = search_run(fetched(given.run), " ".join(given.words), given.k, given.data)
    columns = shutil.get_terminal_size((166, 24)).columns
    for hit in hits:
        echo(f"{hit.rank:>2}  {hit.score:.3f}  {hit.id}  {hit.title}")
        echo(textwrap.fill(cut(hit.text, 160), columns, initial_indent=" " * 6, subsequent_indent=" " * 6))
    return {"hits": hits}


def serve_verb(given: Given) -> Result:
    """Serve the explorer of a run until it is interrupted."""
    from ance_tele.explorer.serve import serve
    from ance_tele.runs.working_copy import kept_at

    with kept_at(given.run, begun=True) as run:  # where verdicts are marked
        serve(run, given.data, given.host, given.port, given.episodes)
    return {}


def data_verb(given: Given) -> Result:
    """Check a collection, make one of documents or pairs, or convert one, or what a run has made."""
    from ance_tele.data.describe import counted_parts, describe
    from ance_tele.data.load import load_collection

    check_flags(given)
    if given.data == "from-folder":
        return from_folder(given)
    if given.data == "from-csv":
        return from_csv(given)
    if given.data == "convert":
        _check_convert(given)
        from ance_tele.cli.convert import convert

        echo(convert(given.source, Path(given.target), given.to, given.episode, not given.lenient))
        return {"written": given.target, "format": given.to}
    if given.source:
        whole = " ".join(word for word in (given.data, given.source, given.target) if word)
        raise UserError(f"data takes one collection; to convert it: data convert {whole} --to FORMAT.")
    collection = load_collection(given.data, strict=not given.lenient)
    for line in describe(collection):
        echo(line)
    lengths = []
    if given.model:
        with importing():  # loads torch
            from ance_tele.evaluate.model import lengths_for

        lengths = list(lengths_for(start_of(given.model), collection))
        for line in lengths:
            echo(line)
    return {**counted_parts(collection), "lengths": lengths}


def _check_convert(given: Given) -> None:
    if not given.source or not given.target:
        raise UserError("data convert takes what to read and where to write: data convert FROM TO --to FORMAT.")


def data_dry(given: Given) -> Result:
    """Print what `data` would write."""
    check_flags(given)
    if given.data in ("from-folder", "from-csv"):
        check_raw(given)
    elif given.data == "convert":
        _check_convert(given)
    return would_write("collection", "out" if given.data in ("from-folder", "from-csv") else "target")(given)


def report_dry(given: Given) -> Result:
    """Print what `report` would write."""
    places = [Path(given.out)] if given.out else [Path(run) / "report.html" for run in given.runs]
    return {"would_make": [shown("report", place) for place in places]}


def report_verb(given: Given) -> Result:
    """Write the report of a run into its folder, or of several runs into a folder of its own."""
    from ance_tele.runs.working_copy import kept_at

    if len(given.runs) > 1 and not given.out:
        raise UserError("--out is missing: several runs take a folder for their common report.")
    with ExitStack() as open_runs:
        return _report([open_runs.enter_context(kept_at(run, begun=True)) for run in given.runs], given)


def _report(runs: list[Path], given: Given) -> Result:
    from ance_tele.report.write import write_report, write_reports
    from ance_tele.runs.summary import Summary

    for run in runs:
        Summary.read(run)

    from ance_tele.analysis.analyse import analyse

    for run in runs:
        analyse(run, data=given.data)
    if given.out:
        page, compared = write_reports(runs, Path(given.out), given.paper)
        echo("\n".join([str(page), *compared]))
        return {"page": page, "compared": compared}
    write_report(runs[0], given.paper, figures=True)
    written = {"page": runs[0] / "report.html", "markdown": runs[0] / "report.md", "figures": runs[0] / "figures"}
    echo(f"{written['page']}\n{written['markdown']}  (figures: {written['figures']})")
    return written


def suspects_verb(given: Given) -> Result:
    """Show or write a run's suspects."""
    for name in ("k", "sample"):
        if getattr(given, name) is not None and getattr(given, name) < 1:
            raise UserError(f"{name} is {getattr(given, name)}; it must be at least 1.")
    from ance_tele.analysis.suspect_texts import suspects_of
    from ance_tele.console.numbers import count, percent
    from ance_tele.data.review import write_review
    from ance_tele.report.run_tables import cut
    from ance_tele.runs.analysed import Analysis
    from ance_tele.runs.working_copy import fetched

    most = given.k if given.k or given.to or given.sample else 10
    choice = (most, given.sample, given.seed, given.reasons, given.sources, given.data)
    run = fetched(given.run)
    found = suspects_of(run, *choice)
    counts = Analysis.read(Path(run)).suspects
    echo(f"{count(counts.suspects)} of {count(counts.pairs)} pairs in the pools are suspect")
    for source, of in counts.by_source.items():
        echo(f"  {source:<10} {count(of.suspects):>9} of {count(of.pairs):>11}  {percent(of.share):>5}%")
    echo("  " + ", ".join(f"{reason} {count(amount)}" for reason, amount in counts.by_reason.items()))
    if given.to:
        write_review(given.to, found)
        echo(f"{len(found):,} written to {given.to}: put 'relevant' or 'negative' into the column verdict, then")
        echo(f"ance-tele run RECIPE ... --review {given.to} --review_as exclude     (or positives)")
        return {"counts": counts, "written": given.to, "suspects": found}
    for one in found:
        echo(f"\n{one.query_id}  {one.query}   ({one.reasons}; from {one.sources})")
        echo(f"    {one.passage_id}  {one.title}{'  ' if one.title else ''}{cut(one.text, 200)}")
    return {"counts": counts, "suspects": found}


def demo_verb(given: Given) -> Result:
    """Train on the embedded demo data."""
    with importing():  # loads torch
        from ance_tele.experiments.demo import demo

    out = Path(given.out)
    demo(out, given.model)
    return conclude(out)


_RUN_FOLDER = Flag("run", "a run folder, or its URL", str)

VERBS: dict[str, Verb] = {
    "run": RUN,
    "compare": COMPARE,
    "reproduce": REPRODUCE,
    "teach": TEACH,
    "distil": DISTIL,
    "recipes": Verb(recipes_verb, "List the recipes."),
    "pretrain": PRETRAIN,
    "evaluate": EVALUATE,
    "merge": MERGE,
    "encode": ENCODE,
    "retrieve": RETRIEVE,
    "export": EXPORT,
    "push": PUSH,
    "search": Verb(
        search_verb,
        "Ask a trained run one question. Its last model searches the corpus of the run.",
        "RUN WORDS [-k N]",
        [_RUN_FOLDER, Flag("words", "the query", tuple[str, ...]), Flag("-k", "how many passages", int, 5), MOVED],
    ),
    "serve": Verb(
        serve_verb,
        "Explore a run in the browser: search, follow training queries, mark suspects.",
        "RUN",
        [
            _RUN_FOLDER,
            MOVED,
            Flag("--host", "address to listen on; by default for this machine only", str, "127.0.0.1"),
            Flag("--port", "port to listen on; 0 takes any that is free", int, 8000),
            Flag("--episodes", "all, or only those whose vectors were kept: kept", str, "all"),
        ],
    ),
    "data": Verb(
        data_verb,
        "Check, make or convert a collection. Checking prints counts, lengths, problems found.",
        "DATA, or data from-folder DOCS --out DATA, data from-csv FILE --query COLUMN --passage COLUMN --out DATA, "
        "data convert FROM TO --to FORMAT",
        [
            Flag("data", HINTS["data"] + "; or 'from-folder', 'from-csv', 'convert'", str),
            Flag(
                "source",
                "from-folder: a folder of documents; from-csv: a table; convert: a collection, or a run folder",
            ),
            Flag("target", "convert: the file or folder to write"),
            Flag("--to", "beir, tevatron, tevatron2, flagembedding, triplets, dpr", str, "beir"),
            Flag("--model", "how long are the texts for this model? from-folder: in whose tokens sizes are"),
            Flag("--episode", "convert a run: which episode; the last one", int | None),
            LENIENT,
            *FROM_RAW,
        ],
        data_dry,
    ),
    "report": Verb(
        report_verb,
        "Write the report of a run, or of several. One goes into its folder, several into another: one page, and each "
        "figure as PNG, SVG and CSV.",
        "RUN [RUN ...] [--out FOLDER] [--paper]",
        [
            Flag("runs", "run folders, or their URLs", tuple[str, ...]),
            Flag("--out", "folder of the report; needed for several runs"),
            switch("--paper", "the paper's curves (MS MARCO) next to the runs' own"),
            MOVED,
        ],
        report_dry,
    ),
    "suspects": Verb(
        suspects_verb,
        "Negatives of a run that are probably relevant. They can be judged and given to the next run.",
        "RUN [-k N] [--to FILE]",
        [
            _RUN_FOLDER,
            Flag("-k", "how many, most suspect first; 10, or all with --to", int | None),
            Flag("--to", "write them here, as a review file (CSV)"),
            Flag("--sample", "so many drawn at random instead", int | None),
            Flag("--seed", "of that draw", int, 42),
            Flag("--reasons", "only these: near_duplicate, above_positive, persistently_top", tuple[str, ...], ()),
            Flag("--sources", "only of these, such as lookahead", tuple[str, ...], ()),
            MOVED,
        ],
        would_write("review", "to"),
    ),
    "demo": Verb(
        demo_verb,
        "Train on the embedded demo data. This is the command behind `make demo`.",
        "[--out FOLDER]",
        [Flag("--out", "the run folder", str, "runs/demo"), Flag("--model", "another model to start from")],
        would_write("run", "out"),
    ),
    "completion": completion(lambda: VERBS),
}
