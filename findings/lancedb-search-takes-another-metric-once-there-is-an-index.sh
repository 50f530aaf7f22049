#!/usr/bin/env bash
# lancedb 0.40.0 (pyarrow 26.0.1, numpy 2.4.6): the metric of a search that names none
#
# Guess: table.search(vector) compares by one default metric. An index makes it faster, and perhaps
#   misses a passage; it does not change what is looked for.
# What happens: without an index the search takes the Euclidean distance. Once an index for dot
#   products is built, the same line compares by dot products: another passage is first, and
#   _distance is another quantity. Dropping the index turns it back. No error, no warning.
#   Naming the distance (.distance_type("dot")) gives the same result in all three states.
# Why it matters: vectors of models that are trained and searched by dot product have different
#   lengths. Code that was tried on a small table, before there was an index, ranks by Euclidean
#   distance, and changes its ranking on the day the index is built or dropped.
# Seen: 2026-11-28
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    lancedb==0.40.0 pyarrow==26.0.1 numpy==2.4.6
export LANCE_LOG=error
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import IvfFlat

random = np.random.RandomState(0)
vectors = random.randn(1000, 8).astype(np.float32)
vectors[0] = 0.5  # near the query
vectors[1] = 50.0  # far from it, with the largest product
query = np.full(8, 0.5, np.float32)
column = pa.FixedSizeListArray.from_arrays(vectors.ravel(), 8)
rows = pa.table({"row": pa.array(range(1000)), "vector": column})
table = lancedb.connect("db").create_table("passages", rows)


def best(**named):
    asked = table.search(query)
    asked = asked.distance_type(named["metric"]) if named else asked
    (hit,) = asked.select(["row", "_distance"]).limit(1).to_list()
    return hit["row"], round(hit["_distance"], 3)


seen = {"no index": (best(), best(metric="dot"))}
table.create_index("vector", config=IvfFlat(distance_type="dot", num_partitions=1))
seen["index for dot products"] = (best(), best(metric="dot"))
table.drop_index("vector_idx")
seen["index dropped"] = (best(), best(metric="dot"))
for state, (unnamed, named) in seen.items():
    print(f"{state:24} search(query): row, distance {unnamed}    with distance_type('dot'): {named}")
assert [unnamed[0] for unnamed, _ in seen.values()] == [0, 1, 0]
assert [named for _, named in seen.values()] == [(1, -199.0)] * 3
PY
