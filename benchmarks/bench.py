"""All benchmarks in one table: our times against every competitor, speed-ups, share of the limit, peak memory.

    python benchmarks/bench.py [--full] [--only step search] [--data FOLDER] [--model FOLDER]

Runs the scripts of this folder one after another, each in a process of its own, prints their rows as one table and adds
it to `benchmarks/results/YYYY-MM-DD.md`, with the machine, versions and commands. `--quick`, the default, takes
minutes; `--full` takes hours on two cores. A failed script becomes a row with the reason.
"""

import argparse
import datetime
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common import Row, machine, markdown, read_rows

ROOT = Path(__file__).parents[1]
HEADER = ("question", "ours", "competitor", "theirs", "ratio (least to most)", "share of limit", "peak GiB")
LEGEND = """\
Times are medians. Ratio: how many times faster ours is, the median over rounds taken in turns. Limit: the best matrix
product of this machine in the same precision, counting FLOPs of real tokens. Peak: the most memory of the process while
ours (theirs) ran; of a search, what it took beyond the vectors and the index; of a collection, of all steps.
"""


@dataclass(frozen=True)
class Question:
    """One script and its arguments.

    Attributes:
        quick: Arguments of each call with small sizes.
        full: Arguments of each call with the sizes that matter.
        takes: Which of "data" and "model" it takes.
    """

    quick: tuple[str, ...]
    full: tuple[str, ...]
    takes: tuple[str, ...] = ()


# 128 x (1 + 11) is left to the competitor with a gradient cache: the others would hold some 60 GiB.
CACHED = "--peers CachedMultipleNegativesRankingLoss"
QUESTIONS = {
    "startup": Question(("--runs 2",), ("--runs 5",), ("model",)),
    "step": Question(
        ("--shape 8 7 --steps 3",),
        ("--shape 8 31", "--shape 32 7", f"--shape 128 11 --steps 3 {CACHED}"),
        ("data", "model"),
    ),
    "encode": Question(("--texts 100 --rounds 3",), ("--texts 500",), ("data", "model")),
    "pairs": Question(("--pairs 96 --rounds 3",), ("--pairs 1000",), ("data", "model")),
    "search": Question(("--rows 100000 --queries 300 --repeats 3",), ("--rows 100000", "--rows 1000000 --repeats 3")),
    "mine": Question(("--passages 1000 --queries 200 --repeats 2",), ("--passages 5000",), ("data", "model")),
    "mix": Question(("50000",), ("500000",)),
    "dynamics": Question(("--queries 20000",), ("--queries 500000",)),
    "collection": Question(
        ("--passages 100000",),
        tuple(f"--passages {size}" for size in (1_000_000, 2_000_000, 4_000_000, 8_841_823)),
        ("data", "model"),
    ),
}


def calls(names: Sequence[str], full: bool, given: Mapping[str, str | None]) -> Iterator[tuple[str, list[str]]]:
    """Yield name and arguments of each call: sizes, then data and model if the script takes them."""
    for name in names:
        question = QUESTIONS[name]
        for sizes in question.full if full else question.quick:
            chosen = [part for key in question.takes if (value := given[key]) for part in (f"--{key}", value)]
            yield name, [*sizes.split(), *chosen]


def ask(name: str, arguments: Sequence[str]) -> list[Row]:
    """Run a script and return its rows, or a row with the reason of its failure."""
    with tempfile.TemporaryDirectory() as folder:
        rows, errors = Path(folder) / "rows.json", Path(folder) / "errors"
        command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *arguments, "--json", str(rows)]
        with errors.open("w") as file:
            done = subprocess.run(command, cwd=ROOT, stderr=file, check=False)
        if done.returncode == 0 and rows.exists():
            return read_rows(rows)
        text = errors.read_text("utf-8", "replace")
    print(text, file=sys.stderr)
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
    how = f"failed, exit {done.returncode}: {last.strip()[:100]}"
    return [Row(name, how, None, command=" ".join(["python", f"benchmarks/{name}.py", *arguments]))]


def table(rows: Sequence[Row]) -> str:
    """Return the one table as Markdown."""
    return markdown(HEADER, [_cells(row) for row in rows])


def _cells(row: Row) -> tuple[str, ...]:
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    if row.least is not None and row.most is not None:
        ratio += f" ({row.least:.2f} to {row.most:.2f})"
    peak = "" if not row.peak else f"{row.peak:.2f}"
    if row.their_peak:
        peak = f"{peak or '0.00'} ({row.their_peak:.2f})"
    cells = (
        row.question,
        row.ours if row.seconds is None else f"{spent(row.seconds)} ({row.ours})",
        row.competitor or "none",
        "" if row.theirs is None else spent(row.theirs),
        ratio,
        "" if row.share is None else f"{row.share:.0%}",
        peak,
    )
    return tuple(cell.replace("|", r"\|") for cell in cells)


def spent(seconds: float) -> str:
    """Format seconds with three digits: 0.0412 s, 4.06 s, 1,234 s."""
    return f"{seconds:,.0f} s" if seconds >= 100 else f"{seconds:.3g} s"


def nameless(row: Row, places: Mapping[str, str]) -> Row:
    """Return the row without local folder names, since results are committed."""
    shown = {name: getattr(row, name) for name in ("ours", "command")}
    for place, name in places.items():
        shown = {key: text.replace(place, name) for key, text in shown.items()}
    return replace(row, **shown)


def section(title: str, about: Sequence[str], rows: Sequence[Row]) -> str:
    """Return the Markdown section of one call: date, machine, table, commands."""
    commands = "\n".join(f"    {command}" for command in dict.fromkeys(row.command for row in rows))
    return "\n".join([f"## {title}\n", *(f"{line}\n" for line in about), f"{table(rows)}\n", LEGEND, f"{commands}\n"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="small sizes, minutes in all (the default)")
    size.add_argument("--full", action="store_true", help="the sizes that matter, hours on two cores")
    parser.add_argument("--only", nargs="+", choices=tuple(QUESTIONS), default=tuple(QUESTIONS), metavar="NAME")
    parser.add_argument("--data", default=None, help="a collection, e.g. in BEIR layout; the demo's")
    parser.add_argument("--model", default=None, help="a model's folder; the demo's")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="where tables are kept")
    given = parser.parse_args()
    folders = {key: value and str(Path(value).resolve()) if Path(value or "").is_dir() else value
               for key, value in (("data", given.data), ("model", given.model))}  # fmt: skip
    now = datetime.datetime.now()
    path, title = given.results / f"{now:%Y-%m-%d}.md", f"{now:%H:%M}, {'full' if given.full else 'quick'}"
    before = path.read_text("utf-8") if path.exists() else f"# Benchmarks of {now:%Y-%m-%d}\n"
    names = {key: Path(value or "demo").name for key, value in folders.items()}
    about = [machine(), f"Version: {_version()}. DATA: {names['data']}; MODEL: {names['model']}."]
    places = {value: key.upper() for key, value in folders.items() if value and "/" in value} | {f"{ROOT}/": ""}
    path.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for name, arguments in calls(given.only, given.full, folders):
        print(f"\n== {name} {' '.join(arguments)}", flush=True)
        rows += [nameless(row, places) for row in ask(name, arguments)]
        path.write_text(
            f"{before}\n{section(title, about, rows)}", "utf-8"
        )  # what is measured is kept, if it ends here
    print(f"\n{about[0]}\n\n{table(rows)}\n\n{LEGEND}\nkept in {path}")


def _version() -> str:
    asked = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "not in a repository"


if __name__ == "__main__":
    main()
