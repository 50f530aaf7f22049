"""Defaults by collection and model (`ance_tele.plan.defaults`) against the paper's settings for MS MARCO.

    python benchmarks/defaults.py DATA MODEL --queries 160 --passages 3000 --judged 300 --seeds 1 2 --json rows.jsonl

Optionally on a deterministic subset of a collection: training queries, judged queries of dev and test, their relevant
passages, and further ones up to a number. Each row is a run: MRR@10 and nDCG@10 on dev and test, steps, and CPU seconds
(the machine may be shared). Settings were chosen on dev; test was evaluated once.
"""

import argparse
import json
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import ance_tele as at
from ance_tele.settings import Recipe

BEFORE = {
    "batch_queries": 8,
    "negatives_per_query": 31,
    "epochs": 3,
    "refresh_fraction": 0.1,
    "learning_rate": 5e-6,
    "query_max_len": 32,
    "passage_max_len": 128,
    "depth": 200,
    "pool_per_source": 30,
}
METRICS = ("MRR@10", "nDCG@10")


def cut(whole: at.Collection, queries: int | None, passages: int | None, judged: int | None) -> at.Collection:
    """Return a subset of a collection with the given numbers of training queries, passages, and judged queries per
    split.
    """
    ids, names = whole.corpus.ids.to_pylist(), whole.queries.ids.to_pylist()
    texts: dict[str, str] = {}
    qrels: dict[str, dict[str, dict[str, int]]] = {}
    keep: set[int] = set()
    for split, most in (("train", queries), ("dev", judged), ("test", judged)):
        part = whole.split(split).relevant()
        chosen = _shuffled(split, range(len(part)))[:most]
        qrels[split] = {}
        for place in chosen:
            row, relevant = int(part.queries[place]), part.passages[part.offsets[place] : part.offsets[place + 1]]
            qrels[split][names[row]] = {ids[passage]: 1 for passage in relevant}
            texts[names[row]] = whole.queries[row]["text"]
            keep.update(map(int, relevant))
    others = _shuffled("passages", [row for row in range(len(ids)) if row not in keep])
    keep.update(others[: None if passages is None else max(0, passages - len(keep))])
    corpus = {ids[row]: whole.corpus[row] for row in sorted(keep)}
    return at.collection_from_dicts(
        {name: (one["title"], one["text"]) for name, one in corpus.items()}, texts, qrels, f"{whole.name}-part"
    )


def _shuffled(salt: str, rows: Any) -> list[int]:
    return sorted(rows, key=lambda row: zlib.crc32(f"{salt} {row}".encode()))


def systems(
    collection: at.Collection, model: str, wanted: list[str], own: dict[str, Any]
) -> Iterator[tuple[str, Recipe]]:
    """Yield names and recipes: zero-shot, the previous defaults, defaults by collection and model.

    Settings may follow a name: "at hand learning_rate=1e-4".
    """
    common = {"split": "dev", "baselines": ["zero-shot"], "report_to": [], "watch_lookahead": False, **own}
    suited = at.recipe_for("ance-tele", collection, model, **common)
    lengths = {name: suited.settings()[name] for name in ("query_max_len", "passage_max_len")}
    made = {
        "zero-shot": at.recipe("zero-shot").with_settings(**{**common, **lengths, "episodes": 0}),
        "before": at.recipe("ance-tele").with_settings(**{**common, **BEFORE}),
        "at hand": suited,
    }
    for name in wanted:
        words = [word.partition("=") for word in name.split() if "=" in word]
        kind = " ".join(word for word in name.split() if "=" not in word)
        yield name, made[kind].with_settings(**{key: json.loads(value) for key, _, value in words})


def row(name: str, recipe: Recipe, collection: at.Collection, model: str, folder: Path) -> dict[str, Any]:
    """Carry out a run in its own folder; return its metrics and costs.

    The evaluation of the initial model by the first run in ``folder`` is reused by runs with the same text settings.
    """
    first, out = folder / "first", folder / "run"
    out = out if first.exists() else first
    begun = time.process_time()
    summary = at.run(recipe, collection, model, out, adopted={} if out == first else {"episode-0": first / "episode-0"})
    if out != first:
        shutil.rmtree(out)
    measured = summary["episodes"][-1]["metrics"] if summary["episodes"] else summary["baselines"]["zero-shot"]
    settings = recipe.settings()
    return {
        "collection": collection.name,
        "passages": len(collection.corpus),
        "queries": len(collection.split("train")) if summary["episodes"] else 0,
        "model": Path(model).name,
        "system": name,
        "seed": recipe.episode.seed,
        "dev": {metric: round(measured[metric], 4) for metric in METRICS},
        "test": {metric: round(summary["final"][metric], 4) for metric in METRICS},
        "steps": [episode["steps"] for episode in summary["episodes"]],
        "training seconds": round(sum(episode["seconds"]["train"] for episode in summary["episodes"])),
        "processor seconds": round(time.process_time() - begun),
        "settings": {name: settings[name] for name in BEFORE},
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return rows as a Markdown table; metrics in percent."""
    head = ("collection", "passages", "model", "defaults", "training queries")
    head += ("dev MRR@10, nDCG@10", "test MRR@10, nDCG@10", "steps", "processor seconds")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for one in rows:
        dev, test = (", ".join(f"{100 * one[split][metric]:.1f}" for metric in METRICS) for split in ("dev", "test"))
        queries = f"{one['queries']:,}" if one["queries"] else ""
        steps = " + ".join(map(str, one["steps"]))
        cells = [one["collection"], f"{one['passages']:,}", one["model"], f"{one['system']}, seed {one['seed']}"]
        cells += [queries, dev, test, steps, f"{one['processor seconds']:,}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("model")
    parser.add_argument("--queries", type=int, help="most training queries; all by default")
    parser.add_argument("--passages", type=int, help="most passages besides the relevant ones; all by default")
    parser.add_argument("--judged", type=int, help="most queries of dev, and of test; all by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--systems", nargs="+", default=["zero-shot", "before", "at hand"])
    parser.add_argument("--set", nargs="+", default=[], help="settings of all systems, name=value")
    parser.add_argument("--json", type=Path, help="a file to which a line a row is added")
    given = parser.parse_args()
    collection = at.load_collection(given.data)
    if given.queries or given.passages or given.judged:
        collection = cut(collection, given.queries, given.passages, given.judged)
    own = {name: json.loads(value) for name, value in (word.split("=") for word in given.set)}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed, (name, recipe) in product(given.seeds, systems(collection, given.model, given.systems, own)):
            if name == "zero-shot" and seed != given.seeds[0]:
                continue
            made = row(name, recipe.with_settings(seed=seed), collection, given.model, Path(folder))
            line = json.dumps(made)
            print(line, flush=True)
            rows.append(made)
            if given.json:
                with given.json.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
