"""A collection of MS MARCO's size, start to finish: import, tokens, first batch, vectors, top-200 of 5,000 queries.

    python benchmarks/collection.py [--data demo] [--model FOLDER] [--passages 1000000 2000000 4000000 8841823]
        [--json FILE]

Passages are slices of the words of a real collection (``--data``), with lengths as in MS MARCO (median 50 words, mean
56); vectors are random, 128 dimensions. Each size runs in a process of its own, whose peak memory is reported in total
and without pages of mapped files, which the system can reclaim.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from common import Row, add_json, record

MARCO, QUERIES, DEPTH, DIMENSION, SHARD = 8_841_823, 5000, 200, 128, 1 << 18
VECTORS = "write random vectors"


class Meter:
    """Seconds by step, and the peak of anonymous memory."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.own = 0.0
        self._stop = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            lines = Path("/proc/self/status").read_text("ascii").splitlines()
            kilobytes = next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)
            self.own = max(self.own, kilobytes / 2**20)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step."""
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
        print(f"  {name:<28} {self.seconds[name]:8.1f} s   own memory so far {self.own:.2f} GiB", flush=True)


def write_marco(folder: Path, words: list[str], passages: int) -> None:
    """Write collection.tsv, queries.test.tsv and qrels.test.tsv."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(passages)
    text, starts = " ".join(words), np.cumsum([0, *(len(word) + 1 for word in words)])
    with (folder / "collection.tsv").open("w", encoding="utf-8") as file:
        for first in range(0, passages, 65536):
            count = min(65536, passages - first)
            lengths = np.clip(rng.lognormal(np.log(50), 0.45, count), 5, 300).astype(int)
            begins = rng.integers(0, len(words) - 301, count)
            cuts = zip(starts[begins].tolist(), (starts[begins + lengths] - 1).tolist(), strict=True)
            file.writelines(f"{first + number}\t{text[a:b]}\n" for number, (a, b) in enumerate(cuts))
    begins = rng.integers(0, len(words) - 10, QUERIES)
    queries = [f"{number}\t{' '.join(words[begin : begin + 6])}\n" for number, begin in enumerate(begins.tolist())]
    (folder / "queries.test.tsv").write_text("".join(queries), "utf-8")
    judged = [f"{number}\t0\t{row}\t1\n" for number, row in enumerate(rng.integers(0, passages, QUERIES).tolist())]
    (folder / "qrels.test.tsv").write_text("".join(judged), "utf-8")


def write_vectors(folder: Path, passages: int) -> list[Path]:
    """Write random vectors in shards, as a checkpoint's are."""
    folder.mkdir()
    rng, paths = np.random.default_rng(1), []
    for first in range(0, passages, SHARD):
        paths.append(folder / f"passages-{first // SHARD:05d}.npy")
        np.save(paths[-1], rng.standard_normal((min(SHARD, passages - first), DIMENSION), dtype=np.float32))
    return paths


def measure(folder: Path, tokenizer_folder: str, passages: int) -> None:
    """Do all steps in this process and print what they took."""
    from transformers import AutoTokenizer

    from ance_tele.data.load import load_collection
    from ance_tele.data.text_format import TextFormat
    from ance_tele.data.tokens import tokenize
    from ance_tele.encode.vectors import Vectors
    from ance_tele.search.topk import exact_topk

    meter, cache = Meter(), folder / "cache"
    with meter.step("import"):
        collection = load_collection(folder / "data", cache)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    with meter.step("tokens"):
        form = TextFormat("", " ", 128)
        store = tokenize(collection.corpus, tokenizer, form, cache, collection.fingerprint, "passages")
    with meter.step("first batch of 256"):
        rows = np.random.default_rng(2).integers(0, passages, 256)
        ids, _ = store.padded(rows)
    with meter.step(VECTORS):
        paths = write_vectors(folder / "vectors", passages)
    vectors = Vectors(tuple(np.load(path, mmap_mode="r") for path in paths), "random")
    asked = np.random.default_rng(3).standard_normal((QUERIES, DIMENSION), dtype=np.float32)
    with meter.step("order of the ids"):
        rank = collection.corpus.id_rank
    with meter.step(f"top-{DEPTH} of {QUERIES:,} queries"):
        exact_topk(asked, vectors, DEPTH, rank)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    tokens = int(store.offsets[-1])
    facts = {"passages": passages, "tokens": tokens, "peak": peak, "own": meter.own, "batch": list(ids.shape)}
    print(json.dumps({**facts, "seconds": meter.seconds}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None, help="a model, for its tokenizer; the demo's")
    parser.add_argument("--data", default="demo", help="a collection whose words are used")
    parser.add_argument("--passages", type=int, nargs="+", default=[1_000_000, 2_000_000, 4_000_000, MARCO])
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark-collection"))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    add_json(parser)
    given = parser.parse_args()
    if given.child:
        measure(given.folder, given.model, given.passages[0])
        return
    from ance_tele.data.demo import demo_model
    from ance_tele.data.load import cache_folder, load_collection

    model = given.model or str(demo_model(cache_folder()))
    corpus = load_collection(given.data).corpus
    words = [word for _, texts in corpus.batches() for text in texts for word in text.split()]
    print(f"words of {given.data}: {len(words):,}")
    found, rows = [], []
    for passages in given.passages:
        shutil.rmtree(given.folder, ignore_errors=True)
        write_marco(given.folder / "data", words, passages)
        size = (given.folder / "data" / "collection.tsv").stat().st_size / 2**30
        print(f"{passages:,} passages, {size:.2f} GiB of text")
        command = [sys.executable, __file__, "--child", "--folder", str(given.folder), "--data", given.data]
        command += ["--model", model, "--passages", str(passages)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        print(done.stdout.rpartition("\n{")[0])
        found.append(json.loads(done.stdout.strip().splitlines()[-1]))
        question, peak = f"a collection of {passages:,} passages", found[-1]["peak"]
        steps = {step: spent for step, spent in found[-1]["seconds"].items() if step != VECTORS}
        rows += [Row(question, step, spent, peak=peak) for step, spent in steps.items()]
    shutil.rmtree(given.folder, ignore_errors=True)
    record(given.json, rows)
    steps = list(found[0]["seconds"])
    print("\n| passages | tokens (M) | " + " | ".join(steps) + " | peak GiB | own GiB |")
    print("|" + " --- |" * (len(steps) + 4))
    for one in found:
        times = " | ".join(f"{one['seconds'][step]:.1f} s" for step in steps)
        memory = f"{one['peak']:.2f} | {one['own']:.2f}"
        print(f"| {one['passages']:,} | {one['tokens'] / 1e6:.0f} | {times} | {memory} |")


if __name__ == "__main__":
    main()
