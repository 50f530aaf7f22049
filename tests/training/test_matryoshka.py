"""The loss over truncated vectors: sentence-transformers' MatryoshkaLoss on the same texts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zoo_folders
from flat_batch import batch
from sentence_transformers import SentenceTransformer

from ance_tele.console.errors import UserError
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import Forward
from ance_tele.encode.loading import load_model, quiet
from ance_tele.training.config import TrainingConfig
from ance_tele.training.loss import TeleportationLoss, check_sizes

SIZES = (32, 16, 8)


def features(model: Any, forward: Forward, columns: list[list[str]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the two features of a batch: queries, their positives and a negative each."""
    tokens = TokenStore.from_lists(model.tokenizer([text for column in columns for text in column])["input_ids"])
    count = len(columns[0])
    rows = np.arange(count, 3 * count)
    order = np.argsort(-tokens.lengths(rows), kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    ids, mask = map(torch.from_numpy, tokens.padded(rows[order]))
    asked, asked_mask = map(torch.from_numpy, tokens.padded(np.arange(count)))
    query = {"input_ids": asked, "attention_mask": asked_mask, "lengths": asked_mask.sum(1).tolist()}
    query |= {"target": torch.from_numpy(place[:count]), "positives": torch.full((count, 1), -1)}
    passage = {"input_ids": ids, "attention_mask": mask, "lengths": mask.sum(1).tolist()}
    return query, {**passage, "row": torch.from_numpy(rows), "query": torch.zeros(2 * count)}


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("weights", [(), (1.0, 0.5, 0.25)])
def test_it_is_that_of_sentence_transformers(weights: tuple[float, ...], cached: bool, tiny_model: Path) -> None:
    """Loss and gradients, with a scale of 20; cosine, so that what is cut is normalised again."""
    from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, MultipleNegativesRankingLoss

    model = load_model(tiny_model, EncoderConfig(normalize=True, query_max_len=16, passage_max_len=16), "cpu").eval()
    rng = np.random.default_rng(5)
    columns = [[" ".join(f"w{i}" for i in rng.integers(0, 60, rng.integers(2, 12))) for _ in range(8)] for _ in "qpn"]
    plain = MultipleNegativesRankingLoss(model, scale=20.0)
    reference = MatryoshkaLoss(model, plain, SIZES, weights or None)
    expected = reference([model.preprocess(column) for column in columns], torch.zeros(8))
    expected.backward()
    gradients = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
    model.zero_grad()
    query, passage = Forward(model, "query"), Forward(model, "document")
    loss_of = TeleportationLoss(
        model, query, passage, 0.05, chunk_tokens=64, grad_cache=cached, sizes=SIZES, weights=weights
    )
    loss = loss_of(*features(model, passage, columns))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-4)
    ours = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert all(torch.allclose(one, other, atol=2e-5) for one, other in zip(ours, gradients, strict=True))


@pytest.mark.parametrize("normalize", [True, False])
def test_it_is_the_sum_of_the_losses_of_shorter_models(normalize: bool, tiny_model: Path) -> None:
    """Of the model that declares so many dimensions; with the dot product, nothing is normalised."""
    config = EncoderConfig(normalize=normalize, precision="float32", query_max_len=16, passage_max_len=16)
    rng = np.random.default_rng(1)
    tokens = TokenStore.from_lists([[2, *rng.integers(5, 90, rng.integers(1, 12)).tolist(), 3] for _ in range(17)])

    def loss(sizes: tuple[int, ...] = (), weights: tuple[float, ...] = (), dim: int | None = None) -> float:
        from dataclasses import replace

        model = load_model(tiny_model, replace(config, truncate_dim=dim), "cpu").eval()
        forward = Forward(model, "document")
        loss_of = TeleportationLoss(model, Forward(model, "query"), forward, 0.1, sizes=sizes, weights=weights)
        return float(loss_of(*batch(tokens, forward)).detach())

    assert loss((32,)) == pytest.approx(loss(), rel=1e-6)
    expected = 2.0 * loss(dim=20) + 0.5 * loss(dim=4)
    assert loss((20, 4), (2.0, 0.5)) == pytest.approx(expected, rel=1e-5)


def test_what_cannot_be_is_refused(tiny_model: Path) -> None:
    model = load_model(tiny_model, EncoderConfig(), "cpu")
    with pytest.raises(UserError, match="names 64, and the vectors have 32 numbers"):
        check_sizes(model, (64, 8))
    assert check_sizes(model, (32, 8)) == "" and "leaves the whole vectors of 32" in check_sizes(model, (16, 8))
    for settings in ({"matryoshka_dims": (8, 0)}, {"matryoshka_dims": (8,), "matryoshka_weights": (1.0, 2.0)}):
        with pytest.raises(UserError, match="matryoshka"):
            TrainingConfig(**settings).check()
    with pytest.raises(UserError, match="names a size twice"):
        TrainingConfig(matryoshka_dims=(8, 8)).check()


@pytest.mark.parametrize("untied", [False, True])
def test_a_model_is_used_and_saved_at_a_smaller_size(untied: bool, tmp_path: Path) -> None:
    with quiet():
        zoo_folders.pooled(tmp_path / "model", normalize=True)
    config = EncoderConfig(truncate_dim=12, untie_encoders=untied, precision="float32")
    model = load_model(tmp_path / "model", config, "cpu")
    assert model.get_embedding_dimension() == 12
    model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    texts = ["t1 u7 w3", "w9 w9"]
    found = again.encode_query(texts, normalize_embeddings=True)
    whole = load_model(tmp_path / "model", EncoderConfig(), "cpu").encode_query(texts)[:, :12]
    assert np.allclose(found, whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-6)
    with pytest.raises(UserError, match=r"truncate_dim is 40, and the vectors of .* have 32 numbers"):
        load_model(tmp_path / "model", EncoderConfig(truncate_dim=40), "cpu")
