"""The encoder against plain transformers and sentence-transformers; fingerprints; shards."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Router

from ance_tele.console.errors import UserError
from ance_tele.data.load import load_collection
from ance_tele.data.tokens import TokenStore, tokenize
from ance_tele.encode import inference
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.corpus import encode_corpus
from ance_tele.encode.encoder import text_format, tokenizer_of, weights_fingerprint
from ance_tele.encode.inference import encode_texts, token_batches
from ance_tele.encode.loading import load_model, load_pair
from ance_tele.encode.precision import emulated_bf16, resolve_precision
from ance_tele.encode.vectors import Vectors
from ance_tele.paper.settings import start_of

CONFIG = EncoderConfig(query_max_len=16, passage_max_len=16, precision="float32")


def store_of(model: SentenceTransformer, toy: Path, cache: Path, config: EncoderConfig = CONFIG) -> TokenStore:
    collection = load_collection(toy, cache)
    form = text_format(model, config, "document")
    tokenizer = tokenizer_of(model, "document")
    return tokenize(collection.corpus, tokenizer, form, cache, collection.fingerprint, "passages")


def texts_of(toy: Path, cache: Path) -> list[str]:
    corpus = load_collection(toy, cache).corpus
    return [f"{row['title']} {row['text']}" for row in corpus.table.to_pylist()]


def test_vectors_equal_sentence_transformers(tiny_model: Path, toy: Path, tmp_path: Path) -> None:
    model = load_model(tiny_model, CONFIG)
    ours = encode_texts(model, store_of(model, toy, tmp_path), np.arange(144), "document", CONFIG)
    theirs = model.encode_document(texts_of(toy, tmp_path))
    assert np.abs(ours - theirs).max() < 1e-5


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "lasttoken"])
def test_pooling_equals_plain_transformers(pooling: str, tiny_model: Path, toy: Path, tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    config = EncoderConfig(query_max_len=16, passage_max_len=16, pooling=pooling, normalize=False, precision="float32")  # type: ignore[arg-type]
    model = load_model(tiny_model, config)
    ours = encode_texts(model, store_of(model, toy, tmp_path, config), np.arange(20), "document", config)
    tokenizer, plain = AutoTokenizer.from_pretrained(tiny_model), AutoModel.from_pretrained(tiny_model).eval()
    for text, vector in zip(texts_of(toy, tmp_path)[:20], ours, strict=True):
        inputs = tokenizer(text, truncation=True, max_length=16, return_tensors="pt")
        with torch.no_grad():
            hidden = plain(**inputs).last_hidden_state[0]
        expected = {"cls": hidden[0], "mean": hidden.mean(0), "max": hidden.max(0).values, "lasttoken": hidden[-1]}
        assert np.abs(expected[pooling].numpy() - vector).max() < 1e-5


def test_normalize_and_prompts(tiny_model: Path, toy: Path, tmp_path: Path) -> None:
    config = EncoderConfig(passage_max_len=16, normalize=True, passage_prompt="passage : ", precision="float32")
    model = load_model(tiny_model, config)
    assert any(isinstance(module, Normalize) for module in model)
    ours = encode_texts(model, store_of(model, toy, tmp_path, config), np.arange(30), "document", config)
    assert np.allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)
    model.save_pretrained(str(tmp_path / "saved"))
    again = SentenceTransformer(str(tmp_path / "saved"))
    again.max_seq_length = 16
    assert np.abs(again.encode_document(texts_of(toy, tmp_path)[:30]) - ours).max() < 1e-5


def test_untied_encoders_route_by_task(tiny_model: Path, toy: Path, tmp_path: Path) -> None:
    config = EncoderConfig(query_max_len=16, passage_max_len=16, untie_encoders=True, precision="float32")
    model = load_model(tiny_model, config)
    assert isinstance(model[0], Router)
    store = store_of(model, toy, tmp_path, config)
    rows = np.arange(10)
    same = encode_texts(model, store, rows, "query", config)
    assert np.allclose(same, encode_texts(model, store, rows, "document", config), atol=1e-6)
    with torch.no_grad():
        for weight in model[0].sub_modules["query"].parameters():
            weight.mul_(1.5)
    assert not np.allclose(encode_texts(model, store, rows, "query", config), same, atol=1e-3)
    assert np.allclose(encode_texts(model, store, rows, "document", config), same, atol=1e-6)
    model.save_pretrained(str(tmp_path / "untied"))
    loaded = load_model(tmp_path / "untied", config)
    assert weights_fingerprint(loaded) == weights_fingerprint(model)


def test_batches_prepared_ahead_give_the_same_vectors(
    tiny_model: Path, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where a thread pads the next batch; an error in it is raised."""
    model, config = load_model(str(tiny_model), CONFIG), replace(CONFIG, encode_tokens=100)
    store, rows = store_of(model, toy, tmp_path), np.arange(144)[::-1].copy()
    expected = encode_texts(model, store, rows, "document", config)
    monkeypatch.setattr(inference, "PREPARED_AHEAD", {"cpu"})
    assert np.array_equal(encode_texts(model, store, rows, "document", config), expected)
    assert encode_texts(model, store, rows[:0], "document", config).shape == (0, expected.shape[1])
    with pytest.raises(IndexError):
        monkeypatch.setattr(store, "flat", store.flat[:50])
        encode_texts(model, store, rows, "document", config)


def test_one_changed_weight_changes_the_fingerprint(tiny_model: Path) -> None:
    model = load_model(tiny_model, CONFIG)
    before = weights_fingerprint(model)
    assert before == weights_fingerprint(load_model(tiny_model, CONFIG))
    with torch.no_grad():
        next(model.parameters()).view(-1)[0].add_(1e-6)
    assert weights_fingerprint(model) != before


def test_weights_that_a_checkpoint_lacks_are_the_same_every_time(tiny_model: Path, tmp_path: Path) -> None:
    """A masked language model has no pooler; transformers draws one at random (real case: BERT-tiny)."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    AutoModelForMaskedLM.from_pretrained(tiny_model).save_pretrained(tmp_path / "mlm")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path / "mlm")
    prints = set()
    for seed in range(2):
        torch.manual_seed(seed)
        prints.add(weights_fingerprint(load_model(tmp_path / "mlm", CONFIG)))
    assert len(prints) == 1


def test_shards_stand_or_are_made_again(tiny_model: Path, toy: Path, tmp_path: Path, logged: list[str]) -> None:
    config = EncoderConfig(query_max_len=16, passage_max_len=16, shard_passages=50, precision="float32")
    model = load_model(tiny_model, config)
    store, folder = store_of(model, toy, tmp_path, config), tmp_path / "vectors"
    logged.clear()
    first = encode_corpus(model, store, "document", config, folder)
    assert [len(shard) for shard in first.shards] == [50, 50, 44] and not logged
    (folder / "passages-00001.npy").unlink()
    stamps = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npy")}
    second = encode_corpus(model, store, "document", config, folder)
    assert {name: (folder / name).stat().st_mtime_ns for name in stamps} == stamps and not logged
    assert np.array_equal(first.take(np.arange(144)), second.take(np.arange(144)))
    with torch.no_grad():
        next(model.parameters()).view(-1)[0].add_(1.0)
    encode_corpus(model, store, "document", config, folder)
    assert len(logged) == 1 and "its weights changed" in logged[0]
    assert all((folder / name).stat().st_mtime_ns > stamps[name] for name in stamps)


def test_vectors_take_and_blocks() -> None:
    whole = np.arange(20, dtype=np.float32).reshape(10, 2)
    vectors = Vectors((whole[:4], whole[4:]), "key")
    rows = np.array([9, 0, 4, 3, 3])
    assert np.array_equal(vectors.take(rows), whole[rows])
    assert [(first, len(block)) for first, block in vectors.blocks(3)] == [(0, 3), (3, 1), (4, 3), (7, 3)]


def test_token_batches_respect_the_budget() -> None:
    lengths = np.random.default_rng(0).integers(1, 40, 300)
    batches = list(token_batches(lengths, 128))
    assert sorted(np.concatenate(batches).tolist()) == list(range(300))
    assert all(len(batch) * lengths[batch].max() <= 128 for batch in batches)
    assert [len(batch) for batch in token_batches(np.array([500, 3]), 128)] == [1, 1]


def test_models_that_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"neither config.json nor modules.json"):
        load_model(tmp_path / "empty", CONFIG)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"no \.safetensors"):
        load_model(tmp_path / "bare", CONFIG)
    with pytest.raises(UserError, match="neither a folder nor a hub name"):
        load_model(tmp_path / "absent", CONFIG)


def test_a_mistyped_folder_is_refused_at_once_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """huggingface_hub would retry for minutes."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.chdir(tmp_path)
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"starts/mime is no folder here and not in the cache .* 127.0.0.1 cannot be"):
        load_model("starts/mime", CONFIG)
    assert time.monotonic() - begun < 5


def test_a_folder_wins_over_a_short_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert start_of("condenser") == "Luyu/condenser"
    (tmp_path / "condenser").mkdir()
    assert start_of("condenser") == "condenser"


def test_a_model_without_its_tokenizer_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    """transformers loads such a folder without a word, with a tokenizer that knows five tokens."""
    for name in ("config.json", "model.safetensors"):
        shutil.copy(tiny_model / name, tmp_path / name)
    with pytest.raises(UserError, match=r"has no tokenizer; put its files \(tokenizer.json, or vocab.txt for BERT\)"):
        load_model(tmp_path, CONFIG)


def test_a_tokenizer_of_another_model_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(tiny_model, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["more"] = len(vocabulary)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    with pytest.raises(UserError, match=f"tokenizer of {len(vocabulary)} tokens, but embeddings for"):
        load_model(folder, CONFIG)


def pickled(tiny_model: Path, folder: Path) -> Path:
    """A folder as older checkpoints are: weights only as pytorch_model.bin."""
    from safetensors.torch import load_file

    shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save(load_file(tiny_model / "model.safetensors"), folder / "pytorch_model.bin")
    return folder


def test_a_pickle_is_refused_with_the_command_that_converts_it(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pickled(tiny_model, tmp_path / "older")
    with pytest.raises(UserError, match="only a pickle of its weights") as refused:
        load_model(folder, CONFIG)
    code = str(refused.value).split('python -c "')[1].split('"')[0]
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert "take safetensors/older." in str(refused.value)
    converted, original = (load_model(path, CONFIG) for path in (tmp_path / "safetensors" / "older", tiny_model))
    assert np.allclose(converted.encode(["t1 w2 w3"]), original.encode(["t1 w2 w3"]), atol=1e-6)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache of its own, and no network."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def cached(hub: Path, name: str) -> Path:
    """Return where the files of a hub model lie in the cache."""
    model, commit = hub / f"models--{name.replace('/', '--')}", "a" * 40
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(commit)
    (model / "snapshots").mkdir()
    return model / "snapshots" / commit


def test_a_plain_encoder_of_the_hub_is_pooled_as_asked(tiny_model: Path, hub: Path) -> None:
    shutil.copytree(tiny_model, cached(hub, "owner/plain"))
    config = EncoderConfig(passage_max_len=16, pooling="cls", normalize=False)
    model = load_model("owner/plain", config)
    assert model[1].pooling_mode == "cls" and len(model) == 2
    assert weights_fingerprint(model) == weights_fingerprint(load_model(tiny_model, config))


def test_a_pickle_on_the_hub_is_refused_alike(tiny_model: Path, hub: Path) -> None:
    pickled(tiny_model, cached(hub, "owner/older"))
    with pytest.raises(UserError, match=r"owner/older holds no \.safetensors file.*take safetensors/older\."):
        load_model("owner/older", CONFIG)


def test_a_short_name_stands_for_a_start(tiny_model: Path, hub: Path) -> None:
    shutil.copytree(tiny_model, cached(hub, "Luyu/co-condenser-marco"))
    assert load_model("co-condenser-marco", CONFIG).get_embedding_dimension() == 32


def test_a_pair_is_a_model_of_two_encoders(tiny_model: Path, toy: Path, tmp_path: Path) -> None:
    from transformers import AutoModel

    changed = tmp_path / "changed"
    shutil.copytree(tiny_model, changed)
    other = AutoModel.from_pretrained(tiny_model, add_pooling_layer=False)
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(1.5)
    other.save_pretrained(changed)
    config = EncoderConfig(query_max_len=16, passage_max_len=16, query_prompt="query : ", precision="float32")
    pair = load_pair(changed, tiny_model, config)
    alone = {path: load_model(path, config) for path in (changed, tiny_model)}
    texts = texts_of(toy, tmp_path)[:20]
    assert np.allclose(pair.encode_query(texts), alone[changed].encode_query(texts), atol=1e-6)
    assert np.allclose(pair.encode_document(texts), alone[tiny_model].encode_document(texts), atol=1e-6)
    pair.save_pretrained(str(tmp_path / "pair"))
    again = load_model(tmp_path / "pair", config)
    assert weights_fingerprint(again) == weights_fingerprint(pair)
    assert weights_fingerprint(load_pair(tmp_path / "pair", tmp_path / "pair", config)) == weights_fingerprint(pair)


def test_encoders_that_make_no_pair_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, BertConfig, BertModel

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    smaller = BertConfig(vocab_size=len(tokenizer), **shape)
    BertModel(smaller, add_pooling_layer=False).save_pretrained(tmp_path / "smaller")
    tokenizer.save_pretrained(tmp_path / "smaller")
    with pytest.raises(UserError, match=r"vectors of 32 numbers and .*smaller of 16"):
        load_pair(tiny_model, tmp_path / "smaller", CONFIG)
    load_model(tiny_model, EncoderConfig(normalize=False)).save_pretrained(str(tmp_path / "dot"))
    with pytest.raises(UserError, match="only one scales its vectors"):
        load_pair(tiny_model, tmp_path / "dot", CONFIG)


def test_a_gpu_that_only_emulates_bf16_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert resolve_precision("auto", torch.device("cuda")) == "float32"
    assert "this CUDA has no instructions for it" in emulated_bf16(torch.device("cuda"))


def test_texts_longer_than_the_model_reads_are_refused(tiny_model: Path) -> None:
    with pytest.raises(UserError, match="reads at most 128 tokens, and 200 are"):
        load_model(tiny_model, EncoderConfig(passage_max_len=200))


def test_weights_stored_in_half_precision_are_read_as_float32(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    AutoModel.from_pretrained(tiny_model).half().save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    plain = load_model(tmp_path, EncoderConfig())
    plain.save_pretrained(str(tmp_path / "st"))
    for model in (plain, load_model(tmp_path / "st", EncoderConfig())):
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
