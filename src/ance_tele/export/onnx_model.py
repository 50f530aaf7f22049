"""Export a model as ONNX, and measure what the graph, and 8 bits, change in its vectors and its ranking."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.inference import encode_texts
from ance_tele.encode.loading import load_model
from ance_tele.encode.vectors import Vectors
from ance_tele.evaluate.config import EvaluateConfig
from ance_tele.evaluate.evaluation import Evaluation
from ance_tele.export.onnx_files import INT8, OnnxEncoder, write_onnx
from ance_tele.export.source import SPLITS, Source, is_run, source_of
from ance_tele.search.topk import exact_topk

# Passages that 8 bits are measured on, at most; and texts that vectors are compared on.
PASSAGES, TEXTS = 50_000, 200

METRICS = ("MRR@10", "nDCG@10")
_SAMPLE = ["how do I restart a service", "a passage with a title, and a few more words than a query", "one"]


@dataclass(frozen=True)
class OnnxExport:
    """An export.

    Attributes:
        out: The folder.
        files: Graphs in it.
        difference: Largest difference of a number between the float32 graph's vectors and ours.
        cosine: Of 8 bits: mean and least cosine to the vectors of the float32 graph; None without.
        metrics: Of 8 bits, by name: value of float32, value of 8 bits; {} without judged queries.
        split: The split they are of.
        passages: That were ranked for it.
    """

    out: Path
    files: tuple[str, ...]
    difference: float
    cosine: tuple[float, float] | None = None
    metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    split: str | None = None
    passages: int = 0

    def lines(self) -> list[str]:
        """Return what was measured, a line each."""
        lines = [f"float32: numbers of a vector differ by at most {self.difference:.1e}"]
        if self.cosine is not None:
            mean, least = self.cosine
            lines.append(f"int8: cosine to float32 {mean:.4f}, at least {least:.4f}")
        if self.metrics:
            shown = ", ".join(f"{name} {before:.3f} -> {after:.3f}" for name, (before, after) in self.metrics.items())
            lines.append(f"int8: {shown} ({self.split}, {self.passages:,} passages)")
        return lines


def export_onnx(
    source: str | Path,
    out: str | Path,
    *,
    data: str | Path | Collection | None = None,
    episode: int | None = None,
    best: bool = False,
    config: EncoderConfig | None = None,
    int8: bool = False,
    openvino: bool = False,
) -> OnnxExport:
    """Write a model as ONNX, from token ids to its finished vector, and measure what is lost.

    The folder is one of sentence-transformers without weights of its own; ``onnx/model.onnx`` gives
    ``sentence_embedding``, which is the vector, and ``last_hidden_state``.

    Args:
        source: A run folder, or the folder or hub name of a model.
        out: A new folder.
        data: Of a model: what its 8 bits are measured on, if at all. Of a run: where its data lies now.
        episode: Of a run: which one; 0 is the initial model, the last one by default.
        best: Of a run: the checkpoint with the highest metric on the split of the episodes.
        config: Of a model: its settings.
        int8: Write weights of 8 bits too.
        openvino: Write an OpenVINO model too.

    Raises:
        UserError: A package is missing, the folder holds something, or the model is of several encoders.

    Example:
        >>> done = export_onnx("my-model", "my-onnx", int8=True)  # doctest: +SKIP
        >>> done.files  # doctest: +SKIP
        ('onnx/model.onnx', 'onnx/model_int8.onnx')
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already; give a new folder.")
    found = _source(str(source), data, episode, best, config)
    model = found if not isinstance(found, Source) else found.retriever.checkpoint.model
    files = write_onnx(model, out, int8, openvino)
    pad = int(model.tokenizer.pad_token_id or 0)
    graph = OnnxEncoder(out / files[0], pad)
    coarse = OnnxEncoder(out / INT8, pad) if int8 else None
    texts = _texts(found, model)
    used = found.retriever.config if isinstance(found, Source) else config or EncoderConfig()
    ours = encode_texts(model, texts, np.arange(len(texts)), "document", replace(used, precision="float32"))
    float32 = graph.encode(texts)
    done: dict[str, Any] = {"difference": float(np.abs(ours - float32).max())}
    if coarse is not None:
        products = _cosines(float32, coarse.encode(texts))
        done["cosine"] = (float(products.mean()), float(products.min()))
        if isinstance(found, Source):
            done |= _measured(found, graph, coarse)
    made = OnnxExport(out, tuple(files), **done)
    (out / "README.md").write_text(_card(made, str(source)), "utf-8")
    return made


def _source(
    source: str, data: str | Path | Collection | None, episode: int | None, best: bool, config: EncoderConfig | None
) -> Any:
    """Return the source over its collection, or of a model without data the model alone."""
    if is_run(source) and isinstance(data, Collection):
        raise UserError(f"{source} is a run, which has its own data; leave that out.")
    if not is_run(source) and data is None and episode is None and not best:
        return load_model(source, config or EncoderConfig(), "cpu")
    return source_of(source, data, episode, best, config)


def _texts(found: Any, model: Any) -> TokenStore:
    """Return tokens of texts to compare vectors on: passages, evenly chosen, or a few of our own."""
    if isinstance(found, Source):
        tokens = found.retriever.tokens.passages
        rows = np.unique(np.linspace(0, len(tokens) - 1, min(TEXTS, len(tokens))).astype(np.int64))
        return TokenStore.from_lists([tokens[int(row)].tolist() for row in rows])
    return TokenStore.from_lists(model.tokenizer(_SAMPLE, truncation=True)["input_ids"])


def _cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    products: np.ndarray = (one * other).sum(1) / np.maximum(lengths, 1e-12)
    return products


def _measured(found: Source, graph: OnnxEncoder, coarse: OnnxEncoder) -> dict[str, Any]:
    """Return metrics of both graphs on the same queries and passages."""
    collection, tokens = found.collection, found.retriever.tokens
    split = next((name for name in SPLITS if name in collection.qrels), None)
    if split is None:
        return {}
    on = Evaluation.of(EvaluateConfig(split, eval_depth=10), collection)
    rows = _ranked_rows(len(collection.corpus), on.qrels.passages)
    rank = np.argsort(np.argsort(collection.corpus.id_rank[rows]))
    scores = []
    for encoder in (graph, coarse):
        queries, vectors = encoder.encode(tokens.queries, on.qrels.queries), encoder.encode(tokens.passages, rows)
        top = exact_topk(queries, Vectors((vectors,), key="onnx"), on.search_depth, id_rank=rank, precision="float32")
        top.rows[top.rows >= 0] = rows[top.rows[top.rows >= 0]]
        scores.append(on.measure(top)[1].means())
    both = {name: (scores[0][name], scores[1][name]) for name in METRICS if name in scores[0]}
    return {"metrics": both, "split": split, "passages": len(rows)}


def _ranked_rows(passages: int, judged: np.ndarray) -> np.ndarray:
    """Return all passages, or of many the judged ones and others, evenly chosen; int64, ascending."""
    if passages <= PASSAGES:
        return np.arange(passages)
    return np.union1d(judged, np.linspace(0, passages - 1, PASSAGES).astype(np.int64)).astype(np.int64)


def _card(made: OnnxExport, source: str) -> str:
    measured = "\n".join(f"- {line}" for line in made.lines())
    name = Path(source).name
    files = "\n".join(f"- `{name}`" for name in made.files)
    return (
        f"---\nlibrary_name: onnx\npipeline_tag: sentence-similarity\ntags:\n- onnx\n- ance-tele\n---\n\n"
        f"# {name} as ONNX\n\nOutput `sentence_embedding` is the vector, pooled and normalised as the model declares."
        f"\n\n{files}\n\n## Measured\n\n{measured}\n"
    )
