"""Fuzz every reader: each mutation of each valid file, many times, every case in a process of its own with limits.

A case is read with everything accounted for, or refused in one sentence; all else is a defect, and is printed with the
seed that repeats it. The table is Markdown: reader x kind of input, ``read/refused``.

    python benchmarks/fuzz.py --times 20                    # everything
    python benchmarks/fuzz.py --only review --times 200     # one reader
"""

import argparse
import contextlib
import io
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fuzz_inputs import READERS, Found, Reader
from fuzz_models import model_readers
from fuzz_mutations import MUTATIONS, Mutation, apply
from fuzz_own import own_readers

MEMORY = 2 << 30  # bytes that a case may take beyond what the process holds already
SECONDS = 120


@dataclass(frozen=True)
class Case:
    """One mutated file of one reader; the seed repeats it."""

    reader: Reader
    mutation: Mutation
    file: str
    seed: int


def cases(readers: Sequence[Reader], mutations: Sequence[Mutation], times: int) -> Iterator[Case]:
    """Yield every reader, file and mutation, ``times`` each; heavy ones once."""
    for reader in readers:
        for mutation in mutations:
            for file in reader.files:
                for seed in range(1 if mutation.heavy else times):
                    yield Case(reader, mutation, file, seed)


def mutated(case: Case) -> bytes | None:
    chance = Random(f"{case.reader.name}/{case.mutation.name}/{case.file}/{case.seed}")
    return apply(case.mutation, case.reader.files[case.file], case.file, chance)


def outcome(case: Case, content: bytes, before: Found, work: Path) -> str:
    """Return "read", "refused", or what the defect is."""
    folder, cache = work / "data", work / "cache"
    for name, given in {**case.reader.files, case.file: content}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(given)
    outside = sorted(work.parent.iterdir())
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint), warnings.catch_warnings():
            warnings.simplefilter("error", SyntaxWarning)
            found = case.reader.read(folder, cache)
    except Exception as error:
        if type(error).__name__ not in ("UserError", "NotFiniteError"):
            last = traceback.extract_tb(error.__traceback__)[-1]
            return f"{type(error).__name__}: {str(error)[:100]!r} ({Path(last.filename).name}:{last.lineno})"
        return _sentence(str(error), case)
    if sorted(work.parent.iterdir()) != outside:
        return "wrote outside its folder"
    if case.reader.own or case.reader.hints:
        ours = case.reader.own and not case.file.startswith(("model/", "source/"))
        checked = ours and case.file.endswith((".manifest.json", ".parquet", ".safetensors", ".npy"))
        return "damaged, and read as something else" if checked and found.content != before.content else "read"
    if case.mutation.expect == "refused":
        return "read, where it must be refused"
    if case.mutation.expect == "same" and found.content != before.content:
        return "read as something else"
    return _accounted(case, content, found)


def _sentence(sentence: str, case: Case) -> str:
    if case.mutation.expect == "same" and not case.reader.own and not case.reader.hints:
        return f"refused, where it must be read: {sentence[:120]!r}"
    if "\n" in sentence or not sentence.isprintable():
        return f"not one printable line: {sentence[:120]!r}"
    if len(sentence) > 1010:
        return f"a sentence of {len(sentence):,} characters: {sentence[:80]!r}"
    if sentence[-1] not in ".?":
        return f"no sentence: {sentence[-80:]!r}"
    return "refused"


def _accounted(case: Case, content: bytes, found: Found) -> str:
    name = case.file.removesuffix(".gz")
    if name not in found.lines or case.mutation.packed:
        return "read"
    import gzip

    text = gzip.decompress(content) if case.file.endswith(".gz") else content
    if b"\n" not in text:
        text = text.replace(b"\r", b"\n")  # refused by our readers; the datasets library takes it for a line end
    given = [line for line in text.split(b"\n") if line.strip()]
    header = name.startswith("qrels/") and bool(given) and b"score" in given[0]
    count = len(given) - header
    if found.lines[name] != count:
        return f"silent: {count} lines, {found.lines[name]} accounted for"
    return "read"


os.fsync = lambda file: None  # no case outlives its process


def in_a_process(case: Case, content: bytes, before: Found) -> tuple[str, float, int]:
    """Return the outcome of a case, its seconds and its peak memory in bytes, run in a fork with limits."""
    reader, writer = os.pipe()
    start = time.perf_counter()
    child = os.fork()
    if not child:
        os.close(reader)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1), os.dup2(null, 2)
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
        signal.alarm(SECONDS)
        with tempfile.TemporaryDirectory(dir=os.environ.get("FUZZ_TMP")) as work:
            inner = Path(work) / "case"
            inner.mkdir()
            said = outcome(case, content, before, inner)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        os.write(writer, json.dumps([said, peak]).encode()[:60_000])
        os._exit(0)
    os.close(writer)
    said = b""
    while block := os.read(reader, 1 << 16):
        said += block
    os.close(reader)
    _, status = os.waitpid(child, 0)
    seconds = time.perf_counter() - start
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return (f"more than {SECONDS} s" if number == signal.SIGALRM else f"killed by signal {number}"), seconds, 0
    if not said:
        return "ended without a word", seconds, 0
    text, peak = json.loads(said)
    return text, seconds, peak


def fuzz(every: Iterable[Case]) -> tuple[dict[tuple[str, str], Counter[str]], list[str], dict[str, float]]:
    """Run all cases; return outcomes by reader and kind, the defects, and the extremes."""
    table: dict[tuple[str, str], Counter[str]] = {}
    defects: list[str] = []
    before: dict[str, Found] = {}
    most = {"seconds": 0.0, "bytes": 0.0}
    for case in every:
        if case.reader.name not in before:
            with tempfile.TemporaryDirectory() as work:
                for name, given in case.reader.files.items():
                    (Path(work) / "data" / name).parent.mkdir(parents=True, exist_ok=True)
                    (Path(work) / "data" / name).write_bytes(given)
                before[case.reader.name] = case.reader.read(Path(work) / "data", Path(work) / "cache")
        content = mutated(case)
        if content is None:
            continue
        said, seconds, peak = in_a_process(case, content, before[case.reader.name])
        most = {"seconds": max(most["seconds"], seconds), "bytes": max(most["bytes"], peak)}
        kind = said if said in ("read", "refused") else "defect"
        table.setdefault((case.reader.name, case.mutation.group), Counter())[kind] += 1
        if kind == "defect":
            defects.append(f"{case.reader.name} | {case.mutation.name} | {case.file} | seed {case.seed} | {said}")
            print(defects[-1], flush=True)
    return table, defects, most


def until(every: Sequence[Case], seconds: float | None) -> Iterator[Case]:
    """Yield cases for so many seconds."""
    end = time.perf_counter() + (seconds or float("inf"))
    for case in every:
        if time.perf_counter() > end:
            return
        yield case


def markdown(table: dict[tuple[str, str], Counter[str]]) -> str:
    """Return the table: a row for each reader, a column for each kind; read/refused, defects in bold behind."""
    readers = sorted({reader for reader, _ in table})
    groups = [group for group in dict.fromkeys(one.group for one in MUTATIONS) if any(group == two for _, two in table)]

    def cell(counts: Counter[str]) -> str:
        if not counts:
            return ""
        return f"{counts['read']}/{counts['refused']}" + (f" **{counts['defect']}**" if counts["defect"] else "")

    rows = [["reader", *groups, "cases"], ["---"] * (len(groups) + 2)]
    for reader in readers:
        counts = [table.get((reader, group), Counter()) for group in groups]
        rows.append([reader, *map(cell, counts), f"{sum(sum(one.values()) for one in counts):,}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="cases of each reader, file and mutation")
    parser.add_argument("--only", nargs="*", help="readers, by part of their names")
    parser.add_argument("--mutations", nargs="*", help="mutations, by part of their names or groups")
    parser.add_argument("--no-heavy", action="store_true", help="leave the files of 50 MB and more out")
    parser.add_argument("--seconds", type=float, help="stop after so many; the order is random, the same each time")
    parser.add_argument("--own", action="store_true", help="only what we write ourselves and read back")
    parser.add_argument("--texts", action="store_true", help="only what users bring")
    parser.add_argument("--table", type=Path, help="write the table here")
    given = parser.parse_args(argv)
    every = () if given.own else READERS
    every = every if given.texts else (*every, *own_readers(), *model_readers())
    readers = [one for one in every if not given.only or any(word in one.name for word in given.only)]
    words = given.mutations
    mutations = [one for one in MUTATIONS if not words or any(word in f"{one.name} {one.group}" for word in words)]
    mutations = [one for one in mutations if not (given.no_heavy and one.heavy)]
    start = time.perf_counter()
    chosen = list(cases(readers, mutations, given.times))
    Random(0).shuffle(chosen)
    table, defects, most = fuzz(until(chosen, given.seconds))
    count = sum(sum(one.values()) for one in table.values())
    lines = [
        markdown(table),
        "",
        f"{count:,} cases in {time.perf_counter() - start:.0f} s, {len(defects)} defects; the longest took "
        f"{most['seconds']:.1f} s, the largest process {most['bytes'] / 2**30:.2f} GiB.",
    ]
    print("\n".join(lines))
    if given.table:
        given.table.write_text("\n".join(lines) + "\n", "utf-8")
    return 1 if defects else 0


if __name__ == "__main__":
    sys.exit(main())
