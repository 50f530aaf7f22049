"""Layers computed again in the backward pass: the same loss and gradients, of which less is kept."""

import copy
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zoo_folders
from flat_batch import batch

from ance_tele.console.errors import UserError
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import Forward, weights_fingerprint
from ance_tele.encode.loading import load_model, quiet
from ance_tele.encode.recomputing import recomputing
from ance_tele.training.config import TrainingConfig
from ance_tele.training.loss import TeleportationLoss
from ance_tele.training.trainer import loss_for

CONFIG = EncoderConfig(query_max_len=32, passage_max_len=32, precision="float32")
BUILDS = {
    "BERT": zoo_folders.bert,
    "RoBERTa": zoo_folders.roberta,
    "DistilBERT": zoo_folders.distilbert,
    "T5": zoo_folders.t5,
    "Qwen3": lambda folder: zoo_folders.decoder(folder, "qwen3"),
    "GPT-2": zoo_folders.gpt2,
}


def tokens(longest: int = 30) -> TokenStore:
    rng = np.random.default_rng(1)
    return TokenStore.from_lists([rng.integers(10, 90, rng.integers(2, longest)).tolist() for _ in range(17)])


def step(start: Any, recomputes: bool, cached: bool, bf16: bool = False) -> tuple[float, dict[str, Any]]:
    """Return the loss and the gradients of one step, with dropout."""
    model = copy.deepcopy(start).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.2
    precision: Any = "bf16" if bf16 else "float32"
    config = TrainingConfig(
        gradient_checkpointing=recomputes, grad_cache=cached, chunk_tokens=100, train_precision=precision
    )
    with recomputing(model) if recomputes else nullcontext():
        loss_of = loss_for(model, config)
        torch.manual_seed(11)
        loss = loss_of(*batch(tokens(), loss_of.passage_forward))
        loss.backward()
    return float(loss.detach()), {name: weight.grad for name, weight in model.named_parameters()}


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("name", list(BUILDS))
def test_loss_and_gradients_are_the_same_with_dropout(name: str, cached: bool, tmp_path: Path) -> None:
    with quiet():
        BUILDS[name](tmp_path)
    start = load_model(tmp_path, CONFIG, "cpu")
    (loss, gradients), (other, others) = (step(start, recomputes, cached) for recomputes in (False, True))
    assert other == pytest.approx(loss, rel=1e-6)
    largest = max(float(one.abs().max()) for one in gradients.values() if one is not None)
    assert largest > 1e-3
    for one, gradient in gradients.items():
        assert (gradient is None) == (others[one] is None), one
        assert gradient is None or torch.allclose(gradient, others[one], atol=1e-5 * largest), one


def test_in_bf16_too(tmp_path: Path) -> None:
    with quiet():
        zoo_folders.bert(tmp_path)
    start = load_model(tmp_path, CONFIG, "cpu")
    (loss, gradients), (other, others) = (step(start, recomputes, False, bf16=True) for recomputes in (False, True))
    assert other == pytest.approx(loss, rel=1e-6)
    assert all(one is None or torch.equal(one, others[name]) for name, one in gradients.items())


@pytest.mark.parametrize("name", ["BERT", "T5", "Qwen3"])
def test_less_is_kept_and_the_model_is_as_before(name: str, tmp_path: Path) -> None:
    """Only what enters a layer is saved for the backward pass; transformers' switches and hooks are off afterwards."""
    with quiet():
        BUILDS[name](tmp_path)
    model = load_model(tmp_path, CONFIG, "cpu").train()
    before, plain, kept = weights_fingerprint(model), Forward(model, "query").bert is not None, []
    for recomputes in (False, True):
        total = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        with recomputing(model) if recomputes else nullcontext():
            forward = Forward(model, "document", recomputes)
            loss_of = TeleportationLoss(model, Forward(model, "query", recomputes), forward, chunk_tokens=1000)
            features = batch(tokens(), forward)
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                loss_of.encode(features[1], forward, False)
        kept.append(total)
    assert kept[1] < kept[0] / 2
    assert weights_fingerprint(model) == before and (Forward(model, "query").bert is not None) == plain
    assert not any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def test_what_has_no_layers_is_refused(tmp_path: Path) -> None:
    with quiet():
        zoo_folders.static(tmp_path)
    model = load_model(tmp_path, CONFIG, "cpu")
    with pytest.raises(UserError, match="for transformers, and the model has none"), recomputing(model):
        pass
    with pytest.raises(UserError, match="do not go together"):
        TrainingConfig(gradient_checkpointing=True, compile="default").check()
