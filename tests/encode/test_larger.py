"""Encoders of larger families in miniature: T5 in GTR's layout, decoders with their last token; all random."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zoo_folders
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.sentence_transformer.modules import Pooling

from ance_tele.data.collection import Qrels
from ance_tele.data.text_format import TextFormat
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import Forward, text_format, tokenizer_of
from ance_tele.encode.inference import encode_texts
from ance_tele.encode.loading import load_model, quiet
from ance_tele.mining.pool import COLUMNS, Pool
from ance_tele.training.batches import BatchPlan
from ance_tele.training.config import TrainingConfig
from ance_tele.training.schedule import Schedule
from ance_tele.training.trainer import resolve_temperature, train

CONFIG = EncoderConfig(query_max_len=24, passage_max_len=24, precision="float32")
TEXTS = ["t1 u7", "w3 w9 w11 t4 u20 w1 w2", "u5", " ".join(f"w{i % 40}" for i in range(40)), "w8 t2 t2 w7 w7"]


def ids_of(model: Any, task: Any, texts: list[str] = TEXTS, config: EncoderConfig = CONFIG) -> list[list[int]]:
    form: TextFormat = text_format(model, config, task)
    rendered = form.render([""] * len(texts), texts)
    found: list[list[int]] = tokenizer_of(model, task)(rendered, truncation=True, max_length=form.max_length)[
        "input_ids"
    ]
    return found


def ours(model: Any, task: Any, config: EncoderConfig = CONFIG) -> np.ndarray:
    """Return the vectors of the texts, all of them in a batch, in a shuffled order."""
    order = np.array([3, 0, 4, 1, 2])
    store = TokenStore.from_lists(ids_of(model, task, [TEXTS[i] for i in order], config))
    return encode_texts(model, store, np.argsort(order), task, config)


def theirs(folder: Path, task: str, batch: int = 8) -> np.ndarray:
    """Return the vectors of sentence-transformers alone, of texts cut where ours are."""
    model = SentenceTransformer(str(folder), device="cpu")
    encode = model.encode_query if task == "query" else model.encode_document
    return np.asarray(encode(TEXTS, batch_size=batch))


def trained(model: Any, folder: Path) -> Path:
    """Train for two steps, and save."""
    rng, count = np.random.default_rng(0), 10
    queries, passages = (
        TokenStore.from_lists([rng.integers(5, 20, rng.integers(2, 9)).tolist() for _ in range(many)])
        for many in (count, 50)
    )
    rows, offsets = np.arange(count), np.arange(count + 1)
    positives = Qrels(rows, offsets, passages=rows, grades=np.ones(count, dtype=int))
    columns = {name: np.zeros(count * 3, kind) for name, kind in COLUMNS.items()}
    columns["passages"] = np.arange(count, 4 * count).astype(np.int32)
    plan = BatchPlan(Pool(rows, offsets * 3, **columns), positives, 4, 3, seed=1)
    config = TrainingConfig(batch_queries=4, negatives_per_query=3, train_precision="float32", report_to=("none",))
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    with quiet():
        train(model, plan, queries, passages, config, folder / "checkpoints", Schedule(2, 4, 0, 1e-2))
        model.save_pretrained(str(folder / "saved"), create_model_card=False)
    assert any(not one.equal(before[name]) for name, one in model.named_parameters())
    return folder / "saved"


# ---- T5 ------------------------------------------------------------------------------------------


def gtr(folder: Path) -> None:
    """Write GTR's layout: the encoder of a T5, mean, a projection without bias or activation, normalisation."""
    with quiet():
        first = zoo_folders.transformer(zoo_folders.t5)
        torch.manual_seed(5)
        dense = Dense(32, 16, bias=False, activation_function=torch.nn.Identity())
        zoo_folders.sentence(folder, [first, Pooling(32, "mean"), dense, Normalize()])


def test_gtr_is_trained_and_loads_back(tmp_path: Path) -> None:
    gtr(tmp_path / "gtr")
    model = load_model(tmp_path / "gtr", CONFIG, "cpu")
    assert type(model[0].auto_model).__name__ == "T5EncoderModel" and model.get_embedding_dimension() == 16
    assert resolve_temperature(model, TrainingConfig(temperature=0.01)) == 0.01
    saved = trained(model, tmp_path)
    assert [type(module).__name__ for module in SentenceTransformer(str(saved), device="cpu")] == [
        "Transformer", "Pooling", "Dense", "Normalize"
    ]  # fmt: skip
    assert json.loads((saved / "2_Dense" / "config.json").read_text("utf-8"))["bias"] is False
    found = ours(model, "document")
    assert np.allclose(found, theirs(saved, "document"), atol=1e-5)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_of_a_whole_t5_the_encoder_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: Any) -> None:
    """Its vectors are the encoder's of the whole model; the embeddings are saved once, and nothing warns."""
    from safetensors import safe_open
    from transformers import T5ForConditionalGeneration

    zoo_folders.t5(tmp_path / "t5")
    recwarn.clear()
    model = load_model(tmp_path / "t5", replace(CONFIG, normalize=False), "cpu")
    assert not any("decoder" in name for name in model.state_dict())
    whole = T5ForConditionalGeneration.from_pretrained(tmp_path / "t5").eval()
    for row, ids in zip(ours(model, "document"), ids_of(model, "document"), strict=True):
        with torch.no_grad():
            alone = whole.encoder(torch.tensor([ids])).last_hidden_state[0].mean(0)
        assert np.allclose(row, alone.numpy(), atol=1e-5)
    saved = trained(model, tmp_path)
    with safe_open(saved / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert "shared.weight" in names and not any("decoder" in name or "lm_head" in name for name in names)
    assert len({"shared.weight", "encoder.embed_tokens.weight"} & names) == 1
    again = load_model(saved, replace(CONFIG, normalize=False), "cpu")
    shared = again[0].auto_model
    assert shared.shared.weight.data_ptr() == shared.encoder.embed_tokens.weight.data_ptr()
    assert np.allclose(ours(model, "document"), theirs(saved, "document"), atol=1e-5)
    assert not recwarn.list and not [one for one in caplog.records if one.levelname in ("WARNING", "ERROR")]


def test_t5_knows_distances_also_beyond_its_buckets_and_is_not_packed(tmp_path: Path) -> None:
    """Texts longer than the 128 tokens of its largest bucket, padded among others, as alone."""
    zoo_folders.t5(tmp_path)
    config = replace(CONFIG, passage_max_len=300)
    model = load_model(tmp_path, config, "cpu")
    rng = np.random.default_rng(2)
    store = TokenStore.from_lists([rng.integers(10, 90, size).tolist() for size in (300, 7, 140, 33)])
    among, alone = (
        encode_texts(model, store, np.arange(4), "document", replace(config, encode_tokens=budget))
        for budget in (100_000, 1)
    )
    assert np.allclose(among, alone, atol=1e-5)
    forward = Forward(model, "document")
    forward.pack()
    assert not forward.packs  # its attention has a bias by distance


# ---- decoders ------------------------------------------------------------------------------------

INSTRUCTION = {"query": "query : w1 w2 : ", "document": ""}
DECODERS: dict[str, Callable[..., None]] = {
    **{kind: partial(zoo_folders.decoder, kind=kind) for kind in ("qwen2", "qwen3", "llama", "mistral", "gemma")},
    "gpt2": zoo_folders.gpt2,
}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", list(DECODERS))
def test_the_last_token_of_a_decoder(kind: str, side: str, tmp_path: Path) -> None:
    """Vectors of sentence-transformers, instructions before queries only; then trained, and loaded back.

    sentence-transformers' GPT-2 counts positions from the padding on the left, so that its texts are encoded alone.
    """
    build = partial(DECODERS[kind], side=side)
    with quiet():
        zoo_folders.pooled(tmp_path / "model", build=build, mode="lasttoken", normalize=True, prompts=INSTRUCTION)
    model = load_model(tmp_path / "model", CONFIG, "cpu")
    alone = 1 if kind == "gpt2" and side == "left" else 8
    cut = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    for task in ("query", "document"):
        cut.max_seq_length = text_format(model, CONFIG, task).max_length  # type: ignore[arg-type]
        encode = cut.encode_query if task == "query" else cut.encode_document
        assert np.allclose(ours(model, task), encode(TEXTS, batch_size=alone), atol=1e-5), task
    assert not np.allclose(ours(model, "query"), ours(model, "document"), atol=1e-2)
    saved = trained(model, tmp_path)
    for task in ("query", "document"):
        assert np.allclose(ours(model, task), theirs(saved, task), atol=1e-5), task


def test_the_end_token_is_appended_where_the_settings_declare_it(tmp_path: Path, logged: list[str]) -> None:
    """E5-Mistral's convention: add_eos_token, which transformers 5 reads past where there is a tokenizer.json."""
    from transformers import LlamaTokenizer

    special = ["<unk>", "<s>", "</s>"]
    letters = sorted({*"".join(zoo_folders.WORDS), "▁"})
    vocabulary = {token: number for number, token in enumerate([*special, *letters])}
    tokenizer = LlamaTokenizer(vocab=vocabulary, merges=[], add_bos_token=True)
    size = {**zoo_folders.SIZE, "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 128}
    with quiet():
        plain = partial(zoo_folders.backbone, kind="mistral", tokenizer=tokenizer, **size)
        zoo_folders.pooled(tmp_path / "model", build=plain, mode="lasttoken", normalize=True)
    path = tmp_path / "model" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "add_eos_token": True}), "utf-8")
    model = load_model(tmp_path / "model", replace(CONFIG, passage_max_len=12), "cpu")
    assert any(line.endswith("as tokenizer_config.json declares, and tokenizer.json does not") for line in logged)
    for ids in model.tokenizer(TEXTS, truncation=True, max_length=12)["input_ids"]:
        assert (ids[0], ids[-1], len(ids) <= 12) == (1, 2, True)
    saved = trained(model, tmp_path)
    config = replace(CONFIG, passage_max_len=12)
    assert np.allclose(ours(model, "document", config), theirs(saved, "document"), atol=1e-5)


@pytest.mark.parametrize("kind", ["qwen3", "mistral"])
def test_the_end_token_is_there_where_the_tokenizer_appends_it(kind: str, tmp_path: Path) -> None:
    """By its template (Qwen3-Embedding), also where a text is cut; the pooled token is then the end's."""
    with quiet():
        build = partial(zoo_folders.decoder, kind=kind)
        zoo_folders.pooled(tmp_path, build=build, mode="lasttoken", normalize=True, prompts=INSTRUCTION)
    model = load_model(tmp_path, CONFIG, "cpu")
    for task in ("query", "document"):
        found = ids_of(model, task)
        assert all(ids[-1] == model.tokenizer.eos_token_id and ids.count(ids[-1]) == 1 for ids in found)
        prompt = len(model.tokenizer(INSTRUCTION[task], add_special_tokens=False)["input_ids"])
        assert max(map(len, found)) == 24 + prompt
