"""A comparison as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ance_tele.data.artefacts import atomic, write_json
from ance_tele.report.comparison import (
    Result,
    beside,
    best,
    cell,
    columns,
    cost,
    course,
    of_model,
    percent,
    seeds,
    short,
    standings,
    stem,
)
from ance_tele.report.comparison_figure import episodes_figure
from ance_tele.report.formats import DASH


def write_comparison(out: Path, result: Result) -> None:
    """Write a comparison into a folder: ``comparison.json``, ``.md``, ``.tex``, ``.csv`` and, of episodes, ``.png``.

    Of one of the paper's tables the files have its name: ``table3.json`` and so on.
    """
    name = stem(result)
    write_json(out / f"{name}.json", result)
    for suffix, content in (("md", markdown(result)), ("tex", latex(result)), ("csv", as_csv(result))):
        with atomic(out / f"{name}.{suffix}") as temporary:
            temporary.write_text(content, "utf-8")
    if any(row["episodes"] for row in result["rows"]):
        with atomic(out / f"{name}.png") as temporary:
            episodes_figure(result, temporary)


def markdown(result: Result) -> str:
    """Return the tables as Markdown."""
    lines = [f"# {_md(result['collection'])}: {len(result['rows'])} systems, {seeds(result)}", ""]
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
            cells += [percent(known[metric]) if metric in known else DASH for metric in paper]
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
            cells = [f"{reached}, {lost}%" + (f" (paper {paper}%)" if paper else "")
                     for reached, lost, paper in course(result, row)]  # fmt: skip
            cells += [""] * (longest - len(cells))
            lines.append(f"| {_md(row['model'])} | {_md(row['system'])} | {' | '.join(cells)} |")
        lines.append("")
    if table := standings(result):
        heads = [short(metric) for metric in result["metrics"]]
        lines += [
            "Among the systems of the paper's Table 1 (in italics: larger models or taught ones, for reference)",
            "",
        ]
        lines += [f"| system | parameters | negatives | {' | '.join(heads)} |", "|---" * (len(heads) + 3) + "|"]
        for one in table:
            mark = "**" if one.ours else "*" if one.reference else ""
            values = [percent(one.values[metric]) if metric in one.values else DASH for metric in result["metrics"]]
            row_cells = (f"{mark}{_md(one.system)}{mark}", one.params, one.negatives, *values)
            lines.append(f"| {' | '.join(row_cells)} |")
        lines.append("")
    lines += [
        f"{cost(result)}.",
        "",
        "In %: mean and standard deviation over seeds. Letters: significantly better than that system (paired "
        "permutation test over queries, values averaged over seeds; p < 0.05, Holm over all pairs of a column). "
        "Bold: highest.",
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
            cells += [percent(known[metric]) if metric in known else "--" for metric in paper]
            lines.append(f"{row['letter']} & {_tex(row['system'])} & " + " & ".join(cells) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(lines)


_TEX: dict[str, str | int | None] = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_TEX |= {sign: f"\\{sign}" for sign in "&%$#_{}"}


def _tex(text: str) -> str:
    return text.translate(str.maketrans(dict(_TEX)))


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
