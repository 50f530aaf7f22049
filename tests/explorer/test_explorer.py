"""The explorer: what it answers, what it refuses, and that it writes nothing in a run but the review."""

import errno
import json
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from ance_tele.analysis.lookup import rows_of_query
from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.data.load import load_collection
from ance_tele.data.review import Verdict, read_review, write_review
from ance_tele.encode.vectors import open_vectors
from ance_tele.explorer.case import case, marks
from ance_tele.explorer.guard import HEADERS, MOST_BYTES, is_loopback, known_host, refusal
from ance_tele.explorer.search import search_run
from ance_tele.explorer.serve import listen, open_explorer
from ance_tele.explorer.training import Training
from ance_tele.runs.folder import open_run
from ance_tele.store.manifests import read_manifest

HOME = "http://127.0.0.1:8000"
HOSTILE = "x<i>"


def analysed(run: Path, queries: list[str]) -> None:
    """Write what an analysis would: the later a query, the more it has forgotten; one suspect."""
    folder = run / "analysis"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    count = np.arange(len(queries))
    mrr = {f"mrr_{checkpoint}": np.zeros(len(queries)) for checkpoint in range(3)}
    found = {"falls": count % 3, "lost": count / len(count), "swings": -count, "suspects": (count == 5).astype(int)}
    # In another order than the run's: positions must not be trusted.
    order = np.roll(count, 7)
    table = pa.table({"query_id": queries, **mrr, **found}).take(pa.array(order))
    pq.write_table(table, folder / "per_query.parquet")
    suspect = {"query_id": [queries[0]], "passage_id": [HOSTILE], "reasons": ["copy,kept"], "score": [2.5]}
    rest = {"sources": ["query"], "overlap": [0.9], "margin": pa.array([None], pa.float64()), "top_rounds": [2]}
    pq.write_table(pa.table({**suspect, **rest}), folder / "suspects.parquet")


@pytest.fixture(scope="module")
def run(explored: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run, analysed."""
    folder = tmp_path_factory.mktemp("copies") / "run"
    shutil.copytree(explored, folder)
    analysed(folder, pq.read_table(folder / "episode-0" / "per_training_query.parquet")["query_id"].to_pylist())
    return folder


@pytest.fixture(scope="module")
def data(explored: Path) -> Path:
    return explored.parent / "data"


@pytest.fixture(scope="module")
def client(run: Path, data: Path) -> TestClient:
    return TestClient(open_explorer(run, data), base_url=HOME, headers={"Origin": HOME})


@pytest.fixture
def unmarked(run: Path) -> Iterator[Path]:
    yield run / "review.csv"
    (run / "review.csv").unlink(missing_ok=True)


def lists(run: Path, checkpoint: int) -> Any:
    return pq.read_table(run / f"episode-{checkpoint}" / "training_lists.parquet").to_pandas()


def listing(run: Path) -> dict[str, tuple[int, int]]:
    stats = {path.relative_to(run).as_posix(): path.stat() for path in run.rglob("*")}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items() if name != "."}


# ---- one query's rows ----------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=25), st.integers(1, 9), st.randoms(use_true_random=False))
def test_the_rows_of_a_query_are_found_wherever_groups_are_cut(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], size: int, random: Any
) -> None:
    names = [f"q{number}" for number in range(len(counts))]
    random.shuffle(names)  # the order of the queries is not that of their ids
    owner = [name for name, count in zip(names, counts, strict=True) for _ in range(count)]
    path = tmp_path_factory.mktemp("lookup") / "x.parquet"
    table = pa.table({"query_id": pa.array(owner, pa.string()), "n": np.arange(len(owner))})
    pq.write_table(table, path, row_group_size=size)
    for name in names:
        expected = [number for number, other in enumerate(owner) if other == name]
        assert rows_of_query(path, name, names.index, ["n"])["n"].to_pylist() == expected


def test_only_the_groups_of_a_query_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"q{number:04d}" for number in range(1000)]
    pq.write_table(pa.table({"query_id": names, "n": range(1000)}), tmp_path / "x.parquet", row_group_size=10)
    read: list[int] = []
    whole = pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda self, i, **k: read.append(i) or whole(self, i, **k))
    assert rows_of_query(tmp_path / "x.parquet", "q0437", names.index, ["n"])["n"].to_pylist() == [437]
    assert read == [43]


@given(st.lists(st.one_of(st.none(), st.integers(1, 200)), max_size=8))
def test_marks_say_what_the_ranks_say(ranks: list[int | None]) -> None:
    said = marks(ranks)
    for number, mark in enumerate(said):
        now, before = ranks[number] is not None, number > 0 and ranks[number - 1] is not None
        ever = any(rank is not None for rank in ranks[:number])
        expected = {
            "entered": number > 0 and now and not ever,
            "left": number > 0 and before and not now,
            "back": now and ever and not before,
        }
        assert [name for name, holds in expected.items() if holds] == ([mark] if mark else [])


# ---- what it answers -----------------------------------------------------------------------------


def test_the_page_and_its_headers(client: TestClient) -> None:
    for path, kind in (("/", "text/html"), ("/explorer.css", "text/css"), ("/explorer.js", "javascript")):
        found = client.get(path)
        assert found.status_code == 200 and kind in found.headers["content-type"]
        assert {name: found.headers[name] for name in HEADERS} == HEADERS
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
    """Beside a plain reading of the files."""
    query, positive = "q00-0", "d00-0"
    told = client.get("/api/query", params={"id": query}).json()
    assert [one["id"] for one in told["positives"]] == [positive] and told["verdicts"] == {}
    rounds = [lists(run, checkpoint) for checkpoint in (0, 1, 2)]
    ranks = [dict(zip(t["passage_id"], t["rank"], strict=True)) for t in (t[t["query_id"] == query] for t in rounds)]
    pools = [pq.read_table(run / f"episode-{episode}" / "pool.parquet").to_pandas() for episode in (1, 2)]
    drawn = [pool[pool["query_id"] == query] for pool in pools]
    expected = {passage for one in ranks for passage in one} | {
        passage for one in drawn for passage in one["passage_id"]
    }
    assert {one["id"] for one in told["negatives"]} == expected - {positive}
    for one in [*told["positives"], *told["negatives"]]:
        assert one["ranks"] == [found.get(one["id"]) for found in ranks]
        assert one["marks"] == marks(one["ranks"])
    for one in told["negatives"]:
        held = {(source["source"], episode) for source in one["sources"] for episode in source["episodes"]}
        assert held == {
            (source, episode)
            for episode, pool in enumerate(drawn, 1)
            for source in pool[pool["passage_id"] == one["id"]]["source"]
        }
    best = [one["best"] or 10**9 for one in told["negatives"]]
    assert best == sorted(best)
    suspects = [one for one in told["negatives"] if one["reasons"]]
    assert [(one["id"], one["reasons"], one["suspicion"]) for one in suspects] == [
        (HOSTILE, ["near_duplicate", "persistently_top"], 2.5)
    ]
    mrr = [pq.read_table(run / f"episode-{c}" / "per_training_query.parquet")["MRR@20"][0].as_py() for c in (0, 1, 2)]
    assert told["mrr"] == mrr


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
    client = TestClient(open_explorer(run, data), base_url=HOME, headers={"Origin": HOME})
    for checkpoint in (0, 1, 2):
        assert client.post("/api/search", json={"words": "t1", "checkpoint": checkpoint}).status_code == 200
    for path in ("/api/run", "/api/queries", "/api/query?id=q00-0"):
        assert client.get(path).status_code == 200
    assert listing(run) == before
    asked = {"query_id": "q00-0", "passage_id": HOSTILE, "verdict": "unsure"}
    assert client.post("/api/review", json=asked).status_code == 200
    assert listing(run).keys() - before.keys() == {"review.csv"}
    assert {name: stat for name, stat in listing(run).items() if name in before} == before


def test_vectors_that_were_not_kept_are_encoded_once_into_the_cache(
    explored: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    monkeypatch.setenv("ANCE_TELE_CACHE", str(tmp_path / "cache"))

    def columns(episodes: str) -> tuple[list[int], list[str]]:
        logged.clear()
        client = TestClient(open_explorer(explored, data, episodes=episodes), base_url=HOME)
        return [c["checkpoint"] for c in client.get("/api/run").json()["columns"]], list(logged)

    assert columns("kept") == ([2], [])
    found, said = columns("all")
    assert found == [0, 1, 2] and [re.findall("zero-shot|episode .", line) for line in said] == [
        ["episode 1"],
        ["zero-shot"],
    ]
    assert columns("all") == ([0, 1, 2], []) and columns("kept") == ([0, 1, 2], [])
    assert len(list((tmp_path / "cache" / "explorer").glob("*/passages-00000.npy"))) == 2


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


def test_without_the_model_that_the_run_began_with(
    explored: Path, data: Path, tmp_path: Path, logged: list[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(explored, run)
    identity = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**identity, "model": "gone"}))
    (run / "gone").mkdir()
    client = TestClient(open_explorer(run, data), base_url=HOME)
    assert [column["checkpoint"] for column in client.get("/api/run").json()["columns"]] == [1, 2]
    assert any(line.startswith("zero-shot is left out: ") for line in logged)


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
        told = case(training, "q00-0")
        assert all(one["ranks"][0] == one["ranks"][2] for one in told["negatives"])
    finally:
        path.unlink()


# ---- what it refuses -----------------------------------------------------------------------------

QUESTION = {"words": "t1", "checkpoint": 0, "k": 3}
MARK = {"query_id": "q00-0", "passage_id": HOSTILE, "verdict": "relevant"}


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("search", {**QUESTION, "words": "  "}, "The query is empty"),
        ("search", {**QUESTION, "words": "x" * 2001}, "The query has 2,001 characters; shorten it to 2,000."),
        ("search", {**QUESTION, "k": 0}, "k is 0; it must be at least 1."),
        ("search", {**QUESTION, "k": 101}, "k is 101; it must be at most 100."),
        ("search", {**QUESTION, "checkpoint": 7}, "There is no checkpoint 7 here"),
        ("search", {**QUESTION, "k": "3"}, "The request is malformed (k: "),
        ("search", {"words": "x"}, "The request is malformed (checkpoint: "),
        ("search", {**QUESTION, "more": 1}, "The request is malformed (more: "),
        ("review", {**MARK, "query_id": "q99"}, "This run has no training query 'q99'"),
        ("review", {**MARK, "query_id": "q00-5"}, "This run has no training query 'q00-5'"),  # one of the test split
        ("review", {**MARK, "passage_id": "d99"}, "'d99' is no negative of the query 'q00-0'"),
        ("review", {**MARK, "passage_id": "d00-0"}, "'d00-0' is no negative of the query"),  # its positive
        ("review", {**MARK, "verdict": "good"}, "The verdict is 'good'; it must be one of relevant, negative, unsure."),
    ],
)
def test_what_makes_no_sense_gets_one_sentence(
    client: TestClient, run: Path, path: str, body: dict[str, Any], sentence: str
) -> None:
    answer = client.post(f"/api/{path}", json=body)
    assert 400 <= answer.status_code < 500
    assert answer.json().keys() == {"error"} and answer.json()["error"].startswith(sentence)
    assert not (run / "review.csv").exists()


def test_lists_and_queries_that_are_not_there(client: TestClient) -> None:
    assert client.get("/api/queries", params={"sort": "size"}).json()["error"].startswith("There is no order 'size'")
    assert "2,001 characters" in client.get("/api/queries", params={"words": "x" * 2001}).json()["error"]
    assert client.get("/api/queries", params={"page": "two"}).status_code == 422
    assert client.get("/api/query", params={"id": "q99"}).status_code == 404
    assert client.get("/api/query").status_code == 422
    assert client.get("/docs").json()["error"] == "There is nothing at /docs; go to the start page."
    assert client.get("/../../etc/passwd").status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example:8000", "Origin": "http://evil.example:8000"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://127.0.0.1:9000"}, 403),
        ({"Origin": "https://127.0.0.1:8000"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
@pytest.mark.parametrize("path", ["search", "review"])
def test_posts_of_other_sites_are_refused(
    client: TestClient, run: Path, headers: dict[str, str], status: int, path: str
) -> None:
    body = json.dumps(QUESTION if path == "search" else MARK)
    sent = {"Content-Type": "application/json", **headers}
    answer = client.post(f"/api/{path}", content=body, headers=sent)
    assert answer.status_code == status and answer.json().keys() == {"error"}
    assert answer.headers["x-content-type-options"] == "nosniff" and not (run / "review.csv").exists()


def test_pages_are_shown_to_known_hosts_only(client: TestClient) -> None:
    for path in ("/", "/api/run", "/api/query?id=q00-0"):
        assert client.get(path, headers={"Host": "evil.example"}).status_code == 421
        assert client.get(path, headers={"Host": "localhost:8000"}).status_code == 200
    assert client.put("/api/review", json=MARK).status_code == 405


def test_long_bodies_are_refused(client: TestClient) -> None:
    assert client.post("/api/search", json={**QUESTION, "words": "x" * MOST_BYTES}).status_code == 413
    headers = {"Content-Type": "application/json"}
    assert client.post("/api/search", content=iter([b"{}"]), headers=headers).status_code == 411


@pytest.mark.parametrize(
    ("host", "bound", "known"),
    [
        ("localhost:8000", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("[::1]:8000", "::1", True),
        ("LOCALHOST", "127.0.0.1", True),
        ("", "127.0.0.1", False),
        ("evil.example", "127.0.0.1", False),
        ("localhost.evil.example", "127.0.0.1", False),
        ("192.168.1.5", "127.0.0.1", False),
        ("192.168.1.5:80", "192.168.1.5", True),
        ("192.168.1.5:80", "0.0.0.0", True),
        ("evil.example", "0.0.0.0", False),
        ("127.0.0.1", "192.168.1.5", False),
        ("lab.example:8000", "lab.example", True),
    ],
)
def test_which_hosts_are_known(host: str, bound: str, known: bool) -> None:
    assert known_host(host, bound) is known
    assert (refusal("GET", {"host": host}, bound) is None) is known


def test_which_addresses_are_of_this_machine_only() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "::1", "localhost", "127.1.2.3")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.5", "lab.example")))


# ---- how it starts -------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    capsys.readouterr()
    assert main(["serve", *map(str, argv)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ance-tele: ") and error.count("\n") == 1
    return error.removeprefix("ance-tele: ").strip()


def test_what_cannot_be_served(explored: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = ("--port", 0)
    assert "is no run folder" in refused(capsys, tmp_path / "nowhere", *port)
    assert refused(capsys, explored, "--port", "many") == "port is 'many'; it must be a whole number."
    assert refused(capsys, explored, "--port", 70000) == "port is 70000; it must be from 0 to 65535."
    assert refused(capsys, explored, *port, "--episodes", "few") == "episodes is 'few'; it must be one of all, kept."
    assert "There is no host 'no.such.host.invalid'" in refused(capsys, explored, "--host", "no.such.host.invalid")
    assert "--data" in refused(capsys, explored, *port, "--data", tmp_path / "nowhere")
    run = tmp_path / "run"
    shutil.copytree(explored, run)
    (run / "summary.json").unlink()
    assert "is not finished" in refused(capsys, run, *port, "--data", data)
    assert main(["run", "bm25", "--data", str(data), "--out", str(tmp_path / "bm25")]) == 0
    assert "without a model (recipe 'bm25')" in refused(capsys, tmp_path / "bm25", *port)


def test_a_port_that_is_taken(explored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        expected = f"Port {port} is taken; give another one with --port, or --port 0 for any."
        assert refused(capsys, explored, "--port", port) == expected
    with listen("127.0.0.1", 0) as mine:
        assert mine.getsockname()[0] == "127.0.0.1"


def test_it_serves_until_it_is_interrupted(
    explored: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import uvicorn

    def interrupted(self: uvicorn.Server, sockets: list[socket.socket]) -> None:
        assert sockets[0].getsockname()[0] == "127.0.0.1"
        raise KeyboardInterrupt

    monkeypatch.setattr(uvicorn.Server, "run", interrupted)
    assert main(["serve", str(explored), "--data", str(data), "--port", "0", "--episodes", "kept"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^Explorer: http://127\.0\.0\.1:\d+/  \(Ctrl-C ends it\)$", out, re.M)


def test_an_address_of_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(self: object, address: object) -> None:
        raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    monkeypatch.setattr(socket.socket, "bind", unavailable)
    with pytest.raises(UserError, match=r"192\.0\.2\.1 port 80 cannot be had \(Cannot assign requested address\)"):
        listen("192.0.2.1", 80)


def test_without_the_extra_it_says_how_to_get_it(
    explored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "ance_tele.explorer.app", raising=False)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert refused(capsys, explored, "--port", 0).endswith("run: pip install 'ance-tele[serve]'.")


def test_a_wider_address_is_warned_of(explored: Path, data: Path, logged: list[str]) -> None:
    app = open_explorer(explored, data, "0.0.0.0", "kept")
    assert logged == ["Whoever reaches 0.0.0.0 can now read this collection and mark passages: there is no password."]
    assert TestClient(app, base_url="http://10.1.2.3:8000").get("/").status_code == 200
    assert TestClient(app, base_url="http://evil.example:8000").get("/").status_code == 421
