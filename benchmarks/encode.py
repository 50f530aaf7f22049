"""Encoding, against SentenceTransformer.encode and a loop that pads everything to the maximum length.

Same model, texts, precision and threads; all alternate in one process, medians are reported. Ours is timed with tokens
from the token store (warm: every encoding but the first of a corpus) and with tokenising (cold).

    python benchmarks/encode.py [--data demo] [--lengths short marco long] [--texts 500] [--rounds 5] [--threads 2]
        [--json FILE]
"""

import argparse
import copy
import statistics
from collections.abc import Callable

import numpy as np
import torch
from common import Row, add_json, alternate, machine, markdown, peak_memory, record, times_faster
from limit import Limit, model_flops, precisions
from sentence_transformers import SentenceTransformer
from texts import cut_texts

from ance_tele.data.demo import demo_model
from ance_tele.data.load import cache_folder, load_collection
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.inference import encode_texts
from ance_tele.encode.loading import load_model

MAX_LEN = {"short": 32, "marco": 128, "long": 256}
OURS, THEIRS, PADDED = "ance-tele", "SentenceTransformer.encode", "padded to the longest"
COLD = f"{OURS}, tokenising too"
BESIDE = ((OURS, "tokens stored", THEIRS), (COLD, "tokenising too", THEIRS), (COLD, "tokenising too", PADDED))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="demo")
    parser.add_argument("--model", default=None)
    parser.add_argument("--lengths", nargs="+", choices=tuple(MAX_LEN), default=tuple(MAX_LEN))
    parser.add_argument("--texts", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    add_json(parser)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    collection = load_collection(given.data)
    print(machine())
    limit = Limit(precisions())
    told_rows: list[Row] = []
    for kind in given.lengths:
        texts = cut_texts(collection, kind, given.texts)
        name = given.model or demo_model(cache_folder())
        model = load_model(name, EncoderConfig(query_max_len=32, passage_max_len=MAX_LEN[kind], normalize=True))
        tokens = tokenised(model, texts)
        runs = ways(model, texts, tokens)
        vectors, memory = first_round(runs)
        exact = vectors[THEIRS, "float32"]
        seconds = alternate(runs, given.rounds, warm=0)
        limit.look()
        flops = model_flops(model, tokens.lengths(), passes=1)
        print(f"\n{len(texts)} {kind} texts, {tokens.lengths().mean():.0f} tokens in the mean, at most {MAX_LEN[kind]}")
        rows = []
        for (label, precision), times in seconds.items():
            median = statistics.median(times)
            faster = [f"{times_faster(seconds[OURS, ours], times)[0]:.2f}" for ours in limit.found]
            near = float((vectors[label, precision] * exact).sum(1).min())
            share = flops / median / limit[precision]
            rows.append((label, precision, f"{len(texts) / median:.0f}", f"{share:.0%}", f"{near:.4f}", *faster))
        ours_by = [f"times slower than ours in {precision}" for precision in limit.found]
        header = "", "precision", "texts/s", "of the limit", "least cosine", *ours_by
        print(markdown(header, rows))
        question = f"encoding {len(texts)} {kind} texts"
        for precision in limit.found:
            for ours, how, other in BESIDE:
                mine, others = seconds[ours, precision], seconds[other, precision]
                median, share = statistics.median(mine), flops / limit[precision]
                told_rows.append(
                    Row(question, f"{precision}, {how}", median, other, statistics.median(others),
                        *times_faster(mine, others), share / median, memory[ours, precision], memory[other, precision])
                )  # fmt: skip
    print(f"\n{limit}")
    record(given.json, told_rows)


Way = tuple[str, str]


def first_round(runs: dict[Way, Callable[[], np.ndarray]]) -> tuple[dict[Way, np.ndarray], dict[Way, float]]:
    """Return the vectors of each implementation, and its peak memory in GiB."""
    vectors: dict[Way, np.ndarray] = {}

    def keep(way: Way) -> Callable[[], None]:
        return lambda: vectors.update({way: runs[way]()})

    memory = {way: peak_memory(keep(way)) / 2**30 for way in runs}
    return vectors, memory


def ways(
    model: SentenceTransformer, texts: list[str], tokens: TokenStore
) -> dict[tuple[str, str], Callable[[], np.ndarray]]:
    """Return the implementations by name and precision; each returns float32 [n, dimension]."""
    runs: dict[tuple[str, str], Callable[[], np.ndarray]] = {}
    for precision in precisions():
        half = precision == "bf16"
        theirs = copy.deepcopy(model).to(torch.bfloat16) if half else model  # sentence-transformers' own way to bf16
        config = EncoderConfig(precision="bf16" if half else "float32")

        def ours(config: EncoderConfig = config) -> np.ndarray:
            return encode_texts(model, tokens, np.arange(len(tokens)), "document", config)

        def cold(config: EncoderConfig = config) -> np.ndarray:
            return encode_texts(model, tokenised(model, texts), np.arange(len(tokens)), "document", config)

        def library(theirs: SentenceTransformer = theirs) -> np.ndarray:
            return theirs.encode(texts, convert_to_tensor=True).float().cpu().numpy()

        def padded(theirs: SentenceTransformer = theirs) -> np.ndarray:
            return padded_loop(theirs, texts)

        runs |= {
            (OURS, precision): ours,
            (COLD, precision): cold,
            (THEIRS, precision): library,
            (PADDED, precision): padded,
        }
    return runs


def tokenised(model: SentenceTransformer, texts: list[str]) -> TokenStore:
    return TokenStore.from_lists(model.tokenizer(texts, truncation=True, max_length=model.max_seq_length)["input_ids"])


def padded_loop(model: SentenceTransformer, texts: list[str], batch: int = 32) -> np.ndarray:
    """The usual simple loop: texts in the given order, all padded to the maximum length."""
    parts = []
    options = {"padding": "max_length", "truncation": True, "max_length": model.max_seq_length, "return_tensors": "pt"}
    for start in range(0, len(texts), batch):
        inputs = model.tokenizer(texts[start : start + batch], **options).to(model.device)
        with torch.no_grad():
            hidden = model[0].auto_model(**inputs).last_hidden_state.float()
        mask = inputs["attention_mask"][..., None]
        parts.append(torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1).cpu())
    return torch.cat(parts).numpy()


if __name__ == "__main__":
    main()
