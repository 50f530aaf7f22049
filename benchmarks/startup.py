"""Start-up time: of `--help`, and to the first training step of a tiny run by phase, in fresh processes.

    python benchmarks/startup.py [--model FOLDER] [--runs 5] [--json FILE]

The run uses a toy collection made here (400 passages, 64 training queries), with an empty cache and run folder. Phases:
importing the code, importing the data, loading the model, tokenising, encoding, mining, mixing, what comes before the
first batch goes through the model, and the step itself, up to the update of the weights: of eight queries with 31
passages more each, it is arithmetic, and grows with the model. Evaluation of the initial model and BM25, which training
does not need, are left out. CPU time is that of all threads, and less noisy. The first process is not counted: it fills
the system's page cache.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from common import Row, add_json, markdown, record

PASSAGES, QUERIES, WORDS = 400, 64, 2000
BEGINS, ENDS = "until the first training step begins", "to the first training step"
ENTRY = "import sys; from ance_tele.cli.main import main; sys.exit(main())"
HELP = {"a bare Python": ["-c", "pass"], "ance-tele --help": ["-c", ENTRY, "--help"],
        "ance-tele run --help": ["-c", ENTRY, "run", "--help"]}  # fmt: skip


def write_toy(folder: Path) -> None:
    """Write a collection in BEIR layout: passages of 40 made-up words, queries of four words of their passage."""
    rng = np.random.default_rng(0)
    syllables = np.array([a + b for a in "bdfgklmnprst" for b in "aeiou"])
    words = np.array(["".join(drawn) for drawn in rng.choice(syllables, (WORDS, 3))])
    passages = [rng.choice(words, 40) for _ in range(PASSAGES)]
    corpus = [{"_id": f"d{row}", "title": "", "text": " ".join(text)} for row, text in enumerate(passages)]
    queries = [{"_id": f"q{row}", "text": " ".join(rng.choice(passages[row], 4))} for row in range(2 * QUERIES)]
    (folder / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    for split, first in (("train", 0), ("test", QUERIES)):
        judged = [f"q{row}\td{row}\t1\n" for row in range(first, first + QUERIES)]
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged), "utf-8")


def first_step(folder: Path, model: str, started: float) -> None:
    """Carry out a run up to its first training step; print seconds by phase as JSON.

    Args:
        folder: Contains the toy collection; the run and its cache are written there.
        model: The initial model.
        started: When this process was started, seconds since the epoch.
    """
    seconds = {}

    @contextmanager
    def phase(name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - start

    with phase("imports"):
        from ance_tele.console.garbage import importing
        from ance_tele.console.waiting import wait_well

        wait_well()  # as the command line does; otherwise a step beside other processes is waiting for the most part
        with importing():
            from torch.nn.modules.module import register_module_forward_pre_hook
            from torch.optim.optimizer import register_optimizer_step_post_hook

            import ance_tele.training.trainer  # noqa: F401
            from ance_tele.data.load import load_collection
            from ance_tele.recipes import recipe
            from ance_tele.runs.inputs import RunInputs
            from ance_tele.runs.mine import mine
            from ance_tele.runs.mix import mix
            from ance_tele.runs.train import train
    seconds = {"process": time.time() - started - seconds["imports"], **seconds}
    ended: list[float] = []
    register_optimizer_step_post_hook(lambda *_: ended.append(time.perf_counter()))
    settings = {"depth": 50, "episodes": 1, "epochs": 1, "max_train_queries": 8, "report_to": ()}
    chosen = recipe("ance-tele").with_settings(**settings)
    with phase("data"):
        collection = load_collection(folder / "data", folder / "cache")
    inputs = RunInputs.of(chosen, collection, model, folder / "run", folder / "cache", announce=False)
    model_given, (episode,) = inputs.start, inputs.episodes()
    assert model_given is not None
    retriever = inputs.retriever(model_given, 0)
    with phase("load model"):
        model_given.weights  # noqa: B018
    with phase("tokens"):
        retriever.key  # noqa: B018
    with phase("encode"):
        retriever.vectors  # noqa: B018
    with phase("mine"):
        training = inputs.training_set()
        candidates = mine(training, retriever, inputs.bm25, episode)
    with phase("mix"):
        pool = mix(candidates, training, [], episode)
    start = time.perf_counter()
    began: list[tuple[float, float]] = []
    register_module_forward_pre_hook(lambda *_: began.append((time.perf_counter(), time.process_time())))
    train(model_given, pool, training, inputs, episode)
    seconds |= {"prepare training": began[0][0] - start, "first step": ended[0] - began[0][0]}
    print(json.dumps({"seconds": seconds, "cpu": began[0][1]}))


def fresh(arguments: list[str]) -> tuple[float, str]:
    """Run a new Python process; return its wall time and its output."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - start, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--child", nargs=2, default=None, help=argparse.SUPPRESS)
    add_json(parser)
    given = parser.parse_args()
    if given.child:
        first_step(Path(given.child[0]), given.model, float(given.child[1]))
        return
    from ance_tele.data.demo import demo_model
    from ance_tele.data.load import cache_folder

    model = given.model or str(demo_model(cache_folder()))
    taken: dict[str, list[float]] = {name: [] for name in HELP}
    phases: list[dict[str, float]] = []
    cpu: list[float] = []
    for turn in range(-1, given.runs):
        for name, arguments in HELP.items():
            taken[name] += [fresh(arguments)[0]] if turn >= 0 else []
        with tempfile.TemporaryDirectory() as folder:
            write_toy(Path(folder) / "data")
            child = [os.fspath(Path(__file__)), "--model", model, "--child", folder, str(time.time())]
            found = json.loads(fresh(child)[1].splitlines()[-1])
            if turn >= 0:
                phases.append(found["seconds"])
                cpu.append(found["cpu"])
    taken |= {name: [one[name] for one in phases] for name in phases[0]}
    taken[BEGINS] = [sum(one.values()) - one["first step"] for one in phases]
    taken[f"{BEGINS}, CPU"] = cpu
    taken[ENDS] = [sum(one.values()) for one in phases]
    times = {name: (statistics.median(values), min(values)) for name, values in taken.items()}
    rows = [(name, f"{median:.2f} s", f"{best:.2f} s") for name, (median, best) in times.items()]
    print(markdown((f"{given.runs} processes", "median", "best"), rows))
    parts = ", ".join(f"{name} {times[name][0]:.1f}" for name in phases[0])
    bare = times["a bare Python"][0]
    kept = [Row(name, f"best {times[name][1]:.2f} s; a bare Python {bare:.2f}", times[name][0]) for name in [*HELP][1:]]
    kept.append(Row(BEGINS, f"{times[f'{BEGINS}, CPU'][0]:.1f} s of CPU", times[BEGINS][0]))
    record(given.json, [*kept, Row(ENDS, parts, times[ENDS][0])])


if __name__ == "__main__":
    main()
