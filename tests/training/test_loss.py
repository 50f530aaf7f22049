"""The loss against a plain reading of its equation, and gradient caching against one big batch."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from flat_batch import batch
from hypothesis import given, settings
from hypothesis import strategies as st

from ance_tele.data.tokens import TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import Forward, chunks
from ance_tele.encode.loading import load_model
from ance_tele.training.loss import TeleportationLoss, contrastive_loss, known_positives, positive_loss, scaled_scores

CONFIG = EncoderConfig(query_max_len=16, passage_max_len=16, precision="float32")


@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 2**31), st.sampled_from([0.05, 1.0]))
@settings(max_examples=40, deadline=None)
def test_loss_is_the_equation(queries: int, extra: int, seed: int, temperature: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    passages = queries + extra
    q, p = torch.randn(queries, 4, generator=rng), torch.randn(passages, 4, generator=rng)
    target = torch.randperm(passages, generator=rng)[:queries]
    excluded = torch.rand(queries, passages, generator=rng) < 0.3
    loss = contrastive_loss(q, p, target, excluded, temperature)
    total = 0.0
    for i in range(queries):
        scores = {j: float(q[i] @ p[j]) / temperature for j in range(passages)}
        counted = [j for j in scores if j == target[i] or not excluded[i, j]]
        top = max(scores[j] for j in counted)
        log_sum = top + np.log(sum(np.exp(scores[j] - top) for j in counted))
        total -= scores[int(target[i])] - log_sum
    assert float(loss) == pytest.approx(total / queries, rel=1e-4, abs=1e-4)


def test_known_positives() -> None:
    mask = known_positives(torch.tensor([5, 7, 5, 9]), torch.tensor([[5, -1], [9, 7]]))
    assert mask.tolist() == [[True, False, True, False], [False, True, False, True]]


def test_chunks_cover_and_fit() -> None:
    lengths = torch.tensor(sorted([3, 9, 9, 1, 7, 2, 40], reverse=True))
    parts = list(chunks(lengths, 18))
    assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])] and parts[-1].stop >= 7
    assert all((part.stop - part.start) * int(lengths[part.start]) <= 18 for part in parts[1:])


@pytest.fixture(scope="module")
def tokens() -> TokenStore:
    rng = np.random.default_rng(1)
    return TokenStore.from_lists([[2, *rng.integers(5, 90, rng.integers(1, 12)).tolist(), 3] for _ in range(17)])


@pytest.mark.parametrize("chunk_tokens", [13, 40, 100_000])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_gradient_cache_changes_nothing(
    chunk_tokens: int, dropout: float, tiny_model: Path, tokens: TokenStore
) -> None:
    """Same loss and gradients with activations dropped; with dropout, the same masks are drawn again."""
    start = load_model(tiny_model, CONFIG, "cpu")
    results = []
    for cached in (False, True):
        model = copy.deepcopy(start).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = dropout
        forward = Forward(model, "document")
        loss_of = TeleportationLoss(
            model, Forward(model, "query"), forward, chunk_tokens=chunk_tokens, grad_cache=cached
        )
        torch.manual_seed(11)
        loss = loss_of(*batch(tokens, forward))
        loss.backward()
        used = [weight.grad for weight in model.parameters() if weight.grad is not None]
        results.append((float(loss.detach()), torch.cat([gradient.flatten() for gradient in used])))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-6)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-5)
    assert results[0][1].abs().max() > 1e-3


def test_chunks_do_not_change_the_loss(tiny_model: Path, tokens: TokenStore) -> None:
    model = load_model(tiny_model, CONFIG, "cpu").eval()
    forward = Forward(model, "document")
    losses = []
    for chunk_tokens in (13, 60, 100_000):
        loss_of = TeleportationLoss(model, Forward(model, "query"), forward, chunk_tokens=chunk_tokens)
        losses.append(float(loss_of(*batch(tokens, forward)).detach()))
    assert max(losses) - min(losses) < 1e-5


def test_gradient_cache_bounds_memory(tiny_model: Path, tokens: TokenStore) -> None:
    """With the cache, what autograd keeps of the passages' forward passes is a small part of what it kept."""
    kept = []
    for cached in (False, True):
        model = load_model(tiny_model, CONFIG, "cpu").train()
        forward = Forward(model, "document")
        loss_of = TeleportationLoss(model, Forward(model, "query"), forward, chunk_tokens=40, grad_cache=cached)
        total = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.numel()
            return tensor

        features = batch(tokens, forward)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss_of.encode(features[1], forward, cached)
        kept.append(total)
    assert kept[1] < kept[0] / 20


def test_same_loss_as_sentence_transformers(tiny_model: Path) -> None:
    """MultipleNegativesRankingLoss with the same negatives as columns, without dropout: 1e-4 (issue's bound)."""
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    model = load_model(tiny_model, EncoderConfig(normalize=True, query_max_len=16, passage_max_len=16), "cpu").eval()
    rng = np.random.default_rng(5)
    text = [" ".join(f"w{i}" for i in rng.integers(0, 60, rng.integers(2, 12))) for _ in range(8 * 5)]
    queries, passages = text[:8], np.array(text[8:]).reshape(4, 8)  # positive and three negatives a query
    reference = MultipleNegativesRankingLoss(model, scale=20.0)
    expected = reference([model.preprocess(column) for column in [queries, *passages.tolist()]], None)

    tokens = TokenStore.from_lists(model.tokenizer([*queries, *passages.ravel().tolist()])["input_ids"])
    forward = Forward(model, "document")
    rows = np.arange(8, 40)
    order = np.argsort(-tokens.lengths(rows), kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    ids, mask = map(torch.from_numpy, tokens.padded(rows[order]))
    asked, asked_mask = map(torch.from_numpy, tokens.padded(np.arange(8)))
    query = {
        "input_ids": asked,
        "attention_mask": asked_mask,
        "lengths": asked_mask.sum(1).tolist(),
        "target": torch.from_numpy(place[:8]),
    }
    passage = {"input_ids": ids, "attention_mask": mask, "lengths": mask.sum(1).tolist()}
    passage |= {"row": torch.from_numpy(rows), "query": torch.zeros(32)}
    loss_of = TeleportationLoss(model, Forward(model, "query"), forward, temperature=0.05, chunk_tokens=64)
    ours = loss_of({**query, "positives": torch.full((8, 1), -1)}, passage)
    assert float(ours.detach()) == pytest.approx(float(expected.detach()), abs=1e-4)


def test_without_in_batch_negatives_only_own_passages_count(tiny_model: Path, tokens: TokenStore) -> None:
    model = load_model(tiny_model, CONFIG, "cpu").eval()
    forward = Forward(model, "document")
    features = batch(tokens, forward)
    features[0]["target"] = torch.tensor([0, 1, 2])  # owners are 0 1 2 0 1 2 …
    loss_of = TeleportationLoss(model, Forward(model, "query"), forward, in_batch_negatives=False)
    ours = float(loss_of(*features).detach())
    q = loss_of.encode(features[0], loss_of.query_forward, False)
    p = loss_of.encode(features[1], forward, False)
    own = [F.cross_entropy((q[i] @ p[i::3].T)[None], torch.tensor([0])) for i in range(3)]
    assert ours == pytest.approx(float(torch.stack(own).mean().detach()), abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 1), st.integers(0, 1000))
def test_a_weight_is_a_share_of_a_negative(weight: float, seed: int) -> None:
    """By the sum of exponentials; a weight of one half of two equal negatives is one of them."""
    generator = torch.Generator().manual_seed(seed)
    queries, passages = torch.randn(2, 4, generator=generator), torch.randn(5, 4, generator=generator)
    target, doubtful = torch.tensor([0, 3]), torch.tensor([[False, True, False, False, True], [False] * 5])
    bias = float(np.log(weight)) * doubtful
    scores = (queries @ passages.T / 0.5).double()
    shares = torch.where(doubtful, weight, 1.0) * scores.exp()
    expected = -(scores[[0, 1], target].exp() / shares.sum(dim=1)).log().mean()
    found = contrastive_loss(queries, passages, target, temperature=0.5, bias=bias)
    assert float(found) == pytest.approx(float(expected), rel=1e-4)
    twice = torch.cat([passages, passages[1:2]])
    half = float(np.log(0.5)) * torch.tensor([[False, True, False, False, False, True]] * 2)
    assert float(contrastive_loss(queries, twice, target, bias=half)) == pytest.approx(
        float(contrastive_loss(queries, passages, target)), rel=1e-4
    )


def test_of_several_vectors_the_largest_product_counts() -> None:
    """Two passages of two vectors: (1, 0), (0, 2) and (1, 2), (0, 0); only the largest product gets a gradient."""
    queries = torch.tensor([[1.0, 2.0]])
    passages = torch.tensor([[1.0, 0.0, 0.0, 2.0], [1.0, 2.0, 0.0, 0.0]], requires_grad=True)
    scores = scaled_scores(queries, passages, 0.5)
    assert scores.tolist() == [[8.0, 10.0]]
    loss = positive_loss(scores, torch.tensor([0]))
    assert float(loss.detach()) == pytest.approx(math.log(1 + math.exp(2)))
    loss.backward()
    assert passages.grad is not None
    assert (passages.grad != 0).tolist() == [[False, False, True, True], [True, True, False, False]]
