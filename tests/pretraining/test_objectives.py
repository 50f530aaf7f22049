"""The terms of each objective, against transformers' own modules and against small sums by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pretraining_texts import plain_batches
from torch import Tensor
from zoo_folders import bert, roberta

from ance_tele.encode.loading import quiet
from ance_tele.pretraining.batches import IGNORED
from ance_tele.pretraining.config import TERMS, PretrainingConfig
from ance_tele.pretraining.model import Pretrained
from ance_tele.pretraining.objectives import contrast, weak_mask
from ance_tele.pretraining.start import load_start
from ance_tele.training.batches import Feature

OBJECTIVES = ("mlm", "condenser", "cocondenser", "seed")


@pytest.fixture(scope="module", params=["bert", "roberta"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("pretraining") / request.param
    with quiet():
        {"bert": bert, "roberta": roberta}[request.param](found)
    return found


def made(folder: Path, objective: Any, **settings: Any) -> tuple[Pretrained, Feature]:
    """Return a model without dropout, and a batch of masked texts of several lengths."""
    config = PretrainingConfig(objective, max_tokens=32, train_precision="float32", report_to=("none",), **settings)
    start = load_start(str(folder), config, "cpu")
    start.pretrained.eval()
    batches = plain_batches([30, 50, 21, 18, 26], len(start.tokenizer), objective=objective, max_tokens=32)
    vocabulary = replace(start.words, plain=start.words.plain[start.words.plain > 8])
    return start.pretrained, replace(batches, words=vocabulary).collate(np.arange(5), 0)


def hidden(model: Pretrained, feature: Feature) -> tuple[Tensor, ...]:
    """Return the outputs of all layers, by transformers' own forward pass."""
    given = {"input_ids": feature["input_ids"], "attention_mask": feature["attention_mask"]}
    return tuple(model.body(**given, output_hidden_states=True).hidden_states)


def word_loss(model: Pretrained, x: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of masked words, by torch's modules."""
    dense, norm = model.mlm["dense"], model.mlm["norm"]
    scores = norm(torch.nn.functional.gelu(dense(x))) @ model.table.T + dict(model.mlm.named_parameters())["bias"]
    return torch.nn.functional.cross_entropy(scores.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)


def extended(mask: Tensor) -> Tensor:
    return torch.zeros(mask.shape).masked_fill(mask == 0, torch.finfo(torch.float32).min)[:, None, None]


def test_masked_words_are_those_of_transformers(folder: Path) -> None:
    model, feature = made(folder, "mlm")
    terms = model.terms(feature)
    assert list(terms) == ["mlm"]
    expected = word_loss(model, hidden(model, feature)[-1], feature["labels"])
    torch.testing.assert_close(terms["mlm"], expected, rtol=1e-4, atol=1e-5)


def test_condenser_is_masked_words_of_the_body_and_of_the_head(folder: Path) -> None:
    """The head sees the last layer's first token and the middle layer's others; both losses count once."""
    model, feature = made(folder, "condenser")
    layers, mask = hidden(model, feature), extended(feature["attention_mask"])
    assert model.skip_from == 1 and len(layers) == 3
    x = torch.cat([layers[2][:, :1], layers[1][:, 1:]], 1)
    x = model.head(x, attention_mask=mask).last_hidden_state
    body, head = (word_loss(model, each, feature["labels"]) for each in (layers[2], x))
    terms = model.terms(feature)
    torch.testing.assert_close(torch.stack(list(terms.values())), torch.stack([body, head]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(feature), body + head, rtol=1e-4, atol=1e-5)


def test_the_head_knows_of_late_layers_by_the_first_token_alone(folder: Path) -> None:
    model, feature = made(folder, "condenser", grad_cache=False)
    model.terms(feature)["head"].backward()
    late = model.body.encoder.layer[1].output.dense.weight.grad
    assert late is not None and late.abs().sum() > 0
    model.zero_grad()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ance_tele.pretraining.model.condensed", lambda late, early: early)
        model.terms(feature)["head"].backward()
    late = model.body.encoder.layer[1].output.dense.weight.grad
    assert late is None or late.abs().sum() == 0


def test_cocondenser_adds_the_contrast_of_two_spans(folder: Path) -> None:
    model, feature = made(folder, "cocondenser")
    vectors, partner = hidden(model, feature)[-1][:, 0], feature["partner"]
    scores = (vectors @ vectors.T).fill_diagonal_(-torch.inf)
    expected = torch.stack([torch.logsumexp(row, 0) - row[mate] for row, mate in zip(scores, partner, strict=True)])
    terms = model.terms(feature)
    torch.testing.assert_close(terms["contrast"], expected.mean(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model(feature), terms["mlm"] + terms["head"] + terms["contrast"])


def test_the_contrast_by_hand() -> None:
    """Spans 0 and 2, 1 and 3 are partners; dot product, no temperature, a span is not its own candidate."""
    vectors = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0], [0.0, 1.0]])
    scores = [[0, 3, 0], [0, 2, 2], [3, 2, 1], [0, 2, 1]]  # of the others, in order
    right = [1, 2, 0, 1]
    expected = np.mean([np.log(np.exp(row).sum()) - row[place] for row, place in zip(scores, right, strict=True)])
    assert float(contrast(vectors, torch.tensor([2, 3, 0, 1]))) == pytest.approx(float(expected), rel=1e-6)


def test_seed_is_half_masked_words_half_every_word_from_the_weak_decoder(folder: Path) -> None:
    model, feature = made(folder, "seed")
    last, original = hidden(model, feature)[-1], feature["original"]
    embedded = model.body.embeddings(input_ids=original)
    length = original.shape[1]
    seen = torch.tensor([[at == 0 or place - 2 < at <= place for at in range(length)] for place in range(length)])
    mask = torch.zeros(length, length).masked_fill(~seen, torch.finfo(torch.float32).min)[None, None]
    x = torch.cat([last[:, :1], embedded[:, 1:]], 1)
    x = model.decoder(x, attention_mask=mask.expand(len(x), -1, -1, -1)).last_hidden_state
    scores, losses = x @ model.table.T + model.decoder_bias, []
    for text, size in enumerate(feature["lengths"]):
        losses += [
            torch.nn.functional.cross_entropy(scores[text, place - 1], original[text, place])
            for place in range(1, size - 1)
        ]
    assert len(losses) == feature["real"]
    terms = model.terms(feature)
    torch.testing.assert_close(terms["decoder"], torch.stack(losses).mean(), rtol=1e-4, atol=1e-4)
    masked = word_loss(model, last, feature["labels"])
    torch.testing.assert_close(model(feature), (masked + terms["decoder"]) / 2, rtol=1e-4, atol=1e-4)


def test_the_decoder_is_weak() -> None:
    """A layer sees the first token and the last k; no layer sees what is to come."""
    mask = weak_mask(6, 2)[0, 0]
    for place in range(6):
        assert np.flatnonzero(mask[place]).tolist() == sorted({0, max(0, place - 1), place})


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_chunks_and_cached_gradients_change_nothing(folder: Path, objective: str) -> None:
    """Also with dropout, which is drawn alike in both passes: one text a chunk."""
    found = []
    for cached in (False, True):
        model, feature = made(folder, objective, grad_cache=cached, chunk_tokens=40)
        model.train()
        torch.manual_seed(5)
        loss = model(feature)
        loss.backward()
        found.append((loss.detach(), {name: one.grad for name, one in model.named_parameters()}))
    torch.testing.assert_close(found[0][0], found[1][0])
    for name, gradient in found[0][1].items():
        other = found[1][1][name]
        assert (gradient is None) == (other is None) == ("pooler" in name), name
        if gradient is not None:
            torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-6)
    losses = []
    for tokens in (1, 16384):
        model, feature = made(folder, objective, chunk_tokens=tokens)
        losses.append(model(feature).detach())
    torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_batch_of_one_passage(folder: Path, objective: str) -> None:
    """coCondenser's spans have nothing to be told from then: that term is zero, the others are not."""
    model, _ = made(folder, objective)
    batches = plain_batches([30], len(model.table), objective=objective, max_tokens=32)
    with torch.no_grad():
        terms = model.terms(batches.collate(np.array([0]), 0))
    assert {name for name, value in terms.items() if float(value) > 1} == set(terms) - {"contrast"}
    assert terms.get("contrast", torch.zeros(())) == 0
    assert torch.isfinite(model(batches.collate(np.array([0]), 0)))


def test_bf16_is_close_to_float32(folder: Path) -> None:
    for objective in OBJECTIVES:
        model, feature = made(folder, objective)
        exact = model.terms(feature)
        model.settings = replace(model.settings, train_precision="bf16")
        for name, value in model.terms(feature).items():
            assert abs(float(value) - float(exact[name])) < 0.05 * float(exact[name]) + 0.05, (objective, name)


def test_the_weights_of_the_terms_are_the_papers() -> None:
    assert set(TERMS) == set(OBJECTIVES)
    assert set(TERMS["cocondenser"].values()) == {1.0} and set(TERMS["seed"].values()) == {0.5}
