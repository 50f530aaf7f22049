"""Settings that go by what a run has forgotten, in whole runs: what they act on, and resuming after SIGKILL."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import age, started
from toy import run_command

from ance_tele.cli.main import main
from ance_tele.runs.learning import read_reciprocal_ranks
from ance_tele.store.manifests import Manifest, read_manifest
from ance_tele.store.tables import read_table

pytestmark = pytest.mark.usefixtures("undrawn")

SETTINGS: dict[str, Any] = {
    "epochs": 2,
    "refresh_fraction": 0.5,
    "learning_rate": "1e-2",  # much is forgotten
    "momentum_decay": 0.5,
    "alpha": 0.3,
    "alpha_forgotten": 0.6,
    "beta_forgotten": 1.0,
    "replay": 0.25,
    "save_steps": 2,
}


@pytest.fixture(scope="module")
def finished(toy: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run with all of them."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert main(run_command(toy, tiny_model, out, **SETTINGS)) == 0
    return out


def manifest_of(path: Path) -> Manifest:
    found = read_manifest(path)
    assert found is not None
    return found


def forgotten(out: Path, episode: int) -> np.ndarray:
    """Which training queries an episode has forgotten, by what the searches of the run found."""
    paths = [out / f"episode-{number}" / "per_training_query.parquet" for number in (episode - 1, episode)]
    before, after = map(read_reciprocal_ranks, paths)
    return after < before


def test_forgotten_queries_have_their_own_shares(finished: Path) -> None:
    ids = read_table(finished / "episode-0" / "per_training_query.parquet")["query_id"].to_pylist()
    for episode in (2, 3):
        worse = dict(zip(ids, forgotten(finished, episode - 1), strict=True))
        assert 0 < sum(worse.values()) < len(ids)
        pool = read_table(finished / f"episode-{episode}" / "pool.parquet").to_pandas()
        sizes = pool.groupby("query_id").size()
        assert set(sizes) == {len(pool) // len(ids)}
        shares = pool.groupby("query_id")["source"].value_counts().unstack(fill_value=0)
        for query, counts in shares.iterrows():
            alpha, beta = (0.6, 1.0) if worse[query] else (0.3, 0.5)
            assert abs(counts["momentum"] - alpha * sizes[query]) <= 0.5
            assert abs(counts["lookahead"] - beta * (sizes[query] - counts["momentum"])) <= 0.5
        assert manifest_of(finished / f"episode-{episode}" / "pool.parquet").facts["forgotten"] == sum(worse.values())


def test_manifests_name_what_has_an_effect(finished: Path) -> None:
    pools = [manifest_of(finished / f"episode-{episode}" / "pool.parquet").inputs for episode in (1, 2, 3)]
    assert [one["momentum"] for one in pools] == [None, ["weighted", 0.3], ["weighted", 0.3, 0.5]]
    assert ["forgotten" in one for one in pools] == [False, True, True]
    models = [manifest_of(finished / f"episode-{episode}" / "model") for episode in (1, 2, 3)]
    assert [one.inputs["settings"].get("replay") for one in models] == [None, 0.25, 0.25]
    worse = [int(forgotten(finished, episode).sum()) for episode in (1, 2)]
    assert [one.facts.get("replayed") for one in models] == [None, *worse]
    assert len({one.facts["steps"] for one in models[:2]}) == 1
    rates = json.loads((finished / "summary.json").read_text("utf-8"))["episodes"]
    assert [round(one["forgetting_rate"] * 72) for one in rates[:2]] == worse


def test_killed_it_goes_on_to_the_same_end(finished: Path, toy: Path, tiny_model: Path, tmp_path: Path) -> None:
    """SIGKILL in training with repeats, then as momentum is drawn by age."""
    out, errors = tmp_path / "killed", tmp_path / "errors.txt"
    # Episodes 1 and 2 take 9 steps each, so the sixth checkpoint is one of the second.
    kills = [("ance_tele.training.trainer", "save_checkpoint", 6), ("ance_tele.mining.mix", "_race", 1)]
    for module, name, call in kills:
        child = started(run_command(toy, tiny_model, out, **SETTINGS), errors, (module, name, call))
        child.join()
        assert child.exitcode == -signal.SIGKILL, f"{name}: {errors.read_text()}"
        if name == "save_checkpoint":
            age(out / "episode-2" / "checkpoints", 1000)
    assert 1000 < manifest_of(out / "episode-2" / "model").seconds < 1600  # those before the kill count
    assert not (out / "episode-3" / "pool.parquet").exists() and (out / "episode-2" / "model").is_dir()
    assert main(run_command(toy, tiny_model, out, **SETTINGS)) == 0
    for episode in (1, 2, 3):
        for name in ("pool.parquet", "run.trec", "training_log.json"):
            first, second = (run / f"episode-{episode}" / name for run in (finished, out))
            assert first.read_bytes() == second.read_bytes(), f"episode {episode}: {name}"
