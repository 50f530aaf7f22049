"""TeleportationCallback: an ordinary trainer, whose negatives are mined again while it trains."""

import json
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MarginMSELoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)
from toy import without_dropout
from training_pairs import FLOAT32, MINING, load, read_pairs, same, trainer_of, weights
from transformers import TrainerCallback

import ance_tele as at
from ance_tele.console.errors import UserError
from ance_tele.dropin.served import UNMINED
from ance_tele.dropin.state import FILE
from ance_tele.runs.learning import change


@pytest.fixture(scope="module")
def data(toy: Path) -> tuple[Dataset, list[str]]:
    return read_pairs(toy)


def callback_of(data: tuple[Dataset, list[str]], **settings: Any) -> at.TeleportationCallback:
    return at.TeleportationCallback(*data, **{"num_negatives": 2, "mining": MINING, "encoder": FLOAT32, **settings})


class Watch(TrainerCallback):
    """Keeps what trackers get, the negatives at every step, and fails at a step."""

    def __init__(self, dies_at: int = 0) -> None:
        self.logs: list[dict[str, Any]] = []
        self.dies_at = dies_at

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.logs.append({**kwargs["logs"], "step": state.global_step})

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.dies_at:
            raise RuntimeError("the machine is gone")


def test_every_epoch_mines_with_the_weights_it_has_and_logs_what_changed(
    data: tuple[Dataset, list[str]], tiny_model: Path, tmp_path: Path
) -> None:
    model, callback, watch = load(tiny_model), callback_of(data), Watch()
    settings: dict[str, Any] = {"corpus": data[1], "depth": 20, "pool_per_source": 4, "precision": "float32"}
    before = at.mine_teleportation_negatives(data[0], model, **settings)
    trainer = trainer_of(callback, model, tmp_path, others=(watch,), logging_steps=9, save_strategy="epoch")
    trainer.train()
    between = at.mine_teleportation_negatives(data[0], load(tmp_path / "checkpoint-9"), **settings, history=before)
    after = at.mine_teleportation_negatives(data[0], load(tmp_path / "checkpoint-18"), **settings)
    for ours, theirs in zip(callback.pools, between.pools, strict=True):
        for name in ("offsets", "passages", "source", "first"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    figures = [log for log in watch.logs if "training_mrr" in log]
    ranks = [mined.reciprocal_ranks for mined in (before, between, after)]
    assert [log["step"] for log in figures] == [0, 9, 18]
    assert [log["training_mrr"] for log in figures] == [one.mean() for one in ranks]
    assert "forgotten" not in figures[0]
    for log, (old, new) in zip(figures[1:], pairwise(ranks), strict=True):
        assert {name: log[name] for name in ("forgotten", "learned", "unchanged")} == vars(change(old, new))
    assert figures[2]["learned"] > 0.1
    # The trainer's own lines are still there, also that of the last step.
    assert [log["step"] for log in watch.logs if "loss" in log] == [9, 18]
    assert [log["step"] for log in trainer.state.log_history if "training_mrr" in log] == [0, 9, 18]


def test_with_equal_negatives_it_is_the_training_without_it(
    data: tuple[Dataset, list[str]], tiny_model: Path, tmp_path: Path
) -> None:
    model, callback = load(tiny_model), callback_of(data)
    trainer_of(callback, model, tmp_path, num_train_epochs=1).train()
    fixed = Dataset.from_dict(callback.train_dataset[:])
    assert fixed.column_names == ["anchor", "positive", "negative_1", "negative_2"]
    plain = load(tiny_model)
    trainer_of(None, plain, tmp_path, dataset=fixed, num_train_epochs=1).train()  # with dropout of its own
    assert same(weights(model), weights(plain))


def test_each_epoch_reads_the_next_negatives_of_the_pool(
    data: tuple[Dataset, list[str]], tiny_model: Path, tmp_path: Path
) -> None:
    callback, read = callback_of(data, every_epochs=3), []

    class Read(TrainerCallback):
        def on_epoch_begin(self, *args: Any, **kwargs: Any) -> None:
            read.append(callback.train_dataset[:])

    trainer_of(callback, load(tiny_model), tmp_path, others=(Read(),), num_train_epochs=4).train()
    assert [len(callback.pools[0].negatives(0)), len(callback.pools)] == [8, 2]
    corpus = sorted({*data[1]}, key=data[1].index)
    for row in range(3):
        drawn = callback.pools[0].shuffled(row, 42)
        met = [corpus.index(read[epoch][f"negative_{number}"][row]) for epoch in range(3) for number in (1, 2)]
        assert met == drawn[:6].tolist()
        assert read[3]["negative_1"][row] == corpus[callback.pools[1].shuffled(row, 42)[0]]


@pytest.mark.parametrize(
    "settings",
    [
        {"save_steps": 4},  # within an epoch
        {"save_steps": 9},  # at its end
        {"every_steps": 4, "save_steps": 4},  # where it was mined
        {"every_steps": 3, "save_steps": 3, "accumulate": 3},  # at the end of an epoch, and mined there
        {"every_steps": 3, "save_steps": 4, "accumulate": 2},
    ],
    ids=str,
)
def test_a_resumed_training_ends_as_one_without_interruption(
    settings: dict[str, Any], data: tuple[Dataset, list[str]], tiny_model: Path, tmp_path: Path
) -> None:
    accumulate, save = settings.get("accumulate", 1), settings["save_steps"]
    mining = {name: value for name, value in settings.items() if name == "every_steps"}

    def training(out: str, dies_at: int = 0) -> Any:
        return trainer_of(
            callback_of(data, **mining),
            load(tiny_model),
            tmp_path / out,
            others=(Watch(dies_at),),
            save_strategy="steps",
            save_steps=save,
            gradient_accumulation_steps=accumulate,
            logging_steps=2,
        )

    whole = training("whole")
    whole.train()
    with pytest.raises(RuntimeError, match="machine is gone"):
        training("parts", dies_at=save + 1).train()
    resumed = training("parts")
    resumed.train(resume_from_checkpoint=True)
    assert same(weights(whole.model), weights(resumed.model))
    # The trainer's mean loss begins anew where it resumes; its times differ.
    logs = [
        [
            {key: value for key, value in log.items() if not key.startswith(("train_", "total_", "loss"))}
            for log in history
        ]
        for history in (whole.state.log_history, resumed.state.log_history)
    ]
    assert logs[0] == logs[1]


@pytest.mark.parametrize("loss", ["cached", "matryoshka"])
def test_other_losses_need_nothing_of_it(
    loss: str, data: tuple[Dataset, list[str]], tiny_model: Path, tmp_path: Path
) -> None:
    model, callback = load(tiny_model), callback_of(data)
    losses = {
        "cached": lambda: CachedMultipleNegativesRankingLoss(model, mini_batch_size=4),
        "matryoshka": lambda: MatryoshkaLoss(model, MultipleNegativesRankingLoss(model), [32, 16]),
    }
    trainer = trainer_of(callback, model, tmp_path, loss=losses[loss]())
    trainer.train()
    figures = [log["training_mrr"] for log in trainer.state.log_history if "training_mrr" in log]
    assert figures[2] > figures[0]


def test_a_teacher_scores_what_is_read(data: tuple[Dataset, list[str]], tiny_model: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    teacher = CrossEncoder(str(tiny_model), num_labels=1, device="cpu")
    model, callback = load(tiny_model), callback_of(data, teacher=teacher)
    trainer = trainer_of(callback, model, tmp_path, loss=MarginMSELoss(model))
    trainer.train()
    read = callback.train_dataset[:5]
    assert list(read) == ["anchor", "positive", "negative_1", "negative_2", "label"]
    for row, labels in enumerate(read["label"]):
        pairs = [(read["anchor"][row], read[name][row]) for name in ("positive", "negative_1", "negative_2")]
        expected = teacher.predict(pairs, activation_fn=torch.nn.Identity())
        np.testing.assert_allclose(labels, expected, atol=1e-3)


def test_flags_of_the_trainer(data: tuple[Dataset, list[str]], tiny_model: Path, tmp_path: Path) -> None:
    callback, model = callback_of(data), load(tiny_model)
    evaluated = Dataset.from_dict({"anchor": data[0]["anchor"][:16], "positive": data[0]["positive"][:16]})
    trainer = trainer_of(
        callback,
        model,
        tmp_path,
        bf16=True,
        gradient_accumulation_steps=2,
        batch_sampler="no_duplicates",
        save_strategy="epoch",
        eval_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        save_total_limit=1,
        evaluated=evaluated,
    )
    trainer.train()
    best = Path(trainer.state.best_model_checkpoint)
    assert (best / FILE).is_file() and same(weights(load(best)), weights(model))
    assert len(callback.pools) == 2


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_read_what_was_exchanged(
    persistent: bool, data: tuple[Dataset, list[str]], tiny_model: Path, tmp_path: Path
) -> None:
    source = without_dropout(tiny_model, tmp_path / "model")
    models = [load(source), load(source)]
    trainer_of(callback_of(data), models[0], tmp_path / "alone").train()
    workers = {
        "dataloader_num_workers": 2,
        "dataloader_persistent_workers": persistent,
        "dataloader_prefetch_factor": 3,
    }
    trainer_of(callback_of(data), models[1], tmp_path / "workers", **workers).train()
    assert same(*map(weights, models))


@pytest.mark.parametrize("prompts", ["query : ", {"anchor": "query : ", "negative_1": "passage : "}], ids=str)
def test_it_mines_with_the_prompts_of_the_trainer(
    prompts: Any, data: tuple[Dataset, list[str]], tiny_model: Path, tmp_path: Path
) -> None:
    model = load(tiny_model)

    def found(**given: str) -> float:
        return at.mine_teleportation_negatives(
            data[0], model, corpus=data[1], precision="float32", depth=20, pool_per_source=4, **given
        ).training_mrr

    passage = "query : " if isinstance(prompts, str) else ""
    expected = found(query_prompt="query : ", corpus_prompt=passage)
    assert expected != found()
    trainer = trainer_of(callback_of(data), model, tmp_path, max_steps=1, prompts=prompts)
    trainer.train()
    assert trainer.state.log_history[0]["training_mrr"] == expected
    own = callback_of(data, encoder=at.EncoderConfig(precision="float32", query_prompt="", passage_prompt=""))
    fresh = trainer_of(own, load(tiny_model), tmp_path, max_steps=1, prompts=prompts)
    fresh.train()
    assert fresh.state.log_history[0]["training_mrr"] != expected


def test_what_cannot_be_is_one_sentence(data: tuple[Dataset, list[str]], tiny_model: Path, tmp_path: Path) -> None:
    model = load(tiny_model)
    forgotten = callback_of(data)
    with pytest.raises(UserError, match="give the trainer its callback"):
        trainer_of(None, model, tmp_path, dataset=forgotten.train_dataset)
    with pytest.raises(UserError, match="reads another dataset"):
        trainer_of(callback_of(data), model, tmp_path, dataset=data[0]).train()
    with pytest.raises(UserError, match="hashes negatives once"):
        trainer_of(callback_of(data), model, tmp_path, batch_sampler="no_duplicates_hashed")
    with pytest.raises(UserError, match="set it to 0, or mine every_epochs"):
        trainer_of(callback_of(data, every_steps=5), model, tmp_path, dataloader_num_workers=1)
    with pytest.raises(UserError, match="256 minings, and 255 are the most"):
        trainer_of(callback_of(data), model, tmp_path, num_train_epochs=256).train()
    with pytest.raises(UserError, match="source 'bm25' needs a collection"):
        callback_of(data, mining=at.MiningConfig(sources=("bm25",)))
    with pytest.raises(UserError, match="every_epochs is 0"):
        callback_of(data, every_epochs=0)
    with pytest.raises(UserError, match=r"every_epochs is 1\.5; it must be a whole number"):
        callback_of(data, every_epochs=1.5)
    with pytest.raises(UserError, match=r"alpha is 3\.0; it must lie between 0 and 1"):
        callback_of(data, mining=at.MiningConfig(alpha=3.0))
    with pytest.raises(UserError, match=r"mining is a dict; it must be an ance_tele\.MiningConfig"):
        callback_of(data, mining={"alpha": 0.3})
    with pytest.raises(UserError, match="query_max_len is -3; it must lie between 3"):
        callback_of(data, encoder=at.EncoderConfig(query_max_len=-3))
    with pytest.raises(UserError, match="teacher is a SentenceTransformer; give a CrossEncoder"):
        callback_of(data, teacher=model)
    with pytest.raises(UserError, match="no negative for any of the 72 anchors"):
        strict = callback_of(data, mining=at.MiningConfig(max_score=-1.0))
        trainer_of(strict, model, tmp_path).train()


def test_a_checkpoint_of_other_data_or_without_its_state_is_refused(
    data: tuple[Dataset, list[str]], tiny_model: Path, tmp_path: Path
) -> None:
    saved: dict[str, Any] = {"save_strategy": "steps", "save_steps": 4, "max_steps": 4}
    trainer_of(callback_of(data), load(tiny_model), tmp_path, **saved).train()
    more: dict[str, Any] = {"max_steps": 6, "save_strategy": "no"}
    with pytest.raises(UserError, match="is of another dataset, corpus, teacher or num_negatives"):
        trainer_of(callback_of((data[0], data[1][:60])), load(tiny_model), tmp_path, **more).train(
            resume_from_checkpoint=True
        )
    (tmp_path / "checkpoint-4").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"checkpoint-4/teleportation\.safetensors is missing; if the checkpoint lies"):
        trainer_of(callback_of(data), load(tiny_model), tmp_path, **more).train(
            resume_from_checkpoint=str(tmp_path / "elsewhere")
        )
    there = callback_of(data, resume_from=tmp_path / "elsewhere")
    trainer = trainer_of(there, load(tiny_model), tmp_path, **more)
    assert trainer.train(resume_from_checkpoint=str(tmp_path / "elsewhere")).global_step == 6
    (tmp_path / "elsewhere" / "teleportation.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match=r"is damaged \(.*\): delete the folder elsewhere and resume from"):
        trainer_of(callback_of(data, resume_from=tmp_path / "elsewhere"), load(tiny_model), tmp_path, **more).train(
            resume_from_checkpoint=str(tmp_path / "elsewhere")
        )


def test_the_model_card_shows_no_negatives_that_nobody_has_mined(
    data: tuple[Dataset, list[str]], tiny_model: Path, tmp_path: Path
) -> None:
    callback = callback_of(data)
    model = load(tiny_model)
    trainer_of(callback, model, tmp_path)
    assert set(callback.train_dataset[:]["negative_2"]) == {UNMINED}


def test_a_second_training_begins_anew(data: tuple[Dataset, list[str]], tiny_model: Path, tmp_path: Path) -> None:
    callback, models = callback_of(data), [load(tiny_model), load(tiny_model)]
    for model in models:
        trainer_of(callback, model, tmp_path).train()
    assert same(*map(weights, models)) and len(callback.pools) == 2
    assert isinstance(models[0], SentenceTransformer)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"every_steps": 3}], ids=str)
def test_the_first_of_several_processes_mines_and_all_read_the_same(
    settings: dict[str, int], toy: Path, tiny_model: Path, tmp_path: Path
) -> None:
    script, launch = Path(__file__).with_name("rank_training.py"), [sys.executable, "-m", "torch.distributed.run"]
    found = []
    for _ in range(2):  # the second time it resumes after the third of eight steps
        given = [script, toy, tiny_model, tmp_path, json.dumps(settings)]
        subprocess.run([*launch, "--standalone", "--nproc_per_node=2", *map(str, given)], check=True)
        ranks = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
        assert [rank.pop("pools") for rank in ranks] == [3 if settings else 2, 0]
        assert ranks[0] == ranks[1] and ranks[0]["steps"] == 8
        found.append(ranks[0])
        for later in (6, 8):
            shutil.rmtree(tmp_path / f"checkpoint-{later}")
    assert found[0] == found[1]
