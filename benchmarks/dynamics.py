"""Time and memory of the analysis of a run of MS MARCO's size: 500,000 queries x 200 candidates x 5 episodes.

    python benchmarks/dynamics.py [--queries 500000] [--folder FOLDER] [--json FILE]

Writes a run folder of synthetic ids (about 3 GiB at full size; three of four candidates stay from round to round), then
reads it as `ance-tele report` does.
"""

import argparse
import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from common import Row, add_json, peak_memory, record

from ance_tele.analysis.analyse import analyse
from ance_tele.recipes import recipe
from ance_tele.store.files import atomic, write_json
from ance_tele.store.manifests import Manifest, file_sizes

CORPUS, DEPTH, POOL, EPISODES, GROUP = 8_841_823, 200, 120, 5, 16384


def save(path: Path) -> None:
    """Write the manifest of a file."""
    Manifest("synthetic", {"name": str(path)}, file_sizes(path)).save(path)


def lists(rng: np.random.Generator, queries: int, first: int, width: int) -> np.ndarray:
    """Draw the lists of each query from 800 passages of its own, so that rounds overlap as in real runs."""
    base = rng.integers(0, CORPUS, size=(queries, 1))
    step = rng.integers(1, 4, size=(queries, width)).cumsum(axis=1)
    return (base + step + first) % CORPUS


def ids(rows: np.ndarray, prefix: str) -> pa.Array:
    text = pa.array(rows.ravel()).cast(pa.large_string())
    if not prefix:
        return text
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(pa.scalar(prefix, pa.large_string()), text, pa.scalar("", pa.large_string()))


def write_lists(path: Path, queries: int, shift: int, source: str, prefix: str) -> None:
    """Write one file of ranked lists."""
    writer = None
    for start in range(0, queries, GROUP):
        count = min(GROUP, queries - start)
        rng = np.random.default_rng([start, 1])
        found = lists(rng, count, shift, DEPTH)
        table = pa.table(
            {
                "query_id": ids(np.repeat(np.arange(start, start + count), DEPTH), ""),
                "passage_id": ids(found, prefix),
                "source": pa.DictionaryArray.from_arrays(np.zeros(found.size, np.int8), pa.array([source])),
                "rank": np.tile(np.arange(1, DEPTH + 1, dtype=np.int16), count),
                "score": np.tile(np.linspace(1, 0, DEPTH, dtype=np.float32), count),
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    assert writer is not None
    writer.close()
    save(path)


def write_pool(path: Path, queries: int, episode: int, prefix: str) -> None:
    """Write one pool."""
    names = pa.array(["query", "lookahead", "momentum"])
    writer = None
    for start in range(0, queries, GROUP):
        count = min(GROUP, queries - start)
        found = lists(np.random.default_rng([start, 1]), count, 50 * episode, POOL)
        code = np.tile(np.arange(POOL, dtype=np.int8) % 3, count)
        table = pa.table(
            {
                "query_id": ids(np.repeat(np.arange(start, start + count), POOL), ""),
                "passage_id": ids(found, prefix),
                "source": pa.DictionaryArray.from_arrays(code, names),
                "origin": pa.DictionaryArray.from_arrays(np.where(code == 2, 0, code), names),
                "first_episode": np.full(found.size, episode, dtype=np.uint8),
                "rank": np.tile(np.arange(1, POOL + 1, dtype=np.int16), count),
                "score": np.zeros(found.size, dtype=np.float32),
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    assert writer is not None
    writer.close()
    save(path)


def write_run(out: Path, queries: int, prefix: str) -> None:
    """Write all files that the analysis reads."""
    settings = recipe("ance-tele").with_settings(episodes=EPISODES).settings()
    out.mkdir(parents=True)
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
    (out / "config.yaml").write_text(yaml.safe_dump({"recipe": "ance-tele", **plain}), "utf-8")
    write_json(out / "summary.json", {"recipe": "ance-tele", "data": {"passages": CORPUS}})
    names = ids(np.arange(queries), "")
    pq.write_table(
        pa.table({"query_id": names, "passage_id": ids(np.arange(queries), prefix)}), out / "positives.parquet"
    )
    save(out / "positives.parquet")
    rng = np.random.default_rng(0)
    for checkpoint in range(EPISODES + 1):
        folder = out / f"episode-{checkpoint}"
        folder.mkdir()
        write_lists(folder / "training_lists.parquet", queries, 50 * checkpoint, "query", prefix)
        Manifest("synthetic", {"n": checkpoint}, file_sizes(folder / "training_lists.parquet")).save(
            folder / "training_lists"
        )
        ranks = 1 / rng.integers(1, 100, queries)
        table = {"query_id": names, "MRR@100": ranks, "positive_score": np.full(queries, 0.99, dtype=np.float32)}
        pq.write_table(pa.table(table), folder / "per_training_query.parquet")
        if checkpoint:
            write_lists(folder / "lookahead_lists.parquet", queries, 50 * checkpoint - 25, "lookahead", prefix)
            write_pool(folder / "pool.parquet", queries, checkpoint, prefix)


def main() -> None:
    """Write a run, analyse it, print seconds and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=500_000)
    parser.add_argument("--folder", type=Path, default=None, help="runs/benchmark-dynamics-QUERIES")
    parser.add_argument("--prefix", default="", help="put before every passage id: names instead of numbers")
    add_json(parser)
    given = parser.parse_args()
    folder = given.folder or Path(f"runs/benchmark-dynamics-{given.queries}{given.prefix}")
    if not folder.exists():
        start = time.perf_counter()
        with atomic(folder) as temporary:
            write_run(temporary, given.queries, given.prefix)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        print(f"written in {time.perf_counter() - start:.0f} s, {size / 2**30:.1f} GiB")
    shutil.rmtree(folder / "analysis", ignore_errors=True)
    (folder / "analysis.manifest.json").unlink(missing_ok=True)
    start = time.perf_counter()
    peak = peak_memory(lambda: analyse(folder)) / 2**30
    seconds = time.perf_counter() - start
    entries = given.queries * (DEPTH * (2 * EPISODES + 1) + POOL * EPISODES)
    print(
        f"{given.queries:,} queries x {DEPTH} candidates x {EPISODES} episodes, {entries / 1e9:.2f} billion rows read"
    )
    print(f"looked back in {seconds:.0f} s, peak {peak:.2f} GiB")
    question = f"looking back on {given.queries:,} queries x {DEPTH} x {EPISODES} episodes"
    record(given.json, [Row(question, "analysis", seconds, peak=peak)])


if __name__ == "__main__":
    main()
