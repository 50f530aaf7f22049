"""Exact search on a GPU: ours, an older version of ours, the plain way, faiss and cuVS where they are installed.

    python benchmarks/gpu_search.py [--before CHECKOUT] [--device cuda] [--queries 20000] [--vectors 1000000]

Vectors are random and normalised, with about ``--cosine`` between any two, as those of an encoder are; they begin in
memory of the host that is not pinned, and the results end there. Each way has a process of its own, in turns. Prints
the median time, its share of bf16 products at 700 TFLOP/s, and how many ids agree with ours. ``--device cpu:0`` tries
the same code without a GPU, with small numbers.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Search = Callable[[np.ndarray, np.ndarray, int, str], np.ndarray]
PEERS = {"faiss": ("faiss", "faiss float16"), "cuvs": ("cuvs float16",)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", help="an older checkout, to compare with")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=768)
    parser.add_argument("--depth", type=int, default=200)
    parser.add_argument("--cosine", type=float, default=0.5, help="between any two vectors")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=[*WAYS], help="measure this in this process, and print seconds alone")
    parser.add_argument("--rows", help="with --one, a file for the ids found")
    given = parser.parse_args()
    if given.one:
        measure(given)
        return
    here = Path(__file__).parents[1]
    places = {"ours": here, **({"before": Path(given.before)} if given.before else {}), "plain": here}
    places |= dict.fromkeys(peers(given.device), here)
    seconds: dict[str, list[float]] = {name: [] for name in places}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(given.rounds):
            for name, place in places.items():
                way = "ours" if name == "before" else name
                command = [sys.executable, __file__, *sys.argv[1:], "--one", way, "--rows", f"{folder}/{name}.npy"]
                environment = {**os.environ, "PYTHONPATH": str(place.resolve() / "src")}
                done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
                seconds[name].append(float(done.stdout.split()[-1]))
        report(given, seconds, {name: np.load(f"{folder}/{name}.npy") for name in places})


def report(given: argparse.Namespace, seconds: dict[str, list[float]], rows: dict[str, np.ndarray]) -> None:
    """Print a line for each way."""
    size = f"{given.queries:,} queries among {given.vectors:,} of {given.dimension}"
    print(f"exact top-{given.depth} of {size} dimensions, cosine {given.cosine}, on {given.device}")
    flop = 2 * given.queries * given.vectors * given.dimension
    for name, times in seconds.items():
        median = statistics.median(times)
        found = [len(np.intersect1d(a, b)) for a, b in zip(rows["ours"][:500], rows[name][:500], strict=True)]
        share = flop / median / 700e12
        print(f"{name:14s} {median:.3f} s ({min(times):.3f} to {max(times):.3f}), {share:.1%} of 700 TFLOP/s, "
              f"{sum(found) / rows['ours'][:500].size:.3%} of the ids")  # fmt: skip


def measure(given: argparse.Namespace) -> None:
    """Print the time of one way, run for the second time."""
    queries, vectors = (drawn(n, given.dimension, given.cosine, n) for n in (given.queries, given.vectors))
    search = WAYS[given.one]
    search(queries, vectors, given.depth, given.device)
    start = time.perf_counter()
    rows = search(queries, vectors, given.depth, given.device)
    taken = time.perf_counter() - start
    if given.rows:
        np.save(given.rows, rows)
    print(f"{taken:.5f}")


def drawn(count: int, dimension: int, cosine: float, seed: int) -> np.ndarray:
    """Return normalised vectors, float32 [count, dimension], with a common part."""
    rng, common = np.random.default_rng(seed), np.random.default_rng(0).standard_normal(dimension)
    vectors = rng.standard_normal((count, dimension), dtype=np.float32) * np.float32(np.sqrt(1 - cosine))
    vectors += (common * np.sqrt(cosine)).astype(np.float32)
    return np.divide(vectors, np.linalg.norm(vectors, axis=1, keepdims=True), out=vectors)


def peers(device: str) -> list[str]:
    """Return the ways of other libraries that this machine can go."""
    if not device.startswith("cuda"):
        return []
    ways: list[str] = []
    for module, names in PEERS.items():
        try:
            found: Any = __import__(module)
        except ImportError:
            continue
        if module != "faiss" or hasattr(found, "StandardGpuResources"):
            ways += names
    return ways


def ours(queries: np.ndarray, vectors: np.ndarray, k: int, device: str) -> np.ndarray:
    from ance_tele.encode.vectors import Vectors
    from ance_tele.search.topk import exact_topk

    return exact_topk(queries, Vectors((vectors,), "random"), k, device=device).rows


def plain(queries: np.ndarray, vectors: np.ndarray, k: int, device: str) -> np.ndarray:
    """Float32 products and top-k per block, then top-k of all blocks."""
    import torch

    asked, scores, rows = torch.from_numpy(queries).to(device), [], []
    for first in range(0, len(vectors), 131072):
        held = torch.from_numpy(vectors[first : first + 131072]).to(device)
        found = [torch.topk(part @ held.T, min(k, len(held)), dim=1) for part in asked.split(4096)]
        scores.append(torch.cat([one.values for one in found]))
        rows.append(torch.cat([one.indices for one in found]) + first)
    best = torch.topk(torch.cat(scores, dim=1), k, dim=1)
    return torch.cat(rows, dim=1).gather(1, best.indices).cpu().numpy()


def faiss_of(dtype: type) -> Search:
    """Return faiss's brute force on a GPU, of this type; half precision re-scores nothing."""

    def search(queries: np.ndarray, vectors: np.ndarray, k: int, device: str) -> np.ndarray:
        import faiss

        asked, held = queries.astype(dtype, copy=False), vectors.astype(dtype, copy=False)
        found = faiss.knn_gpu(faiss.StandardGpuResources(), asked, held, k, metric=faiss.METRIC_INNER_PRODUCT)
        return np.asarray(found[1])

    return search


def cuvs_half(queries: np.ndarray, vectors: np.ndarray, k: int, device: str) -> np.ndarray:
    """Return what cuVS's brute force finds in half precision, with everything on the GPU."""
    import torch
    from cuvs.neighbors import brute_force

    asked, held = (torch.from_numpy(each).to(device).half() for each in (queries, vectors))
    _, rows = brute_force.search(brute_force.build(held, metric="inner_product"), asked, k)
    return torch.as_tensor(rows, device=device).cpu().numpy()


WAYS: dict[str, Search] = {
    "ours": ours,
    "plain": plain,
    "faiss": faiss_of(np.float32),
    "faiss float16": faiss_of(np.float16),
    "cuvs float16": cuvs_half,
}


if __name__ == "__main__":
    main()
