"""A BERT as functions of its tensors against the module of transformers; what is left to the module."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flat_batch import batch
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from ance_tele.data.tokens import TokenStore
from ance_tele.encode.bert_layers import layers
from ance_tele.encode.bert_model import filled, rounded
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import Forward
from ance_tele.encode.loading import load_model
from ance_tele.training.loss import TeleportationLoss

SMALL: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 66,
    "initializer_range": 0.2,
}
FAMILIES = ("bert", "roberta", "xlm-roberta")
POOLINGS = ("cls", "mean", "max", "lasttoken")


def config(pooling: Any = "mean", normalize: bool = True) -> EncoderConfig:
    return EncoderConfig(32, 32, pooling=pooling, normalize=normalize, precision="float32")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict[str, Path]:
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    made = {}
    for name in FAMILIES:
        made[name] = tmp_path_factory.mktemp(name)
        torch.manual_seed(0)
        AutoModel.from_config(AutoConfig.for_model(name, **SMALL)).save_pretrained(made[name])
        AutoTokenizer.from_pretrained(tiny_model).save_pretrained(made[name])
    return made


@pytest.fixture(scope="module")
def tokens() -> TokenStore:
    rng = np.random.default_rng(1)
    texts = [[2, *rng.integers(5, 90, rng.integers(1, 20)).tolist(), 3] for _ in range(17)]
    texts[4][2:3] = [0, 1]  # the padding tokens of BERT and of RoBERTa may be in a text
    return TokenStore.from_lists(texts)


def inputs(tokens: TokenStore, forward: Forward) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    ids, mask = tokens.padded(np.arange(len(tokens)), forward.pad)
    return torch.from_numpy(ids), torch.from_numpy(mask), tokens.lengths().tolist()


def eager(*given: Any) -> torch.Tensor:
    """The layers as they are, taken for compiled ones."""
    return layers(*given)


WAYS = ("the module", "padded", "flat", "filled")


def forwards(model: SentenceTransformer, way: str) -> tuple[Forward, Forward]:
    """Return how queries and passages go through a model, one of ``WAYS``."""
    both = Forward(model, "query"), Forward(model, "document")
    for forward in both:
        assert forward.bert is not None
        forward.packs = way in ("flat", "filled")
        if way == "the module":
            forward.bert = None
        elif way == "filled":
            forward.bert = replace(forward.bert, encode=eager)
    return both


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("name", FAMILIES)
def test_vectors_and_gradients_are_those_of_the_module(
    name: str, pooling: str, folders: dict[str, Path], tokens: TokenStore
) -> None:
    start = load_model(folders[name], config(pooling), "cpu")
    found = {}
    for way in WAYS:
        model = copy.deepcopy(start).eval()
        query, passage = forwards(model, way)
        with torch.no_grad():
            vectors = passage(*inputs(tokens, passage))
        loss = TeleportationLoss(model, query, passage, 0.05)(*batch(tokens, passage))
        loss.backward()
        found[way] = vectors, loss.detach(), {one: weight.grad for one, weight in model.named_parameters()}
    vectors, loss, gradients = found.pop("the module")
    assert vectors.std() > 0.01
    for way, (other, its_loss, its_gradients) in found.items():
        assert torch.allclose(other, vectors, atol=1e-5), way
        assert abs(float(its_loss - loss)) < 1e-5 * float(loss), way
        for one, gradient in gradients.items():
            its = its_gradients[one]
            if gradient is None:  # the pooler, which nothing reads
                assert its is None
            else:
                assert its is not None and torch.allclose(its, gradient, atol=1e-5 * float(gradient.abs().max()) + 1e-6)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_dropout_draws_what_the_module_draws(pooling: str, folders: dict[str, Path], tokens: TokenStore) -> None:
    """Of the last layer, only what the pooling reads draws."""
    start = load_model(folders["bert"], config(pooling), "cpu")
    losses = []
    for way in ("the module", "padded"):
        model = copy.deepcopy(start).train()
        query, passage = forwards(model, way)
        torch.manual_seed(5)
        losses.append(float(TeleportationLoss(model, query, passage, 0.05)(*batch(tokens, passage)).detach()))
    assert (losses[0] == pytest.approx(losses[1], rel=1e-6)) == (pooling == "mean")


@pytest.mark.parametrize("way", ["padded", "flat", "filled"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_bf16_is_as_autocast_rounds(pooling: str, way: str, folders: dict[str, Path], tokens: TokenStore) -> None:
    """Products in bf16, sums and norms in float32: closer to autocast than autocast is to float32."""
    start = load_model(folders["bert"], config(pooling), "cpu")
    exact, rounded_ones = {}, {}
    for found, bf16 in ((exact, False), (rounded_ones, True)):
        for which in ("the module", way):
            model = copy.deepcopy(start).eval()
            query, passage = forwards(model, which)
            loss = TeleportationLoss(model, query, passage, 0.05, bf16=bf16)(*batch(tokens, passage))
            loss.backward()
            grown = torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None])
            assert all(one.grad is None or one.grad.dtype == torch.float32 for one in model.parameters())
            found[which] = float(loss.detach()), grown
    apart = float((rounded_ones[way][1] - rounded_ones["the module"][1]).norm())
    rounding = float((rounded_ones["the module"][1] - exact["the module"][1]).norm())
    assert 0 < apart < 1.5 * rounding < 0.1 * float(exact["the module"][1].norm())
    assert abs(rounded_ones[way][0] - exact["the module"][0]) < 0.01 * exact["the module"][0]


def test_half_the_weights_are_those_of_now(folders: dict[str, Path], tokens: TokenStore) -> None:
    """A step of the optimiser is seen by the next forward pass."""
    model = load_model(folders["bert"], config(), "cpu").eval()
    query, passage = forwards(model, "padded")
    loss_of = TeleportationLoss(model, query, passage, 0.05, bf16=True)
    optimizer, seen = torch.optim.SGD(model.parameters(), lr=0.1), []
    for _ in range(3):
        loss = loss_of(*batch(tokens, passage))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seen.append(float(loss.detach()))
    assert seen[0] > seen[1] > seen[2]


def test_a_prompt_that_is_not_pooled_keeps_the_whole_last_layer(folders: dict[str, Path]) -> None:
    model = load_model(folders["bert"], replace(config("cls"), passage_prompt="t1 "), "cpu")
    assert (bert := Forward(model, "document").bert) is not None and bert.first
    model[1].include_prompt = False
    assert (bert := Forward(model, "document").bert) is not None and not bert.first


@pytest.mark.parametrize("change", ["hook", "layer", "activation", "hidden states", "half", "subclass"])
def test_what_is_no_plain_bert_goes_through_the_module(change: str, folders: dict[str, Path]) -> None:
    model = load_model(folders["bert"], config(), "cpu")
    module: Any = model[0].auto_model
    if change == "hook":
        module.encoder.layer[1].register_forward_hook(lambda *_: None)
    elif change == "layer":
        module.encoder.layer[0].output.dense = type("Adapted", (torch.nn.Linear,), {})(64, 32)
    elif change == "activation":
        module.config.hidden_act = "gelu_new"
    elif change == "hidden states":
        module.config.output_hidden_states = True
    elif change == "half":
        module.to(torch.bfloat16)
    else:
        module.__class__ = type("Own", (type(module),), {})
    assert Forward(model, "document").bert is None


@given(st.lists(st.integers(1, 128), min_size=1, max_size=600))
def test_what_a_batch_is_filled_with(lengths: list[int]) -> None:
    texts, tokens = rounded(len(lengths), sum(lengths))
    ids = torch.ones(len(lengths), max(lengths), dtype=torch.long)
    more, wide = filled(ids, lengths)
    added = more[len(lengths) :]
    assert more[: len(lengths)] == lengths and sum(more) == tokens and len(more) == texts == len(wide)
    assert 1 <= min(added) <= max(added) <= 128 and wide.shape[1] == max(more)
    assert texts % 64 == tokens % 2048 == 0 and not wide[len(lengths) :].any()


def test_steps_have_few_sizes() -> None:
    """1,000 steps of 8 x (1 + 31) texts of MS MARCO's lengths, and of 128 x (1 + 11)."""
    rng = np.random.default_rng(0)
    for queries, passages in ((8, 256), (128, 1536)):
        sizes = set()
        for _ in range(1000):
            lengths = np.clip(rng.lognormal(4.25, 0.38, passages), 10, 128).astype(int)
            asked = np.clip(rng.poisson(8, queries), 4, 32)
            sizes.add(rounded(passages + queries - int(rng.poisson(1)), int(lengths.sum() + asked.sum())))
        assert len(sizes) <= 8


def test_one_compiled_graph_serves_all_steps(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled once for ten batches of different texts, as on a GPU; loss and gradients are those of the module."""
    monkeypatch.setattr("ance_tele.training.loss.Kernels", lambda ids: None)
    start = load_model(folders["bert"], config("cls"), "cpu")
    compiled = []

    def backend(graph: Any, example: Any) -> Any:
        compiled.append(graph)
        return graph

    rng = np.random.default_rng(0)
    torch._dynamo.reset()
    plain, ours = copy.deepcopy(start).eval(), copy.deepcopy(start).eval()
    one = TeleportationLoss(plain, *forwards(plain, "the module"), 0.05)
    query, passage = forwards(ours, "flat")
    for forward in (query, passage):
        assert forward.bert is not None
        forward.bert = replace(
            forward.bert, encode=torch.compile(layers, dynamic=False, fullgraph=True, backend=backend)
        )
    other = TeleportationLoss(ours, query, passage, 0.05)
    other.one_pass = True
    for _ in range(10):
        store = TokenStore.from_lists([rng.integers(5, 90, n).tolist() for n in rng.integers(3, 30, 14)])
        losses = [loss_of(*batch(store, passage)) for loss_of in (one, other)]
        for loss in losses:
            loss.backward()
        assert abs(float((losses[0] - losses[1]).detach())) < 1e-4
    assert len(compiled) == 1
    for (name, before), now in zip(plain.named_parameters(), ours.parameters(), strict=True):
        if before.grad is not None:
            assert now.grad is not None and torch.allclose(before.grad, now.grad, atol=1e-4), name
