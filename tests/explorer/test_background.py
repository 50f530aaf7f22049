"""The page opens with what is there; the other checkpoints are encoded meanwhile, by a process that ends with it."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pyarrow.parquet as pq
import pytest
from addresses import HOME
from columns import settled, states
from fastapi.testclient import TestClient

from ance_tele.data.load import load_collection
from ance_tele.engine.processes import Worker, WorkerDied
from ance_tele.explorer.background import EncodeCheckpoints, encoding
from ance_tele.explorer.kept import KnownCheckpoint
from ance_tele.explorer.opening import place_of
from ance_tele.explorer.serve import open_explorer
from ance_tele.runs.folder import open_run
from ance_tele.store.lock import lock


@pytest.fixture
def data(explored: Path) -> Path:
    return explored.parent / "data"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("ANCE_TELE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def client_of(run: Path, data: Path, episodes: str = "all") -> TestClient:
    return TestClient(open_explorer(run, data, episodes=episodes), base_url=HOME, headers={"Origin": HOME})


def copied(run: Path, folder: Path) -> Path:
    shutil.copytree(run, folder / "run")
    return folder / "run"


def vectors_in(cache: Path) -> list[Path]:
    return sorted((cache / "explorer").glob("*/passages-00000.npy"))


def lock_file(run: Path, data: Path, cache: Path, number: int) -> Path:
    """Return the lock that whoever encodes with a checkpoint holds."""
    known = KnownCheckpoint.of(open_run(run, data), number)
    assert known is not None
    folder = place_of(cache, known.weights, known.tokens, known.encoder.precision)
    return folder.parent / f".{folder.name}.lock"


def test_the_page_is_ready_before_the_others_are_encoded(explored: Path, data: Path, cache: Path) -> None:
    client = client_of(explored, data)  # nothing goes on until it is served
    assert states(client) == {0: "waiting", 1: "waiting", 2: "ready"} and vectors_in(cache) == []
    assert len(client.post("/api/search", json={"words": "t1", "checkpoint": 2}).json()["hits"]) == 10
    refused = client.post("/api/search", json={"words": "t1", "checkpoint": 0})
    assert refused.status_code == 400 and refused.json()["error"].startswith("There is no checkpoint 0 here")


def test_the_others_are_encoded_once_and_answer(explored: Path, data: Path, cache: Path, logged: list[str]) -> None:
    texts = {row["id"]: row["text"] for row in load_collection(data).queries.table.to_pylist()}
    assert states(client_of(explored, data, "kept")) == {2: "ready"} and logged == []
    with client_of(explored, data) as client:
        assert settled(client) == dict.fromkeys((0, 1, 2), "ready")
        for checkpoint in (0, 1, 2):  # as in training
            asked = {"words": texts["q13-2"], "checkpoint": checkpoint, "k": 20}
            mined = pq.read_table(explored / f"episode-{checkpoint}" / "training_lists.parquet").to_pylist()
            ids = [hit["id"] for hit in client.post("/api/search", json=asked).json()["hits"]]
            assert ids == [row["passage_id"] for row in mined if row["query_id"] == "q13-2"]
    assert [re.findall("^encoding|zero-shot|episode .|answers too", line) for line in logged] == [
        ["encoding", "zero-shot"],
        ["zero-shot", "answers too"],
        ["encoding", "episode 1"],
        ["episode 1", "answers too"],
    ]
    logged.clear()
    for episodes in ("all", "kept"):
        assert states(client_of(explored, data, episodes)) == dict.fromkeys((0, 1, 2), "ready")
    assert logged == [] and len(vectors_in(cache)) == 2


def test_the_last_one_is_encoded_before_the_page_opens(
    explored: Path, data: Path, tmp_path: Path, logged: list[str]
) -> None:
    run = copied(explored, tmp_path)
    shutil.rmtree(run / "episode-2" / "vectors")
    assert states(client_of(run, data, "kept")) == {} and logged == []
    assert states(client_of(run, data)) == {0: "waiting", 1: "waiting", 2: "ready"}
    assert [re.findall("^encoding|episode .", line) for line in logged] == [["encoding", "episode 2"]]


def test_what_cannot_be_encoded_is_named_and_the_others_are(
    explored: Path, data: Path, tmp_path: Path, logged: list[str]
) -> None:
    """The initial model is gone; that of the first episode is damaged."""
    run = copied(explored, tmp_path)
    identity = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**identity, "model": "gone"}))
    (run / "gone").mkdir()
    with client_of(run, data) as client:
        assert settled(client) == {0: "left out", 1: "ready", 2: "ready"}
        column = client.get("/api/run").json()["columns"][0]
        assert column["why"].endswith(".") and f"zero-shot is left out: {column['why']}" in logged
    weights = run / "episode-1" / "model" / "model.safetensors"
    held = bytearray(weights.read_bytes())
    held[-1] ^= 1
    weights.write_bytes(held)
    client = client_of(run, data)
    assert states(client) == {0: "waiting", 1: "left out", 2: "ready"}
    assert "model.safetensors is damaged" in client.get("/api/run").json()["columns"][1]["why"]
    assert states(client_of(run, data, "kept")) == {2: "ready"}


def test_two_servers_do_not_encode_the_same_at_once(explored: Path, data: Path, cache: Path) -> None:
    with lock(lock_file(explored, data, cache, 0)), client_of(explored, data) as client:
        time.sleep(8)  # more than the process needs to come so far
        assert states(client) == {0: "encoding", 1: "waiting", 2: "ready"} and vectors_in(cache) == []
        began = time.monotonic()
    assert time.monotonic() - began < 5  # and it ends while it waits


class Noting:
    """In the place of an asker: notes what happens to three checkpoints."""

    waiting = (0, 1, 2)

    def __init__(self) -> None:
        self.noted: list[tuple[int, str]] = []

    def begin(self, number: int) -> None:
        self.noted.append((number, "begun"))

    def add(self, number: int, of: object) -> None:
        self.noted.append((number, "added"))

    def leave_out(self, number: int, why: str) -> None:
        self.noted.append((number, why))


def test_a_process_that_dies_or_fails_takes_no_other_checkpoint_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def do(self: Worker, description: str, unit: tuple[int, ...]) -> dict[str, str]:
        if unit == (0,):
            raise WorkerDied("ended by signal 9")
        if unit == (1,):
            raise RuntimeError("a worker process failed:\nTraceback ...\nKeyError: 'a'")
        return {}

    monkeypatch.setattr(Worker, "do", do)
    asker = Noting()
    with encoding(EncodeCheckpoints("run", None, "cache"), asker):  # type: ignore[arg-type]
        until = time.monotonic() + 10
        while len(asker.noted) < 6:
            assert time.monotonic() < until
            time.sleep(0.01)
    assert asker.noted == [
        (0, "begun"),
        (0, "The process that encoded with it ended by signal 9; if memory ran out, free some."),
        (1, "begun"),
        (1, "Encoding the corpus with it failed (KeyError: 'a')."),
        (2, "begun"),
        (2, "added"),
    ]


# ---- the command ---------------------------------------------------------------------------------


def children(process: int) -> list[Path]:
    """Return the folders in /proc of the processes that a process has started; none where there is no /proc."""
    path = Path(f"/proc/{process}/task/{process}/children")
    return [Path("/proc") / one for one in path.read_text().split()] if path.is_file() else []


@contextmanager
def serving(run: Path, data: Path, before: str = "") -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Serve a run by a process of its own; yields it, and the address of the page."""
    code = "from ance_tele.cli.main import main; raise SystemExit(main())"
    command = shlex.join([sys.executable, "-c", code, "serve", str(run), "--data", str(data), "--port", "0"])
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(["sh", "-c", f"{before} exec {command}"], **pipes) as process:
        try:
            assert process.stdout is not None
            line = next(line for line in process.stdout if line.startswith("Explorer: "))
            yield process, line.split()[1]
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_soon_while_encoding_and_leaves_nothing_half_written(
    number: int, explored: Path, data: Path, cache: Path
) -> None:
    with lock(lock_file(explored, data, cache, 0)), serving(explored, data) as (process, home):
        until = time.monotonic() + 60
        while httpx2.get(f"{home}api/columns").json()["columns"][0]["state"] != "encoding":
            assert time.monotonic() < until
            time.sleep(0.1)
        encoders = children(process.pid)
        time.sleep(4)  # it imports, or waits for the lock
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(20) == 0 and time.monotonic() - began < 4
        assert process.stdout is not None and process.stdout.read().splitlines()[-1] == "The explorer has ended."
        assert not any(encoder.exists() for encoder in encoders)
    assert vectors_in(cache) == []


def test_a_disk_that_takes_no_more_is_named_and_the_server_goes_on(explored: Path, data: Path, cache: Path) -> None:
    load_collection(data)
    open_run(explored, data)
    with serving(explored, data, "ulimit -f 16;") as (process, home):  # blocks of 512 bytes; the vectors have 18 KB
        until = time.monotonic() + 90
        while (columns := httpx2.get(f"{home}api/columns").json()["columns"])[1]["state"] != "left out":
            assert time.monotonic() < until
            time.sleep(0.2)
        assert [column["state"] for column in columns] == ["left out", "left out", "ready"]
        assert "ulimit -f" in columns[0]["why"] and process.poll() is None
        asked = {"words": "t1", "checkpoint": 2}
        assert len(httpx2.post(f"{home}api/search", json=asked, headers={"Origin": home[:-1]}).json()["hits"]) == 10
    assert vectors_in(cache) == []
