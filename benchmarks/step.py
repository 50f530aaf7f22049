"""One training step, against sentence-transformers' losses and a plain loop padded to the maximum length.

Same model, texts, negatives, threads and optimiser; all alternate in one process, medians are reported. A step is
collating (for the others: tokenising), forward, backward, clipping, AdamW. Peak memory is that of the
process, measured for every competitor in a first round.

    python benchmarks/step.py [--data demo] [--lengths marco] [--shape 8 31] [--precisions float32 bf16] [--steps 5]
        [--threads 2] [--json FILE]
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from common import Row, add_json, alternate, machine, markdown, peak_memory, record, times_faster
from limit import Limit, model_flops, precisions
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from texts import cut_texts

from ance_tele.data.collection import Qrels
from ance_tele.data.demo import demo_model
from ance_tele.data.load import cache_folder, load_collection
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import Forward
from ance_tele.encode.loading import load_model
from ance_tele.mining.pool import COLUMNS, Pool
from ance_tele.training.batches import BatchPlan, Collator, moved
from ance_tele.training.config import TrainingConfig
from ance_tele.training.loss import TeleportationLoss, contrastive_loss

SCALE = 20.0
PEERS = ("MultipleNegativesRankingLoss", "CachedMultipleNegativesRankingLoss", "plain loop, padded")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="demo")
    parser.add_argument("--model", default=None)
    parser.add_argument("--lengths", choices=("short", "marco", "long"), default="marco")
    parser.add_argument("--shape", type=int, nargs=2, default=(8, 31), metavar=("QUERIES", "NEGATIVES"))
    parser.add_argument("--passage_max_len", type=int, default=128)
    parser.add_argument("--precisions", nargs="+", choices=("float32", "bf16"), default=precisions())
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    add_json(parser)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    bench, limit = Bench(given), Limit(given.precisions)
    steps = {
        (name, precision): bench.step(run, precision)
        for precision in given.precisions
        for name, run in {"ance-tele": bench.ours, **{peer: bench.peer(peer) for peer in given.peers}}.items()
    }
    memory = {name: peak_memory(run) / 2**30 for name, run in steps.items()}
    seconds = alternate(steps, given.steps, warm=0)
    limit.look()
    queries, negatives = given.shape
    print(machine())
    print(
        f"{queries} queries x (1 + {negatives}), {given.lengths} texts of at most {given.passage_max_len} tokens, mean "
        f"{bench.tokens / (queries * (1 + negatives)):.0f}; losses without dropout differ by {bench.difference():.0e}"
    )
    print(limit)
    rows, told_rows = [], []
    question = f"a step of {queries} x (1 + {negatives}), {given.lengths} texts"
    for (name, precision), times in seconds.items():
        ours = seconds["ance-tele", precision]
        ratio, least, most = times_faster(ours, times)
        faster = f"{ratio:.2f} ({least:.2f} to {most:.2f})"
        median, best = statistics.median(times), limit[precision]
        share = bench.flops / median / best
        if name != "ance-tele":
            mine = statistics.median(ours)
            told_rows.append(
                Row(question, precision, mine, name, median, ratio, least, most, bench.flops / mine / best,
                    memory["ance-tele", precision], memory[name, precision])
            )  # fmt: skip
        row = name, precision, f"{median:.3f}", f"{queries / median:.2f}", f"{share:.0%}"
        rows.append((*row, f"{memory[name, precision]:.2f}", "" if name == "ance-tele" else faster))
    print(markdown(("", "precision", "s/step", "queries/s", "of the limit", "peak GiB", "ours is faster by"), rows))
    record(given.json, told_rows)


class Bench:
    """A model, texts, one batch, and the implementations of a step on it."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.queries, negatives = given.shape
        config = EncoderConfig(query_max_len=32, passage_max_len=given.passage_max_len, normalize=True)
        self.config = config
        self.model: SentenceTransformer = load_model(given.model or demo_model(cache_folder()), config)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-6, fused=True)
        collection = load_collection(given.data)
        count = self.queries * (1 + negatives)
        self.texts = cut_texts(collection, given.lengths, count)
        self.asked = cut_texts(collection, "short", self.queries, seed=1)
        stores = [
            TokenStore.from_lists(self.model.tokenizer(texts, truncation=True, max_length=length)["input_ids"])
            for texts, length in ((self.asked, 32), (self.texts, given.passage_max_len))
        ]
        self.tokens = int(stores[1].lengths().sum())
        self.flops = model_flops(self.model, np.concatenate([store.lengths() for store in stores]), passes=3)
        self.collate, self.flat = batches(self.model, stores, self.queries, negatives)
        forwards = self.collate.query_forward, self.collate.passage_forward
        budget = TrainingConfig().chunk_tokens
        options = {"mask_known_positives": False, "chunk_tokens": budget, "bf16": "bf16" in given.precisions}
        self.loss = TeleportationLoss(self.model, *forwards, 1 / SCALE, **options)

    def step(self, run: Callable[[], torch.Tensor], precision: str) -> Callable[[], None]:
        """Return a step: loss, gradients, clipping, AdamW."""

        def step() -> None:
            self.model.train()
            with torch.autocast(self.model.device.type, torch.bfloat16, enabled=precision == "bf16"):
                loss = run()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()

        return step

    def ours(self) -> torch.Tensor:
        self.loss.bf16 = torch.is_autocast_enabled(self.model.device.type)
        batch = self.collate.collate(np.arange(self.queries), self.flat)
        return self.loss(*(moved(part, self.model.device) for part in batch))

    def peer(self, name: str) -> Callable[[], torch.Tensor]:
        """Return a function that computes a competitor's loss from texts."""
        if name == PEERS[2]:
            return self.padded
        options: dict[str, Any] = {"scale": SCALE}
        if name == PEERS[0]:
            loss = MultipleNegativesRankingLoss(self.model, **options)
        else:
            loss = CachedMultipleNegativesRankingLoss(self.model, mini_batch_size=32, **options)
        by_query = [self.texts[int(rows[0]) : int(rows[-1]) + 1] for rows in self.flat]
        columns = [self.asked, *map(list, zip(*by_query, strict=True))]

        def run() -> torch.Tensor:
            features = [self.model.preprocess(column) for column in columns]
            return loss([{k: _to(v, self.model.device) for k, v in one.items()} for one in features], None)

        return run

    def padded(self) -> torch.Tensor:
        """The usual simple loop: everything padded to the maximum length, one forward pass."""
        vectors = []
        for texts, length in ((self.asked, self.config.query_max_len), (self.texts, self.config.passage_max_len)):
            options = {"padding": "max_length", "truncation": True, "max_length": length, "return_tensors": "pt"}
            inputs = self.model.tokenizer(texts, **options).to(self.model.device)
            hidden = self.model[0].auto_model(**inputs).last_hidden_state
            mask = inputs["attention_mask"][..., None]
            vectors.append(torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1))
        target = torch.tensor([int(rows[0]) for rows in self.flat], device=self.model.device)
        return contrastive_loss(*vectors, target, temperature=1 / SCALE)

    def difference(self) -> float:
        """Return the difference between our loss and that of the plain loop without dropout, in float32.

        Both truncate texts alike; the losses of sentence-transformers read queries beyond 32 tokens.
        """
        self.model.eval()
        with torch.no_grad():
            return abs(float(self.ours()) - float(self.padded()))


def batches(
    model: SentenceTransformer, stores: list[TokenStore], queries: int, negatives: int
) -> tuple[Collator, list[np.ndarray]]:
    """Return our collator and the passages of each query, the positive first; no passage is another query's."""
    flat = np.arange(queries * (1 + negatives)).reshape(queries, -1)
    positives = Qrels(np.arange(queries), np.arange(queries + 1), flat[:, 0], np.ones(queries))
    table = {name: np.zeros(queries * negatives, kind) for name, kind in COLUMNS.items()}
    table["passages"] = flat[:, 1:].ravel().astype(np.int32)
    pool = Pool(np.arange(queries), np.arange(queries + 1) * negatives, **table)
    plan = BatchPlan(pool, positives, queries, negatives, 0)
    return Collator(plan, stores[0], stores[1], Forward(model, "query"), Forward(model, "document")), list(flat)


def _to(value: Any, device: torch.device) -> Any:
    return value.to(device) if torch.is_tensor(value) else value


if __name__ == "__main__":
    main()
