"""Unlabelled queries: chosen, judged by the teacher, joined to the last episode; resumed, and refused."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from judges import write_judge
from processes import started
from toy import run_command

import ance_tele as at
from ance_tele.cli.main import main
from ance_tele.data.collection import Qrels
from ance_tele.mining.candidates import CandidateLists, Candidates
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.mix import mix
from ance_tele.mining.never import NeverNegative
from ance_tele.runs.training_set import TrainingSet
from ance_tele.runs.unlabelled import joined_pools, joined_sets, unlabelled_rows
from ance_tele.store.manifests import read_manifest
from ance_tele.training.batches import BatchPlan

pytestmark = pytest.mark.usefixtures("undrawn")

# Ids whose digits are those of others: RocketQA's code looks for an id within a text.
MORE = {f"q{number}": f"t{topic} u{6 * topic + 5} w7" for number, topic in enumerate(range(12))}
LIMITS: dict[str, Any] = {"teacher_negatives": 0.4, "teacher_positives": 0.8}
QUICK: dict[str, Any] = {"epochs": 1, "episodes": 2, "baselines": "[zero-shot]", "max_train_queries": 24, **LIMITS}


@pytest.fixture(scope="module")
def judge(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_judge(tiny_model, tmp_path_factory.mktemp("judges") / "judge", 1)


@pytest.fixture(scope="module")
def data(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy collection with queries that no split names; one has the text of a judged query."""
    folder = tmp_path_factory.mktemp("data") / "more"
    shutil.copytree(toy, folder)
    known = json.loads((folder / "queries.jsonl").read_text().splitlines()[0])["text"]
    rows = [{"_id": name, "text": text} for name, text in {**MORE, "again": known}.items()]
    with (folder / "queries.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return folder


def command(data: Path, model: Path, out: Path, recipe: str = "rocketqa", **given: Any) -> list[str]:
    return run_command(data, model, out, recipe, **{**QUICK, "unlabelled_queries": 10, **given})


def table(path: Path, *columns: str) -> list[tuple[Any, ...]]:
    read = pq.read_table(path)
    return list(zip(*(read[name].to_pylist() for name in columns), strict=True))


def test_only_queries_that_no_split_names(data: Path) -> None:
    collection = at.load_collection(data)
    rows = unlabelled_rows(collection, 1000)
    assert set(collection.queries.take_ids(rows).to_pylist()) == set(MORE)
    some = unlabelled_rows(collection, 5)
    assert len(some) == 5 and set(some) < set(rows) and (np.diff(some) > 0).all()


def test_they_train_the_last_episode(data: Path, tiny_model: Path, judge: Path, tmp_path: Path) -> None:
    """Positives and negatives are what the teacher says; what has no positive is counted; nothing else changes."""
    out, plain, errors = tmp_path / "run", tmp_path / "plain", tmp_path / "errors.txt"
    given = command(data, tiny_model, out, teacher=judge, save_steps=1)
    child = started(given, errors, ("ance_tele.training.batches", "Collator.__call__", 6))  # in the last episode
    child.join()
    assert child.exitcode == -signal.SIGKILL, errors.read_text()
    scored = out / "episode-2/unlabelled_scores.parquet"
    assert scored.exists()
    before = scored.stat().st_mtime_ns
    assert main(given) == 0 and scored.stat().st_mtime_ns == before
    pairs = table(scored, "query_id", "passage_id")
    shares = [1 / (1 + np.exp(-row[0])) for row in table(scored, "score")]
    likely = dict(zip(pairs, shares, strict=True))
    assert len({query for query, _ in likely}) == 10
    found = {pair for pair, share in likely.items() if share >= 0.8}
    labelled = {query for query, _ in found}
    facts = (read_manifest(out / "episode-2/taught_pool.parquet") or pytest.fail()).facts
    assert (facts["asked"], facts["labelled"], facts["positives"]) == (10, len(labelled), len(found))
    assert len(labelled) > 0
    pool = table(out / "episode-2/taught_pool.parquet", "query_id", "passage_id")
    theirs = {pair for pair in pool if pair[0] in MORE}
    assert theirs and {query for query, _ in theirs} <= labelled
    assert all(likely[pair] <= 0.4 + 1e-6 for pair in theirs) and not theirs & found
    judged = table(out / "episode-2/pool.parquet", "query_id", "passage_id")
    assert [pair for pair in pool if pair[0] not in MORE] == judged
    model = read_manifest(out / "episode-2/model")
    assert model is not None and model.facts["queries"] == 24 + len(labelled)
    assert main(command(data, tiny_model, plain, teacher=judge, unlabelled_queries=0)) == 0
    for name in ("episode-1/pool.parquet", "episode-2/pool.parquet"):
        assert table(out / name, "query_id", "passage_id") == table(plain / name, "query_id", "passage_id")
    first, last = ([read_manifest(run / f"episode-{number}/model") for run in (out, plain)] for number in (1, 2))
    assert first[0] and first[1] and first[0].facts["weights"] == first[1].facts["weights"]
    assert last[0] and last[1] and last[0].facts["weights"] != last[1].facts["weights"]
    assert not (plain / "episode-2/taught_pool.parquet").exists()


def test_beside_distillation(data: Path, tiny_model: Path, judge: Path, tmp_path: Path) -> None:
    """Momentum and the scores of earlier pools are of the judged queries alone."""
    given = command(data, tiny_model, tmp_path / "run", "ance-tele+teacher", teacher=judge)
    assert main(given) == 0
    names = {row[0] for row in table(tmp_path / "run/episode-2/teacher_scores.parquet", "query_id")}
    pool = {row[0] for row in table(tmp_path / "run/episode-2/taught_pool.parquet", "query_id")}
    assert pool <= names and names & set(MORE)


def test_beside_replay_the_forgotten_ones_come_again(
    data: Path, tiny_model: Path, judge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where unlabelled queries stand before judged ones in the file of queries."""
    turned = tmp_path / "turned"
    shutil.copytree(data, turned)
    lines = (turned / "queries.jsonl").read_text().splitlines()
    (turned / "queries.jsonl").write_text("\n".join(reversed(lines)) + "\n")
    plans: list[BatchPlan] = []

    def kept(*given: Any) -> BatchPlan:
        plans.append(BatchPlan(*given))
        return plans[-1]

    monkeypatch.setattr("ance_tele.runs.train.BatchPlan", kept)
    given = {"teacher": judge, "replay": 0.5, "teacher_positives": 0.5, "unlabelled_queries": 12}
    assert main(command(turned, tiny_model, tmp_path / "run", **given)) == 0
    before, after = (
        dict(table(tmp_path / f"run/episode-{number}/per_training_query.parquet", "query_id", "MRR@20"))
        for number in (0, 1)
    )
    worse = {name for name, rank in after.items() if rank < before[name]}
    queries = at.load_collection(turned).queries
    last = next(one for one in plans if one.replay and len(one.positives) > 24)
    assert last.forgotten is not None and 0 < len(worse) < 24
    assert set(queries.take_ids(last.positives.queries[last.forgotten]).to_pylist()) == worse


def test_what_cannot_be_is_refused(
    toy: Path, data: Path, tiny_model: Path, judge: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    out = tmp_path / "run"
    assert "every query of collection" in refusal(*command(toy, tiny_model, out, teacher=judge))
    given = {"teacher": judge, "teacher_positives": "null"}
    assert "set teacher_positives" in refusal(*command(data, tiny_model, out, **given))
    assert not out.exists()


# ---- joining -------------------------------------------------------------------------------------

ROWS = st.lists(st.integers(0, 60), min_size=2, max_size=20, unique=True)


@drawn(ROWS, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_joined_each_query_keeps_its_own(rows: list[int], random: Any) -> None:
    """Pools, positives and doubtful passages of two sets of queries, whatever their order."""
    cut = random.randint(1, len(rows) - 1)
    parts = [np.sort(np.array(part)) for part in (rows[:cut], rows[cut:])]
    config = MiningConfig(sources=("query",), pool_per_source=2, alpha=0.0)
    pools, positives = [], []
    for queries in parts:
        lists = CandidateLists.of([[row, 100 + row, 200 + row] for row in queries.tolist()])
        positives.append(Qrels.from_arrays(queries, queries, np.ones(len(queries), dtype=np.int64)))
        pools.append(mix(Candidates(queries, {"query": lists}), positives[-1], config, 1, 42))
    whole = joined_pools(*pools)
    assert whole.queries.tolist() == sorted(rows)
    for place, row in enumerate(whole.queries.tolist()):
        assert sorted(whole.negatives(place).tolist()) == [100 + row, 200 + row]
    none = np.empty(0, dtype=np.int64)
    doubtful = NeverNegative.rows(Qrels.from_arrays(parts[0], 300 + parts[0], np.ones(cut, dtype=np.int64)))
    collection: Any = None
    training = TrainingSet(collection, positives[0], positives[0], none, none, doubtful=doubtful)
    both = joined_sets(training, positives[1])
    assert both.queries.tolist() == sorted(rows) and both.positives.passages.tolist() == sorted(rows)
    assert both.doubtful is not None
    for place, row in enumerate(both.queries.tolist()):
        assert both.doubtful.of_query(place).tolist() == ([300 + row] if row in parts[0] else [])
