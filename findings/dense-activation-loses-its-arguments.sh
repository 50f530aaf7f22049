#!/usr/bin/env bash
# sentence-transformers 6.2.0 (torch 2.13.0): the activation of a Dense module, saved and loaded
#
# Guess: a folder saved from a model gives the vectors of that model. An activation that cannot be
#   described is refused, or pickled.
# What happens: only the class of the activation is written, and loading builds it without arguments.
#   LeakyReLU(0.5) comes back as LeakyReLU(0.01), Softplus(beta=5) with beta 1, GELU("tanh") as the
#   exact one (PReLU keeps its slope, which is a weight). Nothing is said. Vectors, and so rankings,
#   of the loaded folder are others: for 4 of 10 texts another text is the nearest.
# Why it matters: what was trained and measured in memory is not what is shared, and the difference
#   is found, if at all, as a drop between two reports. Compare vectors before and after saving.
# Seen: 2026-11-27
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 sentence-transformers==6.2.0 transformers==5.24.0 tokenizers==0.23.3
export HF_HOME="$folder/hub" HF_HUB_OFFLINE=1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn

tokenizer = Tokenizer(models.WordLevel({f"w{row}": row for row in range(50)}, unk_token="w0"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
TEXTS = [f"w{i} w{i + 7} w{3 * i % 50}" for i in range(43)]


def saved(activation):
    torch.manual_seed(0)
    model = SentenceTransformer(
        modules=[StaticEmbedding(tokenizer, embedding_dim=16), Dense(16, 8, activation_function=activation)], device="cpu"
    )
    model.save(f"model-{id(activation)}")
    loaded = SentenceTransformer(f"model-{id(activation)}", device="cpu")
    before, after = model.encode(TEXTS), loaded.encode(TEXTS)
    ranked = [np.argsort(-model.similarity(x, x).numpy(), axis=1, kind="stable")[:, 1] for x in (before, after)]
    same = float((ranked[0] == ranked[1]).mean())
    print(f"{activation!s:33} -> {loaded[1].activation_function!s:35}"
          f" largest difference {np.abs(before - after).max():.4f}, same nearest text for {same:.0%}")
    return float(np.abs(before - after).max()), same


assert saved(nn.Tanh()) == (0.0, 1.0)
assert saved(nn.LeakyReLU())[0] == 0.0
assert saved(nn.GELU(approximate="tanh"))[0] > 0
difference, same = saved(nn.LeakyReLU(0.5))
assert difference > 0.1 and same < 0.95
difference, same = saved(nn.Softplus(beta=5))
assert difference > 0.1 and same < 0.95
trained = nn.PReLU()
with torch.no_grad():
    trained.weight.fill_(0.8)
assert saved(trained) == (0.0, 1.0)
PY
