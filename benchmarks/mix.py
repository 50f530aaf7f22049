"""Mixing at MS MARCO's size: 500,000 queries x 2 sources x 200 candidates of random ids, two episodes.

The bound to hold on two cores: 60 s an episode and 4 GiB, candidates included.

    python benchmarks/mix.py [QUERIES]
"""

import resource
import sys
import time

import numpy as np

from ance_tele.data.collection import Qrels
from ance_tele.mining.candidates import Candidates, Lists
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.mix import mix

PASSAGES, DEPTH = 8_841_823, 200


def main() -> None:
    queries = int(sys.argv[1]) if len(sys.argv) > 1 else 500_000
    rng = np.random.default_rng(0)
    ranks = np.tile(np.arange(1, DEPTH + 1, dtype=np.int16), queries)
    offsets = np.arange(0, queries * DEPTH + 1, DEPTH)

    def lists() -> Lists:
        passages = rng.integers(0, PASSAGES, queries * DEPTH, dtype=np.int32)
        return Lists(offsets, passages, rng.random(queries * DEPTH, dtype=np.float32), ranks)

    candidates = Candidates(np.arange(queries), {"query": lists(), "lookahead": lists()})
    relevant = candidates.lists["query"].passages[::DEPTH].astype(np.int64)
    positives = Qrels(np.arange(queries), np.arange(queries + 1), relevant, np.ones(queries, np.int64))
    history = []
    print(f"{queries:,} queries x 2 sources x {DEPTH} candidates; {memory():.2f} GiB before mixing")
    for episode in (1, 2):
        start = time.perf_counter()
        pool = mix(candidates, positives, MiningConfig(), episode, 42, history)
        history.append(pool)
        spent = time.perf_counter() - start
        print(f"episode {episode}: {spent:.1f} s, {len(pool):,} negatives, peak {memory():.2f} GiB")


def memory() -> float:
    """Return the peak memory of this process in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
