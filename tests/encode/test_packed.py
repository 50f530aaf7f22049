"""Texts without padding give the vectors, the loss and the gradients of texts with padding; elsewhere padding stays."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flat_batch import batch
from sentence_transformers import SentenceTransformer

from ance_tele.data.tokens import TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import Forward
from ance_tele.encode.inference import encode_texts
from ance_tele.encode.loading import load_model
from ance_tele.encode.packed import Packed, drops_alike, packed
from ance_tele.training.batches import moved
from ance_tele.training.loss import TeleportationLoss, joined

CONFIG = EncoderConfig(query_max_len=16, passage_max_len=16, precision="float32")
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(scope="module")
def tokens() -> TokenStore:
    rng = np.random.default_rng(1)
    return TokenStore.from_lists([[2, *rng.integers(5, 90, rng.integers(1, 12)).tolist(), 3] for _ in range(17)])


def inputs(tokens: TokenStore, forward: Forward, device: str) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    ids, mask = tokens.padded(np.arange(len(tokens)), forward.pad)
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device), tokens.lengths().tolist()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "lasttoken"])
def test_the_same_vectors(pooling: Any, device: str, tiny_model: Path, tokens: TokenStore) -> None:
    config = EncoderConfig(query_max_len=16, passage_max_len=16, pooling=pooling, normalize=False)
    model = load_model(tiny_model, config, device).eval()
    forward = Forward(model, "document")
    with torch.no_grad():
        found = forward(*inputs(tokens, forward, device))
        forward.packs = True
        without = forward(*inputs(tokens, forward, device))
    assert torch.allclose(found, without, atol=1e-5)


def test_a_prompt_that_is_not_pooled(tiny_model: Path, tokens: TokenStore) -> None:
    model = load_model(tiny_model, CONFIG, "cpu").eval()
    forward = Forward(model, "document")
    forward.prompt_length = 2
    model[1].include_prompt = False
    with torch.no_grad():
        found = forward(*inputs(tokens, forward, "cpu"))
        forward.packs = True
        assert torch.allclose(forward(*inputs(tokens, forward, "cpu")), found, atol=1e-5)


def test_no_padding_goes_through_the_model(tiny_model: Path, tokens: TokenStore) -> None:
    model = load_model(tiny_model, CONFIG, "cpu")
    forward = Forward(model, "document")
    ids, _, lengths = inputs(tokens, forward, "cpu")
    features, context = packed(ids, lengths)
    assert features["input_ids"].shape == features["position_ids"].shape == (1, tokens.lengths().sum())
    assert features["input_ids"][0].tolist() == tokens.flat.tolist()
    assert isinstance(context, Packed) and context.longest == tokens.lengths().max()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("cached", [False, True])
def test_the_same_loss_and_gradients_in_one_pass(
    cached: bool, device: str, tiny_model: Path, tokens: TokenStore
) -> None:
    start = load_model(tiny_model, CONFIG, device)
    results = []
    for without in (False, True):
        model = copy.deepcopy(start).eval()
        forwards = Forward(model, "query"), Forward(model, "document")
        loss_of = TeleportationLoss(model, *forwards, chunk_tokens=60, grad_cache=cached)
        for forward in forwards:
            forward.packs = without
        loss_of.one_pass = without
        calls = []
        hook = model[1].register_forward_pre_hook(lambda module, given, calls=calls: calls.append(given))
        features = [moved(one, torch.device(device)) for one in batch(tokens, forwards[1])]
        loss = loss_of(*features)
        loss.backward()
        hook.remove()
        used = [weight.grad for weight in model.parameters() if weight.grad is not None]
        results.append((float(loss.detach()), torch.cat([gradient.flatten() for gradient in used]), len(calls)))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-5)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-5) and results[0][1].abs().max() > 1e-3
    assert cached or results[1][2] == 1


def test_joined_texts_are_those_of_both() -> None:
    one = {"input_ids": torch.tensor([[5, 6, 7]]), "attention_mask": torch.ones(1, 3, dtype=torch.long), "lengths": [3]}
    other = {
        "input_ids": torch.tensor([[8], [9]]),
        "attention_mask": torch.ones(2, 1, dtype=torch.long),
        "lengths": [1, 1],
    }
    for first, second in ((one, other), (other, one)):
        both = joined(first, second, pad=1)
        texts = [ids[mask > 0].tolist() for ids, mask in zip(both["input_ids"], both["attention_mask"], strict=True)]
        assert texts == [
            ids[mask > 0].tolist()
            for part in (first, second)
            for ids, mask in zip(part["input_ids"], part["attention_mask"], strict=True)
        ]
        assert (both["input_ids"][both["attention_mask"] == 0] == 1).all()


def of_transformers(config: Any, folder: Path, tiny_model: Path) -> SentenceTransformer:
    """Build a model of another architecture, random weights, with the tokenizer of the tiny one."""
    from transformers import AutoModel, AutoTokenizer

    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return load_model(folder, CONFIG, "cpu")


SMALL = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.mark.parametrize("name", ["bert", "distilbert", "roberta", "mpnet", "modernbert", "llama"])
def test_a_model_is_tried_and_padding_stays_where_it_counts(name: str, tmp_path: Path, tiny_model: Path) -> None:
    """MPNet has biases of its own, others a window or an order."""
    from transformers import AutoConfig

    sizes = {**SMALL, "intermediate_size": 64, "max_position_embeddings": 64, "pad_token_id": 0}
    if name == "distilbert":
        sizes = {"vocab_size": 300, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "pad_token_id": 0}
    config = AutoConfig.for_model(name, **sizes)
    model = of_transformers(config, tmp_path, tiny_model)
    forward = Forward(model, "document")
    forward.pack(bf16=True)
    assert model.training
    model.eval()
    assert forward.packs == (name in ("bert", "distilbert", "roberta"))
    rng = np.random.default_rng(0)
    store = TokenStore.from_lists([rng.integers(5, 90, length).tolist() for length in (40, 3, 17, 40)])
    if forward.packs:  # and if it says so, it holds for longer texts too
        with torch.no_grad():
            without = forward(*inputs(store, forward, "cpu"))
            forward.packs = False
            assert torch.allclose(without, forward(*inputs(store, forward, "cpu")), atol=1e-4)


def test_masks_and_order_are_refused(tiny_model: Path) -> None:
    one = torch.randn(1, 2, 5, 4)
    with Packed(torch.tensor([0, 2, 5]), 3):
        found = torch.nn.functional.scaled_dot_product_attention(one, one, one)
        for wrong in ({"attn_mask": torch.ones(5, 5, dtype=torch.bool)}, {"is_causal": True}):
            with pytest.raises(ValueError, match="looked at whole"):
                torch.nn.functional.scaled_dot_product_attention(one, one, one, **wrong)
    alone = torch.nn.functional.scaled_dot_product_attention(*[one[:, :, :2]] * 3)
    assert torch.allclose(found[:, :, :2], alone, atol=1e-6)


def test_two_encoders_are_not_read_in_one_pass(tiny_model: Path) -> None:
    one, other = (load_model(tiny_model, CONFIG, "cpu") for _ in range(2))
    assert Forward(one, "query").alike(Forward(one, "document"))
    assert not Forward(one, "query").alike(Forward(other, "document"))
    prompted = Forward(one, "query")
    prompted.prompt_length = 3
    assert not prompted.alike(Forward(one, "document")) and not Forward(one, "document").alike(prompted)
    untied = load_model(tiny_model, EncoderConfig(untie_encoders=True), "cpu")
    assert not Forward(untied, "query").alike(Forward(untied, "document"))


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_dropped_on_the_way_forth_is_dropped_on_the_way_back(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a kernel that draws anew on the way back is found out."""
    state = torch.get_rng_state()
    assert drops_alike(torch.device(device))
    assert torch.equal(torch.get_rng_state(), state)
    plain = Packed.attention

    class Redrawn(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *given: Any) -> torch.Tensor:
            ctx.given = given
            return plain(*given)

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
            packed, query, key, value, mask, dropout_p = ctx.given
            with torch.enable_grad():
                again = value.detach().requires_grad_()
                found = plain(packed, query, key, again, mask, dropout_p)
            return None, None, None, torch.autograd.grad(found, again, gradients[0])[0], None, None

    def attention(self: Packed, query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0) -> Any:
        return Redrawn.apply(self, query, key, value, attn_mask, dropout_p)

    monkeypatch.setattr(Packed, "attention", attention)
    assert not drops_alike(torch.device(device))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_gpu_gives_the_vectors_of_a_cpu(precision: Any, tiny_model: Path) -> None:
    rng = np.random.default_rng(0)
    store = TokenStore.from_lists([rng.integers(5, 90, length).tolist() for length in rng.integers(3, 60, 300)])
    config = EncoderConfig(precision=precision, encode_tokens=1000)
    rows = np.arange(len(store))
    found, expected = (
        encode_texts(load_model(tiny_model, config, device), store, rows, "document", config)
        for device in ("cuda", "cpu")
    )
    assert np.abs(found - expected).max() < (1e-4 if precision == "float32" else 0.03)
