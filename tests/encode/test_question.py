"""The encoder of a question against the loaded model; folders that it leaves to sentence-transformers."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from zoo_folders import PROMPTS, adapted, bert, half, older, pooled, roberta, routed, static

from ance_tele.data.text_format import batch_tokenizer
from ance_tele.data.tokens import TokenStore, store_inputs
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import text_format, tokenizer_of
from ance_tele.encode.inference import encode_texts
from ance_tele.encode.loading import load_model
from ance_tele.encode.question import QuestionEncoder, question_encoder
from ance_tele.runs.folder import open_run
from ance_tele.store.fingerprints import fingerprint
from ance_tele.store.manifests import read_manifest

Build = Callable[[Path], None]

TEXTS = ["t1", "t3 u20 w7", "T2 unheard-of w5!", " ".join(f"w{i}" for i in range(40)), " ".join(["t1 u2"] * 60), "?"]

CONFIG = EncoderConfig(precision="float32")


def old_names(folder: Path) -> None:
    """Write a masked language model whose layer norms are named as in the first BERTs."""
    bert(folder, "BertForMaskedLM")
    path = folder / "model.safetensors"
    other = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    renamed = {}
    for name, tensor in load_file(path).items():
        for new, old in other.items():
            name = name.replace(new, old)
        renamed[name] = tensor.clone()
    save_file(renamed, path, {"format": "pt"})


def changed(build: Build, file: str, **values: Any) -> Build:
    """Return what builds a folder and changes values of one of its JSON files."""

    def make(folder: Path) -> None:
        build(folder)
        held = json.loads((folder / file).read_text("utf-8"))
        (folder / file).write_text(json.dumps({**held, **values}), "utf-8")

    return make


def without(build: Build, file: str) -> Build:
    def make(folder: Path) -> None:
        build(folder)
        (folder / file).unlink()

    return make


def compared(folder: Path, config: EncoderConfig) -> QuestionEncoder:
    """Compare vectors and the key of the tokens with those of the loaded model; return the encoder."""
    config = replace(config, precision="float32")
    found = question_encoder(folder, config)
    assert found is not None
    model = load_model(folder, config, device="cpu")
    form = text_format(model, config, "query")
    ids, _ = batch_tokenizer(tokenizer_of(model, "query"), form.max_length)(form.render([""] * len(TEXTS), TEXTS))
    theirs = encode_texts(model, TokenStore.from_lists(ids), np.arange(len(TEXTS)), "query", config)
    ours = np.concatenate([found(text) for text in TEXTS])
    assert np.abs(ours - theirs).max() < 1e-5 * max(1.0, float(np.abs(theirs).max()))
    assert np.abs(ours[0] - ours[1]).max() > 1e-2  # the texts differ
    passages = store_inputs(tokenizer_of(model, "document"), text_format(model, config, "document"), "x", "passages")
    assert found.passages_key("x") == fingerprint(passages)
    return found


PLAIN: dict[str, tuple[Build, EncoderConfig]] = {
    "plain": (bert, CONFIG),
    "masked language model": (partial(bert, head="BertForMaskedLM"), EncoderConfig(query_max_len=12)),
    "old names": (old_names, CONFIG),
    "float16": (half("float16"), CONFIG),
    "cls": (bert, EncoderConfig(pooling="cls", normalize=False)),
    "max": (bert, EncoderConfig(pooling="max")),
    "last token": (bert, EncoderConfig(pooling="lasttoken", normalize=True)),
    "prompts of the settings": (bert, EncoderConfig(query_max_len=9, query_prompt="query : ", passage_prompt="t1 ")),
    "separator": (bert, EncoderConfig(title_separator="[SEP]")),
    "length of the tokenizer": (changed(bert, "tokenizer_config.json", model_max_length=16), CONFIG),
    "no length": (changed(bert, "tokenizer_config.json", model_max_length=10**30), CONFIG),
    "cut on the left": (changed(bert, "tokenizer_config.json", truncation_side="left"), EncoderConfig(query_max_len=7)),
    "without types": (partial(bert, model_input_names=["input_ids", "attention_mask"]), CONFIG),
}
SENTENCE: dict[str, tuple[Build, EncoderConfig]] = {
    "mean": (pooled, CONFIG),
    "normalised cls": (partial(pooled, mode="cls", normalize=True), CONFIG),
    "not normalised by the settings": (partial(pooled, mode="max"), EncoderConfig(normalize=False)),
    "normalised, dot product": (partial(pooled, normalize=True, similarity_fn_name="dot"), CONFIG),
    "dot product": (partial(pooled, similarity_fn_name="dot"), CONFIG),
    "prompts": (partial(pooled, prompts=PROMPTS), CONFIG),
    "default prompt": (partial(pooled, prompts={"all": "t5 "}, default_prompt_name="all"), CONFIG),
    "prompt of another name": (partial(pooled, prompts={"question": "t5 "}), EncoderConfig(query_max_len=6)),
    "older": (older, CONFIG),
    "own lengths": (changed(pooled, "sentence_bert_config.json", query_length=8, document_length=16), CONFIG),
}


@pytest.mark.parametrize("name", [*PLAIN, *SENTENCE])
def test_vectors_equal_those_of_the_loaded_model(name: str, tmp_path: Path) -> None:
    build, config = {**PLAIN, **SENTENCE}[name]
    build(tmp_path / "model")
    compared(tmp_path / "model", config)


def test_a_model_that_a_run_has_trained(explored: Path) -> None:
    """The run's vectors are of the tokens that the encoder of a question finds in the model's folder."""
    opened = open_run(explored, explored.parent / "data")
    found = compared(explored / "episode-2" / "model", opened.encoder_config)
    manifest = read_manifest(explored / "episode-2" / "vectors" / "passages-00000.npy")
    assert manifest is not None and found.passages_key(opened.collection.texts) == manifest.inputs["tokens"]


def test_bf16(tmp_path: Path) -> None:
    """Casts round at the same places, so that the vectors differ by less than bf16 itself does."""
    pooled(tmp_path / "model", normalize=True)
    halved, whole = (
        question_encoder(tmp_path / "model", EncoderConfig(precision=precision))  # type: ignore[arg-type]
        for precision in ("bf16", "float32")
    )
    assert halved is not None and whole is not None
    model = load_model(tmp_path / "model", EncoderConfig(precision="bf16"), device="cpu")
    ids, _ = batch_tokenizer(tokenizer_of(model, "query"), 64)([TEXTS[1]])
    config = EncoderConfig(precision="bf16")
    theirs = encode_texts(model, TokenStore.from_lists(ids), np.array([0]), "query", config)
    ours = halved(TEXTS[1])
    assert ours.dtype == np.float32
    assert 0 < np.abs(ours - whole(TEXTS[1])).max() < 0.05
    assert np.abs(ours - theirs).max() <= np.abs(ours - whole(TEXTS[1])).max()


LEFT: dict[str, tuple[Build, EncoderConfig]] = {
    "another architecture": (roberta, CONFIG),
    "a model of another kind": (changed(bert, "config.json", model_type="roberta"), CONFIG),
    "a decoder": (changed(bert, "config.json", is_decoder=True), CONFIG),
    "another activation": (changed(bert, "config.json", hidden_act="relu"), CONFIG),
    "other positions": (changed(bert, "config.json", position_embedding_type="relative_key"), CONFIG),
    "code of its own": (changed(bert, "config.json", auto_map={"AutoModel": "x.Y"}), CONFIG),
    "a classifier": (partial(bert, head="BertForSequenceClassification"), CONFIG),
    "other sizes than declared": (changed(bert, "config.json", intermediate_size=32), CONFIG),
    "layers without end": (changed(bert, "config.json", num_hidden_layers=10**12), CONFIG),
    "no texts as sizes": (changed(bert, "config.json", hidden_size="32"), CONFIG),
    "a default prompt of no name": (
        changed(pooled, "config_sentence_transformers.json", default_prompt_name=[1]), CONFIG
    ),
    "lengths of no number": (changed(bert, "tokenizer_config.json", model_max_length="64"), CONFIG),
    "fewer layers in the file": (changed(bert, "config.json", num_hidden_layers=3), CONFIG),
    "a dense layer": (partial(pooled, dense=16), CONFIG),
    "two poolings": (partial(pooled, mode=("cls", "mean")), CONFIG),
    "a weighted pooling": (partial(pooled, mode="weightedmean"), CONFIG),
    "prompts left out of the pooling": (partial(pooled, include_prompt=False, prompts=PROMPTS), CONFIG),
    "fewer dimensions": (partial(pooled, truncate_dim=8), CONFIG),
    "another distance": (partial(pooled, similarity_fn_name="euclidean"), CONFIG),
    "an unknown setting": (changed(pooled, "sentence_bert_config.json", model_args={"x": 1}), CONFIG),
    "lower case": (changed(pooled, "sentence_bert_config.json", do_lower_case=True), CONFIG),
    "two encoders": (routed, CONFIG),
    "no transformer": (static, CONFIG),
    "an adapter": (adapted, CONFIG),
    "no tokenizer.json": (without(bert, "tokenizer.json"), CONFIG),
    "no weights": (without(pooled, "model.safetensors"), CONFIG),
    "separate encoders asked for": (bert, EncoderConfig(untie_encoders=True)),
    "trusted code": (bert, EncoderConfig(trust_remote_code=True)),
    "a length beyond the positions": (bert, EncoderConfig(query_max_len=65)),
    "a prompt that leaves no room": (changed(bert, "tokenizer_config.json", model_max_length=3),
                                     EncoderConfig(query_prompt="t1 t2 ")),
    "a separator that it lacks": (bert, EncoderConfig(title_separator="</s>")),
}  # fmt: skip


@pytest.mark.parametrize("name", LEFT)
def test_everything_else_is_left_to_the_usual_loading(name: str, tmp_path: Path) -> None:
    if name == "an adapter":
        pytest.importorskip("peft")
    build, config = LEFT[name]
    build(tmp_path / "model")
    if name == "fewer dimensions":  # not written by every release
        changed(lambda folder: None, "config_sentence_transformers.json", truncate_dim=8)(tmp_path / "model")
    assert question_encoder(tmp_path / "model", config) is None
    assert question_encoder("owner/name", config) is None


def test_modules_are_read_in_the_folder_alone(tmp_path: Path) -> None:
    pooled(tmp_path / "model")
    assert question_encoder(tmp_path / "model", CONFIG) is not None
    modules = json.loads((tmp_path / "model" / "modules.json").read_text("utf-8"))
    (tmp_path / "model" / "1_Pooling").rename(tmp_path / "1_Pooling")
    for outside in (str(tmp_path / "1_Pooling"), "../1_Pooling"):
        moved = [modules[0], {**modules[1], "path": outside}]
        (tmp_path / "model" / "modules.json").write_text(json.dumps(moved), "utf-8")
        assert question_encoder(tmp_path / "model", CONFIG) is None


def test_damaged_weights_are_left_to_the_usual_loading(tmp_path: Path) -> None:
    bert(tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:2000])
    assert question_encoder(tmp_path / "model", CONFIG) is None
    (tmp_path / "model" / "config.json").write_text("{", "utf-8")
    assert question_encoder(tmp_path / "model", CONFIG) is None


def test_a_file_that_is_overwritten_changes_no_answer(tmp_path: Path) -> None:
    bert(tmp_path / "model")
    found = question_encoder(tmp_path / "model", CONFIG)
    assert found is not None
    before, path = found(TEXTS[1]), tmp_path / "model" / "model.safetensors"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\0" * (size // 2))
    assert np.array_equal(found(TEXTS[1]), before)
