"""The explorer of a run: what it answers, and that it writes nothing in the run but the review."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from addresses import HOME, HOSTILE
from columns import settled
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from ance_tele.cli.main import main
from ance_tele.data.load import load_collection
from ance_tele.data.review import Verdict, read_review, write_review
from ance_tele.encode.vectors import open_vectors
from ance_tele.explorer.case import case, marks
from ance_tele.explorer.guard import HEADERS
from ance_tele.explorer.search import search_run
from ance_tele.explorer.serve import open_explorer
from ance_tele.explorer.training import Training
from ance_tele.runs.folder import open_run
from ance_tele.store.manifests import read_manifest


def lists(run: Path, checkpoint: int) -> Any:
    return pq.read_table(run / f"episode-{checkpoint}" / "training_lists.parquet").to_pandas()


def listing(run: Path) -> dict[str, tuple[int, int]]:
    stats = {path.relative_to(run).as_posix(): path.stat() for path in run.rglob("*")}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items() if name != "."}


# ---- what it answers -----------------------------------------------------------------------------


def test_the_page_and_its_headers(client: TestClient) -> None:
    for path, kind in (("/", "text/html"), ("/explorer.css", "text/css"), ("/explorer.js", "javascript")):
        found = client.get(path)
        assert found.status_code == 200 and kind in found.headers["content-type"]
        assert {name: found.headers[name] for name in HEADERS} == HEADERS
        assert found.headers["x-frame-options"] == "DENY" and found.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in found.headers["content-security-policy"]
    page = client.get("/").text
    assert not re.search(r"https?://", page) and "<style" not in page and " style=" not in page
    assert all(word in HEADERS["Content-Security-Policy"] for word in ("default-src 'none'", "script-src 'self'"))
    assert "innerHTML" not in client.get("/explorer.js").text


def test_what_the_run_is(client: TestClient, run: Path) -> None:
    about = client.get("/api/run").json()
    assert [column["label"] for column in about["columns"]] == ["zero-shot", "episode 1", "episode 2"]
    assert [one["label"] for one in about["rounds"]] == ["zero-shot", "episode 1", "episode 2"]
    assert (about["queries"], about["passages"], about["recipe"]) == (72, 145, "ance-tele")
    assert all(sort["there"] for sort in about["sorts"]) and about["notice"] == ""
    assert about["split"] == "test" and len(about["examples"]) == 6
    assert about["review"] == {
        "path": str(run / "review.csv"),
        "counts": {"relevant": 0, "negative": 0, "unsure": 0},
        "exists": False,
    }


def test_every_checkpoint_answers_as_it_did_in_training(client: TestClient, run: Path, data: Path) -> None:
    """The question of a training query gets, from each model, the list that was mined for it: ids and scores."""
    texts = {row["id"]: row["text"] for row in load_collection(data).queries.table.to_pylist()}
    for checkpoint in (0, 1, 2):
        mined = lists(run, checkpoint)
        for query in ("q00-0", "q13-2"):
            asked = {"words": texts[query], "checkpoint": checkpoint, "k": 20}
            hits = client.post("/api/search", json=asked).json()["hits"]
            rows = mined[mined["query_id"] == query]
            assert [hit["id"] for hit in hits] == rows["passage_id"].tolist()
            assert np.allclose([hit["score"] for hit in hits], rows["score"], atol=1e-5)
            assert [hit["rank"] for hit in hits] == list(range(1, 21))


def test_the_last_checkpoint_answers_as_the_search_verb(client: TestClient, run: Path, data: Path) -> None:
    hits = client.post("/api/search", json={"words": " t3 u18 ", "checkpoint": 2, "k": 4}).json()["hits"]
    found = search_run(run, "t3 u18", 4, data)
    assert [(hit["id"], hit["score"], hit["text"]) for hit in hits] == [(hit.id, hit.score, hit.text) for hit in found]


def test_training_queries_are_sorted_searched_and_paged(client: TestClient, run: Path) -> None:
    queries = pq.read_table(run / "episode-0" / "per_training_query.parquet")["query_id"].to_pylist()

    def page(**asked: Any) -> dict[str, Any]:
        return client.get("/api/queries", params=asked).json()

    first, second = page(), page(page=2)
    assert (first["total"], first["pages"], len(first["queries"]), len(second["queries"])) == (72, 2, 50, 22)
    assert [query["id"] for query in first["queries"] + second["queries"]] == queries
    assert [query["id"] for query in page(sort="lost")["queries"]] == queries[::-1][:50]
    assert page(sort="swings")["queries"][0]["id"] == queries[0]  # ties, and the order of the data
    assert page(sort="suspects")["queries"][0]["id"] == queries[5]
    worst = [query["mrr"][-1] for query in page(sort="worst")["queries"]]
    assert worst == sorted(worst) and len(worst) == 50
    found = page(words="T3 U1")
    assert {query["id"] for query in found["queries"]} == {"q03-0", "q03-1"} and found["pages"] == 1
    assert page(words="nowhere") == {"total": 0, "page": 1, "pages": 1, "size": 50, "queries": []}
    assert page(page=99)["page"] == 2 and page(page=-3)["page"] == 1


def test_one_training_query_through_the_rounds(client: TestClient, run: Path) -> None:
    """Compared with a plain reading of the files."""
    query, positive = "q00-0", "d00-0"
    found = client.get("/api/query", params={"id": query}).json()
    assert [one["id"] for one in found["positives"]] == [positive] and found["verdicts"] == {}
    rounds = [lists(run, checkpoint) for checkpoint in (0, 1, 2)]
    ranks = [dict(zip(t["passage_id"], t["rank"], strict=True)) for t in (t[t["query_id"] == query] for t in rounds)]
    pools = [pq.read_table(run / f"episode-{episode}" / "pool.parquet").to_pandas() for episode in (1, 2)]
    drawn = [pool[pool["query_id"] == query] for pool in pools]
    expected = {passage for one in ranks for passage in one} | {
        passage for one in drawn for passage in one["passage_id"]
    }
    assert {one["id"] for one in found["negatives"]} == expected - {positive}
    for one in [*found["positives"], *found["negatives"]]:
        assert one["ranks"] == [by_passage.get(one["id"]) for by_passage in ranks]
        assert one["marks"] == marks(one["ranks"])
    for one in found["negatives"]:
        held = {(source["source"], episode) for source in one["sources"] for episode in source["episodes"]}
        assert held == {
            (source, episode)
            for episode, pool in enumerate(drawn, 1)
            for source in pool[pool["passage_id"] == one["id"]]["source"]
        }
    best = [one["best"] or 10**9 for one in found["negatives"]]
    assert best == sorted(best)
    suspects = [one for one in found["negatives"] if one["reasons"]]
    assert [(one["id"], one["reasons"], one["suspicion"]) for one in suspects] == [
        (HOSTILE, ["near_duplicate", "persistently_top"], 2.5)
    ]
    mrr = [pq.read_table(run / f"episode-{c}" / "per_training_query.parquet")["MRR@20"][0].as_py() for c in (0, 1, 2)]
    assert found["mrr"] == mrr


@given(st.lists(st.one_of(st.none(), st.integers(1, 200)), max_size=8))
def test_marks_follow_the_ranks(ranks: list[int | None]) -> None:
    lines = marks(ranks)
    for number, mark in enumerate(lines):
        now, before = ranks[number] is not None, number > 0 and ranks[number - 1] is not None
        ever = any(rank is not None for rank in ranks[:number])
        expected = {
            "entered": number > 0 and now and not ever,
            "left": number > 0 and before and not now,
            "back": now and ever and not before,
        }
        assert [name for name, holds in expected.items() if holds] == ([mark] if mark else [])


# ---- verdicts, and nothing else, are written -----------------------------------------------------


def test_a_verdict_is_kept_changed_and_taken_back(client: TestClient, unmarked: Path) -> None:
    def mark(verdict: str | None, passage: str = HOSTILE) -> dict[str, Any]:
        asked = {"query_id": "q00-0", "passage_id": passage, "verdict": verdict}
        return client.post("/api/review", json=asked).json()

    assert client.get("/review.csv").status_code == 404
    assert mark("relevant")["verdicts"] == {HOSTILE: "relevant"}
    row = read_review(unmarked)[0]
    assert (row.query_id, row.passage_id, row.verdict, row.reasons) == (
        "q00-0",
        HOSTILE,
        "relevant",
        "near_duplicate,persistently_top",
    )
    assert row.title == "t0 <b>" and row.text.endswith(" <script>window.hacked=1</script><b>")
    assert row.query.startswith("t0 u0")
    assert mark("unsure")["review"]["counts"] == {"relevant": 0, "negative": 0, "unsure": 1}
    other = client.get("/api/query", params={"id": "q00-0"}).json()["negatives"][3]["id"]
    assert mark("negative", other)["verdicts"] == {HOSTILE: "unsure", other: "negative"}
    assert client.get("/review.csv").content == unmarked.read_bytes()
    assert mark(None)["verdicts"] == {other: "negative"}
    assert client.get("/api/query", params={"id": "q00-0"}).json()["verdicts"] == {other: "negative"}


def test_verdicts_of_others_stay(client: TestClient, unmarked: Path) -> None:
    write_review(unmarked, [Verdict("q05-1", "d01-1", "relevant", text="a, b\nc"), Verdict("q00-0", HOSTILE, "unsure")])
    before = read_review(unmarked)
    asked = {"query_id": "q00-0", "passage_id": HOSTILE, "verdict": "negative"}
    assert client.post("/api/review", json=asked).status_code == 200
    after = read_review(unmarked)
    assert after[0] == before[0] and [row.verdict for row in after] == ["relevant", "negative"]


def test_a_damaged_review_is_said_and_not_overwritten(client: TestClient, unmarked: Path) -> None:
    unmarked.write_text("a,b\n1,2\n")
    answer = client.post("/api/review", json={"query_id": "q00-0", "passage_id": HOSTILE, "verdict": "unsure"})
    assert answer.status_code == 400 and "review.csv line 1 lacks" in answer.json()["error"]
    assert unmarked.read_text() == "a,b\n1,2\n"


def test_the_run_is_only_read(explored: Path, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(explored, run)
    before = listing(run)
    with TestClient(open_explorer(run, data), base_url=HOME, headers={"Origin": HOME}) as client:
        settled(client)
        for checkpoint in (0, 1, 2):
            assert client.post("/api/search", json={"words": "t1", "checkpoint": checkpoint}).status_code == 200
        for path in ("/api/run", "/api/queries", "/api/query?id=q00-0"):
            assert client.get(path).status_code == 200
        assert listing(run) == before
        asked = {"query_id": "q00-0", "passage_id": HOSTILE, "verdict": "unsure"}
        assert client.post("/api/review", json=asked).status_code == 200
    assert listing(run).keys() - before.keys() == {"review.csv"}
    assert {name: stat for name, stat in listing(run).items() if name in before} == before


def test_vectors_of_something_else_are_not_opened(explored: Path, tmp_path: Path) -> None:
    manifest = read_manifest(explored / "episode-2" / "vectors" / "passages-00000.npy")
    assert manifest is not None
    weights, tokens = manifest.inputs["weights"], manifest.inputs["tokens"]
    folder = explored / "episode-2" / "vectors"
    opened = open_vectors(folder, weights, tokens, 145)
    assert opened is not None and len(opened) == 145
    assert open_vectors(folder, "other", tokens, 145) is None
    assert open_vectors(folder, weights, "other", 145) is None
    assert open_vectors(folder, weights, tokens, 146) is None
    assert open_vectors(tmp_path, weights, tokens, 145) is None


def test_without_an_analysis_it_says_what_to_run(explored: Path, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(explored, run)
    shutil.rmtree(run / "analysis", ignore_errors=True)
    client = TestClient(open_explorer(run, data), base_url=HOME)
    about = client.get("/api/run").json()
    there = {sort["name"]: sort["there"] for sort in about["sorts"]}
    assert there == {"": True, "worst": True, "lost": False, "falls": False, "swings": False, "suspects": False}
    assert about["notice"].endswith(f"ance-tele report {run}")
    refused = client.get("/api/queries", params={"sort": "lost"})
    assert refused.status_code == 400 and refused.json()["error"].endswith(f"run: ance-tele report {run}")
    assert "lost" not in client.get("/api/queries").json()["queries"][0]
    assert not any(one["reasons"] for one in client.get("/api/query", params={"id": "q00-0"}).json()["negatives"])


def test_a_run_that_trained_nothing_can_be_searched(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    command = ["run", "zero-shot", "--data", str(data), "--model", str(tiny_model), "--out", str(tmp_path / "run")]
    assert main([*command, "--passage_max_len", "16", "--baselines", "[]"]) == 0
    client = TestClient(open_explorer(tmp_path / "run", data), base_url=HOME, headers={"Origin": HOME})
    about = client.get("/api/run").json()
    assert ([column["label"] for column in about["columns"]], about["rounds"], about["queries"]) == (
        ["zero-shot"],
        [],
        0,
    )
    assert about["notice"] == "This run trained nothing, so there are no training queries to follow."
    assert client.get("/api/queries", params={"words": "t1", "sort": "worst"}).json()["total"] == 0
    assert client.get("/api/query", params={"id": "q00-0"}).status_code == 404
    assert len(client.post("/api/search", json={"words": "t1", "checkpoint": 0}).json()["hits"]) == 10


def test_rounds_of_bm25_are_called_so(explored: Path, data: Path) -> None:
    """A first episode that mined with BM25 alone: its lists, not those of the model."""
    opened = open_run(explored, data)
    recipe = opened.recipe.with_settings(first_sources=("bm25",))
    (explored / "bm25").mkdir(exist_ok=True)
    path = explored / "bm25" / "training_lists.parquet"
    path.write_bytes((explored / "episode-2" / "training_lists.parquet").read_bytes())
    try:
        training = Training(explored, recipe, opened.collection)
        assert training.labels == ["BM25", "episode 1", "episode 2"]
        found = case(training, "q00-0")
        assert all(one["ranks"][0] == one["ranks"][2] for one in found["negatives"])
    finally:
        path.unlink()
