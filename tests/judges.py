"""Cross-encoders with random weights."""

import json
import shutil
from pathlib import Path


def write_judge(tiny_model: Path, folder: Path, labels: int) -> Path:
    """Write a cross-encoder with random weights, of the tiny model's tokenizer."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder.mkdir()
    shutil.copy(tiny_model / "tokenizer.json", folder)
    shutil.copy(tiny_model / "tokenizer_config.json", folder)
    torch.manual_seed(11)
    values = json.loads((tiny_model / "config.json").read_text())
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    # Scores that lie apart; and no sigmoid, so that about half of them lie below zero.
    config = BertConfig(
        **{name: values[name] for name in sizes},
        max_position_embeddings=128,
        num_labels=labels,
        initializer_range=0.3,
        sentence_transformers={"activation_fn": "torch.nn.modules.linear.Identity"},
    )
    model = BertForSequenceClassification(config)
    model.classifier.bias.data.fill_(-1.7)
    model.save_pretrained(folder)
    return folder
