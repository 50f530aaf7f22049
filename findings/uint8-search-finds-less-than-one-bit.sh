#!/usr/bin/env bash
# sentence-transformers 6.2.0 (faiss-cpu 1.15.1, usearch 2.26.6, torch 2.13.0): semantic_search_faiss of uint8 vectors
#
# Guess: quantize_embeddings(..., "uint8") keeps 8 bits a number, so semantic_search_faiss finds nearly what
#   float32 finds, and at any rate more than with "ubinary", which keeps one. Memory is a quarter.
# What happens: uint8 codes count from the smallest value of each dimension, and their inner products are
#   compared as they are: a passage wins by large codes, whatever the query. Of the exact top 10 a few
#   per cent are found, far fewer than with one bit, and of queries that are passages with noise most do not
#   find theirs. Rescoring, which is on, puts the right scores on the wrong candidates. The index holds
#   float32 numbers all the same (IndexFlatIP), so no memory is saved. int8 with usearch, whose codes lie
#   around zero, and faiss's own 8 bits (IndexScalarQuantizer, the same ranges) do as expected.
# Why it matters: 8 bits are chosen as the safe way to smaller vectors, and faiss is offered these two
#   precisions; with calibration and rescoring as recommended the result is near to random.
# Seen: 2026-11-28
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 sentence-transformers==6.2.0 transformers==5.24.0 faiss-cpu==1.15.1 usearch==2.26.6 numpy==2.4.6
export HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import faiss
import numpy as np
from sentence_transformers.util.quantization import quantize_embeddings, semantic_search_faiss, semantic_search_usearch

random = np.random.RandomState(0)


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


passages = unit(random.randn(5000, 64))
queries = unit(passages[:200] + 0.7 * unit(random.randn(200, 64)))
sample = passages[:1000]
exact = np.argsort(-queries @ passages.T, axis=1)[:, :10]
assert (exact[:, 0] == range(200)).all()


def share(found):
    """Return the share of the exact top 10, and of queries whose own passage is first."""
    recall = np.mean([len({*ours} & {*best}) / 10 for ours, best in zip(found, exact, strict=True)])
    return float(recall), float(np.mean([row[0] == query for query, row in enumerate(found)]))


def search(function, precision):
    codes = quantize_embeddings(passages, precision, calibration_embeddings=sample)
    hits, _, index = function(
        queries, codes, corpus_precision=precision, top_k=10, calibration_embeddings=sample, output_index=True
    )
    return share([[hit["corpus_id"] for hit in row] for row in hits]), index


seen = {}
seen["float32"], _ = search(semantic_search_faiss, "float32")
seen["uint8 in faiss"], index = search(semantic_search_faiss, "uint8")
seen["ubinary in faiss"], _ = search(semantic_search_faiss, "ubinary")
seen["int8 in usearch"], _ = search(semantic_search_usearch, "int8")
own = faiss.IndexScalarQuantizer(64, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
own.train(sample)
own.add(passages)
seen["8 bits by faiss"] = share(own.search(queries, 10)[1].tolist())
for name, (recall, first) in seen.items():
    print(f"{name:18} {recall:.3f} of the exact top 10; own passage first: {first:.3f}")
size = index.code_size if hasattr(index, "code_size") else None
print("index of uint8 codes:", type(index).__name__, "with", size, "bytes for 64 dimensions")
assert seen["float32"] == (1.0, 1.0) and min(seen["8 bits by faiss"]) > 0.95
assert seen["int8 in usearch"][0] > 0.8 and seen["int8 in usearch"][1] == 1.0
assert seen["uint8 in faiss"][0] < 0.1 < 0.2 < seen["ubinary in faiss"][0]
assert seen["uint8 in faiss"][1] < 0.5 < 0.9 < seen["ubinary in faiss"][1]
assert type(index) is faiss.IndexFlatIP and size == 4 * 64
PY
