"""What a run trains on: positives by grade and turn, given negatives; and what it refuses, having nothing to learn."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.data.annotations import ScoredPassages
from ance_tele.data.collection import Collection, Qrels
from ance_tele.data.load import collection_from_dicts, load_collection
from ance_tele.episode import run
from ance_tele.recipes import recipe
from ance_tele.store.manifests import read_manifest

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL: dict[str, Any] = {
    "query_max_len": 16, "passage_max_len": 16, "depth": 10, "pool_per_source": 4, "negatives_per_query": 2,
    "epochs": 1, "episodes": 1, "batch_queries": 4, "learning_rate": 1e-3, "baselines": ["zero-shot"],
    "precision": "float32", "train_precision": "float32", "report_to": ["none"], "split": "train",
}  # fmt: skip

Made = Callable[..., tuple[dict[str, Any], list[str], Path]]


@pytest.fixture
def made(tiny_model: Path, tmp_path: Path, logged: list[str]) -> Made:
    """Return what runs a recipe: gives its summary, the lines it logged, and its folder."""

    def runs(collection: Collection, name: str = "q-neg", **settings: Any) -> tuple[dict[str, Any], list[str], Path]:
        before = len(logged)
        out = tmp_path / f"run-{len(list(tmp_path.glob('run-*')))}"
        chosen = recipe(name).with_settings(**{**SMALL, **settings})
        return run(chosen, collection, tiny_model, out), logged[before:], out

    return runs


def graded(cache: Path, count: int = 12) -> Collection:
    """Twelve passages of one word each; query i has the grades 1, 2 and 3 for the passages i, i + 1 and i + 2."""
    corpus = {f"d{number}": f"t{number}" for number in range(count)}
    queries = {f"q{number}": f"t{number} w1" for number in range(count)}
    qrels = {f"q{n}": {f"d{(n + more) % count}": more + 1 for more in range(3)} for n in range(count)}
    return collection_from_dicts(corpus, queries, {"train": qrels}, "graded", cache)


def lowered(collection: Collection) -> Qrels:
    """The training judgements, those of the first two queries no higher than 2."""
    train = collection.qrels["train"]
    return replace(
        train, grades=np.where(np.isin(train.owners, train.queries[:2]), np.minimum(train.grades, 2), train.grades)
    )


def test_positives_are_those_of_the_level(made: Made, tmp_path: Path) -> None:
    collection = graded(tmp_path)
    for level, each in ((1, 3), (2, 2), (3, 1)):
        _, _, out = made(collection, positive_level=level)
        rows = pq.read_table(out / "positives.parquet").to_pylist()
        expected = {(f"q{n}", f"d{(n + more) % 12}") for n in range(12) for more in range(3) if more + 1 >= level}
        assert {(row["query_id"], row["passage_id"]) for row in rows} == expected and len(expected) == 12 * each
    summary, lines, _ = made(
        replace(collection, qrels={**collection.qrels, "train": lowered(collection)}), positive_level=3
    )
    assert "2 training queries have no relevant passage of grade 3 or more, and are left out" in lines
    counted = summary["data"]
    assert (counted["training_queries_used"], counted["training_queries_without_positive"]) == (10, 2)
    with pytest.raises(UserError, match=r"of grade 4 or more, its highest grade is 3; lower positive_level"):
        made(collection, positive_level=4)


def test_a_run_on_every_pair(made: Made, tmp_path: Path) -> None:
    """An epoch of turns has 12 examples and trains on 12 of 36 pairs; one of all pairs 36, and on all of them."""
    summary, lines, _ = made(graded(tmp_path))
    assert summary["episodes"][0]["steps"] == 3 and summary["episodes"][0]["pairs"] == {"used": 12, "all": 36}
    assert any("on 12 of 36 pairs of query and positive" in line for line in lines)
    summary, lines, out = made(graded(tmp_path), positives="all", batch_queries=5)
    assert summary["episodes"][0]["steps"] == 8 and summary["episodes"][0]["pairs"] == {"used": 36, "all": 36}
    assert "Of 36 pairs of query and positive, trained on: 36 in episode 1." in (out / "report.md").read_text("utf-8")


def test_one_positive_each_decides_no_more_than_before(made: Made, toy: Path) -> None:
    """Neither keys nor figures know of turns where there are none."""
    collection = load_collection(toy)
    (one, _, out), (other, _, again) = (made(collection, positives=which) for which in ("rotate", "all"))
    manifests = [read_manifest(folder / "episode-1" / "model") for folder in (out, again)]
    assert manifests[0].inputs == manifests[1].inputs and "positives" not in manifests[0].inputs["settings"]  # type: ignore[union-attr]
    assert manifests[0].facts["weights"] == manifests[1].facts["weights"]  # type: ignore[union-attr]
    assert one["final"] == other["final"] and "pairs" not in one["episodes"][0]
    mined = read_manifest(out / "episode-1" / "candidates.parquet")
    assert "never" not in mined.inputs and "same_text" not in mined.facts  # type: ignore[union-attr]


def test_given_negatives_are_a_source(made: Made, toy: Path) -> None:
    collection = load_collection(toy)
    train, rng = collection.split("train"), np.random.default_rng(0)
    rows = np.stack([rng.permutation(len(collection.corpus))[:5] for _ in range(len(train))])
    offsets = np.arange(len(train) + 1) * 5
    given = ScoredPassages(train.queries, offsets, rows.ravel(), rng.random(rows.size).astype(np.float32))
    asked = replace(collection, negatives=given, teacher=given)
    summary, lines, out = made(asked, sources=("query", "given"), episodes=2)
    assert not any("given negatives" in line for line in lines)
    assert "not used: 360 scores of a teacher" in lines
    listed = pq.read_table(out / "episode-1" / "candidates.parquet").to_pandas().query("source == 'given'")
    pool = pq.read_table(out / "episode-1" / "pool.parquet").to_pandas()
    assert summary["episodes"][0]["pool"]["by_source"] == {"query": 288, "given": int((pool.source == "given").sum())}
    for place, query in enumerate(collection.queries.take_ids(train.queries).to_pylist()):
        best = rows[place][np.argsort(-given.scores.reshape(rows.shape)[place])]
        ids = collection.corpus.take_ids(best).to_pylist()
        assert listed[listed.query_id == query].passage_id.tolist() == ids
        drawn = pool[(pool.query_id == query) & (pool.source == "given")].passage_id
        positive = collection.corpus[int(train.passages[place])]["id"]
        assert set(drawn) <= set(ids) - {positive} and len(drawn) == min(4, 5 - (positive in ids))
    assert "given" in (out / "report.md").read_text("utf-8")

    _, lines, _ = made(asked)
    assert (
        "not used: 360 given negatives and 360 scores of a teacher; sources '[query, given]' draws from the negatives"
        in lines
    )
    with pytest.raises(UserError, match="collection 'toy' gives no negatives of its training queries; name other"):
        made(collection, sources=("query", "given"))


def test_a_source_that_finds_nothing_is_refused(made: Made, tmp_path: Path) -> None:
    """Where another finds something, it is counted."""
    corpus = {f"d{number}": f"t{number}" for number in range(6)}
    queries = {f"q{number}": f"w{number}" for number in range(6)}
    qrels = {"train": {f"q{number}": {f"d{number}": 1} for number in range(6)}}
    collection = collection_from_dicts(corpus, queries, qrels, "apart", tmp_path)
    with pytest.raises(UserError) as refused:
        made(collection, "dpr")
    assert str(refused.value) == (
        "There is no negative for any of the 6 training queries of episode 1: bm25 found no passage that shares a word "
        "with a query (the collection has 6); name another source of negatives in sources, such as '[query]'."
    )
    summary, _, _ = made(collection, "dpr", sources=("bm25", "query"))
    assert summary["episodes"][0]["pool"]["by_source"] == {"query": 24}
    with pytest.raises(UserError, match=r"left out by max_score \(the collection has 6\); loosen what"):
        made(collection, max_score=-1e9)
    one = collection_from_dicts({"d": "t1"}, queries, {"train": {q: {"d": 1} for q in queries}}, "one", tmp_path)
    with pytest.raises(UserError, match=r"query found 6 passages, all of them relevant \(the collection has 1\)"):
        made(one)
    # Without negatives of its own there is nothing in a batch either.
    with pytest.raises(UserError, match="all passages that a batch can hold are relevant to its queries"):
        made(one, negatives_per_query=0)
    with pytest.raises(UserError, match="a batch holds one query"):
        made(collection, negatives_per_query=0, batch_queries=1)
    with pytest.raises(UserError, match="in_batch_negatives is off"):
        made(collection, negatives_per_query=0, in_batch_negatives=False)
    summary, _, _ = made(collection, negatives_per_query=0)
    assert summary["episodes"][0]["steps"] == 2


def test_queries_that_meet_no_negative_are_counted(made: Made, tmp_path: Path) -> None:
    """BM25 finds another passage for the queries of shared words alone."""
    corpus = {"d0": "t0 w1", "d1": "t1 w1", "d2": "t2", "d3": "t3"}
    queries = {"q0": "t0 w1", "q1": "t1 w1", "q2": "t2", "q3": "t3"}
    qrels = {"train": {f"q{number}": {f"d{number}": 1} for number in range(4)}}
    collection = collection_from_dicts(corpus, queries, qrels, "some", tmp_path)
    summary, lines, out = made(collection, "dpr", in_batch_negatives=False)
    assert "2 of 4 training queries meet no negative: nothing is learned from them" in lines
    assert any("2 queries have none" in line for line in lines)
    assert summary["episodes"][0]["pool"]["without"] == 2
    assert re.search(
        r"Shortage in episode 1: 2 training queries had no negative at all", (out / "report.md").read_text()
    )


def test_refused_on_the_command_line(toy: Path, tiny_model: Path, tmp_path: Path, capsys: Any) -> None:
    """One sentence, exit code 2, and what was mined stands; so the mended command goes on."""
    lines = (toy / "queries.jsonl").read_text("utf-8").splitlines()
    data = tmp_path / "data"
    data.mkdir()
    (data / "corpus.jsonl").write_bytes((toy / "corpus.jsonl").read_bytes())
    (data / "queries.jsonl").write_text(
        "\n".join(json.dumps({**json.loads(line), "text": "elsewhere"}) for line in lines), "utf-8"
    )
    (data / "qrels").mkdir()
    for path in (toy / "qrels").iterdir():
        (data / "qrels" / path.name).write_bytes(path.read_bytes())
    command = ["run", "dpr", f"--data={data}", f"--model={tiny_model}", f"--out={tmp_path / 'run'}", "--depth=9"]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "bm25 found no passage that shares a word with a query" in error
