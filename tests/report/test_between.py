"""Runs tested against each other in their common report."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_report import Page, summary_of

from ance_tele.cli.main import main
from ance_tele.evaluate.statistics import pairwise_tests, permutation_test
from ance_tele.report.between import of_pairs, untested
from ance_tele.report.load import RunData
from ance_tele.runs.summary import Summary

QUERIES = [f"q{number}" for number in range(12)]
LOW, HIGH = np.full(12, 0.25), np.full(12, 0.5)
LOWER = LOW - np.array([0.1, -0.1] * 6)


def run_of(name: str, values: np.ndarray, **other: Any) -> RunData:
    return RunData(name, Summary.of({**summary_of(), **other}), queries=QUERIES, per_query={"MRR@10": values})


def test_a_pair_is_one_sentence() -> None:
    # Of the 2 ** 12 sign flips of equal differences, two are as extreme: p = 0.0005, so below 0.001.
    assert permutation_test(HIGH, LOW) == pytest.approx(2 / 2**12)
    wanted = "b is better than a by 0.250 MRR@10 (p < 0.001, paired permutation test)."
    assert of_pairs([run_of("a", LOW), run_of("b", HIGH)]) == [wanted]
    (same,) = of_pairs([run_of("a", LOW), run_of("b", LOWER)])
    # Differences of mean zero: every flip is as extreme.
    assert same.startswith("Between a and b there is no significant difference in MRR@10 (") and "p = 1.0" in same


def test_p_values_are_adjusted_for_the_number_of_pairs() -> None:
    rng = np.random.default_rng(7)
    a, b, c = rng.random((3, 12))
    runs = [run_of("a", a), run_of("b", b), run_of("c", c)]
    said = of_pairs(runs)
    p = pairwise_tests(np.stack([a, b, c]))
    # Holm by hand: the smallest of three p-values counts three times.
    pair = min([(0, 1), (0, 2), (1, 2)], key=lambda one: p[one])
    names = {"abc"[place] for place in pair}
    (line,) = [one for one in said[:3] if names == {"abc"[k] for k in range(3) if f" {'abc'[k]} " in f" {one.lower()}"}]
    assert f"p = {min(1.0, 3 * p[pair]):.2f}" in line
    assert said[3] == "The p-values are adjusted for there being 3 pairs (Holm)."


def test_why_runs_are_not_tested() -> None:
    a = run_of("a", LOW)
    data = summary_of()["data"]
    others = {
        "the data of b are not those of a": run_of("b", HIGH, data={**data, "fingerprint": "beef"}),
        "b does not record the fingerprint": run_of("b", HIGH, data={**data, "fingerprint": None}),
        "b was measured on test, a on dev": run_of("b", HIGH, data={**data, "queries": {"test": 4}}),
        "relevance_level is 2 in b and None in a": run_of("b", HIGH, evaluation={"dev": {"relevance_level": 2}}),
        "b has no MRR@10 by query": replace(a, name="b", per_query={}),
        "b and a measured other dev queries": replace(a, name="b", queries=QUERIES[::-1]),
    }
    for why, b in others.items():
        assert untested([a, b]).startswith(why)
        assert of_pairs([a, b]) == [f"The runs were not tested against each other: {untested([a, b])}."]
    assert untested([a, run_of("b", HIGH)]) == ""


def test_the_sentence_is_in_page_markdown_and_terminal(
    data_only: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = []
    for name, values in (("one", LOW), ("two", HIGH)):
        (tmp_path / name / "bm25").mkdir(parents=True)
        summary = {**summary_of("bm25"), "model": None, "episodes": [], "final": {"MRR@10": float(values.mean())}}
        (tmp_path / name / "summary.json").write_text(json.dumps(summary))
        (tmp_path / name / "config.yaml").write_text("recipe: bm25\nepisodes: 0\n")
        table = pa.table({"query_id": QUERIES, "MRR@10": values})
        pq.write_table(table, tmp_path / name / "bm25" / "per_query.parquet")
        runs.append(str(tmp_path / name))
    out = tmp_path / "out"
    assert main(["report", *runs, "--out", str(out)]) == 0
    sentence = "bm25 (two) is better than bm25 (one) by 0.250 MRR@10 (p < 0.001, paired permutation test)."
    assert sentence in capsys.readouterr().out
    assert sentence in Page((out / "report.html").read_text("utf-8")).text
    assert sentence in (out / "report.md").read_text("utf-8").replace("\\", "")
