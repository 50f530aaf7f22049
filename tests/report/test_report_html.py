"""The HTML report: what it shows equals what the run folder holds, and nothing of a corpus gets out of its place."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.report.drawing import Drawing, save, the_style, write_rows
from ance_tele.report.gallery import NAMES, gallery, paper_figures
from ance_tele.report.page_tables import joined, marked
from ance_tele.report.paper_curves import reference
from ance_tele.report.readings import readings
from ance_tele.report.run_tables import pools
from ance_tele.report.runs import RunData, named_apart, read_run
from ance_tele.report.verdict import FELL, FORGOTTEN_MUCH, NEW_FEW, SUSPECTS_MANY, SWINGS_MUCH, side_by_side, verdict
from ance_tele.report.write import write_report, write_reports

NASTY = "<script>alert(1)</script> & \"q\" 'a' </style> {{ 7*7 }} $\\frac$ <img src=x onerror=y> https://evil.example/x"


def measured(mrr: float) -> dict[str, float]:
    return {"MRR@10": mrr, "nDCG@10": mrr + 0.03, "Recall@100": min(1.0, mrr + 0.3)}


def summary_of(
    recipe: str = "ance-tele", collection: str = "toy", forgotten: tuple[float, ...] = (0.05, 0.15, 0.1)
) -> dict:
    episodes = [
        {
            "number": number,
            "metrics": measured(0.2 + 0.1 * number),
            "forgetting_rate": rate,
            "learned_rate": 0.3,
            "unchanged_rate": 0.7 - rate,
            "training_mrr": 0.5,
            "new_negatives": 0.4,
            "seconds": {"search": 1.0, "train": 2.0},
            "steps": 10,
            "stopped_at_refresh": number < 3,
            "pool": {"size": 60, "by_source": {"query": 40, "lookahead": 20}, "short_queries": 0},
        }
        for number, rate in enumerate(forgotten, 1)
    ]
    return {
        "schema": 1,
        "recipe": recipe,
        "collection": collection,
        "model": "start",
        "seed": 3,
        "split": "dev",
        "data": {"fingerprint": "f00d", "passages": 90, "queries": {"train": 5, "dev": 4}, "training_queries_used": 5},
        "baselines": {"bm25": measured(0.33), "zero-shot": measured(0.1)},
        "episodes": episodes,
        "final": measured(0.5),
        "comparisons": [{"system": "episode 3", "baseline": "bm25", "metric": "MRR@10", "difference": 0.17, "p": 0.01}],
        "settings": {"alpha": 0.5, "depth": 20},
        "environment": {"machine": "bench", "python": "3.11", "packages": {"torch": "2.9"}},
    }


def dynamics_of(forgotten: tuple[float, ...] = (0.05, 0.15, 0.1), new: float = 0.3, swing: float = 0.08) -> dict:
    return {
        "schema": 1,
        "recipe": "ance-tele",
        "queries": 5,
        "episodes": 3,
        "rounds": [{"round": number, "source": "query", "lookahead": True} for number in range(1, 5)],
        "learning": [
            {"episode": 0, "training_mrr": 0.1},
            *(
                {"episode": number, "training_mrr": 0.5, "forgotten": rate, "learned": 0.3, "unchanged": 0.7 - rate}
                for number, rate in enumerate(forgotten, 1)
            ),
        ],
        "composition": {
            "mined": [
                {"round": 1, "size": 90, "first": {"1": 1.0}},
                {"round": 2, "size": 90, "first": {"1": 0.375, "2": 0.625}},
                {"round": 4, "size": 90, "first": {"1": 0.2, "2": 0.8 - new, "4": new}},
            ],
            "pools": [{"episode": 1, "size": 60, "first": {"1": 1.0}}, {"episode": 2, "first": {"1": 0.55, "2": 0.45}}],
            "sources": [
                {"episode": 1, "query": 0.5, "lookahead": 0.5},
                {"episode": 2, "query": 0.25, "lookahead": 0.25, "momentum": 0.5},
            ],
            "origins": [
                {"episode": 1, "query": 0.5, "lookahead": 0.5},
                {"episode": 2, "query": 0.51, "lookahead": 0.49},
            ],
        },
        "new": [
            {"round": 1, "new": 1.0, "near_positive": None, "random": None},
            {"round": 2, "new": 0.625, "near_positive": 0.08, "random": 0.01},
            {"round": 4, "new": new, "near_positive": 0.0625, "random": 0.0125},
        ],
        "swing": [{"round": 1, "share": swing, "count": 7}, {"round": 2, "share": 0.02, "count": 2}],
    }  # fmt: skip


CASES = [
    {
        "query_id": "q1",
        "query": "restart a <b>service</b>",
        "mrr": {"0": 0.0, "1": 0.5},
        "positives": [{"id": "d1", "title": "Title", "text": "restart the service"}],
        "negatives": [
            {
                "id": "d2",
                "title": "",
                "text": "Restart of <i>another</i> thing",
                "class": "A",
                "ranks": {"1": 4, "2": None, "3": 17},
                "words": ["restart"],
            }
        ],
    }
]
PROJECTION = {
    "query_id": "q1",
    "query": "restart a service",
    "start": 2,
    "episodes": 1,
    "points": [
        {"kind": kind, "id": f"d{place}", "episode": episode, "x": place + episode, "y": place * 0.5}
        for episode in (0, 1)
        for place, kind in enumerate(("query", "positive", "A", "B"))
    ],
}
SUSPECTS = {
    "pairs": 1000,
    "suspects": 20,
    "by_source": {"query": {"pairs": 600, "suspects": 18, "share": 0.03},
                  "lookahead": {"pairs": 400, "suspects": 2, "share": 0.005}},
    "by_reason": {"copy": 4, "outscores": 11, "kept": 9},
    "settings": {"overlap": 0.6},
}  # fmt: skip
ELSEWHERE = {
    "collection": "scifact",
    "split": "test",
    "queries": 300,
    "episode": 3,
    "metric": "MRR@10",
    "difference": 0.11,
    "p": 0.002,
    "zero-shot": {"MRR@10": 0.3125},
    "trained": {"MRR@10": 0.4225},
}
MRR = [[0.0, 1.0, 0.5, 1.0], [0.5, 0.5, 0.5, 0.5], [0.1, 0.2, 0.25, 0.125], [0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]


def write_run(folder: Path, summary: Mapping[str, Any] | None = None, analysed: bool = True, **parts: Any) -> Path:
    """A run folder of three episodes with known numbers; ``parts`` replace files of the analysis."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(json.dumps(summary or summary_of()), "utf-8")
    for number in (1, 2, 3):
        (folder / f"episode-{number}").mkdir(exist_ok=True)
        log = {"loss": [[5, 2.5 / number], [10, 1.5 / number]], "learning_rate": [[5, 1e-5]]}
        (folder / f"episode-{number}" / "training_log.json").write_text(json.dumps(log), "utf-8")
    if not analysed:
        return folder
    files = {"dynamics": dynamics_of(), "suspects": SUSPECTS, "cases": CASES, "projection": PROJECTION, **parts}
    (folder / "analysis").mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / "analysis" / f"{name}.json").write_text(json.dumps(content), "utf-8")
    columns: dict[str, Any] = {"query_id": [f"q{row}" for row in range(len(MRR))]}
    columns |= {f"mrr_{place}": [row[place] for row in MRR] for place in range(4)}
    falls = [sum(max(a - b, 0) for a, b in pairwise(row)) for row in MRR]
    pq.write_table(pa.table({**columns, "falls": [1] * 5, "lost": falls}), folder / "analysis" / "per_query.parquet")
    rows = [
        {"query_id": f"q{number}", "passage_id": f"d{number}", "reasons": "copy,kept", "score": 9.0 - number,
         "sources": "query", "overlap": 0.75, "margin": 1.25, "top_rounds": 2}
        for number in range(30)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / "analysis" / "suspects.parquet")
    (folder / "elsewhere").mkdir(exist_ok=True)
    (folder / "elsewhere" / "scifact.json").write_text(json.dumps(ELSEWHERE), "utf-8")
    return folder


class Page(HTMLParser):
    """Tags with their attributes, and the text a reader sees."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.said: list[str] = []
        self.feed(text)
        self.close()
        self.text = " ".join(" ".join(self.said).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.said.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(run: Path, **how: Any) -> Page:
    write_report(run, **how)
    page = Page((run / "report.html").read_text("utf-8"))
    assert page.open == []  # whatever is opened is closed
    return page


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the drawing out, where only words matter: it takes most of the time."""
    monkeypatch.setattr("ance_tele.report.page.panel_svg", lambda panel, small=False: "<svg/>")
    monkeypatch.setattr("ance_tele.report.write.curves", lambda summary, logs, path: path.write_bytes(b""))
    monkeypatch.setattr("ance_tele.report.write.save", write_rows)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with all there is, and its report with figures."""
    run = write_run(tmp_path_factory.mktemp("runs") / "whole")
    write_report(run, figures=True)
    return run


# What is in it


def test_every_figure_is_there_with_its_files(whole: Path) -> None:
    page = Page((whole / "report.html").read_text("utf-8"))
    assert [one["id"] for one in page.named("figure")] == list(NAMES)
    names = {f"{name}{suffix}" for name in NAMES for suffix in (".png", ".svg", ".csv")}
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
    assert suspects[("source", "query")]["share"] == "0.03" and suspects[("reason", "outscores")]["suspects"] == "11"
    (elsewhere,) = rows_of(figures / "elsewhere.csv")
    assert (elsewhere["zero-shot"], elsewhere["trained"], elsewhere["p"]) == ("0.3125", "0.4225", "0.002")


def test_the_page_says_what_to_read_off(whole: Path) -> None:
    text = Page((whole / "report.html").read_text("utf-8")).text
    for said in (
        "15.0% of the 5 training queries did worse after episode 2 than before it, the most of all episodes; 30.0% did",
        "MRR@10 went from 0.100 before training to 0.500 after episode 3.",
        "2 of 5 training queries (40.0%) did worse in some episode, and 1 of these end below their best.",
        "Of the lists of round 4, 30.0% had been in no list before and 50.0% were first met in round 2",
        "the pool of episode 2 is 25.0% query, 25.0% lookahead and 50.0% momentum negatives.",
        "6.2% of the new ones of round 4 lay near a positive, 5.0 times as many as of random passages",
        "8.0% of the lists of round 1 were gone in round 2 and back in round 3, the most of all rounds.",
        "class A was in the list of round 2, out in 3 and back in 4; class B in 3, out in 4, back in 5.",
        "20 of 1,000 query-negative pairs (2.0%) are suspect, most often those from query (3.0%)",
        "On scifact (test) training raised MRR@10 by 0.110 (p = 0.002).",
        "An illustration, not a measurement",
        "episode 3 against bm25: MRR@10 +0.170, p = 0.010 (paired permutation test)",
    ):
        assert said in text, said
    assert "paper" not in text.replace("the paper's Table 10", "")  # its curves are not shown unasked


def test_cases_and_suspects_are_tables(whole: Path) -> None:
    page = Page((whole / "report.html").read_text("utf-8"))
    assert "restart a <b>service</b>" in page.text
    assert "A d2. Restart of <i>another</i> thing 4 – 17" in page.text
    assert len(page.named("mark")) == 2  # the word in common, and the word that explains the marks
    assert "q19 d19" in page.text and "q20 d20" not in page.text  # the first twenty
    assert "copy, kept" in page.text and "75% 1.2 2" in page.text


def test_words_are_marked_whole_and_escaped() -> None:
    assert str(marked("Re-start <b>START</b> starting", ["start"])) == (
        "Re-<mark>start</mark> &lt;b&gt;<mark>START</mark>&lt;/b&gt; starting"
    )
    assert str(marked("<mark>", ["mark"])) == "&lt;<mark>mark</mark>&gt;"


def test_texts_of_suspects_are_shown_where_the_table_has_them(undrawn: None, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    row = {"query_id": "q", "passage_id": "d", "reasons": "copy", "score": 1.0, "query": "asked", "text": NASTY}
    pq.write_table(pa.Table.from_pylist([row]), run / "analysis" / "suspects.parquet")
    page = page_of(run)
    assert "asked" in page.text and "alert(1)" in page.text and not page.named("script")


# What must not get out


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


# Several runs


def test_several_runs_share_their_axes(undrawn: None, tmp_path: Path) -> None:
    one = write_run(tmp_path / "a" / "one")
    two = write_run(tmp_path / "b" / "two", summary_of(forgotten=(0.02, 0.3, 0.1)),
                    dynamics=dynamics_of(forgotten=(0.02, 0.3, 0.1)))  # fmt: skip
    three = write_run(tmp_path / "c" / "two", summary_of("q-neg"), analysed=False)
    before = {path: path.stat().st_mtime_ns for run in (one, two, three) for path in run.rglob("*")}
    out = tmp_path / "report"
    assert write_reports([one, two, three], out) == out / "report.html"
    assert {path: path.stat().st_mtime_ns for run in (one, two, three) for path in run.rglob("*")} == before
    assert sorted(path.name for path in out.iterdir()) == ["figures", "report.html"]
    rows = rows_of(out / "figures" / "forgetting.csv")
    assert list(dict.fromkeys(row["run"] for row in rows)) == ["ance-tele (one)", "ance-tele (two)", "q-neg"]
    assert {row["share"] for row in rows if row["run"] == "ance-tele (two)" and row["rate"] == "forgotten"} >= {"0.3"}
    text = Page((out / "report.html").read_text("utf-8")).text
    assert "3 runs on toy" in text and "The runs were not tested against each other" in text
    assert "Most forgotten in one episode: 15.0% (ance-tele (one), episode 2)" in text
    assert "q-neg: not analysed yet; ance-tele report does that." in text
    # One pair of axes holds all of them: three panels, whatever the number of runs.
    runs = named_apart([read_run(run) for run in (one, two, three)])
    assert len(gallery(runs)["forgetting"].panels) == len(gallery(runs[:1])["forgetting"].panels) == 3


def test_runs_over_the_same_queries_show_the_same_sample(tmp_path: Path) -> None:
    runs = named_apart([read_run(write_run(tmp_path / name)) for name in ("x", "y")])
    rows = gallery(runs)["queries"].rows
    samples = [[row[2] for row in rows if row[0] == run.name and row[1] == "sample"] for run in runs]
    assert samples[0] == samples[1] != []


def test_runs_are_named_apart() -> None:
    def named(*pairs: tuple[str, str]) -> list[str]:
        return [run.name for run in named_apart([RunData(recipe, {}, folder) for recipe, folder in pairs])]

    assert named(("ance", "a"), ("dpr", "b")) == ["ance", "dpr"]
    assert named(("ance", "a"), ("ance", "b"), ("dpr", "b")) == ["ance (a)", "ance (b)", "dpr"]
    assert named(("ance", "a"), ("ance", "a"), ("ance", "a")) == ["ance (a)", "ance (a) #2", "ance (a) #3"]


def test_columns_that_only_some_runs_have_keep_their_place() -> None:
    bm25 = summary_of()
    for one in bm25["episodes"]:
        one["pool"]["by_source"] = {"query": 30, "bm25": 30}
    table = joined([RunData("a", bm25), RunData("b", summary_of())], pools)
    assert table.heading[1:6] == ["episode", "negatives", "query", "bm25", "lookahead"] and table.heading[-3:] == [
        "queries short",
        "missing",
        "repeated per pass",
    ]
    first, last = table.body[0], table.body[-1]
    assert first[3:6] == ["30 (50.0%)", "30 (50.0%)", "–"] and last[3:6] == ["40 (66.7%)", "–", "20 (33.3%)"]


def test_side_by_side_says_nothing_of_scores_that_do_not_compare() -> None:
    a, b = RunData("a", summary_of()), RunData("b", summary_of(collection="other"))
    assert any("different collections" in said for said in side_by_side([a, b]))
    assert not any("Final" in said for said in side_by_side([a, b]))
    assert side_by_side([a, RunData("b", {**summary_of(), "final": measured(0.6)})])[0].startswith(
        "Final MRR@10 on dev: 0.600 (b) and 0.500 (a)."
    )


# What is absent, what is broken


def test_absent_parts_leave_their_section_out(undrawn: None, tmp_path: Path) -> None:
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


def test_a_run_without_training_has_a_report(undrawn: None, tmp_path: Path) -> None:
    summary = {"schema": 1, "recipe": "bm25", "collection": "toy", "final": measured(0.4)}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    page = page_of(tmp_path)
    assert "0.400" in page.text and not page.named("figure") and "not analysed" not in page.text


def test_figures_that_have_nothing_to_show_any_more_go(
    undrawn: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touch(drawing: Drawing, folder: Path) -> None:
        (folder / f"{drawing.name}.png").touch()

    monkeypatch.setattr("ance_tele.report.write.save", touch)
    run = write_run(tmp_path / "run")
    write_report(run, figures=True)
    (run / "figures" / "mine.txt").write_text("mine")
    (run / "analysis" / "projection.json").unlink()
    write_report(run, figures=True)
    names = {path.name for path in (run / "figures").iterdir()}
    assert "projection.png" not in names and {"mine.txt", "swing.png"} <= names


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("analysis/dynamics.json", b'{"new": '),
        ("analysis/dynamics.json", b"[]"),
        ("analysis/cases.json", b"\xff"),
        ("analysis/suspects.json", b"nonsense"),
        ("elsewhere/scifact.json", b"{"),
        ("analysis/per_query.parquet", b"PAR1 nonsense"),
        ("analysis/suspects.parquet", b""),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    run = write_run(tmp_path / "run")
    (run / name).write_bytes(content)
    with pytest.raises(UserError) as raised:
        write_report(run)
    message = str(raised.value)
    assert str(run / name) in message and "ance-tele report" in message
    assert message.endswith(".") and "\n" not in message
    assert not (run / "report.html").exists() and not (run / "report.md").exists()


@pytest.mark.parametrize(
    "dynamics",
    [
        {"new": "x", "swing": [1, None], "composition": []},
        {"composition": {"mined": [{"round": 1}, {"first": {"1": 1}}, {"round": 2, "first": {"1": None}}], "pools": 3}},
        {"learning": [{"episode": 1, "forgotten": None}], "new": [{"round": None, "new": 0.5}], "rounds": {}},
    ],
)
def test_odd_shapes_are_left_out(undrawn: None, tmp_path: Path, dynamics: Mapping[str, Any]) -> None:
    run = write_run(
        tmp_path / "run", dynamics=dynamics, cases=[1, {}], projection={"points": [{}]}, suspects={"pairs": 0}
    )
    said = page_of(run).text
    assert "What the numbers say" in said and "NaN" not in said and "None" not in said


def test_where_a_report_of_several_may_not_go(tmp_path: Path) -> None:
    one, two = write_run(tmp_path / "one"), write_run(tmp_path / "two")
    with pytest.raises(UserError, match="is a run folder; give --out another"):
        write_reports([one, two], one)
    with pytest.raises(UserError, match="is named twice"):
        write_reports([one, one], tmp_path / "out")
    with pytest.raises(UserError, match="9 runs are too many"):
        write_reports([tmp_path / str(place) for place in range(9)], tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is no folder"):
        write_reports([one, two], tmp_path / "file" / "out")
    assert not (tmp_path / "out").exists()


def test_the_verb_takes_several_runs(undrawn: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = {"schema": 1, "recipe": "bm25", "collection": "toy", "final": measured(0.4)}
    runs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(json.dumps(summary))
        (tmp_path / name / "config.yaml").write_text("recipe: bm25\nepisodes: 0\n")
        runs.append(str(tmp_path / name))
    assert main(["report", *runs]) == 2
    assert (
        capsys.readouterr().err == "ance-tele: --out is missing: several runs take a folder for their common report.\n"
    )
    assert main(["report", *runs, "--out", str(tmp_path / "out"), "--paper"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out" / "report.html")
    assert "bm25 (one)" in (tmp_path / "out" / "report.html").read_text()
    assert main(["report", runs[0]]) == 0
    assert (tmp_path / "one" / "report.html").exists() and (tmp_path / "one" / "figures").is_dir()


# The verdict


def said_of(summary: Mapping[str, Any] | None = None, **parts: Any) -> str:
    run = RunData("run", summary or summary_of(), dynamics=parts.pop("dynamics", {}), **parts)
    return " ".join(sentence for answer in verdict(run) for sentence in answer.sentences)


def test_verdict_on_forgetting() -> None:
    high, low = FORGOTTEN_MUCH + 0.001, FORGOTTEN_MUCH
    summary = summary_of(forgotten=(0.1, high, high))
    remedy = "Forgetting rose above 20% at episode 2: raise alpha or lower the learning rate."
    assert remedy in said_of(summary)
    summary["settings"]["alpha"] = 0.0
    assert "keep past negatives (momentum, alpha 0.5) or lower the learning rate" in said_of(summary)
    assert "Forgetting rose" not in said_of(summary_of(forgotten=(0.1, low, low)))
    assert "Each episode made between 5.0 and 15.0% of the training queries worse." in said_of()
    assert "Episodes 1 and 3 made more queries worse than better." in said_of(summary_of(forgotten=(0.31, 0.3, 0.4)))


def test_verdict_on_a_further_episode() -> None:
    assert "A further episode would meet only 5.0% new negatives: three episodes are enough." in said_of(
        dynamics=dynamics_of(new=NEW_FEW)
    )
    more = said_of(dynamics=dynamics_of(new=NEW_FEW + 0.001))
    assert "A further episode would meet 5.1% new negatives, and MRR@10 was still rising" in more
    flat = summary_of()
    flat["episodes"][2]["metrics"] = flat["episodes"][1]["metrics"]
    assert "further episode" not in said_of(flat, dynamics=dynamics_of(new=0.3))
    # A round that the run itself mined is no further one.
    assert "further episode" not in said_of(dynamics={"new": [{"round": 3, "new": 0.01}]})


def test_verdict_on_stability() -> None:
    summary = summary_of()
    assert f"Yes: no episode lowered MRR@10 by {FELL:g} or more." in said_of(summary)
    summary["episodes"][2]["metrics"]["MRR@10"] = 0.4 - FELL - 1e-4
    said = said_of(summary)
    assert "No: MRR@10 fell by 0.006 after episode 3." in said and "Yes:" not in said
    assert "It was highest after episode 2: 0.400, against 0.394 at the end." in said
    assert "Take the model of episode 2" in said
    summary["episodes"][2]["metrics"]["MRR@10"] = 0.4 - FELL + 1e-4
    said = said_of(summary)
    assert "Yes: no episode lowered" in said and "Take the model" not in said


def test_verdict_on_false_negatives() -> None:
    def with_share(share: float) -> str:
        return said_of(suspects={"pairs": 100_000, "suspects": round(100_000 * share)})

    assert "read the list below" in with_share(SUSPECTS_MANY + 0.001)
    assert "suspect" in with_share(SUSPECTS_MANY - 0.001) and "read the list below" not in with_share(
        SUSPECTS_MANY - 0.001
    )
    assert "suspect" not in said_of()


def test_verdict_on_swinging_and_bm25() -> None:
    assert "They swing little: at most 10.0% of a list (round 1)" in said_of(dynamics=dynamics_of(swing=SWINGS_MUCH))
    assert "They swing much: at most 10.1%" in said_of(dynamics=dynamics_of(swing=SWINGS_MUCH + 0.001))
    worse = summary_of()
    worse["comparisons"][0] |= {"difference": -0.1, "p": 0.049}
    assert "BM25 is significantly better here" in said_of(worse)
    worse["comparisons"][0]["p"] = 0.05
    assert "BM25 is significantly better" not in said_of(worse)
    worse["episodes"][1]["pool"]["short_queries"] = 1
    assert "Pools were short for 1 training query, all episodes counted" in said_of(worse)


def test_elsewhere_is_judged_by_its_test() -> None:
    def said(difference: float, p: float | None) -> str:
        one = {**ELSEWHERE, "difference": difference, "p": p}
        return readings([RunData("run", summary_of(), elsewhere=[one])])["elsewhere"]

    assert "training lowered MRR@10 by 0.110 (p = 0.049)" in said(-0.11, 0.049)
    assert "no significant difference in MRR@10 (+0.110, p = 0.050)" in said(0.11, 0.05)
    assert "changed by +0.110, not tested" in said(0.11, None)


# The paper's


def test_the_papers_curves_are_drawn_by_the_same_functions(tmp_path: Path) -> None:
    files = paper_figures(tmp_path / "paper")
    assert len(files) == 9 and all(path.stat().st_size > 100 for path in files)
    forgetting = {(row["run"], row["episode"]): row["share"] for row in rows_of(tmp_path / "paper" / "forgetting.csv")}
    assert forgetting[("ANCE-Tele", "2")] == "0.185" and forgetting[("ANCE, BERT", "4")] == "0.2949"
    curves = {(row["run"], row["episode"]): row["value"] for row in rows_of(tmp_path / "paper" / "learning-curves.csv")}
    assert curves[("ANCE-Tele", "3")] == "0.391" and curves[("ANCE, BERT", "4")] == "0.3324"
    composition = {(row["round or episode"], row["met in or source"]): row["share"]
                   for row in rows_of(tmp_path / "paper" / "composition.csv")}  # fmt: skip
    assert composition[("3", "2")] == "0.6757" and composition[("2", "1")] == "0.0654"


def test_the_papers_curves_stand_beside_a_run_where_asked_or_on_ms_marco(undrawn: None, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    plain = gallery([read_run(run)])
    page = page_of(run, paper=True)
    assert "In the paper, on MS MARCO: ANCE, BERT 23.8 to 29.5%" in page.text
    beside = gallery([read_run(run)], reference())
    assert ["paper: ANCE-Tele", 1, "forgotten", 0.089] in beside["forgetting"].rows
    assert len(beside["composition"].panels) == len(plain["composition"].panels) + 1
    marco = write_run(tmp_path / "marco", summary_of(collection="msmarco-passage"))
    assert "In the paper, on MS MARCO" in page_of(marco).text
    documents = write_run(tmp_path / "documents", summary_of(collection="msmarco-document"))
    assert "In the paper, on MS MARCO" not in page_of(documents).text


# How it is made


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


@pytest.mark.filterwarnings("error")
def test_figures_survive_odd_names_and_single_points(tmp_path: Path) -> None:
    odd = summary_of("_$\\frac$ 日本語 " * 9, forgotten=(0.1,))
    runs = [
        read_run(write_run(tmp_path / name, odd, dynamics={"swing": [{"round": 1, "share": 0.0}]})) for name in "ab"
    ]
    from ance_tele.report.page import page

    named = named_apart(runs)
    assert "<img" in page(named, gallery(named, reference()), reference())
