"""An ordinary SentenceTransformerTrainer at equal steps: negatives of mine_hard_negatives, mined once, or re-mined.

    python benchmarks/drop_in.py --data FOLDER --model FOLDER [--seeds 1 2 3] [--epochs 3] [--batch 16]
        [--negatives 3] [--max_train_queries N] [--max_len 128] [--learning_rate 2e-5] [--relative_margin 0.05]
        [--split test] [--arms once once-random callback]

All train with MultipleNegativesRankingLoss on the same pairs, batches, steps and negatives per pair:

    once          sentence-transformers' mine_hard_negatives before training, the best of each list
    once-random   the same, drawn from the best 200
    callback      TeleportationCallback, which mines before every epoch: query, lookahead and momentum negatives

Prints mean, standard deviation and range over seeds of MRR@10 and nDCG@10 on the split, by our evaluation, and the
difference to the first system seed by seed.
"""

import argparse
import random
import statistics
import tempfile
import time
from dataclasses import dataclass
from typing import Any

from common import machine, markdown
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.util import mine_hard_negatives

import ance_tele as at
from ance_tele.encode.loading import seeded

METRICS = ("MRR@10", "nDCG@10")
ARMS = ("once", "once-random", "callback")


@dataclass(frozen=True)
class Outcome:
    """A training: its metrics, steps and seconds, mining included."""

    scores: dict[str, float]
    steps: int
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--negatives", type=int, default=3)
    parser.add_argument("--max_train_queries", type=int, default=None)
    parser.add_argument("--max_len", type=int, default=128)
    parser.add_argument("--learning_rate", type=float, default=2e-5)
    parser.add_argument("--relative_margin", type=float, default=None)
    parser.add_argument("--split", default="test")
    given = parser.parse_args()

    collection = at.load_collection(given.data)
    pairs, corpus = at.pairs_of(collection, max_queries=given.max_train_queries)
    untrained = measured(load(given), collection, given.split)
    found: dict[str, list[Outcome]] = {arm: [] for arm in given.arms}
    for seed in given.seeds:
        for arm in given.arms:
            found[arm].append(trained(arm, seed, pairs, corpus, collection, given))
            print(f"seed {seed}, {arm}: {found[arm][-1]}", flush=True)
    print(f"\n{machine()}\n{len(pairs):,} pairs, {len(corpus):,} passages, seeds {given.seeds}\n")
    print(table(untrained, found))


def load(given: argparse.Namespace) -> SentenceTransformer:
    with seeded():
        model = SentenceTransformer(given.model)
    model.max_seq_length = given.max_len
    return model


def trained(
    arm: str, seed: int, pairs: Dataset, corpus: list[str], collection: at.Collection, given: argparse.Namespace
) -> Outcome:
    """Mine and train from the same start; return what it gives on the split."""
    model, start, callback, rows = load(given), time.perf_counter(), None, pairs
    if arm == "callback":
        mining = at.MiningConfig(relative_margin=given.relative_margin)
        callback = at.TeleportationCallback(pairs, corpus, num_negatives=given.negatives, mining=mining, seed=seed)
        rows = callback.train_dataset
    else:
        random.seed(seed)
        how: dict[str, Any] = {"sampling_strategy": "random", "range_max": 200} if arm == "once-random" else {}
        limits = {"relative_margin": given.relative_margin, "num_negatives": given.negatives}
        rows = mine_hard_negatives(pairs, model, corpus=corpus, output_format="n-tuple", verbose=False, **limits, **how)
    with tempfile.TemporaryDirectory() as out:
        arguments = SentenceTransformerTrainingArguments(
            out,
            max_steps=given.epochs * -(-len(pairs) // given.batch),  # also where pairs lack negatives
            per_device_train_batch_size=given.batch,
            learning_rate=given.learning_rate,
            warmup_steps=0.1,
            seed=seed,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
        )
        trainer = SentenceTransformerTrainer(
            model,
            arguments,
            train_dataset=rows,
            loss=MultipleNegativesRankingLoss(model),
            callbacks=[callback] if callback else [],
        )
        trainer.train()
    seconds = time.perf_counter() - start
    return Outcome(measured(model, collection, given.split), trainer.state.global_step, seconds)


def measured(model: SentenceTransformer, collection: at.Collection, split: str) -> dict[str, float]:
    _, scores = at.evaluate_model(model, collection, split, at.EncoderConfig(), depth=100)
    return {name: scores.means()[name] for name in METRICS}


def table(untrained: dict[str, float], found: dict[str, list[Outcome]]) -> str:
    """Return a line per system: mean ± standard deviation (least to most) over seeds, difference to the first."""
    first = next(iter(found))
    lines = [["untrained", *(f"{untrained[name]:.4f}" for name in METRICS), "", "", ""]]
    for arm, outcomes in found.items():
        cells = []
        for name in METRICS:
            values = [one.scores[name] for one in outcomes]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.4f} ± {spread:.4f} ({min(values):.4f} to {max(values):.4f})")
        apart = [
            one.scores[METRICS[0]] - other.scores[METRICS[0]] for one, other in zip(outcomes, found[first], strict=True)
        ]
        gained = "" if arm == first else ", ".join(f"{one:+.4f}" for one in apart)
        seconds = statistics.mean(one.seconds for one in outcomes)
        lines.append([arm, *cells, gained, str(outcomes[0].steps), f"{seconds:.0f} s"])
    return markdown(["negatives", *METRICS, f"{METRICS[0]} less {first}'s, by seed", "steps", "time"], lines)


if __name__ == "__main__":
    main()
