"""The CPU's own ways of computing against torch's: the same numbers, gradients, rates and seeds."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ance_tele.encode import kernels
from ance_tele.encode.kernels import Kernels, dropout


@pytest.fixture
def onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take oneDNN whatever the processor, where torch has it, and small tensors too."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(kernels, "onednn_is_faster", lambda: True)
    monkeypatch.setattr(kernels, "_SMALLEST", 1)


@pytest.mark.parametrize("shape", [(7,), (5, 7), (2, 3, 7)])
@pytest.mark.parametrize("biased", [True, False])
def test_linear_and_its_gradients(shape: tuple[int, ...], biased: bool, onednn: None) -> None:
    torch.manual_seed(0)
    x, layer = torch.randn(*shape, requires_grad=True), torch.nn.Linear(7, 4, bias=biased)
    wanted = torch.randn(*shape[:-1], 4)
    results = []
    for mode in (torch.overrides.BaseTorchFunctionMode(), Kernels()):
        with mode:
            y = layer(x)
        results.append((y, *torch.autograd.grad(y, [x, *layer.parameters()], wanted)))
    for used, (y, *_) in zip((False, True), results, strict=True):
        before = [y.grad_fn, *(node for node, _ in y.grad_fn.next_functions)]
        assert used == ("_LinearBackward" in [type(node).__name__ for node in before])
    for plain, ours in zip(*results, strict=True):
        assert plain.shape == ours.shape and torch.allclose(plain, ours, atol=1e-5)


def test_linear_whose_result_is_changed_in_place(onednn: None) -> None:
    """Longformer divides its queries so."""
    x, layer = torch.randn(2, 3, 7, requires_grad=True), torch.nn.Linear(7, 4)
    with Kernels():
        y = layer(x)
        y /= 2.0
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(gradient, (layer.weight.sum(0) / 2).expand(2, 3, 7), atol=1e-6)


def test_linear_that_is_frozen_or_autocast(onednn: None) -> None:
    x, layer = torch.randn(3, 7, requires_grad=True), torch.nn.Linear(7, 4).requires_grad_(False)
    with Kernels():
        (gradient,) = torch.autograd.grad(layer(x).sum(), x)
        with torch.no_grad():
            assert torch.allclose(layer(x), x @ layer.weight.T + layer.bias, atol=1e-6)
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16
    assert torch.allclose(gradient, layer.weight.sum(0).expand(3, 7), atol=1e-6)


@given(st.integers(0, 2**40), st.sampled_from([0.1, 0.3, 0.5]))
@settings(max_examples=20, deadline=None)
def test_dropout_has_the_rate_the_scale_and_the_seed(seed: int, rate: float) -> None:
    torch.manual_seed(seed)
    x = torch.full((40, 999), 2.0, requires_grad=True)
    y = dropout(x, rate)
    zeros = float((y == 0).float().mean())
    assert abs(zeros - rate) < 5 * np.sqrt(rate * (1 - rate) / x.numel())
    kept = y[y != 0]
    assert torch.allclose(kept, torch.full_like(kept, 2 / (1 - rate)), rtol=1e-4)
    y.sum().backward()
    assert x.grad is not None and torch.allclose(x.grad * 2, y)
    second = dropout(x, rate)
    torch.manual_seed(seed)
    assert torch.equal(dropout(x, rate), y) and not torch.equal(second, y)


def test_dropout_that_is_off_draws_nothing() -> None:
    x = torch.randn(99, 99)
    before = torch.get_rng_state()
    assert torch.equal(dropout(x, 0.1, training=False), x) and torch.equal(dropout(x, 0.0), x)
    assert torch.equal(before, torch.get_rng_state())


def test_dropout_knows_no_neighbours() -> None:
    """Neither adjacent elements nor the same place of two draws go together."""
    torch.manual_seed(1)
    first, second = (dropout(torch.ones(1 << 16), 0.5) > 0 for _ in range(2))
    for a, b in ((first[1:], first[:-1]), (first[4:], first[:-4]), (first, second)):
        assert abs(float((a == b).float().mean()) - 0.5) < 0.012


@pytest.mark.parametrize("masked", ["bool", "additive", "none"])
def test_attention_with_dropout(masked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a dropout that drops nothing it is torch's attention, and so are its gradients."""
    torch.manual_seed(2)
    q, k, v = (torch.randn(3, 2, 6, 4, requires_grad=True) for _ in range(3))
    seen = torch.arange(6) < torch.tensor([6, 4, 1])[:, None]
    mask = {"bool": seen[:, None, None], "none": None, "additive": torch.randn(3, 1, 6, 6)}[masked]
    plain = F.scaled_dot_product_attention(q, k, v, mask)
    monkeypatch.setattr(kernels, "dropout", lambda x, p: x)
    with Kernels():
        ours = F.scaled_dot_product_attention(q, k, v, mask, dropout_p=0.1)
    assert torch.allclose(plain, ours, atol=1e-6)
    for a, b in zip(*(torch.autograd.grad(y.square().sum(), (q, k, v)) for y in (plain, ours)), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("padding", [None, 0])
def test_embedding_of_a_large_table(padding: int | None) -> None:
    torch.manual_seed(3)
    table = torch.nn.Embedding(5000, 3, padding_idx=padding)
    ids = torch.randint(0, 5000, (6, 8))
    ids[0] = 0
    weights = torch.randn(6, 8, 3)
    made = 0

    def count(gradient: torch.Tensor) -> None:
        nonlocal made
        made += 1

    table.weight.register_hook(count)
    (table(ids) * weights).sum().backward()
    assert table.weight.grad is not None
    expected, table.weight.grad = table.weight.grad.clone(), None
    mode = Kernels(ids)
    total = torch.zeros(())
    for part in (slice(0, 2), slice(2, 6)):
        with mode:
            y = table(ids[part])
        assert torch.equal(y, F.embedding(ids[part], table.weight))
        total = total + (y * weights[part]).sum()
    total.backward()
    assert torch.allclose(table.weight.grad, expected, atol=1e-6)
    assert made == 2  # once by torch, once for both chunks
    with Kernels(ids[:1]):  # ids of another batch
        assert torch.equal(table(ids), F.embedding(ids, table.weight))


def test_a_model_computes_the_same(tiny_model: Path, onednn: None) -> None:
    """A whole model without dropout: outputs and gradients; the mode leaves nothing behind."""
    from transformers import AutoModel

    models = [AutoModel.from_pretrained(tiny_model).eval()]
    models.append(copy.deepcopy(models[0]))
    ids = torch.randint(5, 90, (4, 9))
    mask = (torch.arange(9) < torch.tensor([9, 7, 3, 1])[:, None]).long()
    outputs = []
    for model, mode in zip(models, (torch.overrides.BaseTorchFunctionMode(), Kernels(ids)), strict=True):
        with mode:
            outputs.append(model(input_ids=ids, attention_mask=mask).last_hidden_state)
        (outputs[-1] * mask[..., None]).square().sum().backward()
    assert torch.allclose(outputs[0][mask.bool()], outputs[1][mask.bool()], atol=1e-5)
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        assert a.grad is None or b.grad is None or torch.allclose(a.grad, b.grad, atol=1e-3)
