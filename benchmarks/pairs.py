"""Scoring pairs by a cross-encoder, against CrossEncoder.predict with its default batches.

Same model, pairs and threads; float32 and, where the hardware has it, bf16; all alternate in one process, medians are
reported. The cross-encoder has the shape of a BERT and random weights: speed does not depend on these.

    python benchmarks/pairs.py [--data demo] [--pairs 256] [--layers 6] [--width 384] [--length 160] [--rounds 5]
        [--threads 2] [--json FILE]
"""

import argparse
import statistics
from tempfile import TemporaryDirectory

import numpy as np
import torch
from common import Row, add_json, alternate, machine, markdown, record, times_faster
from sentence_transformers import CrossEncoder
from torch import nn
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from ance_tele.data.demo import demo_model
from ance_tele.data.load import cache_folder, load_collection
from ance_tele.encode.pairs import pair_logits
from ance_tele.encode.precision import has_fast_bf16

THEIRS = "CrossEncoder.predict"


def cross_encoder(tokenizer_of: str, layers: int, width: int, length: int) -> CrossEncoder:
    """Return a cross-encoder of this shape with random weights."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        intermediate_size=4 * width,
        num_labels=1,
    )
    with TemporaryDirectory() as folder:
        BertForSequenceClassification(shape).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return CrossEncoder(folder, max_length=length)


def drawn_pairs(data: str, count: int) -> list[tuple[str, str]]:
    """Return pairs of queries and random passages of a collection, 16 passages a query."""
    collection, rng = load_collection(data), np.random.default_rng(0)
    queries = rng.choice(len(collection.queries), -(-count // 16), replace=False)
    asked = collection.queries.table["text"].take(queries).to_pylist()
    rows = rng.choice(len(collection.corpus), count, replace=False)
    passages = [collection.corpus[int(row)] for row in rows]
    texts = [f"{passage['title']} {passage['text']}".strip() for passage in passages]
    return [(asked[place // 16], text) for place, text in enumerate(texts)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="demo")
    parser.add_argument("--model", default=None, help="whose tokenizer")
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--length", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    add_json(parser)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = cross_encoder(given.model or str(demo_model(cache_folder())), given.layers, given.width, given.length)
    pairs = drawn_pairs(given.data, given.pairs)
    print(machine())
    plain = {"activation_fn": nn.Identity(), "show_progress_bar": False}
    runs = {"float32": lambda: pair_logits(model, pairs), THEIRS: lambda: model.predict(pairs, **plain)}
    if has_fast_bf16(model.device):
        runs["bf16"] = lambda: pair_logits(model, pairs, "bf16")
    exact = model.predict(pairs, **plain)
    seconds = alternate(runs, given.rounds)
    rows, table = [], []
    for precision in (name for name in runs if name != THEIRS):
        ours, theirs = seconds[precision], seconds[THEIRS]
        off = float(np.abs(runs[precision]() - exact).max() / np.abs(exact).max())
        ratio = times_faster(ours, theirs)
        median = statistics.median(ours)
        table.append((precision, f"{len(pairs) / median:.0f}", *(f"{each:.2f}" for each in ratio), f"{off:.1e}"))
        rows.append(Row(f"scoring {len(pairs)} pairs", precision, median, THEIRS, statistics.median(theirs), *ratio))
    print(markdown(("", "pairs/s", f"times faster than {THEIRS}", "least", "most", "largest difference"), table))
    record(given.json, rows)


if __name__ == "__main__":
    main()
