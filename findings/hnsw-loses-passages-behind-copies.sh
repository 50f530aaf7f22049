#!/usr/bin/env bash
# usearch 2.26.6 (numpy 2.4.6; faiss-cpu 1.15.1 beside): a corpus that holds many copies of a text
#
# Guess: copies of a passage cost an approximate index some memory. They are far from the queries
#   here, so what is found for other passages stays as it was: recall near 1.
# What happens: 500 equal vectors, put in before 2,000 others, halve the recall of the exact top 10
#   for queries that have nothing to do with them; the same vectors put in last cost a seventh. The
#   graph links each vector to near ones, and copies are nearest to each other, so few of their
#   links lead out. faiss's HNSW with the same parameters finds nearly all (0.99).
#   Searching wider (expansion_search of 1,000) does not mend it; leaving the copies out does.
# Why it matters: scraped corpora hold hundreds of copies (cookie notices, empty templates). Hard
#   negatives that are mined, and recall that is measured, through such an index then depend on
#   where in the file the copies stand, and nothing says so. Look for copies before indexing.
# Seen: 2026-11-27
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    usearch==2.26.6 numpy==2.4.6 faiss-cpu==1.15.1
export OMP_NUM_THREADS=1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import faiss
import numpy as np
from usearch.index import Index

WIDTH, TOP = 32, 10
faiss.omp_set_num_threads(1)
random = np.random.RandomState(0)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


others = unit(random.randn(2000, WIDTH))
queries = unit(others[:200] + 0.3 * random.randn(200, WIDTH))
copies = np.repeat(unit(random.randn(1, WIDTH)), 500, axis=0)


def recall(corpus, rows):
    """Share of the top 10 whose score reaches the exact tenth: copies of equal score count alike."""
    scores = queries @ corpus.T
    tenth = np.sort(scores, axis=1)[:, -TOP]
    return float(np.mean([np.sum(scores[i, row[row >= 0]] >= tenth[i] - 1e-6) / TOP for i, row in enumerate(rows)]))


def in_usearch(corpus, wide=64):
    index = Index(ndim=WIDTH, metric="ip", dtype="f32", connectivity=16, expansion_add=100, expansion_search=wide)
    index.add(np.arange(len(corpus)), corpus, threads=1)
    return recall(corpus, index.search(queries, TOP, threads=1).keys.astype(np.int64))


def in_faiss(corpus):
    index = faiss.IndexHNSWFlat(WIDTH, 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = 100, 64
    index.add(corpus)
    return recall(corpus, index.search(queries, TOP)[1])


first, last = np.vstack([copies, others]), np.vstack([others, copies])
seen = {
    "usearch, no copies": in_usearch(others),
    "usearch, copies last": in_usearch(last),
    "usearch, copies first": in_usearch(first),
    "usearch, copies first, search wide": in_usearch(first, wide=1000),
    "faiss, no copies": in_faiss(others),
    "faiss, copies first": in_faiss(first),
}
for name, value in seen.items():
    print(f"{name:36} recall@10 {value:.3f}")
assert seen["usearch, no copies"] > 0.98 and seen["faiss, no copies"] > 0.98
assert seen["usearch, copies first"] < 0.75
assert seen["usearch, copies last"] > seen["usearch, copies first"] + 0.1
assert seen["faiss, copies first"] > 0.9
PY
