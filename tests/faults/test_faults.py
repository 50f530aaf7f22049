"""Faults injected into real runs; after each, the same command ends in the same figures, or in a sentence.

The long version, of hundreds, is ``benchmarks/faults.py``.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from scene import Fault, Scene, injure, not_a_sentence


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene.set(tmp_path_factory.mktemp("faults"), episodes=1, epochs=1, refresh_fraction=1) as scene:
        yield scene


@pytest.fixture(scope="module")
def finished(scene: Scene) -> Path:
    return scene.folder / "whole"


def test_stopped_at_one_boundary_after_the_other_it_ends_in_the_same_figures(scene: Scene) -> None:
    """Each run gets a little further than the one before it, and is stopped just before something takes its place."""
    out, phases = scene.folder / "boundaries", set[str]()
    for number in range(7):
        fault = Fault(("SIGKILL", "SIGTERM", "SIGINT")[number % 3], boundary=9 + number % 3)
        ended = scene.run(out, fault)
        assert ended.left is not None, f"fault {number} has not come"
        assert scene.flaw(out, ended, fault) is None
        phases.add(ended.phase)
    assert phases >= {"encode", "mine"}
    assert scene.recovered(out) is None


def test_stopped_in_training_it_saves_its_step_and_the_curve_is_the_same(scene: Scene) -> None:
    """Two signals of each kind, between the points of the loss curve."""
    out, steps = scene.folder / "steps", list[str]()
    for kind, step in (("SIGTERM", 2), ("SIGINT", 1), ("SIGKILL", 2), ("SIGTERM", 3)):
        fault = Fault(kind, step=step)
        ended = scene.run(out, fault)
        assert ended.phase == "train" and scene.flaw(out, ended, fault) is None
        steps += [path.name for path in out.glob("episode-1/checkpoints/checkpoint-?")]
        assert (f"a checkpoint of {steps[-1].replace('checkpoint-', 'step ')} of 9 is saved" in ended.out) == (
            kind != "SIGKILL"
        )
    assert steps == ["checkpoint-2", "checkpoint-3", "checkpoint-3", "checkpoint-6"]
    assert scene.recovered(out) is None


def test_what_the_system_refuses(scene: Scene) -> None:
    """No room for a file, no right to write, the folder deleted: a sentence; then the same command goes on."""
    out = scene.folder / "refused"
    for fault, sentence in (
        (Fault("limit", step=3, amount=2000), f"File too large ({out}/episode-1/model); raise the limit"),
        (Fault("forbid", boundary=5, path=str(out)), "Permission denied ("),
        (Fault("remove", step=3, path=str(out)), f"{out}/episode-"),
    ):
        ended = scene.run(out, fault)
        assert ended.code == 2 and ended.err.startswith(f"ance-tele: {sentence}"), ended.err
        assert scene.flaw(out, ended, fault) is None
        for path in (out, *out.rglob("*")):
            path.chmod(0o755)
    assert scene.recovered(out) is None


def test_started_twice_the_second_is_told_by_whom_it_is_held(scene: Scene) -> None:
    out = scene.folder / "twice"
    first = scene.run(out, Fault("SIGSTOP", boundary=20))
    assert first.stopped is not None
    second = scene.run(out)
    told = f"ance-tele: Process {first.stopped} on {os.uname().nodename} has been at work in {out} since "
    assert second.code == 2 and second.err.startswith(told) and not not_a_sentence(second)
    assert scene.forge.resume(first.stopped).code == 0
    assert scene.differs(out) is None


def test_damaged_files_are_made_again(scene: Scene, finished: Path) -> None:
    """Bits flipped, files cut, emptied and deleted, all at once: no value of theirs is taken."""
    damage = {
        "run.json": "delete",
        "positives.parquet": "truncate",
        "bm25/metrics.json": "flip",
        "bm25/evaluation.manifest.json": "flip",
        "episode-0/training_lists.parquet": "flip",
        "episode-0/evaluation.manifest.json": "truncate",
        "episode-1/candidates.parquet": "empty",
        "episode-1/pool.parquet": "flip",
        "episode-1/model/model.safetensors": "flip",
        "analysis/suspects.parquet": "delete",
        "summary.json": "empty",
    }
    for name, how in damage.items():
        injure(finished / name, how)
    for path in scene.folder.glob("cache/**/ids.npy"):
        injure(path, "flip")
    ended = scene.run(finished)
    assert ended.code == 0, ended.err
    assert ended.out.count("is damaged: it does not hold what was written") >= 5
    assert scene.differs(finished) is None
