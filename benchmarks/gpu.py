"""Speed of one GPU at the paper's sizes: training steps and encoding, as shares of its matrix product.

    python benchmarks/gpu.py TOKENIZER_FOLDER

The encoder has BERT-base's shape and random weights; texts have the lengths of MS MARCO's or of Wikipedia passages.
Shares count real tokens only. The results are the assumptions of `run --plan`. Exact search: gpu_search.py.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from ance_tele.data.collection import Qrels
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.inference import encode_texts
from ance_tele.encode.loading import load_model
from ance_tele.mining.pool import Pool
from ance_tele.training.batches import BatchPlan
from ance_tele.training.config import TrainingConfig
from ance_tele.training.schedule import Schedule
from ance_tele.training.trainer import train

SHAPES = {"marco 8 x (1 + 31)": (8, 31, 77, 128), "nq 128 x (1 + 11)": (128, 11, 140, 156)}
# Tokens of a chunk, and the batch size from which gradients are cached.
CHUNKS = {"marco 8 x (1 + 31)": [(16384, 65536)], "nq 128 x (1 + 11)": [(16384, 65536), (65536, 65536), (65536, 2**18)]}


def gemm(device: str, size: int = 8192) -> float:
    """Return bf16 TFLOP/s of one square matrix product, on random data."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(10):
        a @ b
    torch.cuda.synchronize()
    return 10 * 2 * size**3 / (time.perf_counter() - start) / 1e12


def store(count: int, mean: int, most: int, rng: np.random.Generator) -> TokenStore:
    """Return random tokens of normal lengths."""
    lengths = np.clip(rng.normal(mean, mean / 3, count), 8, most).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return TokenStore(rng.integers(1000, 30000, offsets[-1]).astype(np.uint16), offsets, f"{count}-{mean}")


def flop_per_token(length: int, layers: int = 12, width: int = 768, inner: int = 3072) -> float:
    """Return the FLOPs of a forward pass per token: twice the weights, and attention over its text."""
    return 2 * layers * (4 * width**2 + 2 * width * inner) + 4 * layers * width * length


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokenizer", help="folder of any BERT tokenizer")
    parser.add_argument("--steps", type=int, default=60)
    given = parser.parse_args()
    device, rng = "cuda", np.random.default_rng(0)
    peak = gemm(device)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}: bf16 product {peak:.0f} TFLOP/s")
    encoder(given, device, peak, rng)


def encoder(given: argparse.Namespace, device: str, peak: float, rng: np.random.Generator) -> None:
    """Print the times of training steps and encoding."""
    with tempfile.TemporaryDirectory() as folder:
        BertModel(BertConfig(), add_pooling_layer=False).save_pretrained(folder)
        AutoTokenizer.from_pretrained(given.tokenizer).save_pretrained(folder)
        config = EncoderConfig(pooling="cls", normalize=False, encode_tokens=65536)
        for name, (batch, negatives, mean, most) in SHAPES.items():
            model = load_model(folder, config, device)
            passages, queries = store(20_000, mean, most, rng), store(4096, 10, 32, rng)
            offsets = np.arange(4097)
            positives = Qrels(np.arange(4096), offsets, rng.integers(0, 20_000, 4096), np.ones(4096, dtype=np.int64))
            drawn = rng.integers(0, 20_000, 4096 * 60).astype(np.int32)
            zeros = [np.zeros(len(drawn), dtype=kind) for kind in (np.uint8, np.uint8, np.uint8, np.int16, np.float32)]
            plan = BatchPlan(
                Pool(np.arange(4096), np.arange(4097) * 60, drawn, *zeros), positives, batch, negatives, 42
            )
            for chunk, most_at_once in CHUNKS[name]:
                options = TrainingConfig(batch_queries=batch, negatives_per_query=negatives, chunk_tokens=chunk,
                                         report_to=(), save_steps=10**6, grad_cache_tokens=most_at_once)  # fmt: skip
                seconds = []
                for steps in (10, 10 + given.steps):
                    torch.cuda.reset_peak_memory_stats()
                    start = time.perf_counter()
                    schedule = Schedule(steps, 1000, 10, 5e-6)
                    work = Path(folder) / f"{batch}-{chunk}-{most_at_once}-{steps}"
                    train(model, plan, queries, passages, options, work, schedule)
                    torch.cuda.synchronize()
                    seconds.append(time.perf_counter() - start)
                step = (seconds[1] - seconds[0]) / given.steps
                tokens = batch * ((1 + negatives) * float(passages.lengths().mean()) + float(queries.lengths().mean()))
                share = 3 * flop_per_token(mean) * tokens / step / 1e12 / peak
                memory = torch.cuda.max_memory_allocated() / 2**30
                case = f"chunks of {chunk:,} tokens" if batch * most * (1 + negatives) > most_at_once else "one pass"
                print(f"{name}, {case}: {step * 1e3:.0f} ms a step, {tokens / step:,.0f} tokens/s, "
                      f"{share:.0%} of the product, peak {memory:.1f} GiB", flush=True)  # fmt: skip
            rows = np.arange(20_000)
            for budget in (8192, 32768, 131072):
                options = EncoderConfig(pooling="cls", normalize=False, encode_tokens=budget)
                encode_texts(model, passages, rows[:2000], "document", options)
                start = time.perf_counter()
                encode_texts(model, passages, rows, "document", options)
                seconds_taken = time.perf_counter() - start
                rate = passages.lengths().sum() / seconds_taken
                share = flop_per_token(mean) * rate / 1e12 / peak
                print(f"  encoding, batches of {budget:,} tokens: {len(rows) / seconds_taken:,.0f} passages/s, "
                      f"{rate:,.0f} tokens/s, {share:.0%} of the product", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
