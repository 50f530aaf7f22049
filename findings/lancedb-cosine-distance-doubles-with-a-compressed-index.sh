#!/usr/bin/env bash
# lancedb 0.40.0 (pyarrow 26.0.1, numpy 2.4.6): distance_range on a table with an index for the cosine
#
# Guess: the cosine distance is 1 - cosine. An index that compresses (IvfSq, IvfPq, HnswSq) gives it nearly,
#   so distance_range(0, 0.6), a threshold for passages that are near enough, keeps nearly the same passages.
# What happens: with such an index _distance is 2 - 2 cosine, and the range is compared with that: of the
#   passages below 0.6 only those below 0.3 are left. Rows added after the index was built are compared by
#   1 - cosine in the same search, so that new passages pass and nearer old ones do not. With whole vectors
#   (IvfFlat), without an index, and for dot products the distance is what it is called. The order
#   of a search without a range is right in all cases.
# Why it matters: thresholds are chosen on a small table without an index; the day it gets one, or new rows
#   are folded into it (optimize), another set of passages passes, and an answer "nothing near enough"
#   depends on when a passage was added.
# Seen: 2026-11-28
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    lancedb==0.40.0 pyarrow==26.0.1 numpy==2.4.6
export LANCE_LOG=error LANCE_INCLUDE_VECTOR_CENTROIDS=false
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import HnswSq, IvfFlat, IvfSq

random = np.random.RandomState(0)
query = random.randn(32).astype(np.float32)
vectors = (random.uniform(0, 2, (4000, 1)) * query + random.randn(4000, 32)).astype(np.float32)
distances = 1 - vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)


def rows(first, last):
    column = pa.FixedSizeListArray.from_arrays(vectors[first:last].ravel(), 32)
    return pa.table({"row": pa.array(range(first, last)), "vector": column})


def below(bound):
    """Return how many of the first and of the last 2000 rows are nearer than a bound."""
    return int((distances[:2000] < bound).sum()), int((distances[2000:] < bound).sum())


def found(table):
    """Return how many of them a search within 0.6 finds, and what _distance is to 1 - cosine."""
    asked = table.search(query).distance_type("cosine").limit(4000)
    within = [hit["row"] for hit in asked.distance_range(0, 0.6).to_list()]
    farthest = table.search(query).distance_type("cosine").limit(1000).to_list()[-1]
    unit = round(farthest["_distance"] / float(distances[farthest["row"]]), 2)
    return sum(row < 2000 for row in within), sum(row >= 2000 for row in within), unit


print("rows nearer than 0.6, of the first and of the last 2000:", below(0.6), " nearer than 0.3:", below(0.3))
seen = {}
for name, index in {"none": None, "IvfFlat": IvfFlat, "IvfSq": IvfSq, "HnswSq": HnswSq}.items():
    table = lancedb.connect(f"db-{name}").create_table("passages", rows(0, 2000))
    if index is not None:
        table.create_index("vector", config=index(distance_type="cosine", num_partitions=1))
    table.add(rows(2000, 4000))
    before = found(table)
    table.optimize()
    seen[name] = before, found(table)
    print(f"index {name:8} found {before[:2]}, after optimize() {seen[name][1][:2]}; unit {seen[name][1][2]}")
for name in ("none", "IvfFlat"):
    assert seen[name] == ((*below(0.6), 1.0),) * 2
for name in ("IvfSq", "HnswSq"):
    (old, new, _), (old_later, new_later, unit) = seen[name]
    assert new == below(0.6)[1] and abs(unit - 2) < 0.05
    for number, nearer in ((old, below(0.3)[0]), (old_later, below(0.3)[0]), (new_later, below(0.3)[1])):
        assert abs(number - nearer) < 0.05 * nearer
PY
