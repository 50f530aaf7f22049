"""What is said to come of a run: of a training that goes on, only the steps that are left."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import age, started
from toy import run_command

from ance_tele.cli.main import main

pytestmark = pytest.mark.usefixtures("undrawn")


def test_after_a_kill_only_what_is_left_counts(
    toy: Path, tiny_model: Path, tmp_path: Path, logged: list[str], refusal: Callable[..., str]
) -> None:
    out, errors = tmp_path / "run", tmp_path / "errors.txt"
    settings = {"episodes": 1, "epochs": 3, "save_steps": 4, "keep_vectors": "true", "batch_queries": 8}
    death = ("ance_tele.training.trainer", "save_checkpoint", 3)
    child = started(run_command(toy, tiny_model, out, "q-neg", **settings), errors, death)
    child.join()
    assert child.exitcode == -signal.SIGKILL, errors.read_text()
    age(out / "episode-1" / "checkpoints", 8000)  # eight steps: 1,000 seconds each
    assert main(run_command(toy, tiny_model, out, "q-neg", **settings)) == 0
    (line,) = [line for line in logged if line.startswith("to come: ")]
    # 72 training queries in batches of 8, three times: 27 steps, of which 19 are left; 19,000 seconds are 5h17m.
    assert line.startswith("to come: 19 training steps, the corpus encoded once: about 5h17m")
    # More episodes are another run, and the refusal gives the reason.
    refused = refusal(*run_command(toy, tiny_model, out, "q-neg", **{**settings, "episodes": 2}))
    assert "(episodes was 1, is 2); give another --out" in refused
    assert "the schedules of training depend on how many there are" in refused
