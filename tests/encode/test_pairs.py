"""Logits of pairs against CrossEncoder.predict, whatever their lengths and however they are batched."""

from pathlib import Path

import numpy as np
import pytest
import torch
from judges import write_judge
from sentence_transformers import CrossEncoder
from torch import nn

from ance_tele.encode import pairs as home
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.cross_encoder import activated, load_cross_encoder, new_cross_encoder
from ance_tele.encode.pairs import pair_logits


@pytest.fixture(scope="module")
def judge(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> CrossEncoder:
    folder = write_judge(tiny_model, tmp_path_factory.mktemp("judges") / "judge", 1)
    return load_cross_encoder(str(folder), EncoderConfig())


def texts(count: int, longest: int, seed: int = 0) -> list[tuple[str, str]]:
    rng = np.random.default_rng(seed)

    def words(most: int) -> str:
        return " ".join(f"w{rng.integers(60)}" for _ in range(rng.integers(0, most)))

    return [(words(9), words(longest)) for _ in range(count)]


@pytest.mark.parametrize("longest", [12, 300])
def test_the_logits_are_those_of_predict(judge: CrossEncoder, longest: int) -> None:
    """Texts of up to 300 words are cut, the longer one of each pair first."""
    pairs = texts(90, longest)
    expected = judge.predict(pairs, activation_fn=nn.Identity())
    done: list[float] = []
    found = pair_logits(judge, pairs, advance=done.append)
    assert found.dtype == np.float32 and np.abs(found - expected).max() < 1e-5
    assert sum(done) == len(pairs) and len(done) > 1
    assert np.allclose(activated(judge, found), judge.predict(pairs), atol=1e-6)


def test_no_pairs_have_no_logits(judge: CrossEncoder) -> None:
    assert pair_logits(judge, []).shape == (0,)


def test_batches_hold_so_many_tokens_and_threads_change_nothing(
    judge: CrossEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, widths = texts(120, 40), list[int]()
    alone = pair_logits(judge, pairs)
    whole = judge.forward

    def seen(given: dict[str, torch.Tensor], **others: object) -> dict[str, torch.Tensor]:
        widths.append(given["input_ids"].numel())
        return whole(given, **others)

    monkeypatch.setattr(home, "batch_budget", lambda tokens, device: 256)
    with monkeypatch.context() as patch:
        patch.setattr(judge, "forward", seen)
        small = pair_logits(judge, pairs)
    assert max(widths) <= 256 and len(widths) > 5 and np.abs(small - alone).max() < 1e-5
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert np.abs(pair_logits(judge, pairs) - alone).max() < 1e-5
    finally:
        torch.set_num_threads(threads)


def test_bf16_is_near(judge: CrossEncoder) -> None:
    pairs = texts(40, 30)
    plain, half = (pair_logits(judge, pairs, precision) for precision in ("float32", "bf16"))
    assert 0 < np.abs(plain - half).max() < 0.1 * np.abs(plain).max()


def test_a_model_with_a_prompt_reads_pairs_in_its_own_way(judge: CrossEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = texts(10, 20)
    monkeypatch.setattr(judge, "prompts", {"rank": "w1 w2 "})
    monkeypatch.setattr(judge, "default_prompt_name", "rank")
    expected = judge.predict(pairs, activation_fn=nn.Identity())
    assert np.abs(pair_logits(judge, pairs) - expected).max() < 1e-5
    monkeypatch.setattr(judge, "default_prompt_name", None)
    assert np.abs(pair_logits(judge, pairs) - expected).max() > 1e-3


def test_any_encoder_becomes_a_cross_encoder(tiny_model: Path, tmp_path: Path) -> None:
    """Of a plain encoder and of a sentence-transformers model; the seed decides the head."""
    from ance_tele.encode.loading import load_model

    config = EncoderConfig(query_max_len=16, passage_max_len=24)
    load_model(tiny_model, EncoderConfig()).save_pretrained(str(tmp_path / "st"))
    for start in (tiny_model, tmp_path / "st"):
        one, again, other = (new_cross_encoder(str(start), config, seed) for seed in (1, 1, 2))
        heads = [dict(model.named_parameters()) for model in (one, again, other)]
        name = next(name for name in heads[0] if name.endswith("classifier.weight"))
        assert torch.equal(heads[0][name], heads[1][name]) and not torch.equal(heads[0][name], heads[2][name])
        assert one.num_labels == 1 and one.max_seq_length == 40
        body = next(name for name in heads[0] if name.endswith("word_embeddings.weight"))
        assert torch.equal(heads[0][body], heads[2][body])


def test_two_empty_texts_have_a_logit(judge: CrossEncoder) -> None:
    assert np.isfinite(pair_logits(judge, [("", ""), ("w1", "w2")])).all()
