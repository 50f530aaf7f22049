"""The real command against a local S3 server: killed in the middle, and resumed by a machine that has the URL only.

It needs s3fs and moto[server], and is skipped without them.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from toy import run_command

SETTINGS = {"episodes": 2, "refresh_fraction": 0.5, "language": "none", "save_steps": 2}
# Uploads are half a minute apart, which is longer than a toy run.
RUN = (
    "import sys; from ance_tele.store import mirror; mirror.PUSH_SECONDS = 0.3; from ance_tele.cli.main import main; "
    "sys.exit(main())"
)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A server with an empty bucket."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def environment(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)


def figures(out: Path) -> dict[str, Any]:
    """Return all of a summary but its times, and the loss curves."""
    summary = json.loads((out / "summary.json").read_text("utf-8"))
    for episode in summary["episodes"]:
        del episode["seconds"]
    return summary | {str(n): json.loads((out / f"episode-{n}" / "training_log.json").read_text()) for n in (1, 2)}


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_url_alone(
    toy: Path, tiny_model: Path, tmp_path: Path, environment: None
) -> None:
    import s3fs

    s3fs.S3FileSystem(skip_instance_cache=True).mkdir("bucket")

    def start(out: object, cache: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", RUN, *run_command(toy, tiny_model, out, **SETTINGS)]
        place = {**os.environ, "ANCE_TELE_CACHE": str(tmp_path / cache)}
        return subprocess.Popen(words, env=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def end(process: subprocess.Popen[str]) -> str:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        return output

    end(start(tmp_path / "whole", "first"))
    first = start("s3://bucket/runs/mine", "first")
    assert first.stdout is not None
    for line in first.stdout:
        if line.startswith("episode 1   evaluate"):
            break
    time.sleep(1.0)  # for an upload or two; it may be anywhere by then
    first.send_signal(signal.SIGKILL)
    first.wait()

    output = end(start("s3://bucket/runs/mine", "second"))
    assert "s3://bucket/runs/mine is taken over" in output and "MiB fetched from s3://bucket/runs/mine" in output
    assert [line for line in output.splitlines() if line.startswith("episode 1") and " cached " in line]
    (copy,) = (path for path in (tmp_path / "second" / "runs").iterdir() if path.is_dir())
    assert figures(copy) == figures(tmp_path / "whole")


def test_a_bucket_that_is_not_there_is_a_sentence(environment: None, toy: Path, capsys: Any) -> None:
    from ance_tele.cli.main import main

    assert main(["run", "bm25", "--data", str(toy), "--out", "s3://nobody/run"]) == 2
    assert "s3://nobody/run cannot be read or written (" in capsys.readouterr().err
