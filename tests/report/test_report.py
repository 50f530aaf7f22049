import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from copy import deepcopy
from io import StringIO
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from ance_tele.console.errors import UserError
from ance_tele.console.numbers import duration, p_value, signed
from ance_tele.report.figures import curves
from ance_tele.report.findings import findings
from ance_tele.report.markdown import escape, markdown
from ance_tele.report.tables import episode_table, significance_lines
from ance_tele.report.write import read_summary, write_report

NASTY = "a|b <script>`x`</script> [l](u) *s* _e_ \\| $m$ [bold]r[/bold]\n# h"


def metrics(mrr, ndcg, recall):
    return {"MRR@10": mrr, "MRR@100": mrr, "nDCG@10": ndcg, "Recall@100": recall, "Success@10": recall}


SCORES = [
    (0.611, 0.702, 0.921),
    (0.655, 0.731, 0.944),
    (0.712, 0.757, 0.962),
    (0.704, 0.75, 0.96),
    (0.72, 0.77, 0.97),
]


def run_of(episodes):
    """A summary with so many episodes; every number that is shown differs from its neighbours."""
    summary = {
        "schema": 1,
        "recipe": "ance-tele" if episodes else "zero-shot",
        "collection": "demo",
        "model": "all-MiniLM-L6-v2",
        "seed": 42,
        "split": "test",
        "data": {
            "fingerprint": "f1n9e7",
            "passages": 9012,
            "queries": {"train": 9600, "dev": 600, "test": 1800},
            "training_queries_used": 2000,
        },
        "baselines": {"bm25": metrics(0.662, 0.699, 0.912), "zero-shot": metrics(0.58, 0.625, 0.83)},
        "episodes": [],
        "comparisons": [],
        "settings": {"alpha": 0.5, "batch_size": 32, "teacher": None},
        "environment": {"machine": "test bench", "python": "3.11.7", "packages": {"torch": "2.13.0"}},
        "unknown": {"ignored": True},
    }
    for number in range(1, episodes + 1):
        summary["episodes"].append(
            {
                "number": number,
                "metrics": metrics(*SCORES[number - 1]),
                "forgetting_rate": 0.12 + number / 1000,
                "learned_rate": 0.31,
                "unchanged_rate": 0.57 - number / 1000,
                "training_mrr": 0.61,
                "new_negatives": 1.0 if number == 1 else 0.4,
                "seconds": {"encode": 61.2, "search": 3.1, "mix": 0.2, "train": 101.7, "evaluate": 2.2},
                "steps": 120,
                "stopped_at_refresh": number < episodes,
                "pool": {
                    "size": 120000,
                    "by_source": {"query": 90000, "lookahead": 30000},
                    "short_queries": 0,
                    "missing": 0,
                    "repeats": 0,
                },
            }
        )
    return summary


def logs_of(episodes):
    return {number: {"loss": [[step, 2 / step] for step in range(1, 121)]} for number in range(1, episodes + 1)}


def compare(summary, difference, p, baseline="bm25", metric="MRR@10"):
    last = summary["episodes"][-1]["number"] if summary["episodes"] else None
    system = f"episode {last}" if last else "zero-shot"
    one = {"system": system, "baseline": baseline, "metric": metric, "difference": difference, "p": p}
    summary["comparisons"].append(one)
    return summary


def printed(summary, width=80, **options):
    file = StringIO()
    Console(file=file, width=width, **options).print(episode_table(summary))
    return file.getvalue()


def cells(text, system):
    (line,) = [line for line in text.splitlines() if line.startswith(system)]
    return line.removeprefix(system).split()


def rendered_tables(text):
    """The tables of a Markdown file as a renderer sees them: lists of rows of cells' plain text."""
    tables = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type == "inline" and tables and token.level >= 4:
            tables[-1][-1].append("".join(child.content for child in token.children))
    return tables


def write_run(folder, summary, logs=None):
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    for number, log in (logs or {}).items():
        (folder / f"episode-{number}").mkdir()
        (folder / f"episode-{number}" / "training_log.json").write_text(json.dumps(log), encoding="utf-8")
    return folder


# Formats


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0s"),
        (0.01, "<0.1s"),
        (3.1, "3.1s"),
        (59.94, "59.9s"),
        (59.97, "1m00s"),
        (101.7, "1m42s"),
        (119.6, "2m00s"),
        (3599.4, "59m59s"),
        (3599.6, "1h00m"),
        (7525, "2h05m"),
        (360000, "4d04h"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_duration(seconds, shown):
    assert duration(seconds) == shown
    assert len(shown) <= 6


@pytest.mark.parametrize(
    ("p", "shown"),
    [
        (0.0, "p < 0.001"),
        (0.00099, "p < 0.001"),
        (0.001, "p = 0.001"),
        (0.0312, "p = 0.031"),
        (0.0496, "p = 0.0496"),
        (0.05, "p = 0.050"),
        (0.0504, "p = 0.0504"),
        (0.050001, "p just above 0.05"),
        (0.0996, "p = 0.10"),
        (0.31, "p = 0.31"),
        (1.0, "p = 1.00"),
    ],
)
def test_p_value(p, shown):
    assert p_value(p) == shown


def test_differences_have_signs_and_do_not_vanish():
    assert [signed(d) for d in (0.05, -0.0044, 0.0, 0.0003, -0.00002)] == [
        "+0.050",
        "-0.004",
        "0.000",
        "+0.0003",
        "-0.00002",
    ]


# Terminal


def test_table_shows_the_numbers_of_the_summary():
    text = printed(run_of(3))
    assert cells(text, "bm25") == ["0.662", "0.699", "0.912", "–", "–", "–", "–", "–"]
    assert cells(text, "zero-shot ") == ["0.580", "0.625", "0.830", "–", "–", "–", "–", "–"]
    # mine is search + mix, evaluate is encode + evaluate
    assert cells(text, "episode 1") == ["0.611", "0.702", "0.921", "12.1", "100.0", "3.3s", "1m42s", "1m03s"]
    assert cells(text, "episode 3") == ["0.712", "0.757", "0.962", "12.3", "40.0", "3.3s", "1m42s", "1m03s"]


def test_unmeasured_forgetting_is_a_dash():
    summary = run_of(2)
    summary["episodes"][0]["forgetting_rate"] = None
    text = printed(summary)
    assert cells(text, "episode 1")[3] == "–"
    assert cells(text, "episode 2")[3] == "12.2"
    assert "None" not in text and "nan" not in text


def test_table_fits_80_columns_uncut_with_the_widest_values():
    summary = run_of(2)
    for number, one in enumerate(summary["episodes"]):
        one["number"] = 99 + number
        one["forgetting_rate"] = 1.0
        one["seconds"] = {"search": 3590, "train": 86000, "encode": 86000}
    # No width given: what rich takes where there is no terminal.
    file = StringIO()
    Console(file=file, force_terminal=False, _environ={}).print(episode_table(summary))
    text = file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for word in (
        "system",
        "MRR@10",
        "nDCG@10",
        "R@100",
        "forgetting",
        "negatives",
        "mine",
        "train",
        "evaluate",
    ):
        assert word in text
    assert cells(text, "episode 100")[3:] == ["100.0", "40.0", "59m50s", "23h53m", "23h53m"]


def test_best_of_each_metric_is_bold_also_where_equal():
    summary = run_of(2)
    summary["baselines"]["bm25"]["Recall@100"] = 0.9441  # reads as episode 2 does
    ansi = printed(summary, force_terminal=True, color_system="standard")
    bold = {line[:9]: re.findall(r"\x1b\[1m *([\d.]+)", line) for line in ansi.splitlines()}
    assert bold["bm25     "] == ["0.662", "0.944"]
    assert bold["episode 2"] == ["0.731", "0.944"]
    assert sum(map(len, bold.values())) == 4


def test_nobody_is_best_alone():
    summary = run_of(0)
    summary["baselines"] = {"bm25": metrics(0.5, 0.5, 0.5)}
    summary["recipe"] = "bm25"
    assert "\x1b[1m0.5" not in printed(summary, force_terminal=True, color_system="standard")


def test_names_are_not_read_as_rich_markup():
    summary = run_of(1)
    summary["collection"] = "[bold]x[/nonsense]"
    assert "[bold]x[/nonsense]" in printed(summary)


def test_final_scores_stand_in_for_an_unlisted_baseline():
    summary = run_of(0)
    summary.update(recipe="bm25", baselines={}, final=metrics(0.432, 0.5, 0.6))
    assert cells(printed(summary), "bm25  ")[0] == "0.432"


def test_significance_lines():
    summary = run_of(3)
    compare(summary, 0.05, 0.0001)
    compare(summary, -0.031, 0.012)
    compare(summary, 0.004, 0.31)
    compare(summary, 0.004, None)
    compare(summary, 0.02, 0.05)
    assert significance_lines(summary) == [
        "episode 3 against bm25: MRR@10 +0.050, p < 0.001 (paired permutation test)",
        "episode 3 against bm25: MRR@10 -0.031, p = 0.012 (paired permutation test)",
        "episode 3 against bm25: MRR@10 +0.004, no significant difference (p = 0.31) by a paired permutation test",
        "episode 3 against bm25: MRR@10 +0.004, not tested",
        "episode 3 against bm25: MRR@10 +0.020, no significant difference (p = 0.050) by a paired permutation test",
    ]


# Sentences


@pytest.mark.parametrize(
    ("difference", "p", "said"),
    [
        (0.05, 0.0001, "The last model is better than BM25 by 0.050 MRR@10 (p < 0.001)."),
        (-0.05, 0.02, "The last model is worse than BM25 by 0.050 MRR@10 (p = 0.020)."),
        (
            0.004,
            0.31,
            "Between the last model and BM25 there is no significant difference in MRR@10 (+0.004, p = 0.31).",
        ),
    ],
)
def test_comparison_sentence(difference, p, said):
    assert findings(compare(run_of(3), difference, p))[0] == said


def test_nothing_is_claimed_without_a_test():
    # A test of another metric or another system is no test of this one.
    summary = compare(run_of(3), 0.05, 0.0001, metric="nDCG@10")
    said = " ".join(findings(summary))
    assert "MRR@10 between the last model and BM25 is +0.050; whether it is more than chance was not tested" in said
    assert "better than" not in said


def test_dynamics_shortage_and_peak_are_said_only_where_they_are():
    said = findings(run_of(3))
    assert (
        "12.2% of the training queries did worse after episode 2 than before it; 31.0% did better and 56.8% the same."
    ) in said
    # All negatives of a first episode are new, which says nothing.
    assert (
        "Negatives mined for the queries that no earlier episode had mined: "
        "40.0% in episode 2 and 40.0% in episode 3." in said
    )
    assert not any("Shortage" in one or "highest" in one for one in said)

    summary = run_of(4)  # its last episode is below the third
    summary["episodes"][1]["pool"].update(short_queries=1, missing=37, repeats=1200)
    summary["episodes"][0]["forgetting_rate"] = None
    said = findings(summary)
    assert (
        "Shortage in episode 2: 1 training query had too few negatives, 37 negatives were missing and "
        "each pass of training repeated 1,200 negatives."
    ) in said
    assert any(one.startswith("The highest MRR@10 was after episode 3, not at the end.") for one in said)
    assert not any("did worse after episode 1 " in one for one in said)


def test_final_scores_are_of_the_test_split():
    summary = run_of(4)
    summary["final"] = metrics(0.123, 0.2, 0.3)
    assert not any("0.123" in one for one in findings(summary))
    summary["split"] = "dev"
    said = findings(summary)
    assert "On the test queries, the last model reaches 0.123 MRR@10." in said
    assert "The highest MRR@10 was after episode 3, not at the end." in said
    # Nor may they stand among scores of the dev split.
    summary.update(episodes=[], baselines={})
    assert "0.123" not in printed(summary)
    del summary["data"]["queries"]["test"]
    assert cells(printed(summary), "zero-shot ")[0] == "0.123"


def test_learned_rate_where_it_was_measured(tmp_path):
    summary = run_of(1)
    summary["episodes"][0].pop("learned_rate")
    assert "Not measured in this run." in drawn_text(summary, {}, tmp_path / "a.svg")
    summary["episodes"][0]["learned_rate"] = 0.234
    assert "23.4% did better" in " ".join(findings(summary))
    assert rendered_tables(markdown(summary))[1][1][1] == "23.4"
    assert "23.4" in drawn_text(summary, {}, tmp_path / "b.svg")


# Markdown


def test_report_holds_the_run():
    text = markdown(compare(run_of(3), 0.05, 0.0001))
    results, dynamics, pool, settings, data, environment = rendered_tables(text)
    assert results[0][:4] == ["system", "MRR@10", "nDCG@10", "R@100"]
    assert results[-1] == ["episode 3", "0.712", "0.757", "0.962", "12.3", "40.0", "3.3s", "1m42s", "1m03s"]
    assert "**0.712**" in text and "**0.662**" not in text
    assert dynamics[1] == ["1", "31.0", "12.1", "56.9", "0.610", "120", "yes"]
    assert dynamics[3][-1] == "no"
    assert pool[1] == ["1", "120,000", "90,000 (75.0%)", "30,000 (25.0%)", "0", "0", "0"]
    assert ["batch_size", "32"] in settings and ["teacher", "null"] in settings
    assert ["fingerprint", "f1n9e7"] in data and ["test queries", "1,800"] in data
    assert environment[1:] == [["machine", "test bench"], ["Python", "3.11.7"], ["torch", "2.13.0"]]
    assert "trained all-MiniLM-L6-v2 for 3 episodes on 2,000 of the 9,600 training queries of demo" in text
    assert "(curves.png)" in text
    assert 'SentenceTransformer("RUN/episode-3/model")' in text
    assert 'ance-tele search RUN "words"' in text
    assert "ance-tele run --config RUN/config.yaml --data DATA --model MODEL --out NEW" in text
    assert "ance-tele run --config RUN/config.yaml --data DATA --out NEW" in markdown({**run_of(0), "model": None})
    assert "ignored" not in text and "\n\n\n" not in text


def test_report_without_training():
    text = markdown(run_of(0))
    results = rendered_tables(text)[0]
    assert results == [
        ["system", "MRR@10", "nDCG@10", "R@100"],
        ["bm25", "0.662", "0.699", "0.912"],
        ["zero-shot", "0.580", "0.625", "0.830"],
    ]
    assert "without any training" in text and "No systems were compared by a test" in text
    assert "SentenceTransformer" not in text and "## Episodes" not in text


def test_report_of_almost_nothing():
    text = markdown({"schema": 1, "recipe": "zero-shot", "collection": "demo"})
    assert "None" not in text and "(no model recorded)" not in text.split("## Environment")[0]


def test_names_do_not_break_the_report():
    summary = run_of(2)
    for name in ("collection", "model", "recipe", "split"):
        summary[name] = NASTY
    summary["settings"] = {NASTY: NASTY, "plain": 1}
    summary["environment"]["machine"] = NASTY
    summary["episodes"][0]["pool"]["by_source"][NASTY] = 5
    summary["data"]["fingerprint"] = NASTY
    summary["comparisons"] = [{"system": NASTY, "baseline": NASTY, "metric": NASTY, "difference": 0.1, "p": 0.5}]
    text = markdown(summary)
    for table in rendered_tables(text):
        assert len({len(row) for row in table}) == 1
    shown = " ".join(NASTY.split())
    assert [shown, shown] in rendered_tables(text)[3]
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    inline = [child.type for token in tokens if token.type == "inline" for child in token.children]
    assert not {"html_inline", "code_inline", "link_open", "em_open"} & set(inline)
    assert "html_block" not in {token.type for token in tokens}
    headings = [tokens[at + 1].content for at, token in enumerate(tokens) if token.type == "heading_open"]
    assert len([one for one in headings if one.startswith("h")]) == 0


@pytest.mark.parametrize("plain", ["batch_size", "all-MiniLM-L6-v2", "p < 0.001", "-0.5", "12.3%"])
def test_harmless_text_stays_legible(plain):
    assert escape(plain) == plain


@pytest.mark.parametrize("plain", [NASTY, "_x_", "a__b__", "<b", "a<", "&lt;", "# h", "- i", "\\", "~~x~~", "![i](j)"])
def test_escaped_text_renders_as_itself(plain):
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).renderInline(escape(plain))
    shown = ET.fromstring(f"<p>{html}</p>")
    assert len(shown) == 0 and shown.text == " ".join(plain.split())
    (block, *_) = MarkdownIt("commonmark").parse(escape(plain))
    assert block.type == "paragraph_open"


# Figures


@pytest.mark.parametrize("episodes", [0, 1, 3, 5])
def test_figure_is_drawn(tmp_path, episodes):
    path = tmp_path / "curves.png"
    curves(run_of(episodes), logs_of(episodes), path)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(content) > 20_000  # an empty canvas of this size has about 8 thousand
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    assert (width, height) == ((1800, 1320) if episodes else (1020, 720))


def drawn_text(summary, logs, path):
    """The text of a figure: an SVG draws it as outlines, and has each text in a comment."""
    curves(summary, logs, path)
    return re.findall(r"<!-- (.*?) -->", path.read_text(encoding="utf-8"))


def test_svg_has_what_the_run_has(tmp_path):
    summary = run_of(3)
    summary["episodes"][1]["forgetting_rate"] = None
    text = drawn_text(summary, logs_of(3), tmp_path / "a.svg")
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
    curves(summary, logs_of(3), tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_figure_says_what_is_missing(tmp_path):
    summary = run_of(1)
    summary["baselines"] = {}
    summary["episodes"][0].update(metrics={}, forgetting_rate=None, pool={})
    text = drawn_text(summary, {1: {"loss": [[1, float("nan")], "x"]}}, tmp_path / "a.svg")
    assert {"No scores in this run.", "Not measured in this run.", "Not recorded in this run."} <= set(text)
    assert "No training log in this run." in text


@pytest.mark.filterwarnings("error")
def test_figure_survives_odd_names_and_sources(tmp_path):
    summary = run_of(2)
    summary.update(collection="$\\frac$ 日本語 " * 30, split="$\\frac$", model="")
    summary["episodes"][0]["pool"]["by_source"] = {"teleport": 5}
    curves(summary, {}, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_figure_leaves_matplotlib_as_it_was(tmp_path):
    import matplotlib

    before = deepcopy(dict(matplotlib.rcParams))
    curves(run_of(1), logs_of(1), tmp_path / "a.png")
    assert dict(matplotlib.rcParams) == before


# Files


def test_write_report(tmp_path):
    run = write_run(tmp_path, run_of(2), logs_of(2))
    assert write_report(run) == run / "report.md"
    assert write_report(run) == run / "report.md"  # again, over what is there
    assert (run / "report.md").read_text(encoding="utf-8") == markdown(run_of(2))
    assert (run / "curves.png").stat().st_size > 20_000
    assert sorted(path.name for path in run.iterdir()) == [
        "curves.png",
        "episode-1",
        "episode-2",
        "report.html",
        "report.md",
        "summary.json",
    ]


def test_a_failure_leaves_the_old_report_and_no_rubbish(tmp_path, monkeypatch):
    run = write_run(tmp_path, run_of(1))
    (run / "curves.png").write_text("old")
    (run / "report.md").write_text("old")

    def fails(summary, logs, path):
        Path(path).write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr("ance_tele.report.write.curves", fails)
    with pytest.raises(OSError, match="disk full"):
        write_report(run)
    assert {path.name: path.read_text() for path in run.iterdir() if path.suffix != ".json"} == {
        "curves.png": "old",
        "report.md": "old",
    }


def changed(**values):
    return json.dumps({**run_of(1), **values}).encode()


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
    run = write_run(tmp_path, run_of(1), logs_of(1))
    (run / "episode-1" / "training_log.json").write_text("{")
    with pytest.raises(UserError, match=r"episode-1.training_log\.json is not valid JSON .* or delete it to have"):
        write_report(run)


def test_unknown_keys_and_absent_parts_are_accepted(tmp_path):
    write_run(tmp_path, {"schema": 1, "recipe": "bm25", "collection": "demo", "later": 1})
    assert read_summary(tmp_path)["collection"] == "demo"
    assert write_report(tmp_path).exists()


def test_importing_the_report_is_light():
    code = (
        "import pkgutil, importlib, sys, ance_tele.report as r\n"
        "names = [m.name for m in pkgutil.iter_modules(r.__path__)]\n"
        "assert {'figures', 'markdown', 'tables', 'write'} <= set(names), names\n"
        "[importlib.import_module(f'ance_tele.report.{n}') for n in names]\n"
        "heavy = {'torch', 'matplotlib', 'transformers', 'faiss', 'numpy', 'datasets'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_drawing_leaves_pyplot_alone(tmp_path):
    code = (
        "import sys, pathlib, ance_tele.report.figures as f\n"
        f"f.curves({run_of(1)!r}, {{}}, pathlib.Path({str(tmp_path / 'a.png')!r}))\n"
        "assert 'matplotlib.pyplot' not in sys.modules and 'torch' not in sys.modules\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
