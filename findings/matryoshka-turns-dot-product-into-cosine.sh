#!/usr/bin/env bash
# sentence-transformers 6.2.0 (torch 2.13.0): MatryoshkaLoss around a loss by dot product
#
# Guess: MatryoshkaLoss computes the loss it is given on the first d dimensions, for each d. With the
#   full width as the only d it is that loss.
# What happens: each shortened vector is scaled to length one first, also at full width. A loss by
#   dot product becomes one by cosine: its value is another, it no longer depends on the length of
#   the vectors, and no gradient changes lengths. Nothing warns.
# Why it matters: a model that is searched by dot product, at any number of dimensions, is trained
#   for something else. With the scale of 1 that goes with dot products the loss hardly moves, for
#   cosines lie between -1 and 1.
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
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from sentence_transformers.util import dot_score
from tokenizers import Tokenizer, models, pre_tokenizers

WORDS, WIDTH = ["cat", "purrs", "rome", "italy", "faust", "goethe", "who", "what"], 16
QUERIES, PASSAGES = ["what cat", "what rome", "who faust"], ["purrs", "italy", "goethe"]
tokenizer = Tokenizer(models.WordLevel({word: row for row, word in enumerate(WORDS)}, unk_token="what"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
vectors = torch.randn(len(WORDS), WIDTH, generator=torch.Generator().manual_seed(0))


def losses(length):
    """The loss alone, and wrapped with the full width as its only dimension, for vectors times length."""
    found = []
    for wrap in (lambda model, loss: loss, lambda model, loss: MatryoshkaLoss(model, loss, [WIDTH])):
        static = StaticEmbedding(tokenizer, embedding_weights=vectors * length)
        model = SentenceTransformer(modules=[static], device="cpu")
        loss = wrap(model, MultipleNegativesRankingLoss(model, scale=1.0, similarity_fct=dot_score))
        found.append(loss([model.preprocess(QUERIES), model.preprocess(PASSAGES)], None).item())
    return found


def by_hand(queries, passages):
    return torch.nn.functional.cross_entropy(queries @ passages.T, torch.arange(len(queries))).item()


(alone, wrapped), (alone_long, wrapped_long) = losses(1.0), losses(2.0)
queries = torch.stack([vectors[[WORDS.index(word) for word in text.split()]].mean(0) for text in QUERIES])
passages = torch.stack([vectors[WORDS.index(text)] for text in PASSAGES])
unit = torch.nn.functional.normalize
by_dot, by_cosine = by_hand(queries, passages), by_hand(unit(queries), unit(passages))
print(f"alone {alone:.4f}, in MatryoshkaLoss at full width {wrapped:.4f}")
print(f"vectors twice as long: alone {alone_long:.4f}, in MatryoshkaLoss {wrapped_long:.4f}")
print(f"by hand: dot product {by_dot:.4f}, cosine {by_cosine:.4f}")
assert abs(alone - by_dot) < 1e-4 and abs(wrapped - by_cosine) < 1e-4 < abs(alone - wrapped)
assert abs(alone_long - alone) > 0.01 and abs(wrapped_long - wrapped) < 1e-4
PY
