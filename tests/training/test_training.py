"""One episode of training: schedule, stopping, checkpoints, exact resume."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from test_batches import plan_of
from torch.nn.utils import clip_grad_norm_

from ance_tele.console.errors import UserError
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import weights_fingerprint
from ance_tele.encode.loading import load_model
from ance_tele.settings import Recipe
from ance_tele.store.manifests import Manifest, checksums, file_sizes, manifest_path
from ance_tele.training.batches import BatchPlan
from ance_tele.training.checkpoints import last_checkpoint
from ance_tele.training.config import TrainingConfig
from ance_tele.training.schedule import Schedule
from ance_tele.training.trainer import Trained, train

CONFIG = TrainingConfig(
    batch_queries=4,
    negatives_per_query=3,
    epochs=4,
    learning_rate=1e-2,
    logging_steps=2,
    train_precision="float32",
    report_to=("none",),
)


@pytest.fixture(scope="module")
def stores() -> tuple[TokenStore, TokenStore]:
    rng = np.random.default_rng(0)
    queries, passages = (
        [[2, *rng.integers(5, 90, rng.integers(2, 9)).tolist(), 3] for _ in range(count)] for count in (40, 1100)
    )
    return TokenStore.from_lists(queries), TokenStore.from_lists(passages)


def go(
    tiny_model: Path,
    stores: tuple[TokenStore, TokenStore],
    work: Path,
    config: TrainingConfig = CONFIG,
    stop: int | None = None,
    plan: BatchPlan | None = None,
) -> tuple[Trained, str]:
    model = load_model(tiny_model, EncoderConfig(query_max_len=16, passage_max_len=16), "cpu")
    plan = plan or plan_of([6] * 10)
    trained = train(model, plan, *stores, config, work, schedule_of(plan, config, stop), {"same": 1})
    return trained, weights_fingerprint(model)


def schedule_of(plan: BatchPlan, config: TrainingConfig, stop: int | None = None) -> Schedule:
    total = plan.steps_per_epoch * config.epochs
    return Schedule(stop or total, total, math.ceil(config.warmup_ratio * total), config.learning_rate)


def test_schedule_warms_up_and_decays(tiny_model: Path, stores: tuple[TokenStore, TokenStore], tmp_path: Path) -> None:
    """Trap 5: the first learning rates really rise, over a tenth of the steps, then fall linearly to zero."""
    from dataclasses import replace

    config = replace(CONFIG, epochs=10, logging_steps=1, warmup_ratio=0.2)
    trained, _ = go(tiny_model, stores, tmp_path, config)
    steps = 30
    assert (trained.steps, trained.scheduled) == (steps, steps)
    # The first step, whose rate would be zero, takes half that of the second.
    expected = [min(max(step, 0.5) / 6, (steps - step) / (steps - 6)) * 1e-2 for step in range(steps)]
    assert np.allclose([rate for _, rate in trained.learning_rate], expected, atol=1e-9)
    assert 0.0 < trained.learning_rate[0][1] < trained.learning_rate[1][1]


@pytest.mark.parametrize("steps", range(1, 15))
def test_every_episode_changes_the_weights(
    tiny_model: Path, stores: tuple[TokenStore, TokenStore], tmp_path: Path, steps: int
) -> None:
    """Of a training of 1 to 14 steps in all, an episode that stops after a tenth of them is a single step."""
    before = weights_fingerprint(load_model(tiny_model, EncoderConfig(), "cpu"))
    made = Recipe("q-neg").with_settings(batch_queries=4, epochs=steps)
    plan = plan_of([6] * 4)
    for episode in (1, 3):
        schedule = made.schedule(episode, plan.examples)
        assert (schedule.steps, schedule.total) == (1 if episode == 1 else steps, steps)
        model = load_model(tiny_model, EncoderConfig(query_max_len=16, passage_max_len=16), "cpu")
        train(model, plan, *stores, CONFIG, tmp_path / str(episode), schedule)
        assert weights_fingerprint(model) != before


def test_stops_at_the_refresh_step_of_the_full_schedule(
    tiny_model: Path, stores: tuple[TokenStore, TokenStore], tmp_path: Path
) -> None:
    whole, _ = go(tiny_model, stores, tmp_path / "whole")
    stopped, _ = go(tiny_model, stores, tmp_path / "stopped", stop=5)
    assert (stopped.steps, stopped.scheduled, whole.steps) == (5, 12, 12)
    assert stopped.loss[:3] == whole.loss[:3] and stopped.learning_rate[:3] == whole.learning_rate[:3]


def test_training_lowers_the_loss(tiny_model: Path, stores: tuple[TokenStore, TokenStore], tmp_path: Path) -> None:
    from dataclasses import replace

    trained, _ = go(tiny_model, stores, tmp_path, replace(CONFIG, epochs=30))
    assert trained.loss[-1][1] < trained.loss[0][1] - 1


def test_same_seed_same_weights_other_seed_others(
    tiny_model: Path, stores: tuple[TokenStore, TokenStore], tmp_path: Path
) -> None:
    prints = [go(tiny_model, stores, tmp_path / str(i), plan=plan_of([6] * 10, seed=i // 2))[1] for i in range(3)]
    assert prints[0] == prints[1] != prints[2]


class Killed(Exception):
    """Stands for a process that dies in the middle of an episode."""


def test_resumes_exactly(
    tiny_model: Path, stores: tuple[TokenStore, TokenStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same batches, same losses, same weights as the run that was never interrupted."""
    from dataclasses import replace

    from ance_tele.training import batches

    whole, print_whole = go(tiny_model, stores, tmp_path / "whole")
    seen: list[int] = []
    collate = batches.Collator.__call__

    def dying(self: batches.Collator, step: int) -> Any:
        if len(seen) == 9:
            raise Killed
        seen.append(step)
        return collate(self, step)

    saving = replace(CONFIG, save_steps=5)  # where no point of the loss curve ends
    now = [100.0]

    def clip(*given: Any) -> Any:
        now[0] += 2.0
        return clip_grad_norm_(*given)

    monkeypatch.setattr("ance_tele.training.trainer.time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr("ance_tele.training.trainer.clip_grad_norm_", clip)
    with monkeypatch.context() as patch:
        patch.setattr(batches.Collator, "__call__", dying)
        with pytest.raises(Killed):
            go(tiny_model, stores, tmp_path / "killed", saving)
    assert last_checkpoint(tmp_path / "killed", {"same": 1}) == (5, tmp_path / "killed" / "checkpoint-5")
    resumed, print_resumed = go(tiny_model, stores, tmp_path / "killed", saving)
    assert resumed.loss == whole.loss and resumed.learning_rate == whole.learning_rate
    assert print_resumed == print_whole
    assert (whole.earlier_seconds, resumed.earlier_seconds) == (0, 10)  # two for each of the five steps


def test_checkpoints_that_are_not_whole_or_not_ours_are_not_used(
    tiny_model: Path, stores: tuple[TokenStore, TokenStore], tmp_path: Path
) -> None:
    from dataclasses import replace

    go(tiny_model, stores, tmp_path, replace(CONFIG, save_steps=4), stop=6)
    folder = tmp_path / "checkpoint-4"
    assert last_checkpoint(tmp_path, {"same": 1}) == (4, folder)
    manifest = json.loads(manifest_path(folder).read_text())
    manifest_path(folder).write_text(json.dumps({**manifest, "inputs": {"same": 2}}))
    assert last_checkpoint(tmp_path, {"same": 1}) is None and not folder.exists()
    go(tiny_model, stores, tmp_path, replace(CONFIG, save_steps=4), stop=6)
    with (folder / "state.safetensors").open("r+b") as file:
        file.truncate(100)
    assert last_checkpoint(tmp_path, {"same": 1}) is None and not folder.exists()


class Plant:
    """Unpickled, it leaves an empty file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.marker), "w")


def test_a_pickle_in_a_checkpoint_is_not_read(
    tiny_model: Path, stores: tuple[TokenStore, TokenStore], tmp_path: Path
) -> None:
    """Also where its manifest was forged to fit."""
    from dataclasses import replace

    saving, work = replace(CONFIG, save_steps=4), tmp_path / "work"
    go(tiny_model, stores, work, saving, stop=6)
    folder = work / "checkpoint-4"
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".safetensors", ".safetensors"]
    torch.save({"state": Plant(tmp_path / "executed")}, folder / "state.safetensors")
    files = file_sizes(folder)
    Manifest("checkpoint", {"same": 1}, files, checksums=checksums(work, files)).save(folder)
    with pytest.raises(UserError, match="checkpoint-4 is damaged"):
        go(tiny_model, stores, work, saving, stop=6)
    assert not (tmp_path / "executed").exists()


def test_a_checkpoint_of_an_older_version_is_not_used(tmp_path: Path) -> None:
    """Those were written by the trainer of transformers."""
    folder = tmp_path / "checkpoint-4"
    folder.mkdir()
    (folder / "optimizer.pt").write_text("x")
    Manifest("checkpoint", {"same": 1}, file_sizes(folder)).save(folder)
    assert last_checkpoint(tmp_path, {"same": 1}) is None and not folder.exists()


def test_a_loss_that_is_no_number_ends_training_at_once(
    tiny_model: Path, stores: tuple[TokenStore, TokenStore], tmp_path: Path
) -> None:
    from dataclasses import replace

    wild = replace(CONFIG, learning_rate=10.0, weight_decay=10.0, max_grad_norm=1e9, epochs=1000)
    with pytest.raises(UserError, match=r"The loss is (nan|inf) at step \d+: the model has diverged; lower"):
        go(tiny_model, stores, tmp_path, wild)


@pytest.mark.parametrize("names", [("nobody",), ("nobody", "auto")])
def test_an_unknown_tracker_is_named(
    names: tuple[str, ...], tiny_model: Path, stores: tuple[TokenStore, TokenStore], tmp_path: Path
) -> None:
    from dataclasses import replace

    with pytest.raises(UserError, match=r"report_to nobody.*: nobody is not supported, only .*tensorboard.* are"):
        go(tiny_model, stores, tmp_path, replace(CONFIG, report_to=names))


def test_trackers_of_transformers_get_every_point(
    tiny_model: Path, stores: tuple[TokenStore, TokenStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from transformers import TrainerCallback, integrations

    seen: list[tuple[int, dict[str, float]]] = []

    class Noting(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
            seen.append((state.global_step, logs))

        def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            seen.append((-1, {}))

    monkeypatch.setattr(integrations, "get_reporting_integration_callbacks", lambda names: [Noting])
    trained, _ = go(tiny_model, stores, tmp_path / "work", replace(CONFIG, report_to=("tensorboard",)), stop=5)
    assert [step for step, _ in seen] == [1, 2, 4, 5, -1]
    assert [logs["loss"] for _, logs in seen[:-1]] == [loss for _, loss in trained.loss]
    assert all({"grad_norm", "learning_rate"} <= logs.keys() for _, logs in seen[:-1])
