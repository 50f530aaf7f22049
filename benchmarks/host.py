"""What the host does in a training step besides the model, with a model that costs nothing.

    python benchmarks/host.py [--before FOLDER] [--steps 200] [--repeats 3] [--json FILE]

A step of 8 x (1 + 31) texts of MS MARCO's lengths through `training.trainer.train`: batch, features, loss, clipping,
AdamW, logging every tenth step. The model has as many weights as BERT-base, of a few numbers each; its forward pass
takes one number per text out of a table and gives each weight a gradient, and its time is not counted. All passages go
through in one pass, as on a GPU. With ``--before``, a checkout of an older version, both take turns in processes of
their own.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WEIGHTS, TOKENS = 199, 131072


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", help="an older checkout, to compare with")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", action="store_true", help="measure in this process, and print milliseconds alone")
    parser.add_argument("--json", help="add the row to this file")
    given = parser.parse_args()
    if given.one:
        print(f"{measured(given.steps):.4f}")
        return
    from common import Row, machine, record

    here = Path(__file__).parents[1]
    places = {"now": here, **({"before": Path(given.before)} if given.before else {})}
    found: dict[str, list[float]] = {name: [] for name in places}
    for _ in range(given.repeats):
        for name, place in places.items():
            command = [sys.executable, __file__, "--one", f"--steps={given.steps}"]
            environment = {**os.environ, "PYTHONPATH": str(place.resolve() / "src")}
            printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
            found[name].append(float(printed.split()[-1]))
    print(machine())
    for name, times in found.items():
        print(f"{name}: {statistics.median(times):.2f} ms of the host a step ({min(times):.2f} to {max(times):.2f})")
    ours, theirs = found["now"], found.get("before")
    ratios = [before / now for before, now in zip(theirs or ours, ours, strict=True)]
    record(
        given.json,
        [
            Row(
                "the host's part of a step of 8 x (1 + 31)",
                "train",
                statistics.median(ours) / 1000,
                "the version before" if theirs else "",
                statistics.median(theirs) / 1000 if theirs else None,
                *((statistics.median(ratios), min(ratios), max(ratios)) if theirs else ()),
            )
        ],
    )


def measured(steps: int) -> float:
    """Return the median time of a step without the model, in milliseconds."""
    import numpy as np
    import torch
    from transformers import BertConfig, BertModel

    from ance_tele.data.collection import Qrels
    from ance_tele.data.tokens import TokenStore
    from ance_tele.encode import encoder
    from ance_tele.encode.config import EncoderConfig
    from ance_tele.encode.loading import load_model
    from ance_tele.mining.pool import COLUMNS, Pool
    from ance_tele.training.batches import BatchPlan
    from ance_tele.training.config import TrainingConfig
    from ance_tele.training.schedule import Schedule
    from ance_tele.training.trainer import train

    encoder.CPU_TOKENS = TOKENS  # one pass
    rng, queries, corpus, pooled = np.random.default_rng(0), 2000, 20000, 200
    starts: list[float] = []
    within: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        model = load_model(write_bert(Path(name), BertConfig, BertModel), EncoderConfig(), "cpu")
        table = torch.nn.Parameter(torch.randn(1000, 1))
        model.register_parameter("table", table)
        weights = list(model.parameters())
        gradients = [torch.zeros_like(weight) for weight in weights]

        def forward(features: Any, *given: Any, **options: Any) -> dict[str, Any]:
            begun = time.perf_counter()
            for weight, gradient in zip(weights[:-1], gradients, strict=False):
                weight.grad = gradient
            ids = features["input_ids"]
            found = {"sentence_embedding": table[ids[:, 1] % 1000].expand(-1, 8)}
            starts.append(begun)
            within.append(time.perf_counter() - begun)
            return found

        model.forward = forward
        stores = [
            TokenStore.from_lists([rng.integers(5, 900, length).tolist() for length in lengths])
            for lengths in (rng.integers(4, 20, queries), np.clip(rng.normal(77, 26, corpus), 8, 128).astype(int))
        ]
        offsets = np.arange(queries + 1)
        positives = Qrels(np.arange(queries), offsets, rng.integers(0, corpus, queries), np.ones(queries, dtype=int))
        columns = {kind: np.zeros(queries * pooled, dtype) for kind, dtype in COLUMNS.items()}
        columns["passages"] = rng.integers(0, corpus, queries * pooled).astype(np.int32)
        plan = BatchPlan(Pool(np.arange(queries), offsets * pooled, **columns), positives, 8, 31, seed=1)
        config = TrainingConfig(report_to=("none",), train_precision="float32", chunk_tokens=TOKENS, grad_cache=False)
        schedule = Schedule(steps, 10 * steps, 10, 1e-6)
        train(model, plan, *stores, config, Path(name) / "work", schedule)
    firsts, spent = np.array(starts[::2]), np.array(within).reshape(-1, 2).sum(1)
    each = np.diff(firsts) - spent[:-1]
    return float(np.median(each[10:])) * 1000


def write_bert(folder: Path, config: Any, kind: Any) -> Path:
    """Write an encoder with as many weights as BERT-base's, each small, and a vocabulary of numbers."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: number for number, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])}
    vocabulary |= {str(number): number for number in range(5, 1000)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(folder)
    shape = config(
        vocab_size=1000, hidden_size=16, intermediate_size=16, num_attention_heads=2, max_position_embeddings=160
    )
    made = kind(shape)
    assert len(list(made.parameters())) == WEIGHTS
    made.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main()
