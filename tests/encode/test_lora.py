"""Fresh adapters: what is trained, what is saved, and that the merged model is the trained one."""

import copy
import json
import subprocess
import sys
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zoo_folders
from flat_batch import batch
from safetensors import safe_open
from toy import run_command

from ance_tele.console.errors import UserError
from ance_tele.console.extras import install
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import Forward, weights_fingerprint
from ance_tele.encode.loading import load_model, quiet
from ance_tele.encode.lora import adapted, check_adaptable
from ance_tele.training.config import TrainingConfig
from ance_tele.training.trainer import loss_for

CONFIG = EncoderConfig(query_max_len=32, passage_max_len=32, precision="float32")
BUILDS: dict[str, zoo_folders.Build] = {
    "BERT": zoo_folders.bert,
    "T5": zoo_folders.t5,
    "GPT-2": zoo_folders.gpt2,
    "Qwen3": lambda folder: zoo_folders.decoder(folder, "qwen3"),
}
needs_peft = pytest.mark.skipif(find_spec("peft") is None, reason="peft is not installed")


def built(folder: Path, name: str = "BERT", **settings: Any) -> Any:
    with quiet():
        BUILDS[name](folder)
        return load_model(folder, replace(CONFIG, **settings), "cpu")


def tokens() -> TokenStore:
    rng = np.random.default_rng(1)
    return TokenStore.from_lists([rng.integers(10, 90, rng.integers(2, 20)).tolist() for _ in range(17)])


def vectors(model: Any, bf16: bool = False) -> torch.Tensor:
    """Return vectors of queries and of passages."""
    store = tokens()
    ids, mask = map(torch.from_numpy, store.padded(np.arange(len(store)), 0))
    with torch.no_grad():
        both = [Forward(model.eval(), task)(ids, mask, store.lengths().tolist(), bf16=bf16)
                for task in ("query", "document")]  # fmt: skip
    return torch.cat(both)


def learn(model: Any, seed: int = 2) -> None:
    """Let adapters add something, as training does."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.normal_(std=0.1)


@needs_peft
@pytest.mark.parametrize("untied", [False, True])
@pytest.mark.parametrize("name", list(BUILDS))
def test_the_merged_model_gives_the_vectors_of_the_trained_one(name: str, untied: bool, tmp_path: Path) -> None:
    model = built(tmp_path, name, untie_encoders=untied)
    before, names = vectors(model), list(model.state_dict())
    free = [weight.requires_grad for weight in model.parameters()]
    with adapted(model, 4, 8.0):
        assert torch.equal(vectors(model), before)  # fresh adapters add nothing
        assert all("lora_" in one for one, weight in model.named_parameters() if weight.requires_grad)
        learn(model)
        trained = vectors(model)
    assert (trained - before).abs().max() > 0.02
    assert torch.allclose(vectors(model), trained, atol=1e-5)
    assert list(model.state_dict()) == names and [one.requires_grad for one in model.parameters()] == free


@needs_peft
def test_the_saved_folder_needs_no_peft(tmp_path: Path) -> None:
    model = built(tmp_path / "start")
    with adapted(model, 4, 8.0):
        learn(model)
    model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    assert not list((tmp_path / "saved").rglob("adapter*"))
    code = (
        "import sys; sys.modules['peft'] = None; from sentence_transformers import SentenceTransformer as S; "
        f"print(S({str(tmp_path / 'saved')!r}, device='cpu').encode(['t1 u7', 'w9']).tolist())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert np.allclose(json.loads(found.splitlines()[-1]), model.encode(["t1 u7", "w9"]), atol=1e-6)


@needs_peft
def test_loss_and_gradients_are_those_of_peft(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    start = built(tmp_path).eval()
    found = []
    for way in ("ours", "peft"):
        model = copy.deepcopy(start)
        torch.manual_seed(4)
        if way == "peft":
            wanted = LoraConfig(r=4, lora_alpha=8, target_modules=["query", "value"])
            get_peft_model(model[0].model, wanted)  # in place
            found.append(gradients(model))
        else:
            with adapted(model, 4, 8.0, ("query", "value")):
                found.append(gradients(model))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6) and len(found[0][1]) == 2 * 2 * 2
    assert all(torch.allclose(one, other, atol=1e-7) for one, other in zip(found[0][1], found[1][1], strict=True))


def gradients(model: Any) -> tuple[float, list[torch.Tensor]]:
    learn(model)
    loss_of = loss_for(model, TrainingConfig(train_precision="float32"))
    loss = loss_of(*batch(tokens(), loss_of.passage_forward))
    loss.backward()
    return float(loss.detach()), [one.grad for one in model.parameters() if one.grad is not None]


@needs_peft
def test_a_projection_is_trained_too(tmp_path: Path) -> None:
    zoo_folders.pooled(tmp_path, dense=16)
    model = load_model(tmp_path, CONFIG, "cpu")
    with adapted(model, 4, 8.0):
        others = [name for name, one in model.named_parameters() if one.requires_grad and "lora_" not in name]
    assert others == ["2.linear.weight", "2.linear.bias"]


@needs_peft
@pytest.mark.parametrize("name", list(BUILDS))
def test_frozen_weights_in_bf16_are_merged_as_they_were_trained(name: str, tmp_path: Path) -> None:
    model = built(tmp_path, name)
    rounded = copy.deepcopy(model)
    for one in rounded[0].model.parameters():
        one.data = one.data.bfloat16().float()
    with adapted(model, 4, 8.0, (), half=True):
        kinds = {weight.requires_grad: weight.dtype for weight in model.parameters()}
        assert kinds == {True: torch.float32, False: torch.bfloat16}
        assert all(one.dtype != torch.bfloat16 for one in model.buffers())
        learn(model)
        trained = vectors(model, bf16=True)
    with adapted(rounded, 4, 8.0):
        learn(rounded)
    assert {one.dtype for one in model.parameters()} == {torch.float32}
    assert weights_fingerprint(model) == weights_fingerprint(rounded)
    assert torch.cosine_similarity(vectors(model), trained).min() > 0.99


@needs_peft
def test_after_an_error_nothing_is_merged(tmp_path: Path) -> None:
    model = built(tmp_path)
    before = weights_fingerprint(model)
    with pytest.raises(KeyError), adapted(model, 4, 8.0):
        learn(model)
        raise KeyError
    assert weights_fingerprint(model) == before
    state = torch.get_rng_state()
    assert check_adaptable(model, 4, ("query", "value"), "it") == (
        "Adapters of rank 4 are trained: 1,024 weights, next to 23,776 of the model."
    )
    assert weights_fingerprint(model) == before and torch.equal(torch.get_rng_state(), state)
    with pytest.raises(UserError, match="names q_proj, and BertModel has no such layer; its linear layers are dense"):
        check_adaptable(model, 4, ("query", "q_proj"), "it")
    with pytest.raises(UserError, match="cannot have these adapters"):
        check_adaptable(model, 4, ("LayerNorm",), "it")


@needs_peft
def test_adapters_of_the_folder_itself_go_on(tmp_path: Path) -> None:
    zoo_folders.adapted(tmp_path)
    with pytest.raises(UserError, match="has adapters of its own, which are trained; leave lora_rank out"):
        check_adaptable(load_model(tmp_path, CONFIG, "cpu"), 4, (), "it")


def test_what_has_no_transformer_is_refused(tmp_path: Path) -> None:
    zoo_folders.static(tmp_path)
    with pytest.raises(UserError, match="adapters on a transformer, and it has none"):
        check_adaptable(load_model(tmp_path, CONFIG, "cpu"), 4, (), "it")


@pytest.mark.skipif(find_spec("peft") is not None, reason="peft is installed")
def test_a_run_says_what_to_install(toy: Path, tiny_model: Path, tmp_path: Path, refusal: Any) -> None:
    sentence = refusal(*run_command(toy, tiny_model, tmp_path / "run", lora_rank=4))
    assert f"adapters, which need peft: {install('lora')}" in sentence


def test_bf16_is_for_frozen_weights() -> None:
    for settings, why in (
        ({"weights": "bf16"}, "most updates of AdamW are lost"),
        ({"weights": "bf16", "lora_rank": 4, "train_precision": "float32"}, "computed with in bf16"),
    ):
        with pytest.raises(UserError, match=why):
            TrainingConfig(**settings).check()
    TrainingConfig(weights="bf16", lora_rank=4).check()


def test_adapters_that_add_nothing_are_refused() -> None:
    with pytest.raises(UserError, match="lora_alpha is 0"):
        TrainingConfig(lora_rank=4, lora_alpha=0).check()
    TrainingConfig(lora_alpha=0).check()  # without adapters it has no effect
    with pytest.raises(UserError, match="lora_targets is \\['query'\\], but lora_rank is 0"):
        TrainingConfig(lora_targets=("query",)).check()


def test_idle_settings_are_no_part_of_a_training() -> None:
    """A run that was begun before they came resumes: its manifests name these alone."""
    older = {
        "batch_queries", "negatives_per_query", "positives", "epochs", "learning_rate", "warmup_ratio", "warmup_steps",
        "weight_decay", "max_grad_norm", "temperature", "in_batch_negatives", "mask_known_positives",
        "train_precision", "chunk_tokens", "grad_cache", "grad_cache_tokens", "logging_steps", "save_steps",
        "report_to",
    }  # fmt: skip
    idle = TrainingConfig(lora_alpha=3.0, lora_targets=("query",))
    assert {one.name for one in fields(idle)} - idle.idle == older
    used = TrainingConfig(lora_rank=2, gradient_checkpointing=True, matryoshka_dims=(4,), matryoshka_weights=(1.0,))
    assert used.idle == {"compile", "passage_loss", "replay"}


# ---- runs ----------------------------------------------------------------------------------------


class Killed(Exception):
    """Stands for a process that dies in the middle of an episode."""


@needs_peft
@pytest.mark.parametrize("restart", ["scratch", "continue"])
def test_a_run_goes_on_after_a_kill(
    restart: str, toy: Path, tiny_model: Path, tmp_path: Path, undrawn_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a checkpoint that holds adapters alone; each episode puts new ones on the model that it starts from."""
    from ance_tele.cli.main import main
    from ance_tele.training import batches

    def command(out: str) -> list[str]:
        settings = {"restart": restart, "lora_rank": 4, "episodes": 2, "refresh_fraction": 0.5, "save_steps": 4}
        return run_command(toy, tiny_model, tmp_path / out, **settings)

    assert main(command("whole")) == 0
    collate, left = batches.Collator.__call__, [15]

    def dying(self: batches.Collator, step: int) -> Any:
        left[0] -= 1
        if not left[0]:
            raise Killed
        return collate(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(batches.Collator, "__call__", dying)
        with pytest.raises(Killed):
            main(command("killed"))
    (state,) = (tmp_path / "killed" / "episode-2" / "checkpoints").glob("checkpoint-*/state.safetensors")
    with safe_open(state, "pt") as file:
        assert all("lora_" in name for name in file.keys() if name.startswith("weight."))  # noqa: SIM118
    assert state.stat().st_size < (tiny_model / "model.safetensors").stat().st_size
    assert main(command("killed")) == 0
    for episode in (1, 2):
        found = [load_model(tmp_path / out / f"episode-{episode}" / "model", EncoderConfig(), "cpu")
                 for out in ("whole", "killed")]  # fmt: skip
        assert weights_fingerprint(found[0]) == weights_fingerprint(found[1])
        assert Forward(found[0], "query").bert is not None and not list((tmp_path / "whole").rglob("adapter*"))
