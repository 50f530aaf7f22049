"""A comparison as a table: for the terminal, as Markdown, LaTeX and CSV, with the paper's figures beside."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from ance_tele.data.artefacts import atomic, write_json
from ance_tele.report.formats import DASH
from ance_tele.report.paper import published, table2

Row = Mapping[str, Any]
Result = Mapping[str, Any]

_RAISED = str.maketrans("abcdefghijklmnoprstuvwxyz", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ")


def write_comparison(out: Path, result: Result) -> None:
    """Write ``comparison.json``, ``table.md``, ``table.tex`` and ``table.csv`` into a folder."""
    write_json(out / "comparison.json", result)
    for name, content in (("table.md", markdown(result)), ("table.tex", latex(result)), ("table.csv", as_csv(result))):
        with atomic(out / name) as temporary:
            temporary.write_text(content, "utf-8")


def short(metric: str) -> str:
    """Return a metric's name as column headings have it."""
    return metric.replace("Recall@1000", "R@1k").replace("Recall", "R").replace("Answer", "A")


def columns(result: Result) -> list[tuple[str, str]]:
    """Return the (split, metric) of each column."""
    return [(split, metric) for split in result["splits"] for metric in result["metrics"]]


def cell(row: Row, split: str, metric: str) -> tuple[str, str, str]:
    """Return mean, spread and the letters of the systems that are significantly worse, as text."""
    figures = row["values"].get(split, {}).get(metric)
    if figures is None:
        return DASH, "", ""
    deviation = figures["spread"]
    return f"{figures['mean']:.3f}", "" if deviation is None else f"{deviation:.3f}", "".join(figures["better_than"])


def best(rows: Sequence[Row], split: str, metric: str) -> str | None:
    """Return the highest mean of a column, as text; None where fewer than two systems have one."""
    means = [cell(row, split, metric)[0] for row in rows]
    known = [mean for mean in means if mean != DASH]
    return max(known) if len(known) > 1 else None


def beside(result: Result, row: Row) -> dict[str, float]:
    """Return the paper's figures for a system, by metric; {} where it has none."""
    collection, system, shares = result["collection"], row["system"], row["shares"]
    if " " in system:
        return table2(collection, shares["alpha"], shares["beta"], shares["negatives_per_query"]) or {}
    for table in ("table3", "table8", "table1"):
        known = published(collection, table, system, row["model"])
        if known:
            return known
    return {}


def of_model(result: Result, model: str) -> list[Row]:
    """Return the rows of a model."""
    return [row for row in result["rows"] if row["model"] == model]


def comparison_tables(result: Result) -> list[Table]:
    """Lay out one table per model, and one of forgetting by episode."""
    tables = []
    for model in result["models"]:
        rows = of_model(result, model)
        table = Table(
            title=Text(f"{result['collection']}, from {model}, {_seeds(result)}"),
            title_justify="left",
            title_style="",
            caption=Text("± standard deviation over seeds; letters: significantly better than (p < 0.05, Holm)"),
            caption_justify="left",
            box=box.SIMPLE,
            show_edge=False,
            padding=(0, 1, 0, 0),
        )
        table.add_column("")
        table.add_column("system", no_wrap=True)
        for split, metric in columns(result):
            table.add_column(f"{split}\n{short(metric)}", no_wrap=True)
        theirs = [beside(result, row) for row in rows]
        paper = [metric for metric in result["metrics"] if any(metric in one for one in theirs)]
        for metric in paper:
            table.add_column(f"paper\n{short(metric)}", justify="right", style="dim")
        for row, known in zip(rows, theirs, strict=True):
            cells = [Text(row["letter"]), Text(row["system"])]
            for split, metric in columns(result):
                mean, deviation, letters = cell(row, split, metric)
                style = "bold" if mean == best(rows, split, metric) else ""
                around = f" ±{deviation}" if deviation else ""
                cells.append(Text.assemble((mean, style), (around, "dim"), " ", letters.translate(_RAISED)))
            cells += [Text(f"{known[metric]:.3f}" if metric in known else DASH) for metric in paper]
            table.add_row(*cells)
        tables.append(table)
    if any(row["episodes"] for row in result["rows"]):
        tables.append(_by_episode(result))
    return tables


def _seeds(result: Result) -> str:
    seeds = result["seeds"]
    return f"{len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]}"


def _by_episode(result: Result) -> Table:
    """Lay out, by episode, the first metric on the chosen split and the share of training queries that did worse."""
    metric = result["metrics"][0]
    split = result["splits"][0]
    table = Table(
        title=Text(f"By episode: {short(metric)} on {split} | forgetting, % of training queries"),
        title_justify="left",
        title_style="",
        box=box.SIMPLE,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("model", no_wrap=True)
    table.add_column("system", no_wrap=True)
    longest = max(len(row["episodes"]) for row in result["rows"])
    for number in range(1, longest + 1):
        table.add_column(f"episode {number}", no_wrap=True, justify="right")
    for row in result["rows"]:
        if row["episodes"]:
            table.add_row(Text(row["model"]), Text(row["system"]), *(Text(one) for one in _course(row, metric)))
    return table


def _course(row: Row, metric: str) -> list[str]:
    cells = []
    for episode in row["episodes"]:
        reached, forgotten = episode["metrics"].get(metric), episode["forgetting_rate"]
        left = f"{reached['mean']:.3f}" if reached else DASH
        cells.append(f"{left} | {100 * forgotten['mean']:4.1f}" if forgotten else f"{left} | {DASH}")
    return cells


def markdown(result: Result) -> str:
    """Return the tables as Markdown."""
    lines = [f"# {_md(result['collection'])}: {len(result['rows'])} systems, {_seeds(result)}", ""]
    for model in result["models"]:
        rows = of_model(result, model)
        theirs = [beside(result, row) for row in rows]
        paper = [metric for metric in result["metrics"] if any(metric in one for one in theirs)]
        heads = [f"{split} {short(metric)}" for split, metric in columns(result)]
        heads += [f"paper {short(metric)}" for metric in paper]
        lines += [f"From {_md(model)}", "", f"| | system | {' | '.join(heads)} |", "|---" * (len(heads) + 2) + "|"]
        for row, known in zip(rows, theirs, strict=True):
            cells = []
            for split, metric in columns(result):
                mean, deviation, letters = cell(row, split, metric)
                mean = f"**{mean}**" if mean == best(rows, split, metric) else mean
                around, raised = (f" ±{deviation}" if deviation else ""), (f" <sup>{letters}</sup>" if letters else "")
                cells.append(f"{mean}{around}{raised}")
            cells += [f"{known[metric]:.3f}" if metric in known else DASH for metric in paper]
            lines.append(f"| {row['letter']} | {_md(row['system'])} | {' | '.join(cells)} |")
        lines.append("")
    trained = [row for row in result["rows"] if row["episodes"]]
    if trained:
        longest = max(len(row["episodes"]) for row in trained)
        metric = result["metrics"][0]
        lines += [f"By episode: {short(metric)} on {result['splits'][0]}, and forgetting in % of training queries", ""]
        lines += ["| model | system | " + " | ".join(f"episode {n + 1}" for n in range(longest)) + " |"]
        lines += ["|---" * (longest + 2) + "|"]
        for row in trained:
            course = [one.replace(" | ", ", ") + "%" for one in _course(row, metric)]
            course += [""] * (longest - len(course))
            lines.append(f"| {_md(row['model'])} | {_md(row['system'])} | {' | '.join(course)} |")
        lines.append("")
    lines += [
        "Mean and standard deviation over seeds. Letters: significantly better than that system (paired permutation "
        "test over queries, values averaged over seeds; p < 0.05, Holm over all pairs of a column). Bold: highest.",
        "",
    ]
    return "\n".join(lines)


def _md(text: str) -> str:
    for sign in "\\|*_<>`[]":
        text = text.replace(sign, f"\\{sign}")
    return text


def latex(result: Result) -> str:
    """Return the tables as LaTeX (needs the package booktabs)."""
    lines = [r"% \usepackage{booktabs}"]
    for model in result["models"]:
        rows = of_model(result, model)
        theirs = [beside(result, row) for row in rows]
        paper = [metric for metric in result["metrics"] if any(metric in one for one in theirs)]
        heads = [f"{split} {short(metric)}" for split, metric in columns(result)]
        heads += [f"paper {short(metric)}" for metric in paper]
        lines += [f"% from {_tex(model)}", r"\begin{tabular}{ll" + "l" * len(heads) + "}", r"\toprule"]
        lines += [" & system & " + " & ".join(map(_tex, heads)) + r" \\", r"\midrule"]
        for row, known in zip(rows, theirs, strict=True):
            cells = []
            for split, metric in columns(result):
                mean, deviation, letters = cell(row, split, metric)
                mean = rf"\textbf{{{mean}}}" if mean == best(rows, split, metric) else mean.replace(DASH, "--")
                raised = rf"\textsuperscript{{{letters}}}" if letters else ""
                cells.append(mean + raised + (rf" {{\small $\pm${deviation}}}" if deviation else ""))
            cells += [f"{known[metric]:.3f}" if metric in known else "--" for metric in paper]
            lines.append(f"{row['letter']} & {_tex(row['system'])} & " + " & ".join(cells) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(lines)


def _tex(text: str) -> str:
    text = text.replace("\\", r"\textbackslash ")
    for sign in "&%$#_{}":
        text = text.replace(sign, f"\\{sign}") if sign not in "{}" or "textbackslash" not in text else text
    return text


def as_csv(result: Result) -> str:
    """Return all figures as CSV: one line per model, system, split, metric and seed."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["model", "system", "split", "metric", "seed", "value"])
    for row in result["rows"]:
        for split, metrics in row["values"].items():
            for metric, figures in metrics.items():
                for seed, value in zip(row["seeds"], figures["by_seed"], strict=True):
                    writer.writerow([row["model"], row["system"], split, metric, seed, f"{value:.6f}"])
    return buffer.getvalue()
