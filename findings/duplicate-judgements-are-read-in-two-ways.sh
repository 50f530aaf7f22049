#!/usr/bin/env bash
# ir_measures 0.4.3 (pytrec_eval-terrier 0.5.11): a passage that is judged twice for one query
#
# Guess: of two judgements of the same query and passage (two annotators, two merged files) one
#   counts for all measures: the first, the last or the higher; or the file is refused, as
#   trec_eval's own reader does.
# What happens: it depends on the measure. Those of trec_eval (RR, nDCG@10, AP, P@1) take the last
#   judgement; RR@10, the script of MS MARCO, counts the passage as relevant if any of its
#   judgements says so. With grade 1 first and 0 second the passage on top gives RR = 0.5 and
#   RR@10 = 1.0, so a cut-off raises the value, and the order of the lines decides the others.
# Why it matters: judgements that were merged give metrics of one table that contradict each other,
#   and sorting the file moves nDCG though nothing was judged anew. Merge judgements by a rule of
#   one's own before measuring.
# Seen: 2026-11-27
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    ir_measures==0.4.3 pytrec_eval-terrier==0.5.11
export HOME="$folder"
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import ir_measures
from ir_measures import AP, RR, P, Qrel, ScoredDoc, nDCG

run = [ScoredDoc("q", "top", 0.9), ScoredDoc("q", "second", 0.8)]
measures = [RR, RR @ 10, nDCG @ 10, AP, P @ 1]


def measure(*grades_of_top):
    judgements = [Qrel("q", "top", grade) for grade in grades_of_top] + [Qrel("q", "second", 1)]
    found = ir_measures.calc_aggregate(measures, judgements, run)
    return {str(name): round(value, 4) for name, value in found.items()}


seen = {grades: measure(*grades) for grades in [(1,), (0,), (1, 0), (0, 1)]}
for grades, values in seen.items():
    print("top judged", grades, {str(name): values[str(name)] for name in measures})
assert seen[1,]["RR"] == seen[1,]["RR@10"] == 1.0
assert seen[0,]["RR"] == seen[0,]["RR@10"] == 0.5
assert seen[1, 0] == {**seen[0,], "RR@10": 1.0}, "the last judgement for all but RR@10"
assert seen[0, 1] == seen[1,]
PY
