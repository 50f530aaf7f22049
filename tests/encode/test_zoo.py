"""What people bring: every kind of model folder, measured and trained and saved as sentence-transformers has it."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import zoo
import zoo_folders
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from ance_tele.console.errors import UserError
from ance_tele.console.extras import install
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import Forward, tokenizer_of
from ance_tele.encode.inference import encode_texts
from ance_tele.encode.lengths import positions
from ance_tele.encode.loading import load_model
from ance_tele.training.loss import TeleportationLoss

CONFIG = EncoderConfig(query_max_len=40, passage_max_len=40, precision="float32")


def check(name: str, folder: Path, whole: bool) -> None:
    kind = zoo.KINDS[name]
    if kind.needs and find_spec(kind.needs) is None:
        pytest.skip(f"{kind.needs} is not installed")
    found = zoo.outcome(name, folder, whole)
    if kind.refused:
        assert kind.refused in found.refused.lower() and "\n" not in found.refused
        return
    assert not found.refused
    assert found.before[0] == pytest.approx(found.before[1], abs=1e-6)
    assert found.company > 0.99999
    if kind.untrained:
        assert kind.untrained in found.untrained
        return
    assert not found.untrained and found.changed[0] and not found.still
    assert found.after[0] == pytest.approx(found.after[1], abs=1e-6)


@pytest.mark.parametrize("name", list(zoo.KINDS))
def test_figures_are_what_sentence_transformers_has(name: str, tmp_path: Path) -> None:
    """As the folder was given, and as it was saved after two steps of training."""
    check(name, tmp_path, whole=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(zoo.KINDS))
def test_a_run_of_one_episode_tells_what_its_model_does(name: str, tmp_path: Path, undrawn: None) -> None:
    check(name, tmp_path, whole=True)


# ---- company -------------------------------------------------------------------------------------

READERS = (
    "BERT, padded on the left",
    "GPT-2, padded on the left",
    "OPT",
    "XLNet",
    "Longformer",
    "word embeddings, LSTM",
)


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SentenceTransformer]:
    models = {}
    for name in READERS:
        folder = tmp_path_factory.mktemp("reader")
        zoo.KINDS[name].build(folder)
        models[name] = load_model(folder, CONFIG, "cpu")
    return models


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(READERS), st.lists(st.integers(1, 30), min_size=2, max_size=9), st.integers(1, 200))
def test_a_vector_does_not_depend_on_who_shares_its_batch(
    readers: dict[str, SentenceTransformer], name: str, lengths: list[int], tokens: int
) -> None:
    rng = np.random.default_rng(sum(lengths))
    store = TokenStore.from_lists([rng.integers(10, 90, length).tolist() for length in lengths])
    rows = np.arange(len(lengths))
    among, alone = (
        encode_texts(readers[name], store, rows, "document", EncoderConfig(precision="float32", encode_tokens=budget))
        for budget in (tokens, 1)
    )
    cosines = (among * alone).sum(1) / np.linalg.norm(among, axis=1) / np.linalg.norm(alone, axis=1)
    assert cosines.min() > 0.99999


def test_a_saved_folder_pads_where_its_vectors_do_not_mind(tmp_path: Path) -> None:
    """GPT-2 padded on the left gives other vectors in batches, in sentence-transformers too; what we save does not."""
    zoo_folders.gpt2(tmp_path / "left")
    zoo_folders.decoder(tmp_path / "rotary", "llama")
    for name, side in (("left", "right"), ("rotary", "left")):  # rotary positions do not mind: left as declared
        model = load_model(tmp_path / name, CONFIG, "cpu")
        assert model.tokenizer.padding_side == side
    model.save_pretrained(str(tmp_path / "saved"))
    load_model(tmp_path / "left", CONFIG, "cpu").save_pretrained(str(tmp_path / "saved"))
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    passages = zoo.texts()[0]
    assert np.abs(again.encode(passages, batch_size=32) - again.encode(passages, batch_size=1)).max() < 1e-5


# ---- positions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "room"),
    [
        ("BERT", 64),
        ("RoBERTa", 40),
        ("XLM-R", 40),
        ("MPNet", 40),
        ("Longformer", 64),
        ("GPT-2, padded on the left", 64),
    ],
)
def test_a_model_reads_as_many_tokens_as_it_has_positions_for(name: str, room: int, tmp_path: Path) -> None:
    """RoBERTa and its like count from the padding token on: two of their positions are never used."""
    zoo.KINDS[name].build(tmp_path)
    config = EncoderConfig(passage_max_len=room, precision="float32")
    model = load_model(tmp_path, config, "cpu")
    assert positions(model[0]) == room
    store = TokenStore.from_lists([[7] * room, [9] * room])
    assert np.isfinite(encode_texts(model, store, np.arange(2), "document", config)).all()
    with pytest.raises(UserError, match=f"at most {room} tokens, and {room + 1} are asked for"):
        load_model(tmp_path, EncoderConfig(passage_max_len=room + 1), "cpu")


@pytest.mark.parametrize("name", ["XLNet", "T5", "BLOOM"])
def test_a_model_that_knows_distances_has_no_limit(name: str, tmp_path: Path) -> None:
    zoo.KINDS[name].build(tmp_path)
    config = EncoderConfig(passage_max_len=700, precision="float32")
    model = load_model(tmp_path, config, "cpu")
    assert positions(model[0]) is None
    assert np.isfinite(encode_texts(model, TokenStore.from_lists([[9] * 700]), np.arange(1), "document", config)).all()


# ---- without a transformer -----------------------------------------------------------------------


def test_static_embeddings_get_one_gradient_a_step_and_the_right_one(tmp_path: Path) -> None:
    """Every piece of a batch would have a gradient as large as the table; the sum is the plain one's."""
    zoo_folders.static(tmp_path)
    model = load_model(tmp_path, CONFIG, "cpu")
    query, passage = Forward(model, "query"), Forward(model, "document")
    loss = TeleportationLoss(model, query, passage, chunk_tokens=4)
    tokenizer = tokenizer_of(model, "document")
    passages, queries, _ = zoo.texts()
    store = TokenStore.from_lists(tokenizer([*queries["train"][:4], *passages[:8], ""])["input_ids"])
    features = []
    for rows in (np.arange(4), np.arange(4, 13)):
        ids, mask = (torch.from_numpy(each) for each in store.padded(rows, passage.pad))
        features.append({"input_ids": ids, "attention_mask": mask, "lengths": mask.sum(1).tolist()})
    target = torch.arange(4)
    features[0] |= {"target": target, "positives": target[:, None]}
    features[1] |= {"row": torch.arange(9), "query": torch.zeros(9, dtype=torch.int64)}
    calls: list[int] = []
    hook = model[0].register_forward_hook(lambda *given: calls.append(1))
    loss(*features).backward()
    hook.remove()
    assert len(calls) == 2
    found = model[0].embedding.weight.grad.clone()
    model.zero_grad()
    plain = SentenceTransformer(modules=list(model.children()), device="cpu")
    given = [plain.preprocess(part) for part in (queries["train"][:4], [*passages[:8], ""])]
    asked, held = (plain(one)["sentence_embedding"] for one in given)
    torch.nn.functional.cross_entropy(asked @ held.T, target).backward()
    assert torch.allclose(found, model[0].embedding.weight.grad, atol=1e-6)


def test_texts_of_unknown_words_have_a_vector_of_zeros(tmp_path: Path) -> None:
    zoo_folders.words(tmp_path)
    model = load_model(tmp_path, EncoderConfig(normalize=False), "cpu")
    for ids in ([[], []], [[], [5, 6]]):
        found = encode_texts(model, TokenStore.from_lists(ids), np.arange(2), "document", CONFIG)
        assert not found[0].any() and found[1].any() == bool(ids[1])


# ---- what is missing -----------------------------------------------------------------------------


def test_an_adapter_alone_is_told_from_a_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "owner/base"}), "utf-8")
    with pytest.raises(UserError, match=r"holds an adapter \(LoRA\) of owner/base, not a model; join the two"):
        load_model(tmp_path, CONFIG)


@pytest.mark.skipif(find_spec("peft") is not None, reason="peft is installed")
def test_a_folder_with_an_adapter_says_what_to_install(tmp_path: Path) -> None:
    zoo_folders.pooled(tmp_path)
    settings = {"base_model_name_or_path": str(tmp_path), "peft_type": "LORA"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings), "utf-8")
    with pytest.raises(UserError, match=re.escape(f"needs peft: {install('lora')}")):
        load_model(tmp_path, CONFIG)


def test_a_package_that_is_missing_is_named(tmp_path: Path) -> None:
    """As of a model that runs code of its own."""
    zoo_folders.pooled(tmp_path)
    modules = json.loads((tmp_path / "modules.json").read_text("utf-8"))
    modules[1]["type"] = "no_such_package.Pooling"
    (tmp_path / "modules.json").write_text(json.dumps(modules), "utf-8")
    with pytest.raises(UserError, match="no_such_package"):
        load_model(tmp_path, EncoderConfig(trust_remote_code=True))


def test_weights_that_stay_as_they_are_are_told(tmp_path: Path) -> None:
    from ance_tele.encode.adapters import check_trainable

    zoo_folders.words(tmp_path, trained=False, dense=16)
    line = check_trainable(load_model(tmp_path, CONFIG, "cpu"), "it")
    assert line == "Of 3,856 weights 528 are trained; the others are frozen, as the folder declares."


def test_a_router_without_a_way_for_queries_is_refused(tmp_path: Path) -> None:
    from sentence_transformers.base.modules import Router

    zoo_folders.sentence(tmp_path, [Router({"image": [zoo_folders.static_module()]})])
    with pytest.raises(UserError, match="without a route for queries; its routes are image"):
        load_model(tmp_path, CONFIG)
