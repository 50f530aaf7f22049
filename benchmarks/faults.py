"""Faults injected into real runs, hundreds of them, at random; prints the table of fault by phase.

    python benchmarks/faults.py [--faults 320] [--minutes 60] [--parallel 1] [--seed 1] [--scratch FOLDER]

Each run is a process of its own (forked off one that has imported torch). A fault either comes while it runs: a signal
or what the system refuses, at a random boundary of artefacts, step of training or moment; or before it: files damaged.
After every fault it is checked that the run ended by the signal or in one sentence, within 10 s, and that nothing
half-written would be taken for whole; every few faults the same command goes through, and must end in the figures of an
undisturbed run. What does not is printed, and the exit code is 1.
"""

import argparse
import itertools
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "faults")]

from scene import Ended, Fault, Scene, injure, not_a_sentence  # noqa: E402

SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")
PHASES = ("start", "encode", "evaluate", "mine", "mix", "train", "report", "finished", "anywhere")
# A run goes through after so many faults; until then each goes on from what the one before has left.
FAULTS_PER_RUN = 6
DISK_KB = 4000


@dataclass
class Tally:
    """What was tried and what came of it: times by fault and phase, outcomes by fault, flaws, the slowest end."""

    tried: Counter[tuple[str, str]] = field(default_factory=Counter)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    flaws: list[str] = field(default_factory=list)
    slowest: dict[str, float] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Faults so far."""
        return sum(self.tried.values())

    def add(self, name: str, phase: str, outcome: str, flaw: str | None, ended: Ended | None = None) -> None:
        """Count a fault that has come."""
        self.tried[name, phase] += 1
        self.outcomes[name, "flawed" if flaw else outcome] += 1
        if ended is not None and ended.left is not None and outcome == "stopped":
            self.slowest[name] = max(self.slowest.get(name, 0.0), ended.left)
        if flaw:
            self.flaws.append(f"{name} in {phase}: {flaw}")
            print(f"FLAW {self.flaws[-1]}", flush=True)

    def table(self) -> str:
        """Return the table in Markdown."""
        lines = [f"| fault | {' | '.join(PHASES)} | all | outcome |", f"|---|{'---:|' * len(PHASES)}---:|---|"]
        for name in dict.fromkeys(name for name, _ in self.tried):
            counts = [self.tried[name, phase] for phase in PHASES]
            found = [f"{count} {what}" for (one, what), count in self.outcomes.items() if one == name]
            found += [f"at most {self.slowest[name]:.1f} s"] if name in self.slowest else []
            cells = [str(count or "") for count in counts]
            lines.append(f"| {name} | {' | '.join(cells)} | {sum(counts)} | {', '.join(found)} |")
        return "\n".join(lines)


class Campaign:
    """Runs of one scene, disturbed at random; ``out`` is the run folder of the moment."""

    def __init__(self, scene: Scene, draw: random.Random, tally: Tally) -> None:
        self.scene, self.draw, self.tally = scene, draw, tally
        self.out = scene.folder / "out"
        self.found = scene.forge.run(["search", str(scene.folder / "whole"), "t3 u18"]).out

    def disturb(self, name: str, fault: Fault) -> Ended:
        """Run with a fault, and count it if it has come."""
        ended = self.scene.run(self.out, fault)
        if ended.left is not None:
            outcome = "stopped" if fault.kind in SIGNALS else "a sentence" if ended.code == 2 else "went through"
            flaw = self.scene.flaw(self.out, ended, fault)
            self.tally.add(name, ended.phase, outcome, flaw, ended)
        return ended

    def at_a_boundary(self) -> None:
        kind = self.draw.choice(SIGNALS)
        self.disturb(f"{kind} at a boundary", Fault(kind, boundary=self.draw.randint(1, 16)))

    def in_a_step(self) -> None:
        kind = self.draw.choice(SIGNALS)
        self.disturb(f"{kind} in a step", Fault(kind, step=self.draw.randint(1, 6)))

    def at_a_moment(self) -> None:
        kind = self.draw.choice(SIGNALS)
        self.disturb(f"{kind} at a random moment", Fault(kind, seconds=self.draw.uniform(0.02, 3.0)))

    def no_room(self) -> None:
        amount = int(10 ** self.draw.uniform(1.5, 5.0))
        where = self.draw.choice([{"boundary": self.draw.randint(1, 16)}, {"step": self.draw.randint(1, 6)}])
        self.disturb("no room for a file", Fault("limit", amount=amount, **where))

    def forbidden(self) -> None:
        path = self.draw.choice([self.out, self.out / "episode-0", self.out / "episode-1"])
        if path.is_dir():
            self.disturb("right to write withdrawn", Fault("forbid", boundary=self.draw.randint(2, 14), path=str(path)))
            for folder in (self.out, *self.out.rglob("*")):
                folder.chmod(0o755)

    def removed(self) -> None:
        path = self.draw.choice([self.out, self.out / "episode-0", self.out / "episode-1"])
        if path.is_dir():
            where = self.draw.choice([{"boundary": self.draw.randint(2, 14)}, {"step": self.draw.randint(1, 6)}])
            self.disturb("folder deleted", Fault("remove", path=str(path), **where))

    def twice(self) -> None:
        """Start it a second time while the first is stopped, then let that go on."""
        first = self.scene.run(self.out, Fault("SIGSTOP", boundary=self.draw.randint(3, 14)))
        if first.stopped is None:
            return
        second = self.scene.run(self.out)
        held = f"ance-tele: Process {first.stopped} on {os.uname().nodename} has been at work in {self.out} since"
        flaw = None if second.err.startswith(held) else f"the second ends with {second.code}: {second.err}"
        flaw = flaw or not_a_sentence(second) or self.through(self.scene.forge.resume(first.stopped))
        self.tally.add("started twice", first.phase, "the second told by whom it is held", flaw)

    def through(self, ended: Ended) -> str | None:
        """Return what is wrong with a run that should have gone through; the next begins anew."""
        flaw = f"exit code {ended.code}: {ended.err[-2000:]}" if ended.code else self.scene.differs(self.out)
        shutil.rmtree(self.out, ignore_errors=True)
        return flaw

    def damaged(self) -> None:
        """Damage a file of what there is, of a run that goes on or has finished; the same command must make it good."""
        files = [path for path in self.out.rglob("*") if path.is_file() and path.stat().st_size]
        if (self.out / "summary.json").exists():  # then nothing but a search reads the last vectors
            files = [path for path in files if path.parent.name != "vectors"]
        files += [path for path in (self.scene.folder / "cache").rglob("*") if path.is_file() and path.stat().st_size]
        victim, how = self.draw.choice(files), self.draw.choice(["flip", "truncate", "empty", "delete"])
        phase = "finished" if (self.out / "summary.json").exists() else "start"
        kept = victim.read_bytes()
        injure(victim, how)
        ended = self.scene.run(self.out)
        if ended.code == 2 and not not_a_sentence(ended) and str(self.scene.folder) in ended.err:
            self.tally.add(f"file: {how}", phase, "a sentence", None)
            victim.write_bytes(kept)
            return
        lost = victim.name == "training_log.json"  # the report does without it
        flaw = f"{victim.relative_to(self.scene.folder)}: exit code {ended.code}, {ended.err[-2000:]}"
        flaw = None if ended.code == 0 else flaw
        if lost:
            victim.write_bytes(kept)
        flaw = flaw or ((wrong := self.scene.differs(self.out)) and f"{victim}: {wrong}")
        self.tally.add(f"file: {how}", phase, "the same figures", flaw)

    def other_verbs(self) -> None:
        """Damage a file of a finished run, and ask for its report and for a search."""
        copy = self.scene.folder / "copy"
        shutil.copytree(self.scene.folder / "whole", copy)
        victim = self.draw.choice([path for path in copy.rglob("*") if path.is_file() and path.stat().st_size])
        how = self.draw.choice(["flip", "truncate", "empty", "delete"])
        injure(victim, how)
        for argv in (["report", str(copy)], ["search", str(copy), "t3 u18"]):
            ended = self.scene.forge.run(argv)
            flaw = None if ended.code in (0, 2) and not not_a_sentence(ended) else f"{ended.code}: {ended.err[-2000:]}"
            if argv[0] == "search" and ended.code == 0 and ended.out != self.found:
                flaw = f"it finds something else: {ended.out}"
            outcome = "a sentence" if ended.code else "went through"
            self.tally.add(f"file damaged, then {argv[0]}", "finished", outcome, flaw and f"{victim} {how}: {flaw}")
        shutil.rmtree(copy)

    def full_disk(self) -> None:
        """Run on a small file system that is almost full."""
        with small_disk(self.scene.folder / "disk") as disk:
            home, self.out = self.out, disk / "out"
            (disk / "ballast").write_bytes(bytes(1000 * self.draw.randint(DISK_KB // 4, DISK_KB - 10)))
            ended = self.scene.run(self.out)
            flaw = None if ended.code in (0, 2) else f"exit code {ended.code}: {ended.err[-2000:]}"
            flaw = flaw or not_a_sentence(ended)
            if ended.code and "No space left" not in ended.err:
                flaw = flaw or ended.err
            (disk / "ballast").unlink()
            flaw = flaw or self.scene.recovered(self.out)
            self.tally.add("disk full", "anywhere", "a sentence" if ended.code else "went through", flaw)
            self.out = home


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a file system of a few megabytes."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_KB}k", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def campaign(folder: Path, seed: int, tally: Tally, done: Callable[[], bool]) -> None:
    """Inject faults until it is done."""
    with Scene.set(folder) as scene:
        inject(Campaign(scene, random.Random(seed), tally), tally, done)


def inject(made: Campaign, tally: Tally, done: Callable[[], bool]) -> None:
    """Inject faults of every kind, and let the same command go through in between."""
    while_running: list[Callable[[], None]] = [
        *[made.at_a_boundary] * 6,
        *[made.at_a_moment] * 6,
        *[made.in_a_step] * 3,
        *[made.no_room] * 3,
        *[made.forbidden, made.removed, made.damaged, made.damaged],
    ]
    for number in itertools.count():
        if done():
            return
        for _ in range(FAULTS_PER_RUN):
            made.draw.choice(while_running)()
        before = tally.count
        if flaw := made.scene.recovered(made.out):
            tally.flaws.append(f"after faults up to {before}: {flaw}")
            print(f"FLAW {tally.flaws[-1]}", flush=True)
            shutil.rmtree(made.out, ignore_errors=True)
        else:
            for _ in range(2):
                made.damaged()
        made.twice() if number % 3 == 0 else made.other_verbs()
        if number % 4 == 0 and os.geteuid() == 0:
            made.full_disk()
        shutil.rmtree(made.out, ignore_errors=True)
        print(f"{tally.count} faults, {len(tally.flaws)} flaws", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=320)
    parser.add_argument("--minutes", type=float, default=60.0, help="begin nothing after so long")
    parser.add_argument("--parallel", type=int, default=1, help="runs at a time, each in a scene of its own")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scratch", type=Path, help="where the runs' folder is made; a temporary one by default")
    given = parser.parse_args()
    tally, start = Tally(), time.time()

    def done() -> bool:
        return tally.count >= given.faults or time.time() - start > 60 * given.minutes

    with TemporaryDirectory(dir=given.scratch) as scratch, ThreadPoolExecutor(given.parallel) as pool:
        folders = [Path(scratch) / str(number) for number in range(given.parallel)]
        for folder in folders:
            folder.mkdir()
        running = [pool.submit(campaign, one, given.seed + n, tally, done) for n, one in enumerate(folders)]
        for future in running:
            future.result()
    print(tally.table())
    print(f"\n{tally.count} faults in {time.time() - start:,.0f} s, {len(tally.flaws)} flaws")
    return bool(tally.flaws)


if __name__ == "__main__":
    sys.exit(main())
