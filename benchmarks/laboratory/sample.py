"""Take a share of a BEIR collection: passages by the hash of their ids, and the queries whose positives are all there.

python benchmarks/laboratory/sample.py DEBIAN debian-25 --percent 25
"""

import argparse
import gzip
import hashlib
import json
from pathlib import Path


def kept(identifier: str, percent: int) -> bool:
    return int(hashlib.sha256(identifier.encode()).hexdigest(), 16) % 100 < percent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--percent", type=int, default=25)
    parser.add_argument("--splits", nargs="+", default=["train", "dev", "test"])
    parser.add_argument("--most", type=int, default=1000, help="queries of a split other than train")
    given = parser.parse_args()
    (given.out / "qrels").mkdir(parents=True)
    passages, asked = set(), set()
    with (
        gzip.open(given.data / "corpus.jsonl.gz", "rt") as lines,
        gzip.open(given.out / "corpus.jsonl.gz", "wt") as out,
    ):
        for line in lines:
            if kept(name := json.loads(line)["_id"], given.percent):
                passages.add(name)
                out.write(line)
    for split in given.splits:
        with gzip.open(given.data / f"qrels/{split}.tsv.gz", "rt") as lines:
            head, *rows = [line.rstrip("\n").split("\t") for line in lines]
        lost = {row[0] for row in rows if int(row[2]) > 0 and row[1] not in passages}
        rows = [row for row in rows if row[0] not in lost]
        order = sorted({row[0] for row in rows}, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        some = set(order if split == "train" else order[: given.most])
        rows = [row for row in rows if row[0] in some]
        asked |= some
        with gzip.open(given.out / f"qrels/{split}.tsv.gz", "wt") as out:
            out.writelines("\t".join(row) + "\n" for row in [head, *rows])
        print(f"{split}: {len(some):,} queries")
    for name in ("queries.jsonl.gz", "questions.jsonl.gz"):
        if (given.data / name).exists():
            with gzip.open(given.data / name, "rt") as lines, gzip.open(given.out / name, "wt") as out:
                out.writelines(line for line in lines if json.loads(line)["_id"] in asked)
    print(f"{len(passages):,} passages")


if __name__ == "__main__":
    main()
