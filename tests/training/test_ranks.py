"""Several ranks train as one process with the whole batch does."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from processes import called
from rank_gradients import compare_gradients, plan_of
from safetensors.numpy import load_file
from toy import without_dropout

from ance_tele.data.collection import Qrels
from ance_tele.data.tokens import tokenize
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import text_format, tokenizer_of
from ance_tele.encode.loading import load_model
from ance_tele.engine.executor import IN_PROCESS, Executor
from ance_tele.engine.processes import Processes
from ance_tele.mining.never import NeverNegative
from ance_tele.training.ranks import TrainJob, read_plan, write_plan


@pytest.mark.parametrize("ranks", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_gradients_of_ranks_are_those_of_the_whole_batch(ranks: int, tiny_model: Path, tmp_path: Path) -> None:
    errors = [tmp_path / f"errors-{rank}.txt" for rank in range(ranks)]
    started = [
        called(path, compare_gradients, tiny_model, rank, ranks, tmp_path / "meeting")
        for rank, path in enumerate(errors)
    ]
    for process, path in zip(started, errors, strict=True):
        process.join(240)
        assert process.exitcode == 0, path.read_text("utf-8")[-2000:]


def test_a_plan_is_read_back_as_it_was(tmp_path: Path) -> None:
    pairs = Qrels.from_arrays(np.array([1, 4]), np.array([9, 2]), np.zeros(2, np.int64), np.arange(8))
    plan = replace(plan_of(8, 3), doubtful=NeverNegative.rows(pairs), weight=0.25)
    write_plan(tmp_path / "plan.npz", plan)
    again = read_plan(tmp_path / "plan.npz")
    for step in range(plan.steps_per_epoch * 2):
        epoch, examples = plan.step(step)
        assert (again.step(step)[1] == examples).all()
        for example in examples.tolist():
            assert (again.passages(example, epoch)[1] == plan.passages(example, epoch)[1]).all()
            assert (again.never.of_query(example) == plan.never.of_query(example)).all()
    assert again.doubtful is not None and again.weight == 0.25
    assert [again.doubtful.of_query(query).tolist() for query in range(8)] == [[], [9], [], [], [2], [], [], []]


@pytest.fixture(scope="module")
def parts(tiny_model: Path, toy: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a training needs on disk: a model without dropout, tokens, a plan of 24 queries in batches of 6."""
    from ance_tele.data.load import load_collection

    folder = tmp_path_factory.mktemp("ranks")
    model = without_dropout(tiny_model, folder / "model")
    collection, encoder = load_collection(toy), EncoderConfig(query_max_len=16, passage_max_len=16)
    loaded = load_model(model, encoder, "cpu")
    stores = [
        tokenize(texts, tokenizer_of(loaded, task), text_format(loaded, encoder, task), folder, "toy", what)
        for task, texts, what in (
            ("query", collection.queries, "queries"),
            ("document", collection.corpus, "passages"),
        )
    ]
    plan = plan_of(24, 3)
    write_plan(folder / "plan.npz", type(plan)(plan.pool, plan.positives, 6, 3, plan.seed))
    return {
        "model": str(model),
        "encoder": dict(vars(encoder)),
        "plan": str(folder / "plan.npz"),
        "tokens": [[str(store.folder), store.key] for store in stores],
    }


def train(parts: dict[str, Any], out: Path, executor: Executor, steps: int = 12, save: int | None = None) -> Any:
    config = {"batch_queries": 6, "logging_steps": 2, "report_to": ["none"], "train_precision": "float32"}
    schedule = {"steps": steps, "total": 12, "warmup": 2, "peak": 3e-3}
    job = TrainJob(
        **parts,
        config={**config, "save_steps": save},
        work=str(out / "checkpoints"),
        schedule=schedule,
        inputs={"training": "toy"},
        target=str(out / "model"),
    )
    facts = executor.train(job)
    return facts, load_file(out / "model" / "model.safetensors")


def assert_same(one: Any, other: Any) -> None:
    (facts, weights), (facts_too, weights_too) = one, other
    assert [step for step, _ in facts["loss"]] == [step for step, _ in facts_too["loss"]]
    np.testing.assert_allclose([x for _, x in facts["loss"]], [x for _, x in facts_too["loss"]], rtol=1e-4)
    np.testing.assert_array_equal(facts["learning_rate"], facts_too["learning_rate"])
    for name, weight in weights.items():
        np.testing.assert_allclose(weights_too[name], weight, atol=2e-4, err_msg=name)


@pytest.fixture(scope="module")
def alone(parts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return train(parts, tmp_path_factory.mktemp("alone"), IN_PROCESS)


@pytest.mark.slow  # a rank that is killed, below, ends in the same too
def test_two_ranks_train_as_one(parts: dict[str, Any], alone: Any, tmp_path: Path) -> None:
    assert_same(alone, train(parts, tmp_path, Processes(2)))


def test_a_killed_rank_is_replaced_from_the_last_checkpoint(parts: dict[str, Any], alone: Any, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill() -> None:
        while not list(tmp_path.glob("checkpoints/checkpoint-*.manifest.json")):
            time.sleep(0.02)
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words, status = (process / "cmdline").read_bytes(), (process / "status").read_text()
            except OSError:
                continue
            mine = b"ance_tele.engine.rank" in words and f"\nPPid:\t{os.getpid()}\n" in status
            if mine:
                os.kill(int(process.name), signal.SIGKILL)
                killed.append(int(process.name))
                return

    killer = Thread(target=kill, daemon=True)
    killer.start()
    assert_same(alone, train(parts, tmp_path, Processes(2), save=2))
    assert killed


@pytest.mark.slow
def test_begun_by_one_process_and_ended_by_two(parts: dict[str, Any], alone: Any, tmp_path: Path) -> None:
    train(parts, tmp_path, IN_PROCESS, steps=6, save=4)
    assert list(tmp_path.glob("checkpoints/checkpoint-4"))
    assert_same(alone, train(parts, tmp_path, Processes(2), save=4))


@pytest.mark.slow
def test_an_error_of_a_rank_is_one_sentence(parts: dict[str, Any], tmp_path: Path) -> None:
    from ance_tele.console.errors import UserError

    with pytest.raises(UserError, match="no-model"):
        train({**parts, "model": str(tmp_path / "no-model")}, tmp_path, Processes(2))
