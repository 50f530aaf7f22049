"""Speed guarded by counting, not by the clock: what goes through the model, and how often."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from test_batches import plan_of

from ance_tele.data.tokens import TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import CPU_TOKENS, Forward, batch_budget
from ance_tele.encode.inference import encode_texts
from ance_tele.encode.loading import load_model
from ance_tele.training.batches import Collator, Feature
from ance_tele.training.loss import TeleportationLoss

CONFIG = EncoderConfig(query_max_len=16, passage_max_len=100, precision="float32")


@contextmanager
def counted(model: SentenceTransformer) -> Iterator[list[tuple[int, int, int]]]:
    """Note rows, padded and real tokens of every forward pass."""
    calls: list[tuple[int, int, int]] = []

    def note(module: Any, inputs: tuple[Any, ...]) -> None:
        mask = inputs[0]["attention_mask"]
        calls.append((mask.shape[0], mask.numel(), int(mask.sum())))

    hook = model[1].register_forward_pre_hook(note)  # the pooling, after any encoder
    try:
        yield calls
    finally:
        hook.remove()


def padding(calls: list[tuple[int, int, int]]) -> float:
    return 1 - sum(real for _, _, real in calls) / sum(padded for _, padded, _ in calls)


def lengths_like_marco(count: int) -> np.ndarray:
    """Mean 70, as MS MARCO's passages."""
    return np.clip(np.random.default_rng(0).lognormal(4.15, 0.4, count), 10, 100).astype(int)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> SentenceTransformer:
    return load_model(tiny_model, CONFIG, "cpu")


@pytest.fixture(scope="module")
def tokens() -> TokenStore:
    rng = np.random.default_rng(1)
    return TokenStore.from_lists([rng.integers(5, 90, n).tolist() for n in lengths_like_marco(2000)])


def batch_of(model: SentenceTransformer, tokens: TokenStore, flat: list[np.ndarray]) -> tuple[Feature, Feature]:
    queries = TokenStore.from_lists([[2, 7, 8, 3]] * (2 * len(flat)))
    plan = plan_of([3] * len(flat))
    collate = Collator(plan, queries, tokens, Forward(model, "query"), Forward(model, "document"))
    return collate.collate(np.arange(len(flat)), flat)


def loss_of(model: SentenceTransformer, **options: Any) -> TeleportationLoss:
    return TeleportationLoss(model, Forward(model, "query"), Forward(model, "document"), **options)


def test_a_step_encodes_few_chunks_with_little_padding(model: SentenceTransformer, tokens: TokenStore) -> None:
    """8 x (1 + 31): one pass of the queries, passages in chunks of the budget, each once, under 5% padding."""
    flat = list(np.random.default_rng(2).permutation(len(tokens))[:256].reshape(8, 32))
    with counted(model) as calls:
        loss_of(model)(*batch_of(model, tokens, flat)).backward()
    real = int(tokens.lengths(np.concatenate(flat)).sum())
    assert calls[0][0] == 8 and sum(rows for rows, _, _ in calls) == 8 + 256
    assert sum(tokens for _, _, tokens in calls) == real + 8 * 4
    assert padding(calls[1:]) < 0.05
    assert len(calls) - 1 <= np.ceil(real / CPU_TOKENS * 1.15)


def test_the_cache_of_gradients_computes_each_chunk_twice_and_no_more(
    model: SentenceTransformer, tokens: TokenStore
) -> None:
    flat = list(np.arange(64).reshape(4, 16))
    features = batch_of(model, tokens, flat)
    counts = []
    for cached in (None, True):
        with counted(model) as calls:
            loss_of(model, grad_cache=cached)(*features).backward()
        counts.append(len(calls) - 1)
    assert counts[1] == 2 * counts[0]


def test_a_passage_that_queries_share_is_encoded_once_and_counts_as_often_as_met(
    model: SentenceTransformer, tokens: TokenStore
) -> None:
    flat = [np.array([4, 9, 9, 30]), np.array([9, 4, 31, 32]), np.array([33, 9, 34, 4])]
    model.eval()
    with counted(model) as calls:
        ours = loss_of(model, mask_known_positives=False)(*batch_of(model, tokens, flat))
    assert sum(rows for rows, _, _ in calls) == 3 + 7
    rows = np.concatenate(flat)
    vectors = torch.from_numpy(encode_texts(model, tokens, rows, "document", CONFIG))
    asked = torch.from_numpy(
        encode_texts(model, TokenStore.from_lists([[2, 7, 8, 3]]), np.zeros(3, int), "query", CONFIG)
    )
    expected = torch.nn.functional.cross_entropy(asked @ vectors.T, torch.tensor([0, 4, 8]))
    assert float(ours.detach()) == pytest.approx(float(expected), abs=1e-4)


def test_every_occurrence_keeps_its_owner_and_its_target(model: SentenceTransformer, tokens: TokenStore) -> None:
    flat = [np.array([4, 9, 9, 30]), np.array([9, 4, 31, 32]), np.array([33, 9, 34, 4])]
    query, passage = batch_of(model, tokens, flat)
    for i, mine in enumerate(flat):
        assert int(passage["row"][query["target"][i]]) == mine[0]
        assert int(passage["query"][query["target"][i]]) == i
        assert sorted(passage["row"][passage["query"] == i].tolist()) == sorted(mine.tolist())
    for place, row in zip(passage["place"].tolist(), passage["row"].tolist(), strict=True):
        ids = passage["input_ids"][place][passage["attention_mask"][place].bool()]
        assert ids.tolist() == tokens[row].tolist()


def test_encoding_pads_little_and_reads_each_token_once(model: SentenceTransformer, tokens: TokenStore) -> None:
    with counted(model) as calls:
        encode_texts(model, tokens, np.arange(len(tokens)), "document", CONFIG)
    assert sum(real for _, _, real in calls) == tokens.lengths().sum()
    assert padding(calls) < 0.02
    assert max(padded for _, padded, _ in calls) <= CPU_TOKENS
    assert len(calls) <= np.ceil(tokens.lengths().sum() / CPU_TOKENS * 1.1)


def test_a_device_takes_what_is_asked_for_and_a_processor_what_its_caches_hold() -> None:
    assert batch_budget(8192, torch.device("cpu")) == CPU_TOKENS and batch_budget(7, torch.device("cpu")) == 7
    assert batch_budget(8192, torch.device("cuda")) == 8192


@pytest.mark.parametrize("plain", [True, False])
def test_bf16_casts_each_weight_once(
    plain: bool, model: SentenceTransformer, tokens: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The casts of a whole encoding are those of one batch, however many batches there are; of other models too."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # the profiler sees this thread alone
    if not plain:
        monkeypatch.setattr("ance_tele.encode.encoder.bert_of", lambda modules: None)
    counts, cast = [], "aten::_foreach_copy_" if plain else "aten::_to_copy"
    for count in (10, 400):
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as profile:
            encode_texts(model, tokens, np.arange(count), "document", replace(CONFIG, precision="bf16"))
        found = [event for event in profile.key_averages(group_by_input_shape=True) if event.key == cast]
        counts.append(sum(event.count for event in found if plain or event.input_shapes[0] == [64, 32]))
    assert counts[0] == counts[1] > 0
