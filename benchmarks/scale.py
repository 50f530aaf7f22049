"""Encoding, searching and whole minings in processes of one machine: several workers of one thread against one.

    python benchmarks/scale.py [--data demo] [--model FOLDER] [--passages 4096] [--vectors 200000] [--queries 4096]
        [--mined 1000] [--processes 2] [--repeats 3] [--only encoding,searching,mining] [--engine ray]

A mining is the first of a run, with query and lookahead negatives, of the whole corpus: candidates from nothing.

The same units, workers that have started and opened the job before the clock runs, in turns; and the seconds that
starting them took. Memory is the peak of each worker process. With ``--engine ray`` as many actors of a Ray cluster
that is started on this machine take their turn as well.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import alternate, machine, times_faster

from ance_tele.console.log import muted
from ance_tele.data.demo import demo_model
from ance_tele.data.load import cache_folder, load_collection
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.corpus import encode_corpus
from ance_tele.encode.encoder import tokens_of, weights_fingerprint
from ance_tele.encode.loading import load_model
from ance_tele.encode.vectors import Vectors
from ance_tele.engine.executor import Executor
from ance_tele.engine.processes import Processes
from ance_tele.recipes import recipe
from ance_tele.runs.folder import Episode
from ance_tele.runs.inputs import RunInputs
from ance_tele.runs.mine import mine
from ance_tele.search import grid


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="demo")
    parser.add_argument("--model")
    parser.add_argument("--passages", type=int, default=4096)
    parser.add_argument("--vectors", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=4096)
    parser.add_argument("--mined", type=int, default=1000, help="training queries of the mining")
    parser.add_argument("--only", default="encoding,searching,mining")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--engine", choices=["local", "ray"], default="local")
    given = parser.parse_args()
    print(machine())
    several, one = Processes(given.processes), Processes(given.processes)
    one._workers = one._workers[:1]  # the same units and threads, one worker
    torch.set_num_threads(1)
    executors: dict[str, Executor] = {"several": several, "one": one}
    if given.engine == "ray":
        from ance_tele.engine.ray_cluster import RayCluster

        start = time.perf_counter()
        executors["ray"] = RayCluster(None, given.processes)
        print(f"start of Ray: {time.perf_counter() - start:.1f} s")
    grid.FEW_SCORES = 0
    with tempfile.TemporaryDirectory() as name:
        for what, begun in (("encoding", encoding), ("searching", searching), ("mining", mining)):
            if what not in given.only.split(","):
                continue
            run = begun(given, Path(name))
            for key, executor in executors.items():
                start = time.perf_counter()
                run(executor)
                spent = time.perf_counter() - start
                print(f"{what}: first time, with the start of the workers, {spent:.1f} s ({key})")
            runs = {key: lambda run=run, executor=executor: run(executor) for key, executor in executors.items()}
            seconds = alternate(runs, given.repeats, warm=0)
            for key in [key for key in executors if key != "one"]:
                middle, low, high = times_faster(seconds[key], seconds["one"])
                ours, alone = (statistics.median(seconds[each]) for each in (key, "one"))
                print(
                    f"{what}: {given.processes} {'actors of Ray' if key == 'ray' else 'processes'} {ours:.2f} s, one "
                    f"process {alone:.2f} s: {middle:.2f} times the throughput ({low:.2f} to {high:.2f})"
                )
            peaks = [peak(worker._process.pid) for worker in several._workers if worker._process]
            print(f"{what}: peak memory of each process " + ", ".join(f"{each / 2**20:.2f} GiB" for each in peaks))
            for executor in executors.values():
                executor.close()


def encoding(given: argparse.Namespace, folder: Path) -> Callable[[Executor], object]:
    """Return what encodes passages of a collection anew, in 16 shards."""
    config = EncoderConfig(precision="float32", shard_passages=-(-given.passages // 16))
    path = given.model or demo_model(cache_folder())
    model = load_model(path, config, "cpu")
    collection = load_collection(given.data)
    tokens = tokens_of(model, config, "document", collection.corpus, cache_folder(), collection.texts)
    tokens.offsets = tokens.offsets[: given.passages + 1]
    weights = weights_fingerprint(model)

    def run(executor: Executor) -> None:
        shutil.rmtree(folder / "vectors", ignore_errors=True)
        encode_corpus(model, tokens, "document", config, folder / "vectors", weights, name=path, executor=executor)

    return run


def searching(given: argparse.Namespace, folder: Path) -> Callable[[Executor], object]:
    """Return what searches 200 deep in random vectors of 384 dimensions, in 4 shards on disk."""
    rng, shards = np.random.default_rng(0), []
    for number in range(4):
        path = folder / f"random-{number}.npy"
        np.save(path, rng.standard_normal((given.vectors // 4, 384)).astype(np.float32))
        shards.append(np.load(path, mmap_mode="r"))
    vectors = Vectors(tuple(shards), "random")
    queries, rank = rng.standard_normal((given.queries, 384)).astype(np.float32), np.arange(len(vectors))
    return lambda executor: grid.grid_topk(queries, vectors, 200, rank, "cpu", "searching", executor, folder)


def mining(given: argparse.Namespace, folder: Path) -> Callable[[Executor], object]:
    """Return what carries out the first mining of a run in a new folder; tokens are there already."""
    path, collection = given.model or demo_model(cache_folder()), load_collection(given.data)
    count = len(collection.corpus)
    settings = {"precision": "float32", "shard_passages": -(-count // 16), "max_train_queries": given.mined}
    chosen = recipe("ance-tele").with_settings(**settings)

    def run(executor: Executor) -> None:
        shutil.rmtree(folder / "run", ignore_errors=True)
        inputs = RunInputs.of(chosen, collection, path, folder / "run", announce=False, executor=executor)
        assert inputs.start is not None
        with muted():
            retriever = inputs.retriever(inputs.start, 0)
            mine(inputs.training_set(), retriever, inputs.bm25, Episode(1, chosen, inputs.folder))

    return run


def peak(process: int) -> int:
    """Return the peak memory of a process in KiB."""
    for line in Path(f"/proc/{process}/status").read_text("utf-8").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    return 0


if __name__ == "__main__":
    main()
