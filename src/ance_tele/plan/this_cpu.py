"""The CPU of this machine as a device to plan for: how fast one layer of a model's shape is on it."""

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from ance_tele.plan.hardware import GPU, Measured, ModelShape

# Operations of a batch that is timed at most, seconds for which it is repeated, GB/s of memory where nothing is known.
BATCH, SECONDS, BANDWIDTH = 2e10, 0.4, 10.0

SOURCE = "here, on one layer of this model's shape"


def this_cpu(shape: ModelShape, tokens: int, bf16: bool) -> GPU:
    """Time encoding and training of one layer, and a large product; takes a few seconds, and loads torch.

    Args:
        shape: Of the model; its weights are not read.
        tokens: Of a passage.
        bf16: Whether the run computes in bf16 on this CPU.
    """
    import torch

    hidden = shape.hidden
    heads = next(heads for heads in range(max(1, hidden // 64), 0, -1) if hidden % heads == 0)
    layer = torch.nn.TransformerEncoderLayer(
        hidden, heads, shape.intermediate, activation="gelu", batch_first=True, dropout=0.1
    )
    forward = shape.forward(tokens) / shape.layers
    texts = max(1, min(64, int(BATCH / forward)))
    batch, square = torch.randn(texts, tokens, hidden), torch.randn(1024, 1024)

    def cast() -> AbstractContextManager[object]:
        return torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext()

    def encode() -> None:
        with torch.inference_mode(), cast():
            layer(batch)

    def train() -> None:
        with cast():
            loss = layer(batch).square().mean()
        loss.backward()

    whole = 2 * 1024.0**3 / _seconds(lambda: square @ square)
    half = square.bfloat16()
    peak = 2 * 1024.0**3 / _seconds(lambda: half @ half) if bf16 else whole
    layer.eval()
    encoding = texts * forward / _seconds(encode) / peak
    layer.train()
    training = 3 * texts * forward / _seconds(train) / peak
    return GPU(
        f"CPU with {torch.get_num_threads()} threads",
        peak / 1e12,
        whole / 1e12,
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30),
        BANDWIDTH,
        bf16,
        Measured(training, ((0, encoding),), SOURCE),
        kind="CPU",
    )


def _seconds(work: Callable[[], object]) -> float:
    """Return the mean seconds of some work, after a first time that does not count: others may use the machine too."""
    work()
    times, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        work()
        times += 1
    return (time.perf_counter() - began) / times
