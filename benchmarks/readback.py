"""Seconds per episode saved by keeping lists, candidates and pools in memory instead of reading them from disk.

    python benchmarks/readback.py [--queries 50000] [--passages 1000000] [--depth 200]

CPU seconds of reading T (lists of the training queries), L (lists of the anchors), the candidates of two sources, and a
pool.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from ance_tele.data.collection import Texts
from ance_tele.mining.candidates import CandidateLists, Candidates
from ance_tele.mining.pool import Pool
from ance_tele.mining.storage import read_candidates, read_pool, write_candidates, write_pool
from ance_tele.search.topk import TopK


def texts(prefix: str, count: int) -> Texts:
    ids = pa.array([f"{prefix}{number:08d}" for number in range(count)], pa.large_string())
    return Texts(pa.table({"id": ids}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=50_000)
    parser.add_argument("--passages", type=int, default=1_000_000)
    parser.add_argument("--depth", type=int, default=200)
    parser.add_argument("--pool", type=int, default=120)
    given = parser.parse_args()
    rng, rows = np.random.default_rng(0), np.arange(given.queries)
    queries, corpus = texts("q", given.queries), texts("d", given.passages)
    found = rng.integers(0, given.passages, (given.queries, given.depth))
    lists = CandidateLists.from_topk(TopK(found, np.zeros(found.shape, dtype=np.float32)))
    size = given.queries * given.pool
    codes, passages = np.zeros(size, dtype=np.uint8), rng.integers(0, given.passages, size).astype(np.int32)
    offsets = np.arange(given.queries + 1) * given.pool
    one, none = np.ones(size, dtype=np.int16), np.zeros(size, dtype=np.float32)
    pool = Pool(rows, offsets, passages, codes, codes, codes + np.uint8(1), one, none)
    total = 0.0
    with TemporaryDirectory() as folder:
        path = Path(folder) / "artefact.parquet"
        for what, sources in (("T", ["query"]), ("L", ["query"]), ("candidates", ["query", "lookahead"])):
            write_candidates(path, Candidates(rows, dict.fromkeys(sources, lists)), queries, corpus)
            start = time.process_time()
            read_candidates(path, rows, queries, corpus)
            spent = time.process_time() - start
            total += spent
            print(f"{what:<11} {spent:6.1f} s")
        write_pool(path, pool, queries, corpus)
        start = time.process_time()
        read_pool(path, rows, queries, corpus)
        spent = time.process_time() - start
    total += spent
    print(f"{'pool':<11} {spent:6.1f} s\n{'an episode':<11} {total:6.1f} s for {given.queries:,} training queries")


if __name__ == "__main__":
    main()
