"""The toy collection: 24 topics of six passages, and queries that share words with one of them; a model for it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

TOPICS = 24
PASSAGES_PER_TOPIC = 6
QUERIES_PER_TOPIC = {"train": 3, "dev": 1, "test": 2}

# Settings of a run on it, which learns in seconds.
SETTINGS: dict[str, Any] = {
    "query_max_len": 16,
    "passage_max_len": 16,
    "depth": 20,
    "pool_per_source": 6,
    "negatives_per_query": 4,
    "batch_queries": 8,
    "epochs": 2,
    "learning_rate": "3e-3",
    "precision": "float32",
    "train_precision": "float32",
    "report_to": "[none]",
}


def run_command(data: Path, model: Path, out: object, recipe: str = "ance-tele", **settings: Any) -> list[str]:
    """Return the command line of a run of these settings, and of others in addition or instead."""
    flags = [f"--{name}={value}" for name, value in {**SETTINGS, **settings}.items()]
    return ["run", recipe, f"--data={data}", f"--model={model}", f"--out={out}", *flags]


def write_toy(folder: Path, topics: int = TOPICS) -> None:
    """Write the toy collection, or some topics: their passages share words, a query shares two with its passage."""
    rng = np.random.default_rng(7)
    (folder / "qrels").mkdir(parents=True)
    corpus, queries = [], []
    qrels: dict[str, list[str]] = {split: ["query-id\tcorpus-id\tscore"] for split in QUERIES_PER_TOPIC}
    for topic in range(topics):
        for number in range(PASSAGES_PER_TOPIC):
            words = [
                f"t{topic}",
                f"u{topic * PASSAGES_PER_TOPIC + number}",
                *(f"w{rng.integers(60)}" for _ in range(8)),
            ]
            text = " ".join(rng.permutation(words))
            corpus.append({"_id": f"d{topic:02d}-{number}", "title": f"t{topic}", "text": text})
        number = 0
        for split, count in QUERIES_PER_TOPIC.items():
            for _ in range(count):
                passage = topic * PASSAGES_PER_TOPIC + number
                text = f"t{topic} u{passage} w{rng.integers(60)}"
                queries.append({"_id": f"q{topic:02d}-{number}", "text": text})
                qrels[split].append(f"q{topic:02d}-{number}\td{topic:02d}-{number}\t1")
                number += 1
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", "utf-8")
    for split, lines in qrels.items():
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n", "utf-8")


def write_model(folder: Path) -> None:
    """Write a plain Hugging Face BERT: two layers, 32 dimensions, random weights, one token per toy word."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = [f"t{i}" for i in range(TOPICS)] + [f"w{i}" for i in range(60)]
    words += [f"u{i}" for i in range(TOPICS * PASSAGES_PER_TOPIC)] + ["query", "passage", ":"]
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=128, **special)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)


def without_dropout(model: Path, folder: Path) -> Path:
    """Write a copy of a model without dropout into a folder, and return it: ranks draw different masks."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder
