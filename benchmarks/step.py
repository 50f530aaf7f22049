"""One training step of 8 queries x (1 + 31) passages: ours beside sentence-transformers' own loss.

Same model, texts, precision, optimiser and negatives; the two take turns in one process, medians are
reported. The reference gets its 31 negatives as 31 columns, as its documentation says.

    python benchmarks/step.py [--steps 7] [--model FOLDER] [--data demo] [--passage_max_len 128]
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from ance_tele.data.collection import Collection, Qrels
from ance_tele.data.demo import demo_model
from ance_tele.data.load import cache_folder, load_collection
from ance_tele.data.tokens import TokenStore, tokenize
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import Forward, resolve_precision, text_format, tokenizer_of
from ance_tele.encode.loading import load_model
from ance_tele.mining.pool import COLUMNS, Pool
from ance_tele.training.batches import Collator, Plan
from ance_tele.training.loss import TeleportationLoss

QUERIES, NEGATIVES, SCALE = 8, 31, 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--model", default=None)
    parser.add_argument("--data", default="demo")
    parser.add_argument("--passage_max_len", type=int, default=128)
    parser.add_argument("--chunk_tokens", type=int, default=4096)
    parser.add_argument("--precision", choices=("float32", "bf16", "auto"), default="float32")
    given = parser.parse_args()
    collection = load_collection(given.data)
    config = EncoderConfig(query_max_len=32, passage_max_len=given.passage_max_len, normalize=True)
    model = load_model(given.model or demo_model(cache_folder()), config)
    plan, stores = prepare(collection, model, config)
    forwards = Forward(model, "query"), Forward(model, "document")
    collate = Collator(plan, *stores, *forwards)
    ours = TeleportationLoss(
        model, *forwards, temperature=1 / SCALE, mask_known_positives=False, chunk_tokens=given.chunk_tokens
    )
    theirs = MultipleNegativesRankingLoss(model, scale=SCALE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    bf16 = resolve_precision(given.precision, model.device) == "bf16"

    model.eval()  # without dropout the two losses must be the same number
    worst, times = 0.0, {"ours": [], "theirs": []}
    for step in range(given.steps):
        _, places = plan.step(step)
        flat = [np.concatenate([[plan.positive(q, 0)], plan.draw(q, 0)]) for q in places.tolist()]
        texts = columns(collection, plan, places, flat)
        with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            pair = float(ours(features(collate.collate(places, flat)))), float(theirs(preprocess(model, texts), None))
        worst = max(worst, abs(pair[0] - pair[1]))
        model.train()
        for name in ("ours", "theirs") if step % 2 else ("theirs", "ours"):
            start = time.perf_counter()
            with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
                if name == "ours":
                    loss = ours(features(collate.collate(places, flat)))
                else:
                    loss = theirs(preprocess(model, texts), None)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            times[name].append(time.perf_counter() - start)
        model.eval()
    ratios = [b / a for a, b in zip(times["ours"], times["theirs"], strict=True)]
    precision = "bf16 autocast" if bf16 else "float32"
    print(f"{QUERIES} queries x (1 + {NEGATIVES}) passages, at most {given.passage_max_len} tokens, {precision},")
    print(
        f"{Path(str(given.model or 'all-MiniLM-L6-v2')).name} on {collection.name}, {torch.get_num_threads()} threads"
    )
    print(f"largest difference of the losses    {worst:.1e}")
    for name, label in (("ours", "ance-tele"), ("theirs", "MultipleNegativesRankingLoss")):
        print(f"{label:<30} {statistics.median(times[name]):7.3f} s/step (median of {given.steps})")
    print(
        f"times faster, pair by pair: median {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )


def prepare(
    collection: Collection, model: SentenceTransformer, config: EncoderConfig
) -> tuple[Plan, tuple[TokenStore, TokenStore]]:
    """Tokenise, and plan batches of training queries with distinct random negatives."""
    stores = [
        tokenize(texts, tokenizer_of(model, task), text_format(model, config, task), cache_folder(),
                 collection.fingerprint, what)
        for texts, task, what in (
            (collection.queries, "query", "queries"), (collection.corpus, "document", "passages"),
        )
    ]  # fmt: skip
    relevant = collection.split("train").relevant()
    first = Qrels(
        relevant.queries, np.arange(len(relevant) + 1), relevant.passages[relevant.offsets[:-1]], np.ones(len(relevant))
    )
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(collection.corpus), (len(first), NEGATIVES))
    table = {name: np.zeros(rows.size, kind) for name, kind in COLUMNS.items()}
    table["passages"] = rows.ravel().astype(np.int32)
    pool = Pool(first.queries, np.arange(len(first) + 1) * NEGATIVES, **table)
    return Plan(pool, first, QUERIES, NEGATIVES, 0), (stores[0], stores[1])


def columns(collection: Collection, plan: Plan, places: np.ndarray, flat: list[np.ndarray]) -> list[list[str]]:
    """Return the texts of a batch as the reference wants them: queries, positives, then one column a negative."""
    queries = [collection.queries[int(row)]["text"] for row in plan.positives.queries[places]]
    passages = [[collection.corpus[int(rows[column])] for rows in flat] for column in range(1 + NEGATIVES)]
    return [queries, *([f"{p['title']} {p['text']}" if p["title"] else p["text"] for p in col] for col in passages)]


def preprocess(model: SentenceTransformer, texts: list[list[str]]) -> list[dict[str, torch.Tensor]]:
    """Tokenise columns as the reference's collator does, on the model's device."""
    return [
        {
            key: value.to(model.device) if torch.is_tensor(value) else value
            for key, value in model.preprocess(one).items()
        }
        for one in texts
    ]


def features(batch: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """Split a collated batch into its two features, as the trainer does."""
    return [{k[len(p) :]: v for k, v in batch.items() if k.startswith(p)} for p in ("query_", "passage_")]


if __name__ == "__main__":
    main()
