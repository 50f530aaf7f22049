#!/usr/bin/env bash
# transformers 5.23.0 with peft 0.21.2 (torch 2.13.0): delete_adapter, then save
#
# Guess: after model.delete_adapter("default") the model is the base model again: so it computes, and
#   so save_pretrained writes it.
# What happens: it computes as the base model, but the wrapped layers stay wrapped. save_pretrained
#   writes their weights under names with base_layer in them, and from_pretrained, which knows no
#   such names, fills those layers with random numbers. The folder loads (with a report among the
#   log lines), has the config of a plain model and no adapter, and gives other vectors at each load.
#   The same model saved before the adapter was added loads as it is.
# Why it matters: a base to go on from, or to compare with, is naturally taken from a model whose
#   adapter is thrown away after an experiment. Part of the attention is then random, and the figures
#   of the next run mean nothing.
# Seen: 2026-11-27
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 transformers==5.23.0 peft==0.21.2
export HF_HOME="$folder/hub" HF_HUB_OFFLINE=1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import torch
import transformers
from peft import LoraConfig
from safetensors import safe_open
from transformers import AutoModel, BertConfig, BertModel

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.manual_seed(0)
base = BertModel(
    BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
).eval()
tokens = torch.arange(1, 21).view(2, 10)


def vectors(model):
    with torch.no_grad():
        return model.eval()(tokens).last_hidden_state.mean(1)


expected = vectors(base)
base.save_pretrained("plain")
base.add_adapter(LoraConfig(r=4, target_modules=["query", "value"], init_lora_weights=False))
assert not torch.allclose(vectors(base), expected, atol=1e-3)
base.delete_adapter("default")
assert torch.allclose(vectors(base), expected, atol=1e-6)
base.save_pretrained("deleted")
with safe_open("deleted/model.safetensors", "pt") as file:
    odd = [name for name in file.keys() if "base_layer" in name]
first, second, plain = (vectors(AutoModel.from_pretrained(name)) for name in ("deleted", "deleted", "plain"))
print("names with base_layer:", len(odd), "such as", odd[0])
for name, found in {"deleted": first, "deleted, loaded again": second, "plain": plain}.items():
    print(f"{name:22} largest difference from the base {float((found - expected).abs().max()):.4f}")
assert len(odd) == 8 and torch.allclose(plain, expected, atol=1e-6)
assert not torch.allclose(first, expected, atol=1e-3) and not torch.allclose(first, second, atol=1e-3)
PY
