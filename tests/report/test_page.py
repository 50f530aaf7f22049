"""The HTML report and its figures: what they show is what the run folder holds, and nothing of a corpus gets out."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_report import (
    CASES,
    ELSEWHERE,
    MRR,
    NASTY,
    PROJECTION,
    SUSPECTS,
    Page,
    measured,
    page_of,
    rows_of,
    summary_of,
    write_run,
)

from ance_tele.report.drawing import save
from ance_tele.report.gallery import FIGURES, gallery
from ance_tele.report.load import read_run
from ance_tele.report.page import marked
from ance_tele.report.style import the_style
from ance_tele.report.write import write_report


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with all there is, and its report with figures."""
    run = write_run(tmp_path_factory.mktemp("runs") / "whole")
    write_report(run, figures=True)
    return run


def test_every_figure_is_there_with_its_files(whole: Path) -> None:
    page = Page((whole / "report.html").read_text("utf-8"))
    assert [one["id"] for one in page.named("figure")] == [figure.name for figure in FIGURES]
    names = {f"{name}{suffix}" for name in [figure.name for figure in FIGURES] for suffix in (".png", ".svg", ".csv")}
    assert {path.name for path in (whole / "figures").iterdir()} == names
    for path in (whole / "figures").glob("*.png"):
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG") and len(content) > 8_000, path.name
    assert all(
        one["alt"] and one["src"] and one["src"].startswith("data:image/svg+xml;base64,") for one in page.named("img")
    )
    assert (whole / "report.md").exists() and (whole / "curves.png").exists()


def test_the_csv_files_hold_the_numbers_of_the_run(whole: Path) -> None:
    figures = whole / "figures"
    forgetting = {(row["episode"], row["rate"]): float(row["share"]) for row in rows_of(figures / "forgetting.csv")}
    assert forgetting[("2", "forgotten")] == 0.15 and forgetting[("3", "learned")] == 0.3 and len(forgetting) == 9
    curves = [
        (row["quantity"], row["episode"], row["step"], row["value"]) for row in rows_of(figures / "learning-curves.csv")
    ]
    # The steps of the episodes follow each other, whatever their logs count from.
    assert ("training loss", "3", "25.0", str(2.5 / 3)) in curves and ("MRR@10", "2", "20.0", "0.4") in curves
    assert ("MRR@10", "0", "0.0", "0.1") in curves and ("MRR@10", "", "", "0.33") in curves
    queries = rows_of(figures / "queries.csv")
    assert {row["query"] for row in queries if row["chosen as"] == "sample"} == {
        "q0",
        "q2",
    }  # after episode 1, q3 stays
    lost = [row for row in queries if row["chosen as"] == "most lost"]
    assert [row["query"] for row in lost[::4]] == ["q0", "q2"]
    assert [float(row["MRR@100"]) for row in lost[:4]] == MRR[0]
    composition = {(row["of"], row["round or episode"], row["met in or source"]): float(row["share"])
                   for row in rows_of(figures / "composition.csv")}  # fmt: skip
    assert composition[("Mined lists, by round first met", "2", "2")] == 0.625
    assert composition[("Pools, by source", "2", "momentum")] == 0.5
    assert composition[("Pools, by what once mined them", "2", "query")] == 0.51
    new = {(row["round"], row["quantity"]): float(row["share"]) for row in rows_of(figures / "new-negatives.csv")}
    assert new == {("2", "new"): 0.625, ("4", "new"): 0.3, ("2", "near_positive"): 0.08, ("4", "near_positive"): 0.0625,
                   ("2", "random"): 0.01, ("4", "random"): 0.0125}  # fmt: skip
    assert [(row["round"], row["share"], row["count"]) for row in rows_of(figures / "swing.csv")] == [
        ("1", "0.08", "7"),
        ("2", "0.02", "2"),
    ]
    assert len(rows_of(figures / "projection.csv")) == 8
    suspects = {(row["by"], row["name"]): row for row in rows_of(figures / "suspects.csv")}
    assert (
        suspects[("source", "query")]["share"] == "0.03" and suspects[("reason", "above_positive")]["suspects"] == "11"
    )
    (elsewhere,) = rows_of(figures / "elsewhere.csv")
    assert (elsewhere["zero-shot"], elsewhere["trained"], elsewhere["p"]) == ("0.3125", "0.4225", "0.002")
    merged = rows_of(figures / "merge.csv")
    assert [(one["collection"], one["weight"], one["score"], one["chosen"]) for one in merged[1:4]] == [
        ("demo", "0.5", "0.45", "1"),
        ("demo", "1.0", "0.46", "0"),
        ("scifact", "0.0", "0.6", "0"),
    ]


def test_the_same_run_gives_the_same_files(whole: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "whole")
    code = f"import pathlib; from ance_tele.report.write import write_report; write_report(pathlib.Path({str(run)!r}))"
    environment = {"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert (whole / "report.html").read_bytes() == (run / "report.html").read_bytes()
    with the_style():
        files = save(gallery([read_run(run)])["composition"], tmp_path)
    for path in files:
        assert path.read_bytes() == (whole / "figures" / path.name).read_bytes(), path.name


def test_the_page_says_what_to_read_off(whole: Path) -> None:
    text = Page((whole / "report.html").read_text("utf-8")).text
    for said in (
        "15.0% of the 5 training queries did worse after episode 2 than before it, the most of all episodes; 30.0% did",
        "MRR@10 was 0.100 before training, 0.300 after episode 1, 0.400 after episode 2 and 0.500 after episode 3.",
        "2 of 5 training queries (40.0%) did worse in some episode, and 1 of these end below their best.",
        "Of the lists of round 4, 30.0% had been in no list before and 50.0% were first met in round 2",
        "The pool of episode 2 is 25.0% query, 25.0% lookahead and 50.0% momentum negatives.",
        "6.2% of the new ones of round 4 lay near a positive, against 1.2% of random passages",
        "8.0% of the lists of round 1 were gone in round 2 and back in round 3, the most of all rounds.",
        "class A was in the list of round 2, out in 3 and back in 4; class B in 3, out in 4, back in 5.",
        "20 of 1,000 query-negative pairs (2.0%) are suspect, most often those from query (3.0%)",
        "On scifact (test), the trained model is better than the untrained model by 0.110 MRR@10 (p = 0.002, paired",
        "An illustration, not a measurement",
        "The model of episode 3 is better than BM25 by 0.170 MRR@10 (p = 0.010, paired permutation test).",
    ):
        assert said in text, said
    assert "paper" not in text.replace("the paper's Table 10", "")  # its curves are not shown unasked


def test_cases_and_suspects_are_tables(whole: Path) -> None:
    page = Page((whole / "report.html").read_text("utf-8"))
    assert "restart a <b>service</b>" in page.text
    assert "A d2. Restart of <i>another</i> thing 4 – 17" in page.text
    assert len(page.named("mark")) == 2  # the word in common, and the word that explains the marks
    assert "q19 d19" in page.text and "q20 d20" not in page.text  # the first twenty
    assert "near_duplicate, persistently_top" in page.text and "75% 1.2 2" in page.text


def test_words_are_marked_whole_and_escaped() -> None:
    assert str(marked("Re-start <b>START</b> starting", ["start"])) == (
        "Re-<mark>start</mark> &lt;b&gt;<mark>START</mark>&lt;/b&gt; starting"
    )
    assert str(marked("<mark>", ["mark"])) == "&lt;<mark>mark</mark>&gt;"


def test_texts_of_suspects_are_shown_where_the_table_has_them(data_only: None, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    row = {"query_id": "q", "passage_id": "d", "reasons": "copy", "score": 1.0, "query": "asked", "text": NASTY}
    pq.write_table(pa.Table.from_pylist([row]), run / "analysis" / "suspects.parquet")
    page = page_of(run)
    assert "asked" in page.text and "alert(1)" in page.text and not page.named("script")


@pytest.mark.filterwarnings("error")
def test_nothing_of_a_corpus_gets_out(tmp_path: Path) -> None:
    summary = summary_of(recipe=NASTY, collection=NASTY)
    summary |= {"model": NASTY, "split": NASTY, "settings": {NASTY: NASTY}}
    summary["environment"]["machine"] = summary["data"]["fingerprint"] = NASTY
    summary["episodes"][0]["pool"]["by_source"][NASTY] = 3
    cases = json.loads(json.dumps(CASES))
    cases[0] |= {"query": NASTY, "query_id": NASTY}
    cases[0]["positives"][0] |= {"title": NASTY, "text": NASTY, "id": NASTY}
    cases[0]["negatives"][0] |= {"title": NASTY, "text": NASTY, "words": ["script", "<", NASTY], "class": NASTY}
    suspects = {**SUSPECTS, "by_source": {NASTY: {"share": 0.1, "suspects": 3}}, "by_reason": {NASTY: 3}}
    run = write_run(
        tmp_path / "<b>x", summary, cases=cases, projection={**PROJECTION, "query": NASTY}, suspects=suspects
    )
    (run / "elsewhere" / "scifact.json").write_text(json.dumps({**ELSEWHERE, "collection": NASTY, "split": NASTY}))
    row = {"query_id": NASTY, "passage_id": NASTY, "reasons": NASTY, "sources": NASTY, "text": NASTY, "score": 1.0}
    pq.write_table(pa.Table.from_pylist([row]), run / "analysis" / "suspects.parquet")
    page = page_of(run)
    assert page.text.count("alert(1)") > 10 and "{{ 7*7 }}" in page.text
    assert len(page.named("style")) == 1 and not page.named("script") and not page.named("b")[len(page.named("b")) :]
    assert not [attributes for _, attributes in page.tags if any(name.startswith("on") for name in attributes)]
    assert {attributes.get("src", "")[:5] for attributes in page.named("img")} == {"data:"}


def test_the_page_needs_no_network(whole: Path) -> None:
    text = (whole / "report.html").read_text("utf-8")
    page = Page(text)
    (policy,) = [one["content"] for one in page.named("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and policy.startswith("default-src 'none'; img-src data:;") and "script" not in policy
    assert not page.named("script") and not page.named("link") and not page.named("iframe")
    for _, attributes in page.tags:
        for name in ("src", "href", "action", "srcset"):
            assert re.match(r"data:|#", attributes.get(name) or "#"), attributes
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert "url(" not in style and "@import" not in style and "http" not in style
    assert len(text) < 3_000_000


def test_the_page_can_be_heard_and_printed(whole: Path) -> None:
    page = Page((whole / "report.html").read_text("utf-8"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {(one["href"] or "")[1:] for one in page.named("a")}
    assert targets <= set(ids) and "content" in targets
    assert all(one.get("scope") in ("col", "row") for one in page.named("th"))
    for landmark in ("header", "nav", "main", "footer"):
        assert len(page.named(landmark)) == 1, landmark
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1 and all(b - a <= 1 for a, b in pairwise(levels))
    assert "@media print" in (whole / "report.html").read_text("utf-8")


def test_absent_parts_leave_their_section_out(data_only: None, tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run", analysed=False))
    assert [one["id"] for one in page.named("figure")] == ["forgetting", "learning-curves", "composition"]
    assert "not analysed yet; ance-tele report does that." in page.text
    assert "Not measured on other collections" in page.text and "Cases" not in page.text
    run = write_run(tmp_path / "textless")
    for name in ("cases.json", "projection.json", "suspects.parquet"):
        (run / "analysis" / name).unlink()
    page = page_of(run)
    assert "no cases; run ance-tele report with the collection at hand (--data DATA)." in page.text
    assert "projection" not in [one["id"] for one in page.named("figure")] and "most suspicious" not in page.text


def test_a_run_without_training_has_a_report(data_only: None, tmp_path: Path) -> None:
    summary = {"schema": 1, "recipe": "bm25", "collection": "toy", "final": measured(0.4)}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    page = page_of(tmp_path)
    assert "0.400" in page.text and not page.named("figure") and "not analysed" not in page.text


@pytest.mark.parametrize(
    "dynamics",
    [
        {"new": "x", "swing": [1, None], "composition": []},
        {"composition": {"mined": [{"round": 1}, {"first": {"1": 1}}, {"round": 2, "first": {"1": None}}], "pools": 3}},
        {"learning": [{"episode": 1, "forgotten": None}], "new": [{"round": None, "new": 0.5}], "rounds": {}},
    ],
)
def test_odd_shapes_are_left_out(data_only: None, tmp_path: Path, dynamics: Mapping[str, Any]) -> None:
    run = write_run(
        tmp_path / "run", dynamics=dynamics, cases=[1, {}], projection={"points": [{}]}, suspects={"pairs": 0}
    )
    said = page_of(run).text
    assert "What the numbers say" in said and "NaN" not in said and "None" not in said
