"""One model through ance-tele, sentence-transformers, transformers, ONNX, OpenVINO and mteb, in one table.

    python benchmarks/deployed.py MODEL DATA [--texts 2000] [--rounds 3] [--threads N] [--split test]

MODEL is a folder with mean, [CLS] or last-token pooling, DATA a collection. All get the same texts and return
vectors, tokenising included; batches are of 32 texts sorted by length, ance-tele's its own. Vectors are compared with
ance-tele's in float32. Scores are of all queries of the split and all passages, by exact search; mteb's by mteb.
Passages a second are medians of rounds in which each takes its turn. What is not installed is left out.
"""

import argparse
import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from common import machine, markdown
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from transformers import AutoModel, AutoTokenizer

import ance_tele as at
from ance_tele.data.text_format import TextFormat, batch_tokenizer
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.encoder import text_format, tokenizer_of
from ance_tele.encode.in_use import Task
from ance_tele.encode.inference import encode_texts
from ance_tele.encode.vectors import Vectors
from ance_tele.evaluate.config import EvaluateConfig
from ance_tele.evaluate.evaluation import Evaluation
from ance_tele.export.onnx_files import FLOAT, INT8, OPENVINO, OnnxEncoder, write_onnx
from ance_tele.search.topk import exact_topk

METRICS = ("MRR@10", "nDCG@10")
BATCH = 32

Encode: TypeAlias = Callable[[list[str], Task], np.ndarray]
"""Texts, without prompts, to vectors, float32 [texts, dimension]."""


def by_ance_tele(model: SentenceTransformer, precision: Any) -> Encode:
    config = replace(at.EncoderConfig(), precision=precision)

    def encode(texts: list[str], task: Task) -> np.ndarray:
        form = text_format(model, config, task)
        ids, _ = batch_tokenizer(tokenizer_of(model, task), form.max_length)([form.prompt + text for text in texts])
        return encode_texts(model, TokenStore.from_lists(ids), np.arange(len(ids)), task, config)

    return encode


def by_sentence_transformers(folder: str) -> Encode:
    model = SentenceTransformer(folder, device="cpu")
    options = {"batch_size": BATCH, "show_progress_bar": False}

    def encode(texts: list[str], task: Task) -> np.ndarray:
        return np.asarray((model.encode_query if task == "query" else model.encode_document)(texts, **options))

    return encode


def in_batches(
    folder: str, forms: dict[Task, TextFormat], forward: Callable[[dict[str, np.ndarray]], np.ndarray]
) -> Encode:
    """Return an encoder of any forward pass, with a tokenizer of transformers, batches sorted by length."""
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def encode(texts: list[str], task: Task) -> np.ndarray:
        form, order, parts = forms[task], np.argsort([len(text) for text in texts], kind="stable"), []
        for start in range(0, len(texts), BATCH):
            batch = [form.prompt + texts[row] for row in order[start : start + BATCH]]
            options = {"padding": True, "truncation": True, "max_length": form.max_length, "return_tensors": "np"}
            parts.append(forward(dict(tokenizer(batch, **options))))
        vectors = np.empty((len(texts), parts[0].shape[1]), np.float32)
        vectors[order] = np.concatenate(parts)
        return vectors

    return encode


def transformers_forward(folder: str, pooling: str, normalized: bool) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    model = AutoModel.from_pretrained(folder).eval()

    @torch.inference_mode()
    def forward(batch: dict[str, np.ndarray]) -> np.ndarray:
        given = {name: torch.from_numpy(value) for name, value in batch.items()}
        tokens, mask = model(**given).last_hidden_state, given["attention_mask"].unsqueeze(-1)
        if pooling == "mean":
            vectors = (tokens * mask).sum(1) / mask.sum(1)
        else:
            place = torch.zeros(len(tokens), dtype=torch.long) if pooling == "cls" else mask.sum(1).squeeze(-1) - 1
            vectors = tokens[torch.arange(len(tokens)), place]
        return np.asarray(torch.nn.functional.normalize(vectors, dim=1) if normalized else vectors)

    return forward


def onnx_forward(path: Path, threads: int) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    graph = OnnxEncoder(path, threads=threads)
    return lambda batch: graph.session.run(["sentence_embedding"], {name: batch[name] for name in graph.names})[0]


def openvino_forward(path: Path, hint: str, threads: int) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    import openvino

    compiled = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads})
    names = {one.any_name for one in compiled.inputs}
    return lambda batch: compiled({name: batch[name] for name in names})["sentence_embedding"]


def scores_of(
    encode: Encode, on: Evaluation, questions: list[str], passages: list[str], ranks: np.ndarray
) -> dict[str, float]:
    """Return the metrics of an encoder by exact search."""
    vectors = Vectors((encode(passages, "document"),), key="deployed")
    top = exact_topk(encode(questions, "query"), vectors, on.search_depth, id_rank=ranks, precision="float32")
    means = on.measure(top)[1].means()
    return {name: means[name] for name in METRICS}


def pooled(model: SentenceTransformer) -> tuple[str, bool]:
    """Return the pooling of a model of one transformer, and whether its vectors are normalised."""
    modules = list(model)
    if (
        len(modules) < 2
        or not isinstance(modules[1], Pooling)
        or not all(isinstance(one, Normalize) for one in modules[2:])
    ):
        raise SystemExit("This compares models of a transformer, a pooling and perhaps a normalisation.")
    if modules[1].pooling_mode not in ("cls", "mean", "lasttoken"):
        raise SystemExit(f"The pooling {modules[1].pooling_mode} is not compared here.")
    return modules[1].pooling_mode, len(modules) > 2


def installed(*packages: str) -> bool:
    return all(importlib.util.find_spec(one) is not None for one in packages)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--split", default="test")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)

    collection = at.load_collection(given.data)
    model = at.load_model(given.model, at.EncoderConfig(), "cpu")
    forms: dict[Task, TextFormat] = {
        task: text_format(model, at.EncoderConfig(), task) for task in ("query", "document")
    }
    pooling, normalized = pooled(model)
    on = Evaluation.of(EvaluateConfig(given.split, eval_depth=10), collection)
    questions = collection.queries.table["text"].take(on.qrels.queries).to_pylist()
    titles, texts = (collection.corpus.table[name].to_pylist() for name in ("title", "text"))
    passages = replace(forms["document"], prompt="").render(titles, texts)
    timed = [passages[row] for row in np.linspace(0, len(passages) - 1, min(given.texts, len(passages))).astype(int)]

    with tempfile.TemporaryDirectory() as folder:
        out, through = Path(folder) / "out", partial(in_batches, given.model, forms)
        encoders: dict[str, Encode] = {
            "ance-tele, float32": by_ance_tele(model, "float32"),
            "ance-tele, bf16": by_ance_tele(model, "bf16"),
            "sentence-transformers": by_sentence_transformers(given.model),
            "transformers": through(transformers_forward(given.model, pooling, normalized)),
        }
        if installed("onnx", "onnxscript", "onnxruntime"):
            write_onnx(at.load_model(given.model, at.EncoderConfig(), "cpu"), out, True, installed("openvino"))
            encoders["onnxruntime, float32"] = through(onnx_forward(out / FLOAT, given.threads))
            encoders["onnxruntime, int8"] = through(onnx_forward(out / INT8, given.threads))
        if (out / OPENVINO).exists():
            for hint in ("f32", "bf16"):
                encoders[f"OpenVINO, {hint}"] = through(openvino_forward(out / OPENVINO, hint, given.threads))
        print(f"{machine()}; {given.threads} threads\n")
        print(table(encoders, on, questions, passages, timed, collection, given))


def table(
    encoders: dict[str, Encode],
    on: Evaluation,
    questions: list[str],
    passages: list[str],
    timed: list[str],
    collection: at.Collection,
    given: argparse.Namespace,
) -> str:
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    vectors = {name: encode(timed, "document") for name, encode in encoders.items()}  # and to warm up
    for _ in range(given.rounds):
        for name, encode in encoders.items():
            started = time.perf_counter()
            encode(timed, "document")
            seconds[name].append(time.perf_counter() - started)
    ours = vectors["ance-tele, float32"]
    rows: list[Sequence[str]] = []
    for name, encode in encoders.items():
        figures = scores_of(encode, on, questions, passages, collection.corpus.id_rank)
        lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(vectors[name], axis=1)
        cosines = (ours * vectors[name]).sum(1) / lengths
        rate = len(timed) / statistics.median(seconds[name])
        ratio = statistics.median(b / a for a, b in zip(seconds[name], seconds["sentence-transformers"], strict=True))
        scores = [f"{figures[metric]:.4f}" for metric in METRICS]
        difference = f"{np.abs(ours - vectors[name]).max():.1e}"
        rows.append((name, difference, f"{cosines.min():.5f}", *scores, f"{rate:,.0f}", f"{ratio:.2f}"))
    if installed("mteb"):
        with tempfile.TemporaryDirectory() as cache:
            (measured,) = at.evaluate_mteb(given.model, [collection], at.EncoderConfig(), Path(cache)).values()
        rows.append(("mteb", "", "", *(f"{measured[metric]:.4f}" for metric in METRICS), "", ""))
    head = ("through", "largest difference", "least cosine", *METRICS, "passages/s", "of sentence-transformers")
    return markdown(head, rows)


if __name__ == "__main__":
    main()
