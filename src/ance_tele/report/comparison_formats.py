"""A comparison as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ance_tele.console.numbers import DASH
from ance_tele.report.comparison import (
    Figure,
    Result,
    columns,
    cost,
    course,
    headings,
    lines_of,
    paper_metrics,
    percent,
    seeds,
    short,
    standings,
    stem,
)
from ance_tele.report.comparison_figure import episodes_figure
from ance_tele.store.files import atomic, write_json


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
        shown, paper = columns(result), paper_metrics(result, model)
        heads = headings(shown, paper)
        lines += [f"From {_md(model)}", "", f"| | system | {' | '.join(heads)} |", "|---" * (len(heads) + 2) + "|"]
        for line in lines_of(result, model, shown, paper):
            cells = [*map(_md_figure, line.figures), *line.paper]
            lines.append(f"| {line.letter} | {_md(line.system)} | {' | '.join(cells)} |")
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
        "Bold: highest." + _untested(result),
        "",
    ]
    return "\n".join(lines)


def _untested(result: Result) -> str:
    """Name the systems that found too little to be tested against."""
    names = result.get("untested") or []
    return f" Not tested, since it finds nothing for most queries: {', '.join(map(_md, names))}." if names else ""


def _md(text: str) -> str:
    for sign in "\\|*_<>`[]":
        text = text.replace(sign, f"\\{sign}")
    return text


def _md_figure(figure: Figure) -> str:
    mean = f"**{figure.mean}**" if figure.best else figure.mean
    raised = f" <sup>{figure.letters}</sup>" if figure.letters else ""
    return mean + (f" ±{figure.spread}" if figure.spread else "") + raised


def latex(result: Result) -> str:
    """Return the tables as LaTeX (needs the package booktabs)."""
    lines = [r"% \usepackage{booktabs}"]
    for model in result["models"]:
        shown, paper = columns(result), paper_metrics(result, model)
        heads = headings(shown, paper)
        lines += [f"% from {_tex(model)}", r"\begin{tabular}{ll" + "l" * len(heads) + "}", r"\toprule"]
        lines += [" & system & " + " & ".join(map(_tex, heads)) + r" \\", r"\midrule"]
        for line in lines_of(result, model, shown, paper):
            cells = [*map(_tex_figure, line.figures), *(one.replace(DASH, "--") for one in line.paper)]
            lines.append(f"{line.letter} & {_tex(line.system)} & " + " & ".join(cells) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(lines)


def _tex_figure(figure: Figure) -> str:
    mean = rf"\textbf{{{figure.mean}}}" if figure.best else figure.mean.replace(DASH, "--")
    raised = rf"\textsuperscript{{{figure.letters}}}" if figure.letters else ""
    return mean + raised + (rf" {{\small $\pm${figure.spread}}}" if figure.spread else "")


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
