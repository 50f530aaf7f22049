"""A whole mining: ours (query and lookahead negatives, mixed) beside sentence-transformers' mine_hard_negatives.

    python benchmarks/mine.py [--data demo] [--model FOLDER] [--passages 5000] [--queries 1000] [--repeats 3]
        [--json FILE]

Same model, texts, length and precision (float32); both encode the corpus and the queries, search 200 deep and draw 30
negatives a query. Ours searches around the positives too, and draws as many again from there. The share of the matrix
product counts our encoding and both searches, over the whole time.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from common import Row, add_json, alternate, machine, markdown, peak_memory, record, times_faster
from datasets import Dataset
from limit import model_flops, product_peak
from sentence_transformers.util import mine_hard_negatives

from ance_tele.data.collection import Qrels
from ance_tele.data.demo import demo_model
from ance_tele.data.load import cache_folder, load_collection
from ance_tele.data.tokens import TextFormat, tokenize
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import encode_rows, text_format, tokenizer_of
from ance_tele.encode.loading import load_model
from ance_tele.encode.topk import exact_topk
from ance_tele.encode.vectors import encode_corpus
from ance_tele.mining.candidates import Candidates, Lists
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.mix import mix
from ance_tele.mining.sources import lookahead


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="demo")
    parser.add_argument("--model", default=None)
    parser.add_argument("--passages", type=int, default=5000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    add_json(parser)
    given = parser.parse_args()

    collection = load_collection(given.data)
    positives = collection.split("train").relevant()
    inside = positives.passages < given.passages
    owner = np.repeat(positives.queries, np.diff(positives.offsets))[inside]
    kept = Qrels.from_arrays(owner, positives.passages[inside], positives.grades[inside])
    kept = kept.select(kept.queries[: given.queries])
    part = collection.corpus.table.slice(0, given.passages)
    corpus = TextFormat().render(part["title"].to_pylist(), part["text"].to_pylist())  # titles are read by both
    texts = collection.queries.table["text"].take(kept.queries).to_pylist()
    first = kept.passages[kept.offsets[:-1]]
    pairs = Dataset.from_dict({"anchor": texts, "positive": [corpus[row] for row in first]})

    config = EncoderConfig(precision="float32")
    model = load_model(given.model or demo_model(cache_folder()), config)
    model.max_seq_length = config.passage_max_len
    settings, work = MiningConfig(depth=200), {}

    def ours() -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            stores = []
            for task, rows in (("query", collection.queries), ("document", collection.corpus)):
                form = text_format(model, config, task)
                part = type(rows)(rows.table.slice(0, given.passages) if task == "document" else rows.table)
                stores.append(tokenize(part, tokenizer_of(model, task), form, folder, "benchmark", task))
            asked = encode_rows(model, stores[0], kept.queries, "query", config)
            vectors = encode_corpus(model, stores[1], "document", config, folder / "vectors", weights="")
            by_query = Lists.from_topk(exact_topk(asked, vectors, settings.depth))
            around = lookahead(kept, lambda rows: Lists.from_topk(exact_topk(vectors.take(rows), vectors, 200)), "all")
            found = Candidates(kept.queries, {"query": by_query, "lookahead": around})
            mix(found, kept, settings, 1, 42)
            lengths = np.concatenate([stores[0].lengths()[kept.queries], stores[1].lengths()])
            searched = len(kept) + len(np.unique(kept.passages))
            work["flops"] = model_flops(model, lengths, passes=1) + 2.0 * searched * len(corpus) * asked.shape[1]

    def theirs() -> None:
        mine_hard_negatives(
            pairs,
            model,
            corpus=corpus,
            range_max=200,
            num_negatives=30,
            sampling_strategy="random",
            batch_size=32,
            use_faiss=True,
            output_format="labeled-list",
            verbose=False,
        )

    torch.manual_seed(0)
    runs = {"ours": ours, "mine_hard_negatives": theirs}
    memory = [peak_memory(run) / 2**30 for run in runs.values()]
    seconds = alternate(runs, given.repeats, warm=0)
    median, least, most = times_faster(seconds["ours"], seconds["mine_hard_negatives"])
    print(machine())
    print(f"{len(corpus):,} passages, {len(kept):,} queries")
    rows = [(name, f"{np.median(values):.1f} s", *(f"{one:.1f}" for one in values)) for name, values in seconds.items()]
    print(markdown(("mining", "median", *(f"turn {turn + 1}" for turn in range(given.repeats))), rows))
    print(f"ours is {median:.2f} times as fast ({least:.2f} to {most:.2f}), lookahead included")
    print(f"peak of the process {memory[0]:.2f} GiB, of mine_hard_negatives {memory[1]:.2f} GiB")
    question = f"mining, {len(corpus):,} passages, {len(kept):,} queries"
    spent, others = (float(np.median(values)) for values in seconds.values())
    share = work["flops"] / spent / max(product_peak("float32").values())
    beside = ("mine_hard_negatives", others, median, least, most, share, *memory)
    record(given.json, [Row(question, "float32, lookahead too", spent, *beside)])


if __name__ == "__main__":
    main()
