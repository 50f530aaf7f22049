"""Golden numbers: what tiny runs of every recipe and variant mine, draw, lose, score and forget.

    python tests/golden/golden.py OUT.json [NAME ...]     # run them (or some) and write their numbers
    python tests/golden/golden.py --compare A.json B.json # print what differs; exit 1 where something does

The numbers are read from the files of the run folders, whose layout is a contract, so that the same script runs on
older commits. Lists and pools are compared exactly, by a hash of their ids; what is computed in floating point to a
relative tolerance. To that end the script asks torch, MKL, OpenBLAS, numpy and faiss for kernels that every x86 machine
has.
"""

import atexit
import gc
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

SAME_KERNELS = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "NEHALEM",
    "FAISS_OPT_LEVEL": "generic",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}
TOLERANCE = 1e-3

TOPICS, PER_TOPIC, TRAINING = 16, 5, 3

SETTINGS: dict[str, Any] = {
    "query_max_len": 16,
    "passage_max_len": 16,
    "depth": 20,
    "pool_per_source": 5,
    "negatives_per_query": 4,
    "batch_queries": 8,
    "epochs": 2,
    "learning_rate": 3e-3,
    "refresh_fraction": 0.5,
    "logging_steps": 2,
    "precision": "float32",
    "train_precision": "float32",
    "language": "none",
    "report_to": ("none",),
}

# name: recipe, settings of its own.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "zero-shot": ("zero-shot", {}),
    "bm25": ("bm25", {}),
    "dpr": ("dpr", {}),
    "ance": ("ance", {}),
    "ance+cyclic-lr": ("ance+cyclic-lr", {}),
    "q-neg": ("q-neg", {}),
    "q-neg+momentum": ("q-neg+momentum", {}),
    "q-neg+lookahead": ("q-neg+lookahead", {}),
    "ance-tele": ("ance-tele", {}),
    "ance-tele+continue": ("ance-tele+continue", {}),
    "ance-tele+bm25": ("ance-tele+bm25", {}),
    "ance-tele-overlap": ("ance-tele-overlap", {}),
    "ance-tele+teacher": ("ance-tele+teacher", {"teacher": True, "episodes": 2}),
    "margin-mse": ("ance-tele+teacher", {"teacher": True, "episodes": 1, "distillation": "margin_mse"}),
    "rocketqa": ("rocketqa", {"teacher": True, "teacher_negatives": 0.6, "teacher_positives": 0.9}),
    "pair": ("pair", {"teacher": True, "teacher_negatives": 0.6, "teacher_positives": 0.9}),
    "ar2": ("ar2", {"teacher": True, "episodes": 2, "teacher_learning_rate": 1e-3}),
    "rocketqav2": ("rocketqav2", {"teacher": True, "teacher_learning_rate": 1e-3}),
    "me-bert": ("me-bert", {}),
    "drboost": ("drboost", {"episodes": 2, "projection": 8}),
    "marco": ("marco", {"episodes": 2, "split": "test"}),
    "nq": ("nq", {"episodes": 2, "collection": "answers"}),
    "momentum-all": ("ance-tele", {"momentum": "all", "mask_known_positives": False, "lookahead_positives": "first"}),
    "shares": ("ance-tele", {"alpha": 0.3, "beta": 0.8, "dedup": True}),
    "random-given": ("ance-tele", {"sources": ("query", "random", "given"), "episodes": 2, "collection": "given"}),
    "filters": ("ance-tele", {"relative_margin": 0.02, "absolute_margin": 0.01, "max_score": 0.99, "range_min": 2}),
    "answers": ("ance-tele", {"filter_answers": True, "without_positive": "model", "collection": "answers"}),
    "answers-bm25": ("dpr", {"filter_answers": True, "without_positive": "bm25", "collection": "answers"}),
    "review": ("ance-tele", {"review": "exclude", "episodes": 2}),
    "review-positives": ("ance-tele", {"review": "positives", "episodes": 2}),
    "positives-all": ("ance-tele", {"positives": "all", "episodes": 2, "collection": "given"}),
    "untied": ("ance-tele", {"untie_encoders": True, "episodes": 2}),
    "ivf": ("ance-tele", {"search": "ivf", "search_probes": 3, "episodes": 2}),
    "grad-cache": ("ance-tele", {"grad_cache": True, "chunk_tokens": 256, "temperature": 0.1, "episodes": 1}),
    "few-queries": ("ance-tele", {"max_train_queries": 20, "hold_out": 0.2, "episodes": 2}),
}


def collections() -> dict[str, Any]:
    """Return what the cases train on: a plain collection, one with answers, one with given negatives."""
    import numpy as np

    import ance_tele

    rng = np.random.default_rng(11)
    corpus, queries = {}, {}
    qrels: dict[str, dict[str, dict[str, int]]] = {"train": {}, "test": {}}
    answers: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
    negatives: dict[str, list[str]] = {}
    for topic in range(TOPICS):
        for number in range(PER_TOPIC):
            words = [f"t{topic}", f"u{topic * PER_TOPIC + number}", *(f"w{rng.integers(40)}" for _ in range(8))]
            corpus[f"d{topic:02d}-{number}"] = {"title": f"t{topic}", "text": " ".join(rng.permutation(words))}
        for number in range(PER_TOPIC):
            split, query = ("train" if number < TRAINING else "test"), f"q{topic:02d}-{number}"
            queries[query] = f"t{topic} u{topic * PER_TOPIC + number} w{rng.integers(40)}"
            qrels[split][query] = {f"d{topic:02d}-{number}": 1}
            answers[split][query] = [f"u{topic * PER_TOPIC + number}", f"w{topic}"]
            negatives[query] = [f"d{(topic + 1) % TOPICS:02d}-{n}" for n in range(number + 1)]
    several = {split: {q: dict(docs) for q, docs in of.items()} for split, of in qrels.items()}
    for topic in range(0, TOPICS, 2):
        several["train"][f"q{topic:02d}-0"][f"d{topic:02d}-4"] = 2
    fewer = {"train": {q: docs for q, docs in qrels["train"].items() if not q.endswith("-1")}, "test": qrels["test"]}
    copied = {**corpus, "copy": corpus["d00-0"], "asked": {"title": "", "text": queries["q01-0"]}}
    make = ance_tele.collection_from_dicts
    return {
        "plain": make(copied, queries, qrels, "plain"),
        "answers": make(corpus, queries, fewer, "answers", answers=answers),
        "given": make(corpus, queries, several, "given", negatives=negatives),
    }


def model(folder: Path) -> Path:
    """Write a BERT of two layers and 32 dimensions with fixed weights and one token per word."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = [f"t{i}" for i in range(TOPICS)] + [f"w{i}" for i in range(40)]
    words += [f"u{i}" for i in range(TOPICS * PER_TOPIC)]
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=64, **special).save_pretrained(folder)
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def teacher(start: Path, folder: Path) -> Path:
    """Write a cross-encoder of fixed weights, of the model's tokenizer, whose scores lie apart."""
    import shutil

    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(start / name, folder)
    values = json.loads((start / "config.json").read_text("utf-8"))
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    torch.manual_seed(9)
    config = BertConfig(
        **{name: values[name] for name in sizes}, max_position_embeddings=64, num_labels=1, initializer_range=0.3
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def numbers(out: Path) -> dict[str, Any]:
    """Return the numbers of a run folder, by artefact."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.suffix == ".parquet" and "vectors" not in name:
            found[name] = _table(path)
        elif path.name in ("training_log.json", "metrics.json", "dynamics.json", "suspects.json"):
            found[name] = json.loads(path.read_text("utf-8"))
        elif path.name == "cases.json":
            found[name] = _digest(json.loads(path.read_text("utf-8")))
    summary = json.loads((out / "summary.json").read_text("utf-8"))
    for left_out in ("settings", "environment", "schema", "model"):
        summary.pop(left_out, None)
    summary.get("bm25", {}).pop("reads", None)  # a sentence
    for episode in summary["episodes"]:
        del episode["seconds"]
    return {"summary": summary, **found}


def _digest(content: Any) -> dict[str, Any]:
    """Return a hash of all texts and whole numbers of a JSON document, and the mean of its other numbers."""
    floats: list[float] = []

    def exact(one: Any) -> Any:
        if isinstance(one, dict):
            return {key: exact(value) for key, value in one.items()}
        if isinstance(one, list):
            return [exact(value) for value in one]
        if isinstance(one, float):
            floats.append(one)
            return None
        return one

    text = json.dumps(exact(content), sort_keys=True)
    mean = sum(floats) / len(floats) if floats else None
    return {"ids": hashlib.sha256(text.encode()).hexdigest()[:16], "mean": mean}


def _rounded(content: Any) -> Any:
    """Return a JSON document whose numbers have six digits."""
    if isinstance(content, dict):
        return {key: _rounded(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_rounded(value) for value in content]
    return float(f"{content:.6g}") if isinstance(content, float) else content


def write(found: dict[str, Any], path: Path) -> None:
    """Write numbers, an artefact a line, so that a change shows in a diff."""
    runs = []
    for name, of_run in found.items():
        lines = [f"  {json.dumps(key)}: {json.dumps(_rounded(of_run[key]), sort_keys=True)}" for key in sorted(of_run)]
        runs.append(f" {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n }")
    path.write_text("{\n" + ",\n".join(runs) + "\n}\n", "utf-8")


def _table(path: Path) -> dict[str, Any]:
    """Return rows, a hash of all ids, names and whole numbers in their order, and the mean of each other column."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    digest, means = hashlib.sha256(), {}
    for name in table.column_names:
        column = table[name]
        if pa.types.is_floating(column.type):
            values = np.asarray(column.to_numpy(), dtype=np.float64)
            weights = 1 + np.arange(len(values)) % 7  # so that a swap shows
            means[name] = float(np.nanmean(values * weights)) if (~np.isnan(values)).any() else None
        else:
            digest.update(json.dumps([name, column.to_pylist()]).encode())
    return {"rows": len(table), "ids": digest.hexdigest()[:16], "means": means}


def run_cases(names: list[str]) -> dict[str, Any]:
    """Carry out the named cases in a temporary folder and return their numbers."""
    import importlib

    import ance_tele

    gc.disable()  # while all is imported; and there is no need to tidy up at the end
    atexit.register(gc.freeze)
    os.fsync = lambda file: None  # type: ignore[assignment] # nothing here outlives the machine
    for home in ("search.approximate", "encode.approximate"):  # so few passages are else searched exactly
        try:
            approximate: Any = importlib.import_module(f"ance_tele.{home}")
        except ModuleNotFoundError:
            continue
        approximate.FEW = 10
    undrawn: Callable[..., None] = lambda *given, **named: None  # noqa: E731
    # What is drawn has no number here, and takes as long as the runs.
    for home, name in (("episode", "write_report"), ("analysis.analyse", "_project")):
        setattr(importlib.import_module(f"ance_tele.{home}"), name, undrawn)
    # Every training begins with a collection of garbage, which looks through all that has been imported.
    importlib.import_module("ance_tele.training.trainer")
    gc.freeze()
    gc.enable()
    found = {}
    with TemporaryDirectory() as folder:
        os.environ["ANCE_TELE_CACHE"] = str(Path(folder) / "cache")
        start, data = model(Path(folder) / "model"), collections()
        judge = teacher(start, Path(folder) / "teacher") if any("teacher" in CASES[name][1] for name in names) else None
        for name in names:
            recipe, own = CASES[name]
            review_as, settings = own.get("review"), {**SETTINGS, **own}
            collection = data[settings.pop("collection", "plain")]
            settings.pop("review", None)
            if "teacher" in settings:
                settings["teacher"] = str(judge)
            chosen = ance_tele.recipe(recipe)
            if chosen.episode.episodes == 0:
                settings = {key: settings[key] for key in ("query_max_len", "passage_max_len", "precision", "language")}
            more: dict[str, Any] = {}
            if review_as:
                verdicts = [
                    ance_tele.Verdict(f"q{topic:02d}-0", f"d{topic:02d}-3", "relevant") for topic in range(0, TOPICS, 3)
                ]
                ance_tele.write_review(Path(folder) / "review.csv", verdicts)
                more = {"review": Path(folder) / "review.csv", "review_as": review_as}
            out = Path(folder) / "runs" / name
            ance_tele.run(
                chosen.with_settings(**settings), collection, None if recipe == "bm25" else start, out, **more
            )
            found[name] = numbers(out)
            print(name, file=sys.stderr, flush=True)
    return found


def differences(a: Any, b: Any, where: str = "") -> Iterator[str]:
    """Yield what differs between two sets of numbers: numbers beyond the tolerance, anything else that is unequal."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted({*a, *b}):
            if key not in a or key not in b:
                yield f"{where}/{key}: only in the {'second' if key not in a else 'first'}"
            else:
                yield from differences(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for place, (one, other) in enumerate(zip(a, b, strict=True)):
            yield from differences(one, other, f"{where}/{place}")
    elif isinstance(a, float) or isinstance(b, float):
        near = isinstance(a, (int, float)) and isinstance(b, (int, float))
        if not (near and abs(a - b) <= TOLERANCE * max(abs(a), abs(b), 1e-3)):
            yield f"{where}: {a} -> {b}"
    elif a != b:
        yield f"{where}: {a} -> {b}"


def main(words: list[str]) -> int:
    """Run cases and write their numbers, or compare two files of them."""
    if words[0] == "--compare":
        first, second = (json.loads(Path(path).read_text("utf-8")) for path in words[1:3])
        found = list(differences(first, second))
        print("\n".join(found) or f"equal: {len(first)} runs")
        return 1 if found else 0
    if any(os.environ.get(name) != value for name, value in SAME_KERNELS.items()):  # before numpy and torch are loaded
        os.execve(sys.executable, [sys.executable, __file__, *words], {**os.environ, **SAME_KERNELS})
    write(run_cases(words[1:] or list(CASES)), Path(words[0]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
