"""The toy collection: 24 topics of six passages, and queries that share words with one of them."""

import json
from pathlib import Path

import numpy as np

TOPICS = 24
PASSAGES_PER_TOPIC = 6
QUERIES_PER_TOPIC = {"train": 3, "dev": 1, "test": 2}


def write_toy(folder: Path, topics: int = TOPICS) -> None:
    """Write the toy collection, or some topics: their passages share words, a query shares two with its passage."""
    rng = np.random.default_rng(7)
    (folder / "qrels").mkdir(parents=True)
    corpus, queries = [], []
    qrels: dict[str, list[str]] = {split: ["query-id\tcorpus-id\tscore"] for split in QUERIES_PER_TOPIC}
    for topic in range(topics):
        for number in range(PASSAGES_PER_TOPIC):
            words = [
                f"t{topic}",
                f"u{topic * PASSAGES_PER_TOPIC + number}",
                *(f"w{rng.integers(60)}" for _ in range(8)),
            ]
            text = " ".join(rng.permutation(words))
            corpus.append({"_id": f"d{topic:02d}-{number}", "title": f"t{topic}", "text": text})
        number = 0
        for split, count in QUERIES_PER_TOPIC.items():
            for _ in range(count):
                passage = topic * PASSAGES_PER_TOPIC + number
                text = f"t{topic} u{passage} w{rng.integers(60)}"
                queries.append({"_id": f"q{topic:02d}-{number}", "text": text})
                qrels[split].append(f"q{topic:02d}-{number}\td{topic:02d}-{number}\t1")
                number += 1
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", "utf-8")
    for split, lines in qrels.items():
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n", "utf-8")
