#!/usr/bin/env bash
# peft 0.21.2 (torch 2.13.0, transformers 5.23.0): add_weighted_adapter of adapters trained with use_rslora
#
# Guess: add_weighted_adapter(["a"], [1.0], "same", ...) makes an adapter that does what "a" does, and of two
#   adapters with weights 0.5 the mean of what they do; "cat" and "svd" are called precise methods.
# What happens: with ordinary LoRA that is so. With use_rslora=True the new adapter is the square root of the
#   rank times too strong: four times with rank 16 and one adapter, five and a half times where "cat" makes
#   rank 32 of two. The scale is put into its matrices, the new adapter gets alpha = rank so that it should
#   be scaled by 1, but keeps use_rslora, which scales by alpha over the root of the rank. No warning.
# Why it matters: adapters of several data sets or seeds are averaged this way, and rsLoRA is what is advised
#   for higher ranks. The mean of good adapters is then a bad one, and averaging gets the blame.
# Seen: 2026-11-28
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 transformers==5.23.0 peft==0.21.2
export HF_HOME="$folder/hub" HF_HUB_OFFLINE=1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import math

import torch
from peft import LoraConfig, get_peft_model

RANK = 16


def combined(rslora, names, how):
    """Return how many times stronger the combined adapter is than the weighted sum, and the cosine of the two."""
    torch.manual_seed(0)
    config = {"r": RANK, "lora_alpha": 32, "target_modules": ["0"], "use_rslora": rslora, "init_lora_weights": False}
    model = get_peft_model(torch.nn.Sequential(torch.nn.Linear(64, 64)), LoraConfig(**config), "first")
    model.add_adapter("second", LoraConfig(**config))
    (layer,) = [part for part in model.modules() if hasattr(part, "get_delta_weight")]
    weights = [1 / len(names)] * len(names)
    expected = sum(weight * layer.get_delta_weight(name).detach() for weight, name in zip(weights, names, strict=True))
    rank = {"svd_rank": RANK * len(names)} if how == "svd" else {}
    model.add_weighted_adapter(names, weights, "combined", combination_type=how, **rank)
    found = layer.get_delta_weight("combined").detach()
    same = torch.cosine_similarity(found.flatten(), expected.flatten(), 0)
    return round(float(found.norm() / expected.norm()), 3), round(float(same), 3)


one, both = ["first"], ["first", "second"]
seen = {
    (rslora, len(names), how): combined(rslora, names, how)
    for rslora in (False, True)
    for names in (one, both)
    for how in ("cat", "svd")
}
for (rslora, number, how), (strength, direction) in seen.items():
    kind = "rsLoRA" if rslora else "LoRA"
    print(f"{kind:6} of {number} adapters by {how}: {strength:.3f} times the mean, in its direction: {direction:.3f}")
for (rslora, number, _), (strength, direction) in seen.items():
    expected = math.sqrt(RANK * number) if rslora else 1.0
    assert abs(strength - expected) < 0.01 and direction == 1.0
PY
