"""The files of a report: of one run and of several, what is broken, what stays as it was."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fake_report import Page, demo_summary, dynamics_of, measured, rows_of, summary_of, write_run

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.report.drawing import Drawing
from ance_tele.report.gallery import gallery
from ance_tele.report.load import RunData, named_apart, read_run
from ance_tele.report.markdown import report
from ance_tele.report.run_tables import pools
from ance_tele.report.tables import joined
from ance_tele.report.write import write_report, write_reports
from ance_tele.runs.summary import Summary


def write_demo(folder, summary, losses=0):
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    for number in range(1, losses + 1):
        (folder / f"episode-{number}").mkdir()
        log = {"loss": [[step, 2 / step] for step in range(1, 121)]}
        (folder / f"episode-{number}" / "training_log.json").write_text(json.dumps(log), encoding="utf-8")
    return folder


@pytest.mark.usefixtures("undrawn_here")
def test_write_report(tmp_path):
    run = write_demo(tmp_path, demo_summary(2), 2)
    assert write_report(run) == run / "report.md"
    assert write_report(run) == run / "report.md"  # again, over what is there
    assert (run / "report.md").read_text(encoding="utf-8") == report(Summary.of(demo_summary(2)))
    assert sorted(path.name for path in run.iterdir()) == [
        "curves.png",
        "episode-1",
        "episode-2",
        "report.html",
        "report.md",
        "summary.json",
    ]


@pytest.mark.usefixtures("undrawn_here")
def test_a_failure_leaves_the_old_report_and_no_rubbish(tmp_path, monkeypatch):
    run = write_demo(tmp_path, demo_summary(1))
    (run / "curves.png").write_text("old")
    (run / "report.md").write_text("old")

    def fails(run):
        raise OSError("disk full")

    monkeypatch.setattr("ance_tele.report.write.curves", fails)
    with pytest.raises(OSError, match="disk full"):
        write_report(run)
    assert {path.name: path.read_text() for path in run.iterdir() if path.suffix != ".json"} == {
        "curves.png": "old",
        "report.md": "old",
    }


def changed(**values):
    return json.dumps({**demo_summary(1), **values}).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "There is no summary.json in"),
        (b'{"schema": 1,', "line 1, column 14"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[1]", "a JSON list instead of an object"),
        (changed(schema=2), "schema 2 where this version of ance-tele reads schema 1"),
        (b"{}", "schema null"),
        (changed(recipe=None), "no text under 'recipe'"),
        (changed(episodes={}), "a dict under 'episodes' instead of a list"),
        (changed(episodes=[{"metrics": {}}]), "an episode without a number"),
    ],
)
def test_broken_summary_is_one_sentence(tmp_path, content, said):
    if content is not None:
        (tmp_path / "summary.json").write_bytes(content)
    with pytest.raises(UserError) as raised:
        write_report(tmp_path)
    message = str(raised.value)
    assert said in message and str(tmp_path) in message
    assert message.endswith(".") and "\n" not in message
    assert re.search(r"let |use |restore", message)  # what to do
    assert not (tmp_path / "report.md").exists() and not (tmp_path / "curves.png").exists()


def test_broken_log_is_one_sentence(tmp_path):
    run = write_demo(tmp_path, demo_summary(1), 1)
    (run / "episode-1" / "training_log.json").write_text("{")
    with pytest.raises(UserError, match=r"episode-1.training_log\.json is not valid JSON .* or delete it to have"):
        write_report(run)


def test_unknown_keys_and_absent_parts_are_accepted(tmp_path):
    write_demo(tmp_path, {"schema": 1, "recipe": "bm25", "collection": "demo", "later": 1})
    assert Summary.read(tmp_path).collection == "demo"
    assert write_report(tmp_path).exists()


def test_importing_the_report_is_light():
    code = (
        "import pkgutil, importlib, sys, ance_tele.report as r\n"
        "names = [m.name for m in pkgutil.iter_modules(r.__path__)]\n"
        "assert {'gallery', 'markdown', 'tables', 'write'} <= set(names), names\n"
        "[importlib.import_module(f'ance_tele.report.{n}') for n in names]\n"
        "heavy = {'torch', 'matplotlib', 'transformers', 'faiss', 'datasets'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_several_runs_share_their_axes(data_only: None, tmp_path: Path) -> None:
    one = write_run(tmp_path / "a" / "one")
    two = write_run(tmp_path / "b" / "two", summary_of(forgotten=(0.02, 0.3, 0.1)),
                    dynamics=dynamics_of(forgotten=(0.02, 0.3, 0.1)))  # fmt: skip
    three = write_run(tmp_path / "c" / "two", summary_of("q-neg"), analysed=False)
    before = {path: path.stat().st_mtime_ns for run in (one, two, three) for path in run.rglob("*")}
    out = tmp_path / "report"
    page, compared = write_reports([one, two, three], out)
    assert page == out / "report.html"
    assert {path: path.stat().st_mtime_ns for run in (one, two, three) for path in run.rglob("*")} == before
    assert sorted(path.name for path in out.iterdir()) == ["figures", "report.html", "report.md"]
    rows = rows_of(out / "figures" / "forgetting.csv")
    assert list(dict.fromkeys(row["run"] for row in rows)) == ["ance-tele (one)", "ance-tele (two)", "q-neg"]
    assert {row["share"] for row in rows if row["run"] == "ance-tele (two)" and row["rate"] == "forgotten"} >= {"0.3"}
    text = Page((out / "report.html").read_text("utf-8")).text
    assert "3 runs on toy" in text and "The runs were not tested against each other: " in text
    markdown = (out / "report.md").read_text("utf-8")
    assert compared and all(sentence in text for sentence in compared)
    assert markdown.startswith("# Report: 3 runs on toy\n") and "has no MRR@10 by query" in markdown
    assert "Most forgotten in one episode: 15.0% (ance-tele (one), episode 2)" in text
    assert "q-neg: not analysed yet; ance-tele report does that." in text
    # One pair of axes holds all of them: three panels, whatever the number of runs.
    runs = named_apart([read_run(run) for run in (one, two, three)])
    assert len(gallery(runs)["forgetting"].panels) == len(gallery(runs[:1])["forgetting"].panels) == 3


def test_runs_are_named_apart() -> None:
    def named(*pairs: tuple[str, str]) -> list[str]:
        return [run.name for run in named_apart([RunData(recipe, Summary.of({}), folder) for recipe, folder in pairs])]

    assert named(("ance", "a"), ("dpr", "b")) == ["ance", "dpr"]
    assert named(("ance", "a"), ("ance", "b"), ("dpr", "b")) == ["ance (a)", "ance (b)", "dpr"]
    assert named(("ance", "a"), ("ance", "a"), ("ance", "a")) == ["ance (a)", "ance (a) #2", "ance (a) #3"]


def test_columns_that_only_some_runs_have_keep_their_place() -> None:
    bm25 = summary_of()
    for one in bm25["episodes"]:
        one["pool"]["by_source"] = {"query": 30, "bm25": 30}
    table = joined([(name, pools(Summary.of(one))) for name, one in (("a", bm25), ("b", summary_of()))])
    assert table.heading[1:6] == ["episode", "negatives", "query", "BM25", "lookahead"] and table.heading[-3:] == [
        "queries short",
        "missing",
        "repeated per pass",
    ]
    first, last = table.rows[0], table.rows[-1]
    assert first[3:6] == ["30 (50.0%)", "30 (50.0%)", "–"] and last[3:6] == ["40 (66.7%)", "–", "20 (33.3%)"]


def test_figures_that_have_nothing_to_show_any_more_go(
    data_only: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        ("merged/merge.json", b"{"),
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


def test_the_verb_takes_several_runs(data_only: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    page, final, untested = capsys.readouterr().out.splitlines()
    assert page == str(tmp_path / "out" / "report.html") and final.startswith("Final MRR@10")
    assert untested.endswith("bm25 (one) does not record the fingerprint of its data.")
    assert "bm25 (one)" in (tmp_path / "out" / "report.html").read_text()
    assert main(["report", runs[0]]) == 0
    assert (tmp_path / "one" / "report.html").exists() and (tmp_path / "one" / "figures").is_dir()
