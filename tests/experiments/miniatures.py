"""Miniatures of MS MARCO, NQ and TriviaQA in the formats of their files, and runs on them."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from ance_tele.data.collection import Collection
from ance_tele.store.manifests import read_manifest

TOPICS, PASSAGES_PER_TOPIC = 24, 6
# Which passages of a topic the questions of a split are about: the same ones, in other words.
ASKED = {"train": (0, 1, 2), "dev": (1,), "test": (0, 2)}
# What is lowered: sizes, to what a tiny model reads and a collection of 144 passages has. All else is the recipe's.
SIZES: dict[str, Any] = {
    "query_max_len": 16,
    "passage_max_len": 128,
    "batch_queries": 12,
    "negatives_per_query": 4,
    "pool_per_source": 6,
    "depth": 20,
    "epochs": 8,
    "refresh_step": 10,
    "learning_rate": 3e-3,
}
BRIEF = {"epochs": 1, "refresh_step": 3, "episodes": 2}
BENCHMARKS = ("marco", "nq", "triviaqa")


def passages() -> Iterator[tuple[str, str, str]]:
    """Yield id, title and text.

    A topic's last passage also holds what answers the question about its first one. As in the real files, quotation
    marks stand where they like.
    """
    rng = np.random.default_rng(7)
    for row in range(TOPICS * PASSAGES_PER_TOPIC):
        topic, number = divmod(row, PASSAGES_PER_TOPIC)
        words = [f"t{topic}", f"u{row}", *(f"w{word}" for word in rng.integers(60, size=8))]
        if number == PASSAGES_PER_TOPIC - 1:
            words += [f"u{row - number}", '"']
        yield str(row + 1), f't{topic} "t{topic}"' if number == 1 else f"t{topic}", " ".join(rng.permutation(words))


def questions(split: str) -> Iterator[tuple[int, str]]:
    """Yield the row of the passage that a question is about, and the question."""
    rng = np.random.default_rng(len(split))
    for topic in range(TOPICS):
        for number in ASKED[split]:
            row = topic * PASSAGES_PER_TOPIC + number
            yield row, f"t{topic} u{row} w{rng.integers(60)}"


def write_marco(folder: Path) -> None:
    """MS MARCO passage ranking with titles: raw text between tabs."""
    folder.mkdir()
    (folder / "collection.tsv").write_text("".join("\t".join(row) + "\n" for row in passages()))
    for split, name in (("train", "train"), ("dev", "dev.small")):
        asked = [(f"{len(name)}0{row}", row, text) for row, text in questions(split)]
        (folder / f"queries.{name}.tsv").write_text("".join(f"{key}\t{text}\n" for key, _, text in asked))
        (folder / f"qrels.{name}.tsv").write_text("".join(f"{key}\t0\t{row + 1}\t1\n" for key, row, _ in asked))


def has_positive(row: int) -> bool:
    """Say whether DPR's training sets give the question about a passage a positive: a ninth have none."""
    return row % (3 * PASSAGES_PER_TOPIC) != 1


def write_dpr(folder: Path, name: str, key: str) -> None:
    """DPR's files: passages quoted as CSV, training sets in JSON, test questions with their answers.

    Args:
        folder: To be made.
        name: What the files are called after.
        key: The field of a passage's id, which differs between the two benchmarks.
    """
    folder.mkdir()
    rows = list(passages())
    with (folder / "psgs_w100.tsv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(("id", "text", "title"))
        writer.writerows((number, text, title) for number, title, text in rows)
    for split in ("train", "dev"):
        # The last question of the training set is one that no passage answers.
        asked = [*questions(split), *([(len(rows), "t1 w1")] if split == "train" else [])]
        elements = [
            {
                "dataset": f"{name}_{split}",
                "question": text,
                # The apostrophe makes a Python list quote its strings in two ways.
                "answers": [f"u{row}", f"u{row}'s"],
                "positive_ctxs": [
                    {"title": title, "text": body, "score": 1000, "title_score": 1, key: number}
                    for number, title, body in rows[row : row + 1]
                    if has_positive(row)
                ],
                "negative_ctxs": [],
                "hard_negative_ctxs": [],
            }
            for row, text in asked
        ]
        (folder / f"{name}-{split}.json").write_text(json.dumps(elements, indent=4))
    with (folder / f"{name}-test.qa.csv").open("w", newline="") as file:
        answered = [(text, str([f"u{row}", f"u{row}'s"])) for row, text in questions("test")]
        csv.writer(file, delimiter="\t").writerows([*answered, ("t1 w1", "['']"), ("t2 w2", "[]")])


def command(name: str, data: Path, out: Path, *more: str, **settings: Any) -> list[str]:
    """Return the command line of a recipe on the benchmark that it is for; MS MARCO where it is for none."""
    benchmark = name.partition("/")[0]
    place, split = (benchmark, {}) if benchmark in BENCHMARKS else ("marco", {"split": "dev"})
    flags = [f"--{key}={value}" for key, value in {**SIZES, **split, **settings}.items()]
    return ["run", name, f"--data={data / place}", f"--out={out}", *flags, *more]


def summary_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "summary.json").read_text())


def facts_of(artefact: Path) -> dict[str, Any]:
    manifest = read_manifest(artefact)
    assert manifest is not None, artefact
    return dict(manifest.facts)


def pool_of(out: Path, episode: int) -> list[tuple[str, str]]:
    table = pq.read_table(out / f"episode-{episode}" / "pool.parquet", columns=["query_id", "passage_id"])
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def answers_of(collection: Collection) -> dict[str, list[str]]:
    ids = collection.queries.take_ids(collection.answers.queries).to_pylist()
    return {key: collection.answers.of(row) for key, row in zip(ids, collection.answers.queries.tolist(), strict=True)}


def texts_of(collection: Collection) -> dict[str, str]:
    ids = collection.corpus.take_ids(np.arange(len(collection.corpus))).to_pylist()
    return dict(zip(ids, collection.corpus.table["text"].to_pylist(), strict=True))


def planned_steps(text: str) -> list[int]:
    """Return the steps of the episodes that a printed plan names."""
    line = re.search(r"the episodes take ([\d, and]+)", " ".join(text.split()))
    assert line, text
    return [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\d|\d", line[1])]


def measured(printed: str) -> dict[str, list[float]]:
    """Return by metric what `evaluate` printed: the value, and the published one where there is one."""
    lines = re.findall(r"^(\w+@\d+) +([\d. ]+)$", printed, flags=re.MULTILINE)
    return {metric: [float(value) for value in values.split()] for metric, values in lines}
