#!/usr/bin/env bash
# datasets 5.2.0 (pandas 3.1.1, pyarrow 26.0.1): text in a JSON column of mixed types
#
# Guess: where one row of a JSON lines file has another type than the rest (a number among text ids,
#   a list among single answers), datasets either refuses the file or keeps every value as it stands
#   in the file: the text "007" stays the text "007", and the text "null" stays a word.
# What happens: one such row makes the whole column a Json column, and every *text* of it is read
#   as JSON a second time. "007" becomes the number 7, "0012" and "12" become the same 12, "1e3" is
#   1000.0, "true" is True, "null" and "NaN" are None, "[1]" is a list. Text that is no JSON stays.
#   In a list of answers, ["1984"] becomes [1984] as soon as another row holds a number. Nothing is
#   said; without the odd row all texts stay as they are.
# Why it matters: ids of queries and passages that are joined with judgements no longer match or
#   fall together, a query "null" disappears, an answer "1984" cannot be searched for as text. One row
#   among all is enough. Reading such files line by line with Python's json keeps the texts.
# Seen: 2026-11-27
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    datasets==5.2.0 pandas==3.1.1 pyarrow==26.0.1
export HF_HOME="$folder/hub" HF_HUB_OFFLINE=1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import json
import datasets

datasets.disable_progress_bars()


def read(name, values, **settings):
    with open(f"{name}.jsonl", "w") as file:
        file.writelines(json.dumps({"value": value}) + "\n" for value in values)
    return list(datasets.load_dataset("json", data_files=f"{name}.jsonl", split="train", **settings)["value"])


ids = ["007", "0012", "12", "d-9"]
words = ["null", "true", "1e3", "NaN", "[1]", "rome"]
seen = {
    "ids, all text": read("ids", ids),
    "ids and one number": read("mixed-ids", [*ids, 8]),
    "words, all text": read("words", words),
    "words and one number": read("mixed-words", [*words, 8]),
    "answers, all text": read("answers", [["1984"], ["orwell"]]),
    "answers and one number": read("mixed-answers", [["1984"], ["orwell", 7]]),
}
for name, values in seen.items():
    print(f"{name:24} {values}")
assert seen["ids, all text"] == ids and seen["words, all text"] == words
assert seen["ids and one number"] == [7, 12, 12, "d-9", 8]
assert seen["words and one number"] == [None, True, 1000.0, None, [1], "rome", 8]
assert seen["answers, all text"] == [["1984"], ["orwell"]]
assert seen["answers and one number"] == [[1984], ["orwell", 7]]
PY
