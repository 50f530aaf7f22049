"""No copy of a relevant passage and no query is ever a negative: in pools and in batches, by dictionaries of texts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ance_tele.cli.main import main
from ance_tele.data.collection import Collection
from ance_tele.data.copies import Copies
from ance_tele.data.load import collection_from_dicts
from ance_tele.data.tokens import TokenStore
from ance_tele.mining.candidates import CandidateLists, Candidates
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.margins import without_false_negatives
from ance_tele.mining.mix import mix
from ance_tele.mining.never import NeverNegative, same_text
from ance_tele.search.topk import TopK
from ance_tele.store.manifests import read_manifest
from ance_tele.training.batches import BatchPlan, Collator
from ance_tele.training.loss import known_positives

TEXTS = ["one", " one", "two", "two ", "three", "four", "five", "six"]


@st.composite
def collections(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a few passages and queries of the same few texts, with judgements."""
    corpus = draw(st.lists(st.tuples(st.sampled_from(["", "one"]), st.sampled_from(TEXTS)), min_size=2, max_size=14))
    queries = draw(st.lists(st.sampled_from([*TEXTS, "one five"]), min_size=1, max_size=6))
    rows = st.lists(st.integers(0, len(corpus) - 1), min_size=1, max_size=3, unique=True)
    judged = draw(st.lists(rows, min_size=len(queries), max_size=len(queries)))
    return {
        "corpus": {str(number): passage for number, passage in enumerate(corpus)},
        "queries": {f"q{number}": text for number, text in enumerate(queries)},
        "qrels": {"train": {f"q{number}": {str(row): 1 for row in rows} for number, rows in enumerate(judged)}},
    }


def flat(*texts: str) -> str:
    return " ".join(" ".join(texts).split())


def never(collection: Collection) -> list[set[int]]:
    """Return by training query the rows that are no negatives, from the texts alone."""
    passages = [(row["title"], row["text"]) for row in collection.corpus.table.to_pylist()]
    queries = [row["text"] for row in collection.queries.table.to_pylist()]
    train = collection.split("train")
    known: dict[str, set[str]] = {}
    for place, query in enumerate(train.queries):
        texts = known.setdefault(flat(queries[query]), set())
        for row in train.passages[train.offsets[place] : train.offsets[place + 1]]:
            texts.add(flat(*passages[row]))
    found = []
    for query in train.queries:
        own = flat(queries[query])
        found.append(
            {
                row
                for row, passage in enumerate(passages)
                if flat(*passage) in known[own]
                or own in (flat(*passage), flat(passage[1]))
                or any(flat(*other) == flat(*passage) and flat(other[1]) == own for other in passages)
            }
        )
    return found


@given(collections(), st.integers(0, 3), st.sampled_from([("query",), ("query", "lookahead"), ("random", "bm25")]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_pool_and_no_batch_holds_one(
    tmp_path_factory: pytest.TempPathFactory, made: dict[str, Any], seed: int, sources: tuple[str, ...]
) -> None:
    collection = collection_from_dicts(**made, cache=tmp_path_factory.mktemp("cache"))
    positives, expected = collection.split("train").relevant(), never(collection)
    known, rng = NeverNegative.of(positives, collection, Copies.of(collection)), np.random.default_rng(seed)
    count, corpus = len(positives), len(collection.corpus)

    pairs = np.indices((count, corpus)).reshape(2, -1)
    assert known.among(*pairs).reshape(count, corpus).tolist() == [
        [row in expected[query] for row in range(corpus)] for query in range(count)
    ]

    config, history = MiningConfig(sources=sources, pool_per_source=3), []
    for episode in (1, 2):
        ranked = {
            name: CandidateLists.from_topk(
                TopK(np.stack([rng.permutation(corpus) for _ in range(count)]), np.zeros((count, corpus), np.float32))
            )
            for name in sources
        }
        left = {name: lists.where(~same_text(lists, positives, known)) for name, lists in ranked.items()}
        found = Candidates(positives.queries, left)
        for name, lists in left.items():
            for query in range(count):
                relevant = set(positives.passages[positives.offsets[query] : positives.offsets[query + 1]].tolist())
                kept = [row for row in ranked[name][query].tolist() if row in relevant or row not in expected[query]]
                assert lists[query].tolist() == kept
        # Skipping the best places counts none of them either.
        skipped, _ = without_false_negatives(found, positives, positives, {"range_min": 1.0}, None)
        for name, lists in skipped.lists.items():
            for query in range(count if name != "random" else 0):
                negatives = [row for row in ranked[name][query].tolist() if row not in expected[query]]
                assert [row for row in lists[query].tolist() if row not in expected[query]] == negatives[1:]
        history.append(mix(found, positives, config, episode, seed, history))
        for query in range(count):
            assert not expected[query] & set(history[-1].negatives(query).tolist())

    store = TokenStore.from_lists([[5, 6]] * max(corpus, len(collection.queries)))
    collate = Collator(BatchPlan(history[0], positives, count, 2, seed, known), store, store, Bare(), Bare())  # type: ignore[arg-type]
    asked, held = collate.collate(np.arange(count), [collate.plan.passages(query, 0)[1] for query in range(count)])
    masked = known_positives(held["row"], asked["positives"]).numpy()
    rows = [[collate.plan.positive(query, 0), *collate.plan.draw(query, 0)] for query in range(count)]
    counted = np.zeros((count, corpus), dtype=int)  # which passages the batch holds and does not mask
    for query in range(count):
        shown = {flat(*map(str, made["corpus"][str(row)])) for row in np.concatenate(rows).tolist()}
        for place in np.flatnonzero(~masked[query]):
            counted[query, held["row"][place]] += 1
        assert not {row for row in expected[query] if counted[query, row]}
        free = {flat(*made["corpus"][str(row)]) for row in np.concatenate(rows).tolist() if row not in expected[query]}
        assert {flat(*made["corpus"][str(row)]) for row in np.flatnonzero(counted[query])} == free <= shown


class Bare:
    """Stands in for the forward pass."""

    pad, left = 0, False


def doubled(toy: Path, folder: Path) -> Path:
    """Write the toy collection with every relevant passage thrice, and every query a passage under its own id."""
    (folder / "qrels").mkdir(parents=True)
    for path in toy.rglob("*.*sv"):
        (folder / path.relative_to(toy)).write_bytes(path.read_bytes())
    queries = [json.loads(line) for line in (toy / "queries.jsonl").read_text("utf-8").splitlines()]
    corpus = [json.loads(line) for line in (toy / "corpus.jsonl").read_text("utf-8").splitlines()]
    copies = [
        {**passage, "_id": f"{passage['_id']}-{n}", "text": f"{passage['text']} "} for n in (1, 2) for passage in corpus
    ]
    corpus += copies + [{"_id": query["_id"], "title": "", "text": query["text"]} for query in queries]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", "utf-8")
    return folder


@pytest.mark.usefixtures("undrawn_here")
def test_a_run_never_draws_them(
    toy: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The mined lists are full of them, the pools of no episode hold one, and what was left out is counted."""
    data, out = doubled(toy, tmp_path / "data"), tmp_path / "run"
    command = f"run ance-tele+bm25 --data {data} --model {tiny_model} --out {out} --episodes 2 --epochs 1 --depth 20"
    lengths = "--query_max_len 16 --passage_max_len 16 --pool_per_source 6 --negatives_per_query 4 --range_min 1"
    assert main([*f"{command} {lengths}".split(), "--report_to", "[none]"]) == 0
    texts = {row["_id"]: flat(row["title"], row["text"]) for row in map(json.loads, (data / "corpus.jsonl").open())}
    asked = {row["_id"]: flat(row["text"]) for row in map(json.loads, (data / "queries.jsonl").open())}
    lines = (data / "qrels" / "train.tsv").read_text().splitlines()[1:]
    relevant = {query: texts[passage] for query, passage, _ in (line.split("\t") for line in lines)}

    def same(path: str) -> int:
        rows = pq.read_table(out / path).to_pylist()
        return sum(texts[row["passage_id"]] in (relevant[row["query_id"]], asked[row["query_id"]]) for row in rows)

    assert same("episode-0/training_lists.parquet") > 100
    judged = 72  # a list may hold the relevant passage itself, which mixing takes out
    for episode in (1, 2):
        assert same(f"episode-{episode}/pool.parquet") == 0
        facts = read_manifest(out / f"episode-{episode}" / "candidates.parquet").facts  # type: ignore[union-attr]
        assert min(facts["same_text"].values()) > 50
        assert same(f"episode-{episode}/candidates.parquet") <= judged * len(facts["same_text"])
    assert "left out that have the text of a relevant passage or of the query" in capsys.readouterr().out
