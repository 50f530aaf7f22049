"""Kernels of a training step as on a GPU, counted on a CPU: launches, casts, and sizes that compiled kernels are for.

    python benchmarks/launches.py [--before FOLDER] [--layers 12] [--json FILE]

One step of 8 x (1 + 31) texts of MS MARCO's lengths in bf16, without padding, queries and passages in one pass:
forward, backward, clipping, AdamW. The model is as deep as BERT-base, and narrow. Every operation of torch's that
computes or copies counts as one launch, attention as one, whatever runs it. Each kernel costs the host some
microseconds; a captured graph costs one launch. With ``--before``, a checkout of an older version is counted too.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

QUERIES, NEGATIVES = 8, 31

# Operations that give a view or memory, and start no kernel.
FREE = {
    "view", "_unsafe_view", "reshape", "transpose", "t", "permute", "expand", "slice", "select", "detach", "alias",
    "unsqueeze", "squeeze", "as_strided", "split", "split_with_sizes", "unbind", "empty", "empty_like",
    "empty_strided", "new_empty", "new_empty_strided", "lift_fresh",
}  # fmt: skip


class Counted(TorchDispatchMode):
    """Counts operations by name while active."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name not in FREE:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", help="an older checkout, to compare with")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--one", choices=("cls", "mean"), help="count in this process, and print the numbers alone")
    parser.add_argument("--json", help="add the rows to this file")
    given = parser.parse_args()
    if given.one:
        print(*counted(given.layers, given.one))
        return
    from common import Row, markdown, record

    places = {"now": Path(__file__).parents[1], **({"before": Path(given.before)} if given.before else {})}
    rows, kept = [], []
    for pooling in ("mean", "cls"):
        found = {}
        for name, place in places.items():
            command = [sys.executable, __file__, "--one", pooling, "--layers", str(given.layers)]
            environment = {**os.environ, "PYTHONPATH": str(place.resolve() / "src")}
            printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
            found[name] = list(map(int, printed.split()[-2:]))
            rows.append((pooling, name, *found[name]))
        for at, what in enumerate(("launches", "casts and copies")):
            now, before = found["now"][at], found.get("before", [None, None])[at]
            other = "the version before" if before else ""
            kept.append(Row(f"{what} of a step of 8 x (1 + 31), {pooling}", "bf16", now, other, before))
    print(markdown(("pooling", "", "launches", "of these casts and copies"), rows))
    record(given.json, kept)


def counted(layers: int, pooling: str) -> tuple[int, int]:
    """Return the launches of a step, and how many of them cast or copy."""
    from ance_tele.encode import packed
    from ance_tele.encode.encoder import Forward
    from ance_tele.training.loss import TeleportationLoss

    class Attention(torch.autograd.Function):
        """Stands for an attention kernel: one operation forward, one backward."""

        @staticmethod
        def forward(ctx: Any, query: Any, key: Any, value: Any) -> Any:
            ctx.shape = key.shape
            return query.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            key = torch.empty(ctx.shape, dtype=gradients[0].dtype)
            return gradients[0].clone(), key, torch.empty_like(key)

    def attend(query: Any, key: Any, value: Any, *rest: Any) -> Any:
        return Attention.apply(query, key, value)

    packed.Packed.attention = lambda self, query, key, value, *rest, **named: attend(query, key, value)
    if importlib.util.find_spec("ance_tele.encode.bert_layers"):  # older versions have none
        importlib.import_module("ance_tele.encode.bert_layers").attend_within = attend
    model = narrow_bert(layers, pooling)
    forwards = Forward(model, "query"), Forward(model, "document")
    for forward in forwards:
        forward.packs = True
    loss_of = TeleportationLoss(model, *forwards, 0.05, bf16=True)
    loss_of.one_pass = True
    import ance_tele.training.loss as module

    module.Kernels = lambda ids: None  # they are for a CPU
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    model.train()
    count = Counted()
    for step in range(2):
        batch = features(np.random.default_rng(step))
        if step == 1:
            count.__enter__()
        loss_of(*batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    count.__exit__(None, None, None)
    return sum(count.found.values()), count.found["_to_copy"] + count.found["copy_"] + count.found["_foreach_copy_"]


def narrow_bert(layers: int, pooling: str) -> Any:
    """Return a BERT as deep as given, of width 64, with the tokenizer of a made-up vocabulary."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    from ance_tele.encode.config import EncoderConfig
    from ance_tele.encode.loading import load_model

    sizes = {"vocab_size": 1000, "hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 128}
    words = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, **{f"w{number}": number for number in range(4, 1000)}}
    with tempfile.TemporaryDirectory() as folder:
        AutoModel.from_config(AutoConfig.for_model("bert", num_hidden_layers=layers, **sizes)).save_pretrained(folder)
        special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
        backend = Tokenizer(WordLevel(words, unk_token="[UNK]"))
        PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(folder)
        return load_model(folder, EncoderConfig(32, 128, pooling=pooling), "cpu")


def features(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return the features of a step of random texts."""
    passages = QUERIES * (1 + NEGATIVES)

    def tokens(lengths: np.ndarray) -> dict[str, Any]:
        mask = torch.arange(int(lengths.max())) < torch.from_numpy(lengths)[:, None]
        ids = torch.from_numpy(rng.integers(4, 1000, mask.shape)) * mask
        return {"input_ids": ids, "attention_mask": mask.long(), "lengths": lengths.tolist()}

    asked = tokens(np.clip(rng.poisson(8, QUERIES), 4, 32))
    flat = tokens(-np.sort(-np.clip(rng.lognormal(4.25, 0.38, passages), 10, 128).astype(int)))
    order = torch.arange(passages)
    asked |= {"target": order[:: 1 + NEGATIVES], "positives": order[:: 1 + NEGATIVES, None]}
    return [asked, flat | {"place": order, "row": order, "query": order // (1 + NEGATIVES)}]


if __name__ == "__main__":
    main()
