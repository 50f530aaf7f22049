"""Saved folders as other programs read them: sentence-transformers 5, text-embeddings-inference, fastembed."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer

from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.loading import load_model
from ance_tele.encode.saving import save_model, settle
from ance_tele.store.files import atomic

CONFIG = EncoderConfig(query_max_len=12, passage_max_len=12)
TEXTS = ["t1 u7 w9", "t2 " * 40, "u8 w1"]


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


@pytest.fixture
def saved(tiny_model: Path, tmp_path: Path) -> Path:
    save_model(load_model(tiny_model, CONFIG, "cpu"), tmp_path / "model")
    return tmp_path / "model"


def test_modules_have_names_that_every_release_knows(saved: Path) -> None:
    # 5.7 does not know sentence_transformers.base.modules.normalize, which 6.2 writes.
    names = [one["type"] for one in read(saved / "modules.json")]
    assert names == [f"sentence_transformers.models.{one}" for one in ("Transformer", "Pooling", "Normalize")]


def test_text_embeddings_inference_finds_what_it_requires(tiny_model: Path, tmp_path: Path) -> None:
    """The fields without a default of what its source (1.9.3) reads, and the names that it knows."""
    model = load_model(tiny_model, replace(CONFIG, passage_max_len=20, projection=8, query_prompt="ask: "), "cpu")
    save_model(model, tmp_path)
    pooling = read(tmp_path / "1_Pooling" / "config.json")
    assert {name: pooling[f"pooling_mode_{name}"] for name in ("cls_token", "mean_tokens", "lasttoken")} == {
        "cls_token": False, "mean_tokens": True, "lasttoken": False,
    }  # fmt: skip
    assert read(tmp_path / "sentence_bert_config.json")["max_seq_length"] == 20
    config = read(tmp_path / "config.json")
    assert config["architectures"] == ["BertModel"] and config["max_position_embeddings"] and config["model_type"]
    assert read(tmp_path / "config_sentence_transformers.json")["prompts"]["query"] == "ask: "
    modules = read(tmp_path / "modules.json")
    known = {f"sentence_transformers.models.{one}" for one in ("Dense", "Normalize", "Pooling", "Transformer")}
    assert {one["type"] for one in modules} <= known
    (dense,) = (tmp_path / one["path"] for one in modules if one["type"].endswith("Dense"))
    fields = read(dense / "config.json")
    assert (fields["in_features"], fields["out_features"], fields["bias"]) == (32, 8, False)
    assert fields["activation_function"] == "torch.nn.modules.linear.Identity"
    assert (dense / "model.safetensors").is_file() and (tmp_path / "tokenizer.json").is_file()


def test_others_may_read_the_weights_as_the_rest(tiny_model: Path, tmp_path: Path) -> None:
    # A server in a container runs as another user; safetensors 0.8 writes 600 whatever the umask.
    model = load_model(tiny_model, CONFIG, "cpu")
    for umask, mode in ((0o022, 0o644), (0o027, 0o640), (0o077, 0o600)):
        before = os.umask(umask)
        try:
            save_model(model, tmp_path / f"{mode:o}")
            with atomic(tmp_path / f"{mode:o}-made") as folder:
                model.save_pretrained(str(folder), create_model_card=False)
        finally:
            os.umask(before)
        files = [file for file in tmp_path.glob(f"{mode:o}*/**/*") if file.is_file()]
        assert {file.name: file.stat().st_mode & 0o777 for file in files} == {file.name: mode for file in files}


def test_a_tokenizer_declares_one_length(tiny_model: Path, tmp_path: Path) -> None:
    # As all-MiniLM-L6-v2, whose tokenizer.json says 128, is used with 256.
    copied = Path(shutil.copytree(tiny_model, tmp_path / "source"))
    tokenizer = read(copied / "tokenizer.json")
    tokenizer["truncation"] = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    (copied / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    load_model(copied, CONFIG, "cpu").save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    found = read(tmp_path / "saved" / "tokenizer_config.json")
    assert (found["model_max_length"], found["max_length"]) == (12, 8)  # of which fastembed takes the smaller
    settle(tmp_path / "saved")
    found = read(tmp_path / "saved" / "tokenizer_config.json")
    assert found["max_length"] == found["model_max_length"] == 12


@pytest.mark.parametrize("own", [{}, {"normalize": False, "pooling": "cls"}, {"untie_encoders": True}])
def test_what_is_loaded_is_what_was_saved(own: dict[str, Any], tiny_model: Path, tmp_path: Path) -> None:
    model = load_model(tiny_model, replace(CONFIG, **{"query_max_len": 8, **own}), "cpu")
    save_model(model, tmp_path)
    again = SentenceTransformer(str(tmp_path), device="cpu")
    assert again.similarity_fn_name == model.similarity_fn_name
    assert np.array_equal(again.encode_query(TEXTS), model.encode_query(TEXTS))
    assert np.array_equal(again.encode_document(TEXTS), model.encode_document(TEXTS))
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    settle(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == files
    if "untie_encoders" in own:
        (router,) = tmp_path.rglob("router_config.json")
        assert all(one.startswith("sentence_transformers.models.") for one in read(router)["types"].values())


def test_plain_transformers_gives_the_same_vectors(saved: Path) -> None:
    ours = SentenceTransformer(str(saved), device="cpu").encode_document(TEXTS)
    tokenizer, encoder = AutoTokenizer.from_pretrained(saved), AutoModel.from_pretrained(saved).eval()
    batch = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    assert batch["input_ids"].shape[1] == 12
    with torch.no_grad():
        states = encoder(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    mean = (states * mask).sum(1) / mask.sum(1)
    assert np.abs(torch.nn.functional.normalize(mean).numpy() - ours).max() < 1e-6
