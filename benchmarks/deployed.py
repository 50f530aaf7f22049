"""Passages a second of one model by torch, onnxruntime and 8 bits, on the same texts and threads, in one line.

    python benchmarks/deployed.py MODEL DATA [--texts 2000] [--threads N]

MODEL is a model's folder, DATA a collection. Each encodes the same tokens in batches of 32, sorted by length, once to
warm up and three times measured; the median counts. Tokenising is left out.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ance_tele.data.load import load_collection
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.inference import encode_texts
from ance_tele.export.onnx_files import FLOAT, INT8, OnnxEncoder, write_onnx
from ance_tele.export.source import of_model


def rate(encode: Callable[[], object], texts: int) -> float:
    encode()
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        encode()
        seconds.append(time.perf_counter() - started)
    return texts / statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    config = replace(EncoderConfig(), precision="float32")
    found = of_model(given.model, load_collection(given.data), config).retriever
    model, tokens = found.checkpoint.model, found.tokens.passages
    rows = np.arange(min(given.texts, len(tokens)))
    rates = {"torch": rate(lambda: encode_texts(model, tokens, rows, "document", config), len(rows))}
    with tempfile.TemporaryDirectory() as folder:
        write_onnx(model, Path(folder) / "out", int8=True)
        for name, file in (("onnx", FLOAT), ("int8", INT8)):
            graph = OnnxEncoder(Path(folder) / "out" / file, int(model.tokenizer.pad_token_id or 0), given.threads)
            rates[name] = rate(lambda graph=graph: graph.encode(tokens, rows), len(rows))  # type: ignore[misc]
    shown = ", ".join(f"{name} {value:,.0f}" for name, value in rates.items())
    print(f"passages a second ({len(rows):,} of {tokens.mean:.0f} tokens, {given.threads} threads): {shown}")


if __name__ == "__main__":
    main()
