#!/usr/bin/env bash
# transformers 5.24.0 (torch 2.13.0): a BERT is saved under the names of the file that it was loaded from.
#
# Guess: names of weights of old checkpoints (LayerNorm.gamma, LayerNorm.beta, as the first BERTs have them) are translated
# on loading, and save_pretrained writes those of the model: LayerNorm.weight, LayerNorm.bias.
# What happens: the model in memory has the new names, and the file that it is saved to has gamma and beta again; the same
# weights in a new BertModel are saved with the new names.
# Why it matters: which names a trained checkpoint has depends on the age of the file that its training began with, so that
# readers by name (of another framework, or a few lines over safetensors) work on one fine-tuned BERT and not on the next.
# Seen: 2026-11-28
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'torch==2.13.0' 'transformers==5.24.0' 'numpy==2.4.6'
cat > "$folder/try.py" <<'PY'
import sys
from pathlib import Path

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertConfig, BertModel


def names(folder):
    with safe_open(folder / "model.safetensors", "pt") as file:
        return sorted(name.rpartition(".")[2] for name in file.keys() if name.startswith("embeddings.LayerNorm."))


new, old, again = (Path(sys.argv[1]) / name for name in ("new", "old", "again"))
shape = BertConfig(vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
BertModel(shape).save_pretrained(new)
BertModel(shape).save_pretrained(old)
renamed = {
    name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): weight
    for name, weight in load_file(new / "model.safetensors").items()
}
save_file(renamed, old / "model.safetensors", metadata={"format": "pt"})
model = AutoModel.from_pretrained(old)
held = sorted(name.rpartition(".")[2] for name, _ in model.embeddings.LayerNorm.named_parameters())
model.save_pretrained(again)
seen = {"in memory": held, "saved again": names(again), "a new model's": names(new)}
print("transformers", transformers.__version__, "torch", torch.__version__, seen)
assert seen == {"in memory": ["bias", "weight"], "saved again": ["beta", "gamma"], "a new model's": ["bias", "weight"]}
PY
"$folder/venv/bin/python" "$folder/try.py" "$folder" 2>/dev/null
