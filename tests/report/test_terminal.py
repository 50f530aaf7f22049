"""The table at the end of a run."""

import re
from io import StringIO

from fake_report import demo_summary, metrics
from rich.console import Console

from ance_tele.report.renderers import terminal
from ance_tele.report.run_tables import results
from ance_tele.runs.summary import Summary


def printed(summary, width=80, **options):
    file = StringIO()
    Console(file=file, width=width, **options).print(terminal(results(Summary.of(summary)), width))
    return file.getvalue()


def cells(text, system):
    (line,) = [line for line in text.splitlines() if line.startswith(system)]
    return line.removeprefix(system).split()


def test_table_shows_the_numbers_of_the_summary():
    text = printed(demo_summary(3))
    assert cells(text, "bm25") == ["0.662", "0.699", "0.912", "–", "–", "–", "–", "–"]
    assert cells(text, "zero-shot ") == ["0.580", "0.625", "0.830", "–", "–", "–", "–", "–"]
    # mine is search + mix, evaluate is encode + evaluate
    assert cells(text, "episode 1") == ["0.611", "0.702", "0.921", "12.1", "100.0", "3.3s", "1m42s", "1m03s"]
    assert cells(text, "episode 3") == ["0.712", "0.757", "0.962", "12.3", "40.0", "3.3s", "1m42s", "1m03s"]


def test_unmeasured_forgetting_is_a_dash():
    summary = demo_summary(2)
    summary["episodes"][0]["forgetting_rate"] = None
    text = printed(summary)
    assert cells(text, "episode 1")[3] == "–"
    assert cells(text, "episode 2")[3] == "12.2"
    assert "None" not in text and "nan" not in text


def test_table_fits_80_columns_uncut_with_the_widest_values():
    summary = demo_summary(2)
    for number, one in enumerate(summary["episodes"]):
        one["number"] = 99 + number
        one["forgetting_rate"] = 1.0
        one["seconds"] = {"search": 3590, "train": 86000, "encode": 86000}
    # No width given: what rich takes where there is no terminal.
    file = StringIO()
    Console(file=file, force_terminal=False, _environ={}).print(terminal(results(Summary.of(summary))))
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


def test_headings_are_wrapped_only_where_they_do_not_fit():
    heading = "system     MRR@10 nDCG@10 R@100  forgetting (%)  new negatives (%)  mine train evaluate"
    for width in (160, len(heading)):
        lines = printed(demo_summary(2), width).splitlines()
        title, first, rule = (line.strip() for line in lines[:3])
        assert title.startswith("ance-tele on demo") and first.split() == heading.split() and set(rule) == {"─"}
        assert max(map(len, lines)) <= width and "…" not in "".join(lines)
    assert "new negatives" not in printed(demo_summary(2), len(heading) - 4)


def test_best_of_each_metric_is_bold_also_where_equal():
    summary = demo_summary(2)
    summary["baselines"]["bm25"]["Recall@100"] = 0.9441  # reads as episode 2 does
    ansi = printed(summary, force_terminal=True, color_system="standard")
    bold = {line[:9]: re.findall(r"\x1b\[1m *([\d.]+)", line) for line in ansi.splitlines()}
    assert bold["bm25     "] == ["0.662", "0.944"]
    assert bold["episode 2"] == ["0.731", "0.944"]
    assert sum(map(len, bold.values())) == 4


def test_nobody_is_best_alone():
    summary = demo_summary(0)
    summary["baselines"] = {"bm25": metrics(0.5, 0.5, 0.5)}
    summary["recipe"] = "bm25"
    assert "\x1b[1m0.5" not in printed(summary, force_terminal=True, color_system="standard")


def test_names_are_not_read_as_rich_markup():
    summary = demo_summary(1)
    summary["collection"] = "[bold]x[/nonsense]"
    assert "[bold]x[/nonsense]" in printed(summary)


def test_final_scores_stand_in_for_an_unlisted_baseline():
    summary = demo_summary(0)
    summary.update(recipe="bm25", baselines={}, final=metrics(0.432, 0.5, 0.6))
    assert cells(printed(summary), "bm25  ")[0] == "0.432"
