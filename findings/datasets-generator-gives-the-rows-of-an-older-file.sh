#!/usr/bin/env bash
# datasets 5.2.0 (pyarrow 26.0.1): Dataset.from_generator over a file that was written anew
#
# Guess: Dataset.from_generator(function, gen_kwargs={"path": path}) runs the function and holds what it yields,
#   as a list of it would; or it looks whether the file has changed, as load_dataset does.
# What happens: the rows are kept in a cache under the function and its arguments. A second call with the same
#   path, in the same program or days later, does not run the function: it returns the rows of the
#   file as it was. Nothing is logged. load_dataset("json", ...) and IterableDataset.from_generator read the
#   file as it is; so does from_generator with a fingerprint of one's own.
# Why it matters: training in rounds writes new negatives to the same file and reads them by the same
#   function. Each round then trains on the negatives of the first, and looks like a method that does not work.
# Seen: 2026-11-28
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check datasets==5.2.0 pyarrow==26.0.1
export HF_HOME="$folder/hub" HF_HUB_OFFLINE=1
cd "$folder"
cat > round.py <<'PY'
import hashlib
import json
import sys
from pathlib import Path

import datasets
from datasets import Dataset, IterableDataset, load_dataset

datasets.disable_progress_bars()
calls = []


def rows(path):
    calls.append(path)
    for line in Path(path).read_text().splitlines():
        yield json.loads(line)


name = sys.argv[1]
Path("negatives.jsonl").write_text(json.dumps({"query": "q", "negative": f"mined in round {name}"}) + "\n")
given = {"path": "negatives.jsonl"}
content = hashlib.sha256(Path("negatives.jsonl").read_bytes()).hexdigest()
seen = {
    "Dataset.from_generator": Dataset.from_generator(rows, gen_kwargs=given)["negative"][0],
    "with a fingerprint": Dataset.from_generator(rows, gen_kwargs=given, fingerprint=content)["negative"][0],
    "IterableDataset.from_generator": next(iter(IterableDataset.from_generator(rows, gen_kwargs=given)))["negative"],
    "load_dataset": load_dataset("json", data_files="negatives.jsonl", split="train")["negative"][0],
}
print(f"round {name}:", json.dumps(seen, indent=4), "calls of the function:", len(calls))
old = seen.pop("Dataset.from_generator")
assert {*seen.values()} == {f"mined in round {name}"}
assert old == "mined in round 1", "the rows of the first round"
assert len(calls) == (3 if name == "1" else 2)
PY
"$folder/venv/bin/python" round.py 1
"$folder/venv/bin/python" round.py 2
