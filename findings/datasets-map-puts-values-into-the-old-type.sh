#!/usr/bin/env bash
# datasets 5.2.0 (pyarrow 26.0.1): a column that map() writes anew
#
# Guess: after data.map(function) a column holds what the function returned. The types of old columns are
#   kept where that changes no value (int32 -> int32, as the option try_original_type is described).
# What happens: whatever Arrow can force into the old type is forced. A column of numbers that is made into
#   ids stays a column of numbers: "00042" is 42 again. A mark (True) that becomes a grade (2) stays True.
#   Scores that are halved stay whole numbers where all values of a batch happen to be whole, become
#   fractions where one of the first batch is not, and are an error where only a later one is not.
#   try_original_type=False, the option against it, is not followed by a function of rows; only with
#   batched=True. Under a new name the values are what the function returned.
# Why it matters: ids of passages are made into text, padded or prefixed, by just such a line, and do not
#   match those of the judgements afterwards; grades are flattened; a script that ran on a sample fails,
#   or rounds, on the whole.
# Seen: 2026-11-28
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check datasets==5.2.0 pyarrow==26.0.1
export HF_HOME="$folder/hub" HF_HUB_OFFLINE=1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import datasets
from datasets import Dataset

datasets.disable_progress_bars()


def after(values, change, name="old", batched=False, **options):
    def rows(row):
        return {name: [change(value) for value in row["old"]] if batched else change(row["old"])}

    try:
        return Dataset.from_dict({"old": values}).map(rows, batched=batched, **options)[name][:][-3:]
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def same(found, expected):
    return found == expected and [*map(type, found)] == [*map(type, expected)]


cases = {
    "ids": ([7, 42], lambda number: f"{number:05d}"),
    "grades": ([True, False], lambda mark: 2 if mark else 0),
    "halves, all whole": ([2, 4, 6], lambda score: score / 2),
    "halves, the first batch not": ([2, 3, 6], lambda score: score / 2),
    "halves, a later batch not": ([2] * 1000 + [3], lambda score: score / 2),
}
seen = {name: after(values, change) for name, (values, change) in cases.items()}
for name, (values, change) in cases.items():
    print(f"{name:28} {values[-3:]} -> {seen[name]!r}   (returned: {[change(value) for value in values[-3:]]})")
    returned = [change(value) for value in values][-3:]
    assert same(after(values, change, "new"), returned)
    assert same(after(values, change, batched=True, try_original_type=False), returned)
    assert after(values, change, try_original_type=False) == seen[name]
assert seen["ids"] == [7, 42]
assert same(seen["grades"], [True, False])
assert same(seen["halves, all whole"], [1, 2, 3])
assert same(seen["halves, the first batch not"], [1.0, 1.5, 3.0])
assert "truncated" in seen["halves, a later batch not"]
PY
