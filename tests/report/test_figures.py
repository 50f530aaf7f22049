"""The figures: drawn, their CSV equal to what is drawn, whatever the names and the numbers."""

import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
from fake_report import demo_summary, page_of, rows_of, run_of, summary_of, write_run

from ance_tele.experiments.paper_figures import paper_figures
from ance_tele.paper.curves import reference
from ance_tele.report.drawing import image
from ance_tele.report.figures_learning import overview
from ance_tele.report.gallery import gallery
from ance_tele.report.load import named_apart, read_run
from ance_tele.report.run_tables import episodes
from ance_tele.report.style import BM25, source_colour, source_title, sources_in_order, the_style
from ance_tele.report.write import curves
from ance_tele.runs.summary import Summary

LOSS = [(float(step), 2 / step) for step in range(1, 121)]


def draw(summary, losses, path):
    with the_style():
        path.write_bytes(image(overview(run_of(summary, losses=losses)), path.suffix[1:], "a title"))


def losses_of(episodes):
    return dict.fromkeys(range(1, episodes + 1), LOSS)


@pytest.mark.parametrize("episodes", [0, 1, 3, 5])
def test_figure_is_drawn(tmp_path, episodes):
    path = tmp_path / "curves.png"
    path.write_bytes(curves(run_of(demo_summary(episodes), losses=losses_of(episodes))))
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(content) > 20_000  # an empty canvas of this size has about 8 thousand
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    assert (width, height) == ((1800, 1320) if episodes else (1020, 720))


def drawn_text(summary, losses, path):
    """The text of a figure: an SVG draws it as outlines, and has each text in a comment."""
    draw(summary, losses, path)
    return re.findall(r"<!-- (.*?) -->", path.read_text(encoding="utf-8"))


def test_svg_has_what_the_run_has(tmp_path):
    summary = demo_summary(3)
    summary["episodes"][1]["forgetting_rate"] = None
    text = drawn_text(summary, losses_of(3), tmp_path / "a.svg")
    for one in (
        "BM25 MRR@10",
        "nDCG@10",
        "lookahead",
        "75.0",
        "episode 3",
        "not measured",
        "did worse",
        "12.3",
    ):
        assert one in text, one
    assert "momentum" not in text and "12.2" not in text


def test_systems_of_others_are_lines_of_their_own(tmp_path):
    for amount in (3, 0):
        summary = demo_summary(amount)
        theirs = {"MRR@10": 0.4321, "nDCG@10": 0.5, "Recall@100": 0.9}
        summary["beside"] = {"docT5query": {"file": "d2q.trec", "metrics": theirs, "final": theirs}}
        text = drawn_text(summary, losses_of(amount), tmp_path / "a.svg")
        assert any(one.startswith("docT5query") for one in text)
        assert "0.432" in text or amount
    drawings = gallery([run_of(demo_summary(3) | {"beside": summary["beside"]})])
    rows = [row for row in drawings["learning-curves"].rows if row[0] == "docT5query"]
    assert rows == [["docT5query", "MRR@10", None, None, 0.4321]]


def test_figure_says_what_is_missing(tmp_path):
    summary = demo_summary(1)
    summary["baselines"] = {}
    summary["episodes"][0].update(metrics={}, forgetting_rate=None, pool={})
    text = drawn_text(summary, {1: []}, tmp_path / "a.svg")
    assert {"No scores in this run.", "Not measured in this run.", "Not recorded in this run."} <= set(text)
    assert "No training log in this run." in text


@pytest.mark.filterwarnings("error")
def test_figure_survives_odd_names_and_sources(tmp_path):
    summary = demo_summary(2)
    summary.update(collection="$\\frac$ 日本語 " * 30, split="$\\frac$", model="")
    summary["episodes"][0]["pool"]["by_source"] = {"teleport": 5}
    draw(summary, {}, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_figure_leaves_matplotlib_as_it_was(tmp_path):
    import matplotlib

    before = deepcopy(dict(matplotlib.rcParams))
    draw(demo_summary(1), losses_of(1), tmp_path / "a.png")
    assert dict(matplotlib.rcParams) == before


def test_drawing_leaves_pyplot_alone():
    code = (
        "import sys; from ance_tele.report.load import RunData; from ance_tele.report.write import curves\n"
        "from ance_tele.runs.summary import Summary\n"
        f"curves(RunData('', Summary.of({demo_summary(1)!r})))\n"
        "assert 'matplotlib.pyplot' not in sys.modules and 'torch' not in sys.modules\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_runs_over_the_same_queries_show_the_same_sample(tmp_path: Path) -> None:
    runs = named_apart([read_run(write_run(tmp_path / name)) for name in ("x", "y")])
    rows = gallery(runs)["queries"].rows
    samples = [[row[2] for row in rows if row[0] == run.name and row[1] == "sample"] for run in runs]
    assert samples[0] == samples[1] != []


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


def test_the_papers_curves_stand_beside_a_run_where_asked_or_on_ms_marco(data_only: None, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    plain = gallery([read_run(run)])
    page = page_of(run, paper=True)
    assert "In the paper, on MS MARCO: ANCE, BERT 23.8 to 29.5%" in page.text
    with_paper = gallery([read_run(run)], reference())
    assert ["paper: ANCE-Tele", 1, "forgotten", 0.089] in with_paper["forgetting"].rows
    assert len(with_paper["composition"].panels) == len(plain["composition"].panels) + 1
    marco = write_run(tmp_path / "marco", summary_of(collection="msmarco-passage"))
    assert "In the paper, on MS MARCO" in page_of(marco).text
    documents = write_run(tmp_path / "documents", summary_of(collection="msmarco-document"))
    assert "In the paper, on MS MARCO" not in page_of(documents).text


@pytest.mark.filterwarnings("error")
def test_figures_survive_odd_names_and_single_points(tmp_path: Path) -> None:
    odd = summary_of("_$\\frac$ 日本語 " * 9, forgotten=(0.1,))
    runs = [
        read_run(write_run(tmp_path / name, odd, dynamics={"swing": [{"round": 1, "share": 0.0}]})) for name in "ab"
    ]
    from ance_tele.report.page import page

    named = named_apart(runs)
    assert "<img" in page(named, gallery(named, reference()), reference())


def test_learned_rate_where_it_was_measured(tmp_path: Path) -> None:
    summary = demo_summary(1)
    summary["episodes"][0].pop("learned_rate")
    assert "Not measured in this run." in drawn_text(summary, {}, tmp_path / "a.svg")
    summary["episodes"][0]["learned_rate"] = 0.234
    assert "23.4" in drawn_text(summary, {}, tmp_path / "b.svg")
    assert episodes(Summary.of(summary)).rows[0][1] == "23.4"


def test_a_source_has_one_colour_whatever_it_is_called() -> None:
    assert source_colour("bm25") == BM25 and source_title("bm25") == "BM25"
    assert source_colour("teleport") == source_colour("teleport") and source_title("teleport") == "teleport"
    assert sources_in_order(["teleport", "momentum", "query"]) == ["query", "momentum", "teleport"]
