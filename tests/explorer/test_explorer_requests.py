"""What the explorer refuses, and how it starts."""

import json
import re
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from addresses import HOSTILE
from fastapi.testclient import TestClient

from ance_tele.cli.main import main
from ance_tele.console.extras import install
from ance_tele.explorer.guard import MOST_BYTES, MOST_OF_URL
from ance_tele.explorer.serve import listen, open_explorer

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
        known = {"Host": "localhost:8000", "Origin": "http://localhost:8000"}
        assert client.get(path, headers=known).status_code == 200
    assert client.put("/api/review", json=MARK).status_code == 405


def test_long_bodies_are_refused(client: TestClient) -> None:
    assert client.post("/api/search", json={**QUESTION, "words": "x" * MOST_BYTES}).status_code == 413
    headers = {"Content-Type": "application/json"}
    assert client.post("/api/search", content=iter([b"{}"]), headers=headers).status_code == 411
    both = {**headers, "Transfer-Encoding": "chunked", "Content-Length": "2"}
    assert client.post("/api/search", content=b"{}", headers=both).status_code == 411


def test_long_addresses_are_refused(client: TestClient) -> None:
    widest = "\U0001f600" * 2000
    assert client.get("/api/queries", params={"words": widest}).json()["total"] == 0
    answer = client.get("/api/query", params={"id": "x" * MOST_OF_URL})
    assert answer.status_code == 414 and answer.json()["error"].startswith("The address has more than 32,768")


@pytest.mark.parametrize(
    "place", ["..%2f..%2frun.json", "%2e%2e/review.csv", "explorer.css/../app.py", "static/", "C:"]
)
def test_no_address_is_a_path(client: TestClient, place: str) -> None:
    assert client.get(f"/{place}").status_code == 404
    answer = client.get("/api/query", params={"id": f"../{place}"})
    assert answer.status_code == 404 and answer.json()["error"].startswith("This run has no training query")


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


def test_without_the_extra_it_says_how_to_get_it(
    explored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "ance_tele.explorer.app", raising=False)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert refused(capsys, explored, "--port", 0).endswith(f"run: {install('serve')}.")


def test_a_wider_address_is_warned_of(explored: Path, data: Path, logged: list[str]) -> None:
    app = open_explorer(explored, data, "0.0.0.0", "kept")
    assert logged == ["Whoever reaches 0.0.0.0 can now read this collection and mark passages: there is no password."]
    assert TestClient(app, base_url="http://10.1.2.3:8000").get("/").status_code == 200
    assert TestClient(app, base_url="http://evil.example:8000").get("/").status_code == 421
