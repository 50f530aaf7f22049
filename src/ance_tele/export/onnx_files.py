"""A model as ONNX: one graph from token ids to the finished vector, beside the files that sentence-transformers reads.

sentence-transformers exports by optimum, which refuses transformers 5; so torch's exporter takes its whole module here.
"""

import importlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer

from ance_tele.console.errors import UserError
from ance_tele.console.extras import install
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.saving import save_model

FLOAT, INT8, OPENVINO = "onnx/model.onnx", "onnx/model_int8.onnx", "openvino/openvino_model.xml"
OUTPUTS = ("last_hidden_state", "sentence_embedding")

# Texts of the trace: of several, and of unequal lengths, so that neither size is taken for fixed.
_TRACED = ["how do I restart a service", "one", "two words"]


class _Graph(torch.nn.Module):
    """The whole model as a function of tensors."""

    def __init__(self, model: SentenceTransformer, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, tuple(names)

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return token vectors, [texts, tokens, dimension], and the texts' vectors."""
        features = self.model(dict(zip(self.names, tensors, strict=True)))
        return features["token_embeddings"], features["sentence_embedding"]


def package(name: str) -> Any:
    """Return a package of the extra ``onnx``.

    Raises:
        UserError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"This needs the package {name}, which is not installed: {install('onnx')}.") from None


def write_onnx(model: SentenceTransformer, out: Path, int8: bool = False, openvino: bool = False) -> list[str]:
    """Write a model into a folder as ONNX, float32, and perhaps 8-bit and for OpenVINO; return the files.

    Tokenizer, lengths, prompts, pooling and normalisation lie beside it as in any folder of sentence-transformers.

    Args:
        model: One transformer, and what follows it.
        out: A folder, made here.
        int8: Write weights of 8 bits too; what is computed from them stays float32 (dynamic quantisation).
        openvino: Write an OpenVINO model too, from the float32 graph.

    Raises:
        UserError: A package is missing, or the model is of several encoders.
    """
    for name in ("onnx", "onnxscript", "onnxruntime", *(("openvino",) if openvino else ())):
        package(name)
    if not isinstance(model[0], Transformer) or model.truncate_dim is not None:
        raise UserError(
            "Only a model of one transformer with whole vectors becomes ONNX; this one has separate encoders, several "
            "vectors or truncate_dim."
        )
    model = model.to("cpu").eval()
    save_model(model, out)
    for path in out.rglob("*.safetensors"):
        if path.parent == out:  # the graph holds the weights
            path.unlink()
    (out / FLOAT).parent.mkdir(exist_ok=True)
    _trace(model, out / FLOAT)
    written = [FLOAT]
    if int8:
        _quantised(out / FLOAT, out / INT8)
        written.append(INT8)
    if openvino:
        ov = package("openvino")
        (out / OPENVINO).parent.mkdir(exist_ok=True)
        ov.save_model(ov.convert_model(out / FLOAT), out / OPENVINO, compress_to_fp16=False)
        written.append(OPENVINO)
    return written


def _trace(model: SentenceTransformer, path: Path) -> None:
    features = model.preprocess(_TRACED)
    tensors = {name: value for name, value in features.items() if torch.is_tensor(value)}
    free = torch.export.Dim.DYNAMIC
    with _quietly(), torch.inference_mode():
        program = torch.onnx.export(
            _Graph(model, tuple(tensors)).eval(),
            tuple(tensors.values()),
            dynamo=True,
            dynamic_shapes=(tuple({0: free, 1: free} for _ in tensors),),
            input_names=list(tensors),
            output_names=list(OUTPUTS),
            verbose=False,
        )
        assert program is not None
        program.save(str(path))


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence the exporter, which tells of torchvision's operators and of its own deprecations."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


def _quantised(source: Path, target: Path) -> None:
    quantization = importlib.import_module("onnxruntime.quantization")
    onnx = package("onnx")
    graph = onnx.load(source)
    del graph.graph.value_info[:]  # names of the exporter's own sizes, which the quantiser takes for contradictions
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        quantization.quantize_dynamic(graph, target, weight_type=quantization.QuantType.QInt8)
    finally:
        logger.setLevel(level)


class OnnxEncoder:
    """Encodes tokens by a graph that :func:`write_onnx` wrote.

    Args:
        path: The graph.
        pad: Id of the padding token.
        threads: Of onnxruntime; as many as there are cores by default.
    """

    def __init__(self, path: Path, pad: int = 0, threads: int | None = None) -> None:
        runtime = package("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3
        self.session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.pad, self.names = pad, [one.name for one in self.session.get_inputs()]

    def encode(self, tokens: TokenStore, rows: np.ndarray | None = None, batch: int = 32) -> np.ndarray:
        """Return the vectors of texts, given by row, float32 [texts, dimension]."""
        rows = np.arange(len(tokens)) if rows is None else rows
        by_length = np.argsort(tokens.lengths(rows), kind="stable")
        parts = []
        for start in range(0, len(rows), batch):
            ids, real = tokens.padded(rows[by_length[start : start + batch]], self.pad)
            known = {"input_ids": ids, "attention_mask": real, "token_type_ids": np.zeros_like(ids)}
            given = {name: known[name].astype(np.int64) for name in self.names}
            parts.append(self.session.run(["sentence_embedding"], given)[0])
        vectors = np.empty((len(rows), parts[0].shape[1]), np.float32)
        vectors[by_length] = np.concatenate(parts)
        return vectors
