"""Encoding and searching alone: any number of tasks, in any order, give what one process gives."""

import os
from pathlib import Path

import numpy as np
import pytest
from steps import Refusal

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.encode.vectors import not_encoded
from ance_tele.engine.array import ArrayTask
from ance_tele.evaluate.run import Run
from ance_tele.store.artefacts import build
from ance_tele.store.manifests import manifest_path

SHARDS = ["--shard_passages", "50", "--passage_max_len", "16", "--precision", "float32"]


@pytest.fixture(autouse=True)
def _no_array(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM_ARRAY_TASK_")]:
        monkeypatch.delenv(name)


def run_of(path: Path) -> tuple[list[str], list[list[str]], np.ndarray]:
    run = Run.read_trec(path)
    return run.query_ids, run.passage_ids, np.concatenate(run.scores)


def test_tasks_of_two_arrays_give_the_run_of_one_process(
    toy: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, merged, alone = tmp_path / "vectors", tmp_path / "run.trec", tmp_path / "alone.trec"
    encode = ["encode", str(tiny_model), f"--data={toy}", f"--out={folder}", *SHARDS]
    retrieve = ["retrieve", str(tiny_model), f"--data={toy}", f"--vectors={folder}", f"--out={merged}", *SHARDS]
    assert main(["evaluate", str(tiny_model), f"--data={toy}", f"--run_file={alone}", *SHARDS]) == 0
    measured = capsys.readouterr().out.splitlines()[-5:]

    # An array of two numbered from 1 encodes; its second task ends first, and nothing is searched before all is there.
    slurm = {"COUNT": "2", "MIN": "1", "MAX": "2", "STEP": "1"}
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert main(encode) == 0
    assert f"task 1 of 2: 1 shard of its own done; 1 of 3 shards of 144 passages are in {folder}\n" in (
        capsys.readouterr().out
    )
    assert main(retrieve) == 2
    sentence = capsys.readouterr().err
    assert "Of 144 passages 94 (rows 0 to 49, 100 to 143) have no vectors" in sentence
    assert f"ance-tele encode {tiny_model} --data DATA --out {folder}" in sentence
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    assert main(encode) == 0
    assert "2 shards of its own done; 3 of 3 shards" in capsys.readouterr().out

    # An array of three searches; the task that ends last merges.
    for index in ("2", "0"):
        assert main([*retrieve, "--unit_index", index, "--unit_count", "3"]) == 0
    shown = capsys.readouterr().out
    assert "1 of 3 parts are in" in shown and "task 0 of 3: 1 part of its own done; 2 of 3 parts" in shown
    assert not merged.exists()
    assert main([*retrieve, "--unit_index", "1", "--unit_count", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"all parts are merged: {merged}" in lines and lines[-5:] == measured
    ids, passages, scores = run_of(merged)
    assert (ids, passages) == run_of(alone)[:2]
    np.testing.assert_allclose(scores, run_of(alone)[2], rtol=1e-5)

    # Outside an array the same command does what is missing, merges, and removes the partial lists.
    merged.unlink()
    part = next(folder.glob("search-*/part-*.npy"))
    manifest_path(part).unlink()
    for name in (*slurm, "ID"):
        monkeypatch.delenv(f"SLURM_ARRAY_TASK_{name}")
    assert main(retrieve) == 0
    assert "2 of 3 parts are searched; this command does the others" in capsys.readouterr().out
    assert run_of(merged)[:2] == (ids, passages) and not list(folder.glob("search-*"))


def test_gaps_are_found_between_shards_of_any_size(tmp_path: Path) -> None:
    assert not_encoded(tmp_path, "w", "t", 7) == [(0, 7)]
    for number, rows in enumerate(([2, 2], [5, 1])):
        inputs = {"weights": "w", "tokens": "t", "rows": rows}
        build(tmp_path / f"passages-{number:05d}.npy", "vectors", inputs, lambda path: path.write_text("x") and None)
    assert not_encoded(tmp_path, "w", "t", 7) == [(0, 2), (4, 5), (6, 7)]
    assert not_encoded(tmp_path, "other", "t", 7) == [(0, 7)]


@pytest.mark.parametrize(
    ("ids", "index"),
    [
        ({"ID": "5", "MIN": "5", "MAX": "8", "COUNT": "4", "STEP": "1"}, 0),
        ({"ID": "6", "MIN": "0", "MAX": "6", "COUNT": "4", "STEP": "2"}, 3),
        ({"ID": "3", "MIN": "3", "MAX": "3", "COUNT": "1"}, 0),
        ({"ID": "7", "MIN": "3", "MAX": "7", "COUNT": "2", "STEP": "1"}, None),  # --array=3,7
        ({"ID": "2", "MIN": "0", "MAX": "4", "COUNT": "3", "STEP": "1"}, None),
    ],
)
def test_the_ids_of_a_slurm_array(ids: dict[str, str], index: int | None) -> None:
    environment = {f"SLURM_ARRAY_TASK_{name}": value for name, value in ids.items()}
    if index is None:
        with pytest.raises(UserError, match=r"have gaps; number the tasks as in --array=0-"):
            ArrayTask.of(None, None, environment)
    else:
        assert ArrayTask.of(None, None, environment) == ArrayTask(index, int(ids["COUNT"]))
    assert ArrayTask.of(1, 2, environment) == ArrayTask(1, 2), "flags win"
    assert ArrayTask.of(None, None, {}) is None


def test_what_cannot_be_done_is_said_in_a_sentence(toy: Path, tmp_path: Path, refusal: Refusal) -> None:
    assert refusal("encode", "m", "--data", toy) == "--out is missing: folder of the vectors, which all tasks reach."
    encode = ["encode", "m", "--data", toy, "--out", tmp_path]
    assert refusal(*encode, "--unit_index", 1).startswith("--unit_index goes with --unit_count")
    assert refusal(*encode, "--unit_index", 2, "--unit_count", 2).startswith("unit_index is 2, of unit_count 2; it")
    assert refusal("retrieve", "--data", toy) == "the model is missing: folder or hub name."
    retrieve = ["retrieve", "m", "--data", toy, "--vectors", tmp_path]
    assert refusal(*retrieve, "--out", tmp_path / "no" / "x").startswith("--out ")
    assert refusal(*retrieve, "--out", tmp_path / "x", "--depth", 0) == "depth is 0; it must be at least 1."
