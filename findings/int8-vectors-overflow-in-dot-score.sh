#!/usr/bin/env bash
# sentence-transformers 6.2.0 (torch 2.13.0, numpy 2.4.6): similarity of vectors that encode gave as int8
#
# Guess: vectors of encode(precision="int8") are compared by model.similarity and util.semantic_search as others
#   are: their scores are the dot products of the whole numbers, or int8 is refused.
# What happens: it depends on the similarity. By cosine, Euclidean and Manhattan distance they are refused. By
#   dot product the sums are made in int8 and overflow: every score lies between -128 and 127, as good as at
#   random, and a passage is no more similar to itself than to others. With uint8 it is the same modulo 256.
#   Nothing warns. The same vectors as float32 give the right ranking.
# Why it matters: models trained by dot product are searched by it; their evaluation with vectors of 8 bits
#   looks as though the quantisation had destroyed the model.
# Seen: 2026-11-28
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 sentence-transformers==6.2.0 transformers==5.24.0 numpy==2.4.6
export HF_HOME="$folder/hub" HF_HUB_OFFLINE=1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import torch
from sentence_transformers import SentenceTransformer, util
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

words = [f"w{number}" for number in range(200)]
tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="w0"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
weights = torch.randn(200, 64, generator=torch.Generator().manual_seed(0))
model = SentenceTransformer(
    modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], similarity_fn_name="dot", device="cpu"
)
whole = model.encode(words, precision="int8", show_progress_bar=False)  # ranges of the texts themselves
products = whole.astype(int) @ whole.astype(int).T


def own_first(scores):
    """Return the share of texts that are most similar to themselves."""
    return float((np.asarray(scores).argmax(1) == np.arange(200)).mean())


def found(vectors):
    hits = util.semantic_search(vectors, vectors, top_k=1, score_function=util.dot_score)
    return np.mean([hit[0]["corpus_id"] == number for number, hit in enumerate(hits)])


scores = model.similarity(whole, whole)
as_float = model.similarity(whole.astype(np.float32), whole.astype(np.float32))
print("products:", products[0, :4], " similarity:", scores[0, :4].tolist(), scores.dtype)
print("own text first: products", own_first(products), "int8", own_first(scores), "as float32", own_first(as_float))
print("by semantic_search: int8", found(whole), "as float32", found(whole.astype(np.float32)))
refused = []
for name in ("cosine", "euclidean", "manhattan"):
    model.similarity_fn_name = name
    try:
        model.similarity(whole, whole)
    except RuntimeError as error:
        refused.append(name)
        print(f"{name} refused: {error}")
assert own_first(products) == own_first(as_float) == found(whole.astype(np.float32)) == 1.0
assert scores.dtype == torch.int8 and (scores.numpy() == products.astype(np.int8)).all()
assert own_first(scores) < 0.1 and found(whole) < 0.1
assert refused == ["cosine", "euclidean", "manhattan"]
PY
