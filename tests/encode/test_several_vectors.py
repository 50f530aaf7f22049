"""Several vectors a passage, projections, ensembles: modules, and folders that give the same vectors again."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense

from ance_tele.console.errors import UserError
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.bert_model import Bert
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import Forward, weights_fingerprint
from ance_tele.encode.ensemble import ensemble
from ance_tele.encode.in_use import Task
from ance_tele.encode.inference import encode_texts
from ance_tele.encode.loading import load_model
from ance_tele.encode.several import FirstVectors, NormalizeEach, vectors_each
from ance_tele.training.loss import check_sizes

CONFIG = EncoderConfig(query_max_len=16, passage_max_len=16, passage_vectors=4, precision="float32")
TEXTS = ["t1 u7 w9 w3 w4", "t2 u13", "t3"]


def encoded(model: SentenceTransformer, task: Task) -> np.ndarray:
    tokens = [model.tokenizer(text)["input_ids"] for text in TEXTS]
    return encode_texts(model, TokenStore.from_lists(tokens), np.arange(len(TEXTS)), task, CONFIG)


def test_first_vectors_of_hand_made_tokens() -> None:
    """A text of two tokens has its first vector again in place of the third; padding may stand on either side."""
    tokens = torch.tensor([[[1.0], [2.0], [3.0]], [[4.0], [5.0], [9.0]]])
    module = FirstVectors(3)
    given = {"token_embeddings": tokens, "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])}
    assert module(dict(given))["sentence_embedding"].tolist() == [[1, 2, 3], [4, 5, 4]]
    assert module(dict(given), task="query")["sentence_embedding"].tolist() == [[1], [4]]
    left = {**given, "attention_mask": torch.tensor([[1, 1, 1], [0, 1, 1]])}
    assert module(left)["sentence_embedding"].tolist() == [[1, 2, 3], [5, 9, 5]]
    flat = {
        "token_embeddings": torch.tensor([[[1.0], [2.0], [3.0], [4.0], [5.0]]]),
        "cu_seq_lens_q": torch.tensor([0, 3, 5]),
    }
    assert module(dict(flat), task="document")["sentence_embedding"].tolist() == [[1, 2, 3], [4, 5, 4]]


def test_each_vector_is_normalised_alone() -> None:
    found = NormalizeEach(2)({"sentence_embedding": torch.tensor([[3.0, 4.0, 0.0, 2.0]])})
    assert found["sentence_embedding"].tolist() == [[pytest.approx(0.6), pytest.approx(0.8), 0.0, 1.0]]


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("untie", [True, False])
def test_a_saved_model_has_the_same_vectors(tiny_model: Path, tmp_path: Path, normalize: bool, untie: bool) -> None:
    model = load_model(tiny_model, replace(CONFIG, normalize=normalize, untie_encoders=untie, projection=8), "cpu")
    assert vectors_each(model) == 4
    passages, queries = encoded(model, "document"), encoded(model, "query")
    assert (passages.shape, queries.shape) == ((3, 32), (3, 8))
    # The query's vector is what a passage of the same text begins with, unless there are two encoders.
    assert np.allclose(passages[:, :8], queries, atol=1e-5)
    assert np.array_equal(passages[2, 24:], passages[2, :8])  # [CLS] t3 [SEP], and [CLS] again
    lengths = np.linalg.norm(passages.reshape(3, 4, 8), axis=2)
    assert np.allclose(lengths, 1, atol=1e-5) is normalize

    model.save_pretrained(str(tmp_path / "saved"))
    assert not [*tmp_path.rglob("*.bin"), *tmp_path.rglob("*.pt")]
    for config in (CONFIG, replace(CONFIG, passage_vectors=1)):  # a model keeps its number of vectors
        again = load_model(tmp_path / "saved", config, "cpu")
        assert np.array_equal(encoded(again, "document"), passages) and np.array_equal(encoded(again, "query"), queries)
        assert weights_fingerprint(again) == weights_fingerprint(model)
    plain = SentenceTransformer(str(tmp_path / "saved"), device="cpu", trust_remote_code=True)
    assert np.allclose(plain.encode_document(TEXTS), passages, atol=1e-5)
    assert np.allclose(plain.encode_query(TEXTS), queries, atol=1e-5)
    with pytest.raises(ValueError, match="trust_remote_code"):
        SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    with pytest.raises(UserError, match="has 4 vectors a passage, and passage_vectors is 2"):
        load_model(tmp_path / "saved", replace(CONFIG, passage_vectors=2), "cpu")


def test_texts_without_padding_have_the_same_vectors(tiny_model: Path) -> None:
    model = load_model(tiny_model, CONFIG, "cpu").eval()
    forward = Forward(model, "document")
    assert isinstance(forward.bert, Bert)
    rows = [model.tokenizer(text)["input_ids"] for text in TEXTS]
    lengths = [len(row) for row in rows]
    ids = torch.tensor([row + [0] * (max(lengths) - len(row)) for row in rows])
    with torch.no_grad():
        padded = forward(ids, (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long(), lengths)
        forward.packs = True
        flat = forward(ids, (ids > 0).long(), lengths)
    assert torch.allclose(padded, flat, atol=1e-5)


def test_a_square_projection_changes_no_product_at_first(tiny_model: Path) -> None:
    several = load_model(tiny_model, CONFIG, "cpu")
    plain = load_model(tiny_model, EncoderConfig(16, 16, pooling="cls", precision="float32"), "cpu")
    one, other = encoded(several, "query"), encoded(plain, "query")
    assert np.allclose(one @ one.T, other @ other.T, atol=1e-5)


def test_what_cannot_have_several_vectors_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    projected = load_model(tiny_model, EncoderConfig(projection=8), "cpu")
    assert isinstance(projected[2], Dense) and projected.get_embedding_dimension() == 8
    projected.save_pretrained(str(tmp_path))
    assert len(load_model(tmp_path, EncoderConfig(projection=8), "cpu")) == len(projected)  # no second projection
    with pytest.raises(UserError, match="cannot get several vectors a passage"):
        load_model(tmp_path, CONFIG, "cpu")


@pytest.fixture(scope="module")
def members(tiny_model: Path) -> list[SentenceTransformer]:
    """Three encoders of 8 dimensions with different weights."""
    found = []
    for number in range(3):
        model = load_model(tiny_model, EncoderConfig(16, 16, projection=8, precision="float32"), "cpu")
        torch.manual_seed(number)
        with torch.no_grad():
            model[2].linear.weight.normal_()
        found.append(model)
    return found


def test_scores_of_an_ensemble_are_sums(members: list[SentenceTransformer], tmp_path: Path) -> None:
    model = ensemble(ensemble(ensemble(None, members[0]), members[1]), members[2])
    alone = [encoded(member, "document") for member in members]
    together = encoded(model, "document")
    assert np.array_equal(together, np.concatenate(alone, axis=1))
    asked = encoded(model, "query")
    sums = sum(encoded(member, "query") @ one.T for member, one in zip(members, alone, strict=True))
    assert np.allclose(asked @ together.T, sums, atol=1e-5)

    model.save_pretrained(str(tmp_path / "saved"))
    assert len(list(tmp_path.rglob("model.safetensors"))) == 6 and not list(tmp_path.rglob("*.bin"))
    # Settings that its members were made with add nothing to the whole.
    again = load_model(tmp_path / "saved", EncoderConfig(16, 16, projection=8, untie_encoders=True), "cpu")
    assert np.array_equal(encoded(again, "document"), together)
    assert weights_fingerprint(again) == weights_fingerprint(model)
    plain = SentenceTransformer(str(tmp_path / "saved"), device="cpu", trust_remote_code=True)
    assert np.allclose(plain.encode_document(TEXTS), together, atol=1e-5)


def test_a_member_that_is_a_pickle_is_refused(members: list[SentenceTransformer], tmp_path: Path) -> None:
    ensemble(None, members[0]).save_pretrained(str(tmp_path))
    dense = next(tmp_path.rglob("2_Dense"))
    (dense / "model.safetensors").rename(dense / "pytorch_model.bin")
    assert json.loads((tmp_path / "modules.json").read_text())[0]["type"] == "ance_tele.encode.ensemble.Ensemble"
    with pytest.raises(UserError, match="pickle"):
        load_model(tmp_path, EncoderConfig(), "cpu")


def test_several_vectors_are_not_truncated(tiny_model: Path) -> None:
    with pytest.raises(UserError, match="has 4 vectors a passage, which cannot be truncated; leave truncate_dim out"):
        load_model(tiny_model, replace(CONFIG, truncate_dim=8), "cpu")
    with pytest.raises(UserError, match=r"matryoshka_dims is \[8\], but a passage has 4 vectors"):
        check_sizes(load_model(tiny_model, CONFIG, "cpu"), [8])


def test_several_vectors_are_not_projected_again(tiny_model: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, projection=8)
    for untie in (False, True):
        load_model(tiny_model, replace(config, untie_encoders=untie), "cpu").save_pretrained(str(tmp_path / "saved"))
        assert vectors_each(load_model(tmp_path / "saved", config, "cpu")) == 4
        with pytest.raises(UserError, match="has vectors of 8 numbers, and projection is 16"):
            load_model(tmp_path / "saved", replace(config, projection=16), "cpu")
