#!/usr/bin/env bash
# sentence-transformers 6.2.0 writes, 5.7.0 reads (transformers 5.24.0, torch 2.13.0)
#
# Guess: sentence_bert_config.json is a list of declarations; what an older release does not know in
#   it (query_length, document_length) it passes over, as it does with other keys of 6.x, and takes
#   the tokenizer's length instead.
# What happens: every key is an argument of the module's class. A folder that declares a length for
#   queries of their own, as all do that were trained with 32 tokens for queries and 128 for passages,
#   fails in 5.7.0 with TypeError: unexpected keyword argument 'query_length'. With one length for
#   both, neither key is written and the folder loads. In the other direction max_seq_length, which
#   6.2.0 no longer writes, is still read by it, so that adding it is free: text-embeddings-inference
#   does not start without.
# Why it matters: services pinned to the last 5.x cannot load a retriever trained today, and whether
#   they can depends on two numbers of its training. The advice of the message is none.
# Seen: 2026-11-28
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for release in 6.2.0 5.7.0; do
    python3 -m venv "$folder/$release"
    "$folder/$release/bin/pip" install --quiet --no-compile --disable-pip-version-check \
        torch==2.13.0 "sentence-transformers==$release" transformers==5.24.0
done
export HF_HOME="$folder/hub" HF_HUB_OFFLINE=1
cd "$folder"
6.2.0/bin/python - <<'PY'
import json
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import BertConfig, BertModel, BertTokenizerFast

Path("plain").mkdir()
Path("plain/vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "dog"]))
torch.manual_seed(0)
sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
BertModel(BertConfig(vocab_size=7, max_position_embeddings=64, **sizes)).save_pretrained("plain")
BertTokenizerFast("plain/vocab.txt").save_pretrained("plain")
for name, lengths in {"one": {}, "two": {"query_length": 8, "document_length": 32}}.items():
    first = Transformer("plain", max_seq_length=32, **lengths)
    SentenceTransformer(modules=[first, Pooling(16, "mean")], device="cpu").save(name)
    print(name, "written:", sorted(json.loads(Path(name, "sentence_bert_config.json").read_text())))
PY
5.7.0/bin/python - <<'PY'
from sentence_transformers import SentenceTransformer

seen = {}
for name in ("one", "two"):
    try:
        seen[name] = SentenceTransformer(name, device="cpu").encode("cat dog").shape
    except TypeError as error:
        seen[name] = str(error)
print(seen)
assert seen["one"] == (16,) and "query_length" in seen["two"]
PY
