"""Exact top-k of 1,000 queries, in float32 and by a bf16 scan, from memory and from disk, against other libraries.

These are `faiss.IndexFlatIP` and sentence-transformers' `semantic_search`. All alternate in one process; medians are
reported. Vectors are random normal ones, or `--vectors FILE.npy`. "Same ids": share of ids equal to faiss's, and
whether the others are ties in float32. From disk: a memory-mapped file in shards of 65,536,
dropped from the page cache before each round where the system allows it.

    python benchmarks/search.py [--rows 1000000] [--dimensions 128 384 768] [--queries 1000] [--k 200]
        [--json FILE]
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

import faiss
import numpy as np
import torch
from common import Row, add_json, alternate, machine, markdown, peak_memory, record, resident, times_faster
from limit import Limit, precisions
from sentence_transformers.util import semantic_search

from ance_tele.encode.vectors import Vectors
from ance_tele.search.topk import Precision, TopK, exact_topk

SHARD = 65536


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, nargs="+", default=[128, 384, 768])
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--k", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", default=None, help="where the vectors on disk are put; the system's default")
    parser.add_argument("--vectors", default=None, help="an .npy file, float32; its last rows are the queries")
    add_json(parser)
    given = parser.parse_args()
    limit = Limit(precisions())
    print(machine())
    rows: list[tuple[object, ...]] = []
    told_rows: list[Row] = []
    for dimension in given.dimensions:
        rng = np.random.default_rng(dimension)
        drawn = np.load(given.vectors) if given.vectors else None
        if drawn is None:
            drawn = rng.standard_normal((given.rows + given.queries, dimension), dtype=np.float32)
        corpus, asked = drawn[: -given.queries], np.ascontiguousarray(drawn[-given.queries :])
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            found = measure(corpus, asked, given.k, given.repeats, Path(folder), limit)
        rows, told_rows = rows + found[0], told_rows + found[1]
        if given.vectors:
            break
    header = ("d", "search", "s", "times faiss", "GFLOP/s", "of the product", "same ids")
    print(f"{len(corpus):,} vectors, {given.queries:,} queries, k = {given.k}, medians of {given.repeats}\n")
    print(markdown(header, rows))
    print(f"\n{limit}")
    record(given.json, told_rows)


def measure(
    corpus: np.ndarray, asked: np.ndarray, k: int, repeats: int, folder: Path, limit: Limit
) -> tuple[list[tuple[object, ...]], list[Row]]:
    """Time all searches alternately; return rows of the printed table, and of the common one."""
    paths = [folder / f"{number}.npy" for number in range(-(-len(corpus) // SHARD))]
    for number, path in enumerate(paths):
        np.save(path, corpus[number * SHARD : (number + 1) * SHARD])
    index = faiss.IndexFlatIP(corpus.shape[1])
    index.add(corpus)
    held, tensors = Vectors((corpus,), ""), (torch.from_numpy(asked), torch.from_numpy(corpus))
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def flat() -> None:
        found["faiss.IndexFlatIP"] = index.search(asked, k)

    def ours(name: str, precision: Precision) -> None:
        best: TopK = exact_topk(asked, held, k, precision=precision)
        found[name] = best.scores, best.rows

    def disk(name: str, precision: Precision) -> None:
        for path in paths:
            with path.open("rb") as file:
                os.fsync(file.fileno())
                if hasattr(os, "posix_fadvise"):
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        best = exact_topk(asked, Vectors(tuple(np.load(path, mmap_mode="r") for path in paths), ""), k,
                          precision=precision)  # fmt: skip
        found[name] = best.scores, best.rows

    def theirs() -> None:
        hits = semantic_search(*tensors, top_k=k, score_function=lambda a, b: a @ b.T)
        scores = np.array([[hit["score"] for hit in line] for line in hits], dtype=np.float32)
        found["semantic_search"] = scores, np.array([[hit["corpus_id"] for hit in line] for line in hits])

    runs = {
        "faiss.IndexFlatIP": flat,
        "ours, float32": lambda: ours("ours, float32", "float32"),
        "ours, bf16 scan": lambda: ours("ours, bf16 scan", "bf16"),
        "ours, float32, disk": lambda: disk("ours, float32, disk", "float32"),
        "ours, bf16 scan, disk": lambda: disk("ours, bf16 scan, disk", "bf16"),
        "semantic_search": theirs,
    }
    runs = {name: run for name, run in runs.items() if "bf16" in limit.found or "bf16" not in name}
    memory: dict[str, float] = {}
    for name, run in runs.items():  # the vectors are held by all, and faiss's copy of them
        before = resident()
        memory[name] = max(0, peak_memory(run) - before) / 2**30
    seconds = alternate(runs, repeats, warm=0)
    limit.look()
    work, rows, told_rows = 2.0 * len(asked) * corpus.size, [], []
    question = f"top-{k} of {len(asked):,} queries among {len(corpus):,}, d = {corpus.shape[1]}"
    for name in runs:
        spent = statistics.median(seconds[name])
        ratio = statistics.median(b / a for a, b in zip(seconds[name], seconds["faiss.IndexFlatIP"], strict=True))
        peak = limit["bf16" if "bf16" in name else "float32"]
        same = agreement(found[name], found["faiss.IndexFlatIP"], corpus.shape[1])
        rate = f"{work / spent / 1e9:,.0f}"
        rows.append((corpus.shape[1], name, f"{spent:.3f}", f"{ratio:.2f}", rate, f"{work / spent / peak:.0%}", same))
        for other in ("faiss.IndexFlatIP", "semantic_search") if name.startswith("ours") else ():
            ratios = times_faster(seconds[name], seconds[other])
            theirs, peaks = statistics.median(seconds[other]), (memory[name], memory[other])
            told_rows.append(
                Row(question, name.removeprefix("ours, "), spent, other, theirs, *ratios, work / spent / peak, *peaks)
            )
    return rows, told_rows


def agreement(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray], dimension: int) -> str:
    """Describe the share of equal ids, place by place, and whether the others are ties."""
    slack = dimension * 2.0**-22 * np.abs(other[0]).max(axis=1, keepdims=True)
    ties = (np.abs(one[0] - other[0]) <= slack).all()
    return f"{(one[1] == other[1]).mean():.2%}, {'else ties' if ties else 'OTHERS DIFFER'}"


if __name__ == "__main__":
    main()
