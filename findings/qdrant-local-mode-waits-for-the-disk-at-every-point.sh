#!/usr/bin/env bash
# qdrant-client 1.20.0 (numpy 2.4.6): writing into the local mode with a folder
#
# Guess: upsert with a batch of points is one transaction of the SQLite file behind it; 2,000 points
#   in batches of 100 wait for the disk 20 times.
# What happens: every point of a batch is a transaction of its own, so SQLite waits for the disk once
#   a point, whatever the size of the batch. An upsert of a batch is not all or nothing either: a
#   process that is killed leaves a part of it.
# Why it matters: where the disk takes 10 to 20 ms for that, 20,000 points (the number that the
#   client itself warns from) take minutes for seconds of work, and larger batches, the usual
#   advice, change nothing. A write-ahead log (PRAGMA journal_mode=WAL, synchronous=NORMAL on the
#   same file) takes the waiting away.
# Seen: 2026-11-28
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check qdrant-client==1.20.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sqlite3

import numpy as np
from qdrant_client import QdrantClient, models

POINTS, BATCH = 200, 100
statements = []


class Watched(sqlite3.Connection):
    """A connection that keeps the statements that SQLite carries out."""

    def __init__(self, *given, **options):
        super().__init__(*given, **options)
        self.set_trace_callback(statements.append)


whole = sqlite3.connect
sqlite3.connect = lambda *given, **options: whole(*given, **{**options, "factory": Watched})
client = QdrantClient(path="db")
client.create_collection("p", vectors_config=models.VectorParams(size=8, distance=models.Distance.DOT))
vectors = np.random.RandomState(0).randn(POINTS, 8).tolist()
statements.clear()
for start in range(0, POINTS, BATCH):
    client.upsert("p", models.Batch(ids=list(range(start, start + BATCH)), vectors=vectors[start : start + BATCH]))
commits = sum(one.strip().upper().startswith("COMMIT") for one in statements)
client.close()
print(f"{POINTS} points in {POINTS // BATCH} calls of upsert: {commits} transactions")
assert commits == POINTS
PY
