"""Damaged models: refused in a sentence that names the file, never loaded with random or other weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling
from torch import Tensor

from ance_tele.console.errors import UserError
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.loading import load_model


@pytest.fixture(scope="module")
def whole(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a dense layer, as sentence-transformers saves it."""
    folder = tmp_path_factory.mktemp("whole") / "model"
    modules = [Transformer(str(tiny_model)), Pooling(32), Dense(32, 16)]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder), create_model_card=False)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "model")
    return tmp_path / "model"


def test_the_model_itself_is_loaded(folder: Path) -> None:
    assert load_model(folder, EncoderConfig()).get_embedding_dimension() == 16


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_model(folder, EncoderConfig())
    sentence = str(caught.value)
    assert sentence[-1] == "." and sentence.isprintable() and "another copy of the model" in sentence
    return sentence


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("sentence_bert_config.json", b'{"max_seq', "is not valid JSON"),
        ("modules.json", b"\xef\xbb\xbf[]", "is not valid JSON (Unexpected UTF-8 BOM"),
        ("1_Pooling/config.json", b"\xff", "is not valid JSON (byte 0 is not UTF-8)"),
        ("tokenizer_config.json", b"[" * 100_000, "is not valid JSON"),
        ("2_Dense/model.safetensors", b"short", "is damaged (Error while deserializing header"),
        ("model.safetensors", (1 << 40).to_bytes(8, "little") + b"{}", "is damaged (Error while deserializing header"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(folder: Path, name: str, content: bytes, why: str) -> None:
    (folder / name).write_bytes(content)
    sentence = refused(folder)
    assert sentence.startswith(f"The model {folder} cannot be loaded: {folder / name} {why}")


def test_weights_cut_short_are_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert f"{path} is damaged (" in refused(folder)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("sentence_bert_config.json", "modality_config", {"text": {"method": "forward", "method_output_name": "no"}}),
        ("sentence_bert_config.json", "modality_config", {"text": {"method": "forward", "method_output_name": 0.5}}),
        ("sentence_bert_config.json", "modality_config", {"text": {"method": "none", "method_output_name": None}}),
        ("2_Dense/config.json", "module_input_name", []),
        ("1_Pooling/config.json", "pooling_mode", []),
    ],
)
def test_what_shows_at_the_first_text_only_is_a_sentence(folder: Path, name: str, key: str, value: Any) -> None:
    config = json.loads((folder / name).read_text())
    assert key in config
    (folder / name).write_text(json.dumps({**config, key: value}))
    sentence = refused(folder)
    assert "cannot encode a text (" in sentence or "cannot be loaded" in sentence


def renamed(weights: dict[str, Tensor]) -> None:
    weights["embeddings.Word_embeddings.weight"] = weights.pop("embeddings.word_embeddings.weight")


def without_layer(weights: dict[str, Tensor]) -> None:
    for key in [key for key in weights if key.startswith("encoder.layer.1.")]:
        del weights[key]


def cut(weights: dict[str, Tensor]) -> None:
    weights["embeddings.word_embeddings.weight"] = weights["embeddings.word_embeddings.weight"][:-3].clone()


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        (
            renamed,
            "lacks weights that its architecture has ('embeddings.word_embeddings.weight'), which would be random",
        ),
        (without_layer, "('encoder.layer.1.attention.self.query.weight' and 15 more), which would be random"),
        (cut, "its weights have other shapes than its config.json declares; take"),
    ],
)
def test_weights_that_would_be_random_are_refused(
    folder: Path, change: Callable[[dict[str, Tensor]], None], fragment: str
) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert fragment in refused(folder)
