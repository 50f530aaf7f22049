"""A whole mining (query and lookahead negatives, mixed), against sentence-transformers' mine_hard_negatives.

Also evaluating a checkpoint and then mining with it, as every episode does: theirs with InformationRetrievalEvaluator.

    python benchmarks/mine.py [--data demo] [--model FOLDER] [--passages 5000] [--queries 1000] [--repeats 3]
        [--json FILE]

Same model, texts, length and precision (float32); both encode the corpus and the queries, search 200 deep and draw 30
negatives a query. Ours also mines neighbours of the positives, and draws as many again from these. The share of the
matrix product counts our encoding and both searches, over the whole time. To evaluate (queries of dev, 100 deep), ours
reuses the vectors of mining; theirs encodes the corpus twice.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Row, add_json, alternate, machine, markdown, peak_memory, record, times_faster
from datasets import Dataset
from limit import Limit, model_flops
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.util import mine_hard_negatives

from ance_tele.data.collection import Collection, Qrels
from ance_tele.data.demo import demo_model
from ance_tele.data.load import cache_folder, load_collection
from ance_tele.data.text_format import TextFormat
from ance_tele.data.tokens import tokenize
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import text_format, tokenizer_of
from ance_tele.encode.inference import encode_texts
from ance_tele.encode.loading import load_model
from ance_tele.encode.vectors import Vectors, encode_corpus
from ance_tele.evaluate.retrieval import qrels_dict, run_of, score
from ance_tele.mining.candidates import CandidateLists, Candidates
from ance_tele.mining.config import MiningConfig
from ance_tele.mining.mix import mix
from ance_tele.mining.sources import lookahead_lists
from ance_tele.search.topk import exact_topk

MINING, MEASURING = "mine_hard_negatives", "InformationRetrievalEvaluator"


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
    kept, judged = (among(collection, split, given.passages, given.queries) for split in ("train", "dev"))
    part = collection.corpus.table.slice(0, given.passages)
    corpus = TextFormat().render(part["title"].to_pylist(), part["text"].to_pylist())  # titles are read by both
    texts = collection.queries.table["text"].take(kept.queries).to_pylist()
    first = kept.passages[kept.offsets[:-1]]
    pairs = Dataset.from_dict({"anchor": texts, "positive": [corpus[row] for row in first]})

    config = EncoderConfig(precision="float32")
    model = load_model(given.model or demo_model(cache_folder()), config)
    settings, work = MiningConfig(depth=200), dict[str, Any]()

    def ours() -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            stores = []
            for task, rows in (("query", collection.queries), ("document", collection.corpus)):
                form = text_format(model, config, task)
                part = type(rows)(rows.table.slice(0, given.passages) if task == "document" else rows.table)
                stores.append(tokenize(part, tokenizer_of(model, task), form, folder, "benchmark", task))
            asked = encode_texts(model, stores[0], kept.queries, "query", config)
            vectors = encode_corpus(model, stores[1], "document", config, folder / "vectors", weights="")
            by_query = CandidateLists.from_topk(exact_topk(asked, vectors, settings.depth))
            around = lookahead_lists(
                kept, lambda rows: CandidateLists.from_topk(exact_topk(vectors.take(rows), vectors, 200)), "all"
            )
            found = Candidates(kept.queries, {"query": by_query, "lookahead": around})
            mix(found, kept, settings, 1, 42)
            lengths = np.concatenate([stores[0].lengths()[kept.queries], stores[1].lengths()])
            searched = len(kept) + len(np.unique(kept.passages))
            work["vectors"] = np.concatenate(vectors.shards)
            work["queries"] = stores[0]
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

    def measured() -> None:
        asked = encode_texts(model, work["queries"], judged.queries, "query", config)
        found = exact_topk(asked, Vectors((work["vectors"],), ""), 100)
        score(run_of(found, judged.queries, collection), judged, collection)

    relevant = qrels_dict(judged, collection)
    names = collection.corpus.take_ids(np.arange(len(corpus))).to_pylist()
    evaluator = InformationRetrievalEvaluator(
        dict(zip(relevant, collection.queries.table["text"].take(judged.queries).to_pylist(), strict=True)),
        dict(zip(names, corpus, strict=True)),
        {query: set(passages) for query, passages in relevant.items()},
        show_progress_bar=False,
        write_csv=False,
    )

    torch.manual_seed(0)
    limit = Limit(["float32"])
    runs = {
        "ours": ours,
        "ours, measuring": measured,
        MINING: theirs,
        MEASURING: lambda: evaluator(model),
    }
    memory = {name: peak_memory(run) / 2**30 for name, run in runs.items()}
    seconds = alternate(runs, given.repeats, warm=0)
    limit.look()
    print(machine())
    print(f"{len(corpus):,} passages, {len(kept):,} queries mined for, {len(judged):,} measured")
    rows = [
        (name, f"{np.median(values):.1f} s", *(f"{one:.1f}" for one in values), f"{memory[name]:.2f}")
        for name, values in seconds.items()
    ]
    print(markdown(("", "median", *(f"turn {turn + 1}" for turn in range(given.repeats)), "peak GiB"), rows))
    recorded = []
    for what, how, mine, others in (
        ("mining", "lookahead too", ("ours",), (MINING,)),
        ("measuring and mining", "encoded once", ("ours", "ours, measuring"), (MINING, MEASURING)),
    ):
        one, other = (np.sum([seconds[name] for name in names], axis=0).tolist() for names in (mine, others))
        ratios = times_faster(one, other)
        print("{}: ours is {:.2f} times as fast ({:.2f} to {:.2f})".format(what, *ratios))
        question = f"{what}, {len(corpus):,} passages, {len(kept):,} queries"
        spent = float(np.median(one))
        share = work["flops"] / spent / limit["float32"]
        peaks = (max(memory[name] for name in names) for names in (mine, others))
        compared = (" and ".join(others), float(np.median(other)), *ratios, share, *peaks)
        recorded.append(Row(question, f"float32, {how}", spent, *compared))
    print(limit)
    record(given.json, recorded)


def among(collection: Collection, split: str, passages: int, queries: int) -> Qrels:
    """Return the relevant passages of a split's first queries that have any among the first passages."""
    found = collection.split(split).relevant()
    inside = found.passages < passages
    kept = Qrels.from_arrays(found.owners[inside], found.passages[inside], found.grades[inside])
    return kept.select(kept.queries[:queries])


if __name__ == "__main__":
    main()
