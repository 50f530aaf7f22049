"""Runs whose folder is a URL, in process on fsspec's memory file system: another machine goes on where one stopped."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from toy import run_command

from ance_tele.cli.main import main
from ance_tele.store import holder, mirror
from ance_tele.training import ranks
from ance_tele.training.batches import Collator
from ance_tele.training.loss import TeleportationLoss

URL = "memory://bucket/runs/mine"
SETTINGS = {"episodes": 2, "refresh_fraction": 0.5, "language": "none", "save_steps": 2}


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryFileSystem]:
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    monkeypatch.setattr(holder, "SETTLE_SECONDS", 0.0)
    yield MemoryFileSystem()


def figures(read: Callable[[str], bytes]) -> dict[str, Any]:
    """Return all of a summary but its times, and the loss curves."""
    summary = json.loads(read("summary.json"))
    for episode in summary["episodes"]:
        del episode["seconds"]
    return summary | {str(number): json.loads(read(f"episode-{number}/training_log.json")) for number in (1, 2)}


def in_store(name: str) -> bytes:
    return MemoryFileSystem.store[f"/bucket/runs/mine/{name}"].getvalue()


def test_a_run_without_a_model_is_read_from_its_url(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., str], undrawn_here: None
) -> None:
    monkeypatch.setenv("ANCE_TELE_CACHE", str(tmp_path / "here"))
    assert main(["run", "bm25", "--data", str(toy), "--out", URL]) == 0
    assert json.loads(in_store("summary.json"))["bm25"]
    assert list((tmp_path / "here" / "runs").glob("mine-*/report.html"))
    monkeypatch.setenv("ANCE_TELE_CACHE", str(tmp_path / "there"))
    assert main(["report", URL, "--data", str(toy)]) == 0
    (report,) = (tmp_path / "there" / "runs").glob("mine-*/report.html")
    assert in_store("report.html") == report.read_bytes()
    monkeypatch.setenv("ANCE_TELE_CACHE", str(tmp_path / "elsewhere"))
    assert "a run without a model" in refusal("search", URL, "words", "--data", toy)
    assert "memory://bucket/none holds no run" in refusal("search", "memory://bucket/none", "words")
    assert "memory://bucket/none holds no run" in refusal("report", "memory://bucket/none")
    assert "holds a run of another configuration" in refusal("run", "bm25", "--data", toy, "--out", URL, "--seed", 7)


@pytest.mark.parametrize(
    "words",
    [
        ["compare", "--recipes", "bm25", "--data", "x", "--model", URL, "--out", "z"],
        ["retrieve", "y", "--data", "x", "--vectors", "v", "--out", URL],
        ["run", "ance-tele", "--data", URL, "--model", "y", "--out", "z"],
        ["run", "ance-tele", "--data", "x", "--model", URL, "--out", "z"],
        ["report", "a", "b", "--out", URL],
        ["demo", "--out", URL],
        ["encode", "y", "--data", "x", "--out", URL],
    ],
)
def test_where_a_url_is_not_taken_a_sentence_says_so(words: list[str], refusal: Callable[..., str]) -> None:
    assert f"{URL} is a URL, and {words[0]} takes none as " in refusal(*words)


@pytest.mark.slow
def test_another_machine_goes_on_with_a_comparison(
    toy: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", "--recipes", "bm25", "zero-shot", f"--data={toy}", f"--model={tiny_model}", f"--out={URL}"]
    tables = []
    for machine in ("first", "second"):
        monkeypatch.setenv("ANCE_TELE_CACHE", str(tmp_path / machine))
        assert main([*command, "--language", "none"]) == 0
        tables.append(json.loads(in_store("comparison.json"))["rows"])
    assert tables[0] == tables[1] and len(tables[0]) == 2
    second = capsys.readouterr().out.rpartition("MiB fetched from")[2]
    evaluations = [line for line in second.splitlines() if " evaluate " in line]
    assert evaluations and all(" cached " in line for line in evaluations)


class Dead(BaseException):
    """The machine is gone: nothing more is uploaded."""


def no_network(*given: object) -> None:
    raise OSError("no network")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["gone", "stopped"])
def test_another_machine_goes_on_in_the_middle_of_training(
    toy: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None, how: str
) -> None:
    def command(out: object) -> list[str]:
        return run_command(toy, tiny_model, out, **SETTINGS)

    assert main(command(tmp_path / "whole")) == 0
    whole = figures(lambda name: (tmp_path / "whole" / name).read_bytes())

    monkeypatch.setattr(mirror, "PUSH_SECONDS", 0.05)
    works, taken, steps = list[Path](), list[Path](), list[int]()
    uploaded = "/bucket/runs/mine/episode-2/checkpoints/checkpoint-4.manifest.json"
    training, forward, collate = ranks.train, TeleportationLoss.forward, Collator.__call__

    def noted(*args: Any, **options: Any) -> Any:
        works.append(args[5])
        return training(*args, **options)

    def made(self: Collator, step: int) -> Any:
        if "episode-2" in str(works[-1]):
            steps.append(step)
        return collate(self, step)

    def ending(self: TeleportationLoss, *features: Any) -> Any:
        taken.append(works[-1])
        if len([work for work in taken if "episode-2" in str(work)]) == 6:
            until = time.monotonic() + 30
            while uploaded not in MemoryFileSystem.store and time.monotonic() < until:
                time.sleep(0.02)
            assert uploaded in MemoryFileSystem.store
            if how == "stopped":
                raise KeyboardInterrupt
            for change in ("put_file", "pipe_file", "rm_file"):
                patch.setattr(MemoryFileSystem, change, no_network)
            raise Dead
        return forward(self, *features)

    monkeypatch.setattr(ranks, "train", noted)
    monkeypatch.setattr(Collator, "__call__", made)
    monkeypatch.setenv("ANCE_TELE_CACHE", str(tmp_path / "first"))
    with monkeypatch.context() as patch:
        patch.setattr(TeleportationLoss, "forward", ending)
        if how == "stopped":
            assert main(command(URL)) == 130
        else:
            with pytest.raises(Dead):
                main(command(URL))
    assert ("/bucket/runs/mine/.holder.json" in MemoryFileSystem.store) == (how == "gone")

    steps.clear()
    monkeypatch.setenv("ANCE_TELE_CACHE", str(tmp_path / "second"))
    assert main(command(URL)) == 0
    assert steps[0] == 4  # counted from 0: it goes on from the checkpoint of step 4
    assert figures(in_store) == whole
    assert not [name for name in MemoryFileSystem.store if "checkpoints" in name or ".holder" in name]
