"""Pretraining end to end: what comes out, what goes on, what is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import age
from safetensors.torch import load_file
from zoo_folders import bert, distilbert, pooled, roberta

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection
from ance_tele.data.load import load_collection
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.loading import load_model, quiet
from ance_tele.pretraining import batches
from ance_tele.pretraining.config import PretrainingConfig
from ance_tele.pretraining.pretrain import pretrain
from ance_tele.pretraining.start import HEADS, load_start
from ance_tele.store.manifests import read_manifest

CONFIG = PretrainingConfig(
    "cocondenser",
    steps=12,
    batch_passages=48,
    span_min_tokens=4,
    max_tokens=32,
    learning_rate=3e-3,
    logging_steps=2,
    train_precision="float32",
    report_to=("none",),
)


@pytest.fixture(scope="module")
def collection(toy: Path) -> Collection:
    return load_collection(toy)


@pytest.mark.parametrize("objective", ["mlm", "condenser", "cocondenser", "seed"])
def test_an_ordinary_encoder_comes_out(
    tiny_model: Path, collection: Collection, tmp_path: Path, objective: Any
) -> None:
    from transformers import AutoModel, AutoTokenizer

    out = tmp_path / "encoder"
    found = pretrain(tiny_model, collection, out, replace(CONFIG, objective=objective, steps=40), device="cpu")
    assert found.steps == 40 and not found.reused
    assert found.after["mlm"] < found.before["mlm"] - 0.2, "it learns something"
    assert sum(found.after.values()) < sum(found.before.values())
    names = {path.name for path in out.iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", HEADS, "README.md", "pretraining.json"}
    assert {path.suffix for path in out.rglob("*") if path.is_file()} <= {".json", ".safetensors", ".md", ".txt"}
    assert not (tmp_path / "encoder.checkpoints").exists()
    with quiet():
        encoder, information = AutoModel.from_pretrained(out, output_loading_info=True)
        before = AutoModel.from_pretrained(tiny_model)
    assert not information["unexpected_keys"] and all("pooler" in key for key in information["missing_keys"])
    assert AutoTokenizer.from_pretrained(out).mask_token == "[MASK]"
    first = "encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(encoder.state_dict()[first], before.state_dict()[first])
    model = load_model(out, EncoderConfig(pooling="cls", normalize=False), "cpu")
    assert model.encode(["t1 u7"]).shape == (1, 32)
    heads = load_file(out / HEADS)
    assert any(name.startswith("head.") for name in heads) == ("condenser" in objective)
    assert ("decoder_bias" in heads) == (objective == "seed")
    log = json.loads((out / "pretraining.json").read_text("utf-8"))
    assert log["loss"][-1][0] == 40 and log["settings"]["objective"] == objective
    assert "trained on no query" in (out / "README.md").read_text("utf-8")


def test_the_same_again_is_cached_and_another_is_refused(
    tiny_model: Path, collection: Collection, tmp_path: Path
) -> None:
    out = tmp_path / "encoder"
    first = pretrain(tiny_model, collection, out, CONFIG, device="cpu")
    again = pretrain(tiny_model, collection, out, replace(CONFIG, logging_steps=5), device="cpu")
    assert again.reused and again.after == first.after
    with pytest.raises(UserError, match=r"another pretraining \(settings: |another pretraining \(seed changed"):
        pretrain(tiny_model, collection, out, replace(CONFIG, seed=7), device="cpu")
    other = tmp_path / "notes"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        pretrain(tiny_model, collection, other, CONFIG, device="cpu")
    assert (other / "mine.txt").read_text() == "mine"


class Killed(Exception):
    """Stands for a process that dies in the middle."""


def test_resumes_to_the_same_bits(tiny_model: Path, collection: Collection, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    pretrain(tiny_model, collection, whole, CONFIG, device="cpu")
    made, collate = [0], batches.PassageBatches.__call__

    def dying(self: batches.PassageBatches, step: int) -> Any:
        made[0] += 1
        if made[0] == 9:
            raise Killed
        return collate(self, step)

    saving = replace(CONFIG, save_steps=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches.PassageBatches, "__call__", dying)
        with pytest.raises(Killed):
            pretrain(tiny_model, collection, killed, saving, device="cpu")
    assert not killed.exists()
    assert [path.name for path in (tmp_path / "killed.checkpoints").glob("checkpoint-?")] == ["checkpoint-5"]
    age(tmp_path / "killed.checkpoints", 1000)
    pretrain(tiny_model, collection, killed, saving, device="cpu")
    made_in = read_manifest(killed)
    assert made_in is not None and 1000 < made_in.seconds < 1600
    for name in ("model.safetensors", HEADS):
        assert (whole / name).read_bytes() == (killed / name).read_bytes()
    curves = [json.loads((folder / "pretraining.json").read_text("utf-8")) for folder in (whole, killed)]
    assert curves[0]["loss"] == curves[1]["loss"] and curves[0]["after"] == curves[1]["after"]


def test_a_killed_command_goes_on_to_the_same_bits(tiny_model: Path, toy: Path, tmp_path: Path) -> None:
    """SIGKILL once a checkpoint is there, then the same command."""
    settings = "--objective condenser --steps 60 --batch_passages 48 --max_tokens 32 --report_to [none]"
    code = "import sys; from ance_tele.cli.main import main; sys.exit(main(sys.argv[1:]))"
    own = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ANCE_TELE_CACHE": str(tmp_path / "cache")}

    def command(out: Path) -> list[str]:
        return ["pretrain", "--data", str(toy), "--model", str(tiny_model), "--out", str(out), *settings.split()]

    killed = [*command(tmp_path / "killed"), "--save_steps", "7"]
    started = subprocess.Popen([sys.executable, "-c", code, *killed], env={**os.environ, **own})
    deadline = time.monotonic() + 120
    while not list((tmp_path / "killed.checkpoints").glob("*.manifest.json")) and started.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    started.send_signal(signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL and not (tmp_path / "killed").exists()
    assert main(killed) == 0 and main(command(tmp_path / "whole")) == 0
    one, other = ((tmp_path / out / "model.safetensors").read_bytes() for out in ("killed", "whole"))
    assert one == other


def test_cocondenser_goes_on_with_condensers_head(
    tiny_model: Path, collection: Collection, tmp_path: Path, logged: list[str]
) -> None:
    condenser = pretrain(tiny_model, collection, tmp_path / "one", replace(CONFIG, objective="condenser"), device="cpu")
    assert "heads: masked words is new, Condenser is new" in logged
    start = load_start(str(condenser.folder), CONFIG, "cpu")
    assert start.heads == ("mlm", "head")
    stored = load_file(condenser.folder / HEADS)
    for name, tensor in start.pretrained.state_dict().items():
        assert name.startswith("body.") or torch.equal(tensor, stored[name])
    assert load_start(str(condenser.folder), replace(CONFIG, head_layers=1), "cpu").heads == ("mlm",)
    (condenser.folder / HEADS).write_bytes(b"no tensors")
    with pytest.raises(UserError, match=f"{HEADS} is damaged"):
        load_start(str(condenser.folder), CONFIG, "cpu")


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta"])
def test_the_head_of_a_masked_language_model_is_read(kind: str, tmp_path: Path) -> None:
    from transformers import AutoModelForMaskedLM

    with quiet():
        bert(tmp_path / "m") if kind == "bert" else roberta(tmp_path / "m", kind)
        torch.manual_seed(1)
        module = AutoModelForMaskedLM.from_pretrained(tmp_path / "m")
        for name, weight in module.named_parameters():
            if "predictions" in name or "lm_head" in name:
                weight.data.normal_()
        module.save_pretrained(tmp_path / "m")
    start = load_start(str(tmp_path / "m"), replace(CONFIG, objective="mlm"), "cpu")
    assert start.heads == ("mlm",)
    module = AutoModelForMaskedLM.from_pretrained(tmp_path / "m").eval()
    ids = torch.tensor([[*start.tokenizer("t1 u7 w9 w3")["input_ids"]]])
    labels = ids.clone()
    expected = module(input_ids=ids, labels=labels).loss
    feature = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels, "original": ids}
    given = {**feature, "lengths": [ids.shape[1]], "masked": ids.shape[1], "real": ids.shape[1] - 2}
    start.pretrained.eval()
    torch.testing.assert_close(start.pretrained.terms(given)["mlm"], expected, rtol=1e-4, atol=1e-5)


def test_a_folder_of_sentence_transformers_stays_one(collection: Collection, tmp_path: Path) -> None:
    with quiet():
        pooled(tmp_path / "m", mode="cls", normalize=True)
    found = pretrain(tmp_path / "m", collection, tmp_path / "out", replace(CONFIG, steps=2), device="cpu")
    modules = json.loads((found.folder / "modules.json").read_text("utf-8"))
    assert [one["type"].rpartition(".")[2] for one in modules] == ["Transformer", "Pooling", "Normalize"]
    assert load_model(found.folder, EncoderConfig(), "cpu")[1].pooling_mode == "cls"


def test_what_cannot_be_pretrained_is_refused(
    tiny_model: Path, collection: Collection, tmp_path: Path, refusal: Callable[..., str], toy: Path
) -> None:
    with quiet():
        distilbert(tmp_path / "d")
    for model, change, match in (
        (tmp_path / "d", {}, "none of the encoders that pretraining goes on with"),
        (tiny_model, {"skip_from": 2}, "skip_from is 2"),
        (tiny_model, {"max_tokens": 500}, "reads at most 128"),
        (tiny_model, {"span_min_tokens": 50}, "All but 0 of 144 passages"),
        (tiny_model, {"mask_rate": 0.0}, "mask_rate is 0"),
        (tiny_model, {"batch_passages": 1}, "at least 2"),
    ):
        with pytest.raises(UserError, match=match):
            pretrain(model, collection, tmp_path / "out", replace(CONFIG, **change), device="cpu")
    assert not (tmp_path / "out").exists()
    given = ["pretrain", "--data", toy, "--model", tiny_model]
    assert refusal(*given).startswith("--out is missing")
    assert "one of mlm, condenser, cocondenser, seed" in refusal(*given, "--out", tmp_path / "o", "--objective", "x")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_PORT": "1"}.items():
            patch.setenv(name, value)
        assert "one process" in refusal(*given, "--out", tmp_path / "o")


def test_passages_are_those_of_the_corpus(tiny_model: Path, collection: Collection, tmp_path: Path) -> None:
    """Whole, with titles, whatever length a run reads; words begin where the tokenizer says."""
    from ance_tele.pretraining.words import passage_words

    start = load_start(str(tiny_model), CONFIG, "cpu")
    given = collection.corpus, start.tokenizer, start.words, " ", tmp_path, collection.texts
    found = passage_words(*given)
    passage = collection.corpus[5]
    expected = start.tokenizer(f"{passage['title']} {passage['text']}")
    assert found.store[5].tolist() == expected["input_ids"]
    codes = found.codes[found.store.offsets[5] : found.store.offsets[6]]
    assert codes.tolist() == [0, *[1] * (len(codes) - 2), 0]
    assert np.array_equal(passage_words(*given).codes, found.codes)


def test_a_tracker_is_told_the_loss(
    tiny_model: Path, collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trackers read the configuration of what is trained where it has one, as models of transformers do."""
    from transformers import TrainerCallback, integrations

    told: list[float] = []

    class Tracker(TrainerCallback):  # type: ignore[misc]
        def on_log(self, *given: Any, **named: Any) -> None:
            told.append(named["logs"]["loss"])

    monkeypatch.setattr(integrations, "get_reporting_integration_callbacks", lambda names: [Tracker])
    tracking = replace(CONFIG, steps=4, report_to=("mine",))
    found = pretrain(tiny_model, collection, tmp_path / "out", tracking, device="cpu")
    log = json.loads((found.folder / "pretraining.json").read_text("utf-8"))
    assert told == [loss for _, loss in log["loss"]]
