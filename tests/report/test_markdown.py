"""The report of a run in Markdown."""

import xml.etree.ElementTree as ET

import pytest
from fake_report import compare, demo_summary
from markdown_it import MarkdownIt

from ance_tele.report.markdown import report
from ance_tele.report.renderers import escape
from ance_tele.runs.summary import Summary

NASTY = "a|b <script>`x`</script> [l](u) *s* _e_ \\| $m$ [bold]r[/bold]\n# h"


def markdown_of(summary):
    return report(Summary.of(summary))


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


def test_report_holds_the_run():
    text = markdown_of(compare(demo_summary(3), 0.05, 0.0001))
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
    assert "ance-tele run --config RUN/config.yaml --data DATA --out NEW" in markdown_of(
        {**demo_summary(0), "model": None}
    )
    assert "ignored" not in text and "\n\n\n" not in text


def test_report_without_training():
    text = markdown_of(demo_summary(0))
    results = rendered_tables(text)[0]
    assert results == [
        ["system", "MRR@10", "nDCG@10", "R@100"],
        ["bm25", "0.662", "0.699", "0.912"],
        ["zero-shot", "0.580", "0.625", "0.830"],
    ]
    assert "without any training" in text and "No systems were compared by a test" in text
    assert "SentenceTransformer" not in text and "## Episodes" not in text


def test_report_of_almost_nothing():
    text = markdown_of({"schema": 1, "recipe": "zero-shot", "collection": "demo"})
    assert "None" not in text and "(no model recorded)" not in text.split("## Environment")[0]


def test_names_do_not_break_the_report():
    summary = demo_summary(2)
    for name in ("collection", "model", "recipe", "split"):
        summary[name] = NASTY
    summary["settings"] = {NASTY: NASTY, "plain": 1}
    summary["environment"]["machine"] = NASTY
    summary["episodes"][0]["pool"]["by_source"][NASTY] = 5
    summary["data"]["fingerprint"] = NASTY
    summary["comparisons"] = [{"system": NASTY, "baseline": NASTY, "metric": NASTY, "difference": 0.1, "p": 0.5}]
    text = markdown_of(summary)
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
