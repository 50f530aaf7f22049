"""Mixing at MS MARCO's size: 500,000 queries x 2 sources x 200 candidates of random ids, two episodes.

Target on two cores: 60 s per episode and 4 GiB, candidates included.

    python benchmarks/mix.py [QUERIES] [--json FILE]
"""

import argparse
import resource
import time

import numpy as np
from common import Row, add_json, record

from ance_tele.data.collection import Qrels
from ance_tele.mining.candidates import CandidateLists, Candidates
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.mix import mix

PASSAGES, DEPTH = 8_841_823, 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("queries", type=int, nargs="?", default=500_000)
    add_json(parser)
    given = parser.parse_args()
    queries = given.queries
    rng = np.random.default_rng(0)
    ranks = np.tile(np.arange(1, DEPTH + 1, dtype=np.int16), queries)
    offsets = np.arange(0, queries * DEPTH + 1, DEPTH)

    def lists() -> CandidateLists:
        passages = rng.integers(0, PASSAGES, queries * DEPTH, dtype=np.int32)
        return CandidateLists(offsets, passages, rng.random(queries * DEPTH, dtype=np.float32), ranks)

    candidates = Candidates(np.arange(queries), {"query": lists(), "lookahead": lists()})
    relevant = candidates.lists["query"].passages[::DEPTH].astype(np.int64)
    positives = Qrels(np.arange(queries), np.arange(queries + 1), relevant, np.ones(queries, np.int64))
    history, rows = [], []
    print(f"{queries:,} queries x 2 sources x {DEPTH} candidates; {memory():.2f} GiB before mixing")
    for episode in (1, 2):
        start = time.perf_counter()
        pool = mix(candidates, positives, MiningConfig(), episode, 42, history)
        history.append(pool)
        spent = time.perf_counter() - start
        print(f"episode {episode}: {spent:.1f} s, {len(pool):,} negatives, peak {memory():.2f} GiB")
        question = f"mixing {queries:,} queries x 2 x {DEPTH}"
        rows.append(Row(question, f"episode {episode}", spent, peak=memory()))
    record(given.json, rows)


def memory() -> float:
    """Return the peak memory of this process in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
