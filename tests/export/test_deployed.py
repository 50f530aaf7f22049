"""One model by sentence-transformers and its backends, onnxruntime, fastembed, mteb: the same vectors and figures."""

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from ance_tele.cli.main import main
from ance_tele.data.load import collection_from_dicts, load_collection
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.loading import load_model
from ance_tele.encode.saving import save_model
from ance_tele.evaluate.model import evaluate_model

CONFIG = EncoderConfig(query_max_len=16, passage_max_len=16, precision="float32")
TEXTS = ["t1 u7 w9", "t2 " * 40, "u8", "w9 w1 t3 u2"]

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def saved(tiny_model: Path, tmp_path: Path) -> Path:
    save_model(load_model(tiny_model, CONFIG, "cpu"), tmp_path / "model")
    return tmp_path / "model"


def test_a_graph_gives_the_vectors_of_the_model(
    saved: Path, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    from ance_tele.export.onnx_files import FLOAT, INT8, OnnxEncoder

    out = tmp_path / "out"
    assert main(["export", "onnx", str(saved), "--data", str(toy), "--out", str(out), "--int8"]) == 0
    shown = capsys.readouterr().out
    assert "int8: cosine to float32 " in shown and "nDCG@10 " in shown and " -> " in shown
    assert "nDCG@10" in (out / "README.md").read_text("utf-8")
    assert not [*out.rglob("*.safetensors")] and (out / "tokenizer.json").is_file()
    model = SentenceTransformer(str(saved), device="cpu")
    graph, coarse = (OnnxEncoder(out / name, model.tokenizer.pad_token_id) for name in (FLOAT, INT8))
    ours = model.encode_document(TEXTS)
    for texts in (TEXTS[:1], TEXTS):  # any number of texts, of any lengths
        ids = model.tokenizer(texts, truncation=True, max_length=16)["input_ids"]
        tokens = TokenStore.from_lists(ids)
        assert np.abs(graph.encode(tokens) - ours[: len(texts)]).max() < 1e-5
        assert ((coarse.encode(tokens) * ours[: len(texts)]).sum(1) > 0.9).all()


@pytest.fixture
def two_lengths(tiny_model: Path, tmp_path: Path) -> SentenceTransformer:
    """A model that cuts queries at 8 tokens and passages at 16, exported to ``out``."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    from ance_tele.export.onnx_files import write_onnx

    model = load_model(tiny_model, replace(CONFIG, query_max_len=8), "cpu")
    write_onnx(model, tmp_path / "out", openvino=find_spec("openvino") is not None)
    return model


@pytest.fixture
def fastembed() -> Any:
    """The package, imported before torch exports: afterwards its logger (loguru) failed at times, on a lock."""
    return pytest.importorskip("fastembed")


def test_fastembed_gives_the_vectors_of_the_model(
    fastembed: Any, two_lengths: SentenceTransformer, tmp_path: Path
) -> None:
    from fastembed.common.model_description import ModelSource, PoolingType

    file = {"model_file": "onnx/model.onnx", "sources": ModelSource(hf="me/mine"), "dim": 32}
    ready = {"pooling": PoolingType.DISABLED, "normalization": False, "output_name": "sentence_embedding"}
    fastembed.TextEmbedding.add_custom_model("me/mine", **file, **ready)
    fastembed.TextEmbedding.add_custom_model("me/pooled", **file, pooling=PoolingType.MEAN, normalization=True)
    for name in ("me/mine", "me/pooled"):
        encoder = fastembed.TextEmbedding(name, specific_model_path=str(tmp_path / "out"), threads=1)
        passages, queries = (np.stack([*encode(TEXTS)]) for encode in (encoder.passage_embed, encoder.query_embed))
        assert np.abs(passages - two_lengths.encode_document(TEXTS)).max() < 1e-5
        short = [0, 2, 3]  # a query is cut where passages are
        ours = two_lengths.encode_query(TEXTS)
        assert np.abs(queries[short] - ours[short]).max() < 1e-5 < np.abs(queries[1] - ours[1]).max()


def test_the_openvino_backend_gives_the_vectors_of_the_model(two_lengths: SentenceTransformer, tmp_path: Path) -> None:
    pytest.importorskip("optimum.intel", exc_type=ImportError)
    options = {"ov_config": {"INFERENCE_PRECISION_HINT": "f32"}}
    model = SentenceTransformer(str(tmp_path / "out"), device="cpu", backend="openvino", model_kwargs=options)
    for name in ("encode_query", "encode_document"):
        assert np.abs(getattr(model, name)(TEXTS) - getattr(two_lengths, name)(TEXTS)).max() < 1e-5


def test_an_export_needs_a_new_folder_and_its_own_flags(saved: Path, refusal: Callable[..., str]) -> None:
    assert "is there already" in refusal("export", "onnx", saved, "--out", saved)
    assert "takes no --to" in refusal("export", "onnx", saved, "--out", saved, "--to", "x")
    assert "takes no --int8" in refusal("export", "vectors", saved, "--to", "x", "--int8")


def test_mteb_measures_what_we_measure_of_each_model(saved: Path, toy: Path, tmp_path: Path) -> None:
    pytest.importorskip("mteb")
    from ance_tele.evaluate.with_mteb import evaluate_mteb

    collection, other = load_collection(str(toy)), tmp_path / "other" / "model"
    changed = load_model(saved, CONFIG, "cpu")
    weights = changed[0].model.embeddings.word_embeddings.weight
    weights.data = weights.data.flip(0).contiguous()
    save_model(changed, other)
    found = []
    for folder in (saved, other):  # two models of one name
        (measured,) = evaluate_mteb(folder, [collection], CONFIG, tmp_path / "cache").values()
        ours = evaluate_model(folder, collection, "test", CONFIG)[1].means()
        assert measured["nDCG@10"] == pytest.approx(ours["nDCG@10"], abs=1e-4)
        found.append(measured["nDCG@10"])
    assert found[0] != found[1]


def test_mteb_takes_prompts_and_lengths_as_the_model_declares(tiny_model: Path, toy: Path, tmp_path: Path) -> None:
    pytest.importorskip("mteb")
    from ance_tele.evaluate.with_mteb import evaluate_mteb

    own = replace(CONFIG, query_prompt="t5 u5 ", query_max_len=4, passage_max_len=9)
    collection = load_collection(str(toy))
    (measured,) = evaluate_mteb(tiny_model, [collection], own, tmp_path).values()
    ours = evaluate_model(tiny_model, collection, "test", own)[1].means()
    plain = evaluate_model(tiny_model, collection, "test", CONFIG)[1].means()
    assert measured["nDCG@10"] == pytest.approx(ours["nDCG@10"], abs=1e-4)
    assert abs(ours["nDCG@10"] - plain["nDCG@10"]) > 1e-3


def test_mteb_reads_the_texts_that_training_reads_also_where_titles_are_empty(tmp_path: Path) -> None:
    pytest.importorskip("mteb")
    from ance_tele.evaluate.with_mteb import collection_task

    corpus = {"a": "alone", "b": ("name", "both")}
    collection = collection_from_dicts(corpus, {"q": "alone"}, {"test": {"q": {"a": 1}}}, cache=tmp_path)
    for separator, expected in ((" ", ["alone", "name both"]), ("[SEP]", ["[SEP]alone", "name[SEP]both"])):
        task = collection_task(collection, separator)
        task.load_data()
        assert task.dataset["default"]["test"]["corpus"]["text"] == expected
