"""The tables of the HTML report: one run's as they are, several runs' beside each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from ance_tele.console.numbers import DASH, SIGNIFICANT, number, p_value, percent, score, signed
from ance_tele.report.run_tables import Cells
from ance_tele.report.runs import RunData, listed, series
from ance_tele.report.summary import Summary, comparisons, episodes, final_split, main_metric, metric_columns, part
from ance_tele.report.verdict import suspect_share, worst

TEXT = 320
"""Characters of a passage that a case shows."""


def joined(runs: Sequence[RunData], make: Callable[[Summary], Cells]) -> Cells:
    """Put the same table of several runs under each other, with a column that says whose row it is."""
    tables = [(run.name, make(run.summary)) for run in runs]
    if len(tables) == 1:
        return tables[0][1]
    heading: list[str] = []
    for _, table in tables:
        # Columns that the tables before lack go where they stand in this one: before what follows them there.
        place = len(heading)
        for name in reversed(table.heading):
            if name in heading:
                place = heading.index(name)
            else:
                heading.insert(place, name)
    body = []
    for name, table in tables:
        for line in table.body:
            cells = dict(zip(table.heading, line, strict=True))
            body.append([name, *(cells.get(column, DASH) for column in heading)])
    metrics = {name for run in runs for name in metric_columns(run.summary)}
    marks: list[tuple[int, int]] = []
    for column, name in enumerate(heading, 1):
        values = [
            (row, float(line[column])) for row, line in enumerate(body) if name in metrics and line[column] != DASH
        ]
        marks += [(row, column) for row, value in values if value == max(value for _, value in values)]
    return Cells(["run", *heading], body, left=2, best=marks)


def beside(runs: Sequence[RunData], make: Callable[[Summary], Cells], differing_first: bool = False) -> Cells:
    """Put what several runs say of the same things beside each other; where they differ, the cells are marked."""
    tables = [make(run.summary) for run in runs]
    if len(tables) == 1:
        return tables[0]
    said = [{line[0]: line[1] for line in table.body} for table in tables]
    names = list(dict.fromkeys(name for one in said for name in one))
    lines = [[name, *(one.get(name, DASH) for one in said)] for name in names]
    if differing_first:
        lines.sort(key=lambda line: len(set(line[1:])) == 1)
    marks = [
        (row, column) for row, line in enumerate(lines) if len(set(line[1:])) > 1 for column in range(1, len(line))
    ]
    return Cells([tables[0].heading[0], *(run.name for run in runs)], lines, left=len(runs) + 1, best=marks)


def headline(run: RunData) -> list[tuple[str, str, str]]:
    """Return the few numbers that say most: (what, value, how to take it)."""
    summary, metric = run.summary, main_metric(run.summary)
    tiles = []
    reached = number(part(summary, "final").get(metric))
    trained = episodes(summary)
    if reached is None and trained:
        reached = number(part(trained[-1], "metrics").get(metric))
    if reached is not None:
        tiles.append((metric, score(reached), f"{final_split(summary) or summary.get('split') or ''} queries".strip()))
    for one in comparisons(summary):
        name = {"bm25": "BM25", "zero-shot": "before training"}.get(one.baseline, one.baseline)
        how = "not tested" if one.p is None else p_value(one.p)
        if one.p is not None and one.p >= SIGNIFICANT:
            how += ", not significant"
        tiles.append((f"against {name}", signed(one.difference), f"{one.metric}, {how}"))
    if found := worst(run):
        tiles.append(("most forgotten", f"{percent(found[1])}%", f"of training queries, episode {found[0]}"))
    new = series(listed(run.dynamics, "new"), "round", "new")
    if new and new[-1][0] == len(trained) + 1:
        tiles.append(("new in a further episode", f"{percent(new[-1][1])}%", "of what it would mine"))
    share = suspect_share(run)
    if share is not None:
        tiles.append(("suspect negatives", f"{percent(share)}%", "of query-negative pairs"))
    return tiles


def headlines(runs: Sequence[RunData]) -> Cells:
    """Lay out the headline numbers of several runs, a column each."""
    found = [{what: f"{value} ({how})" for what, value, how in headline(run)} for run in runs]
    names = list(dict.fromkeys(name for one in found for name in one))
    body = [[name, *(one.get(name, DASH) for one in found)] for name in names]
    return Cells(["", *(run.name for run in runs)], body, left=len(runs) + 1)


def suspects(run: RunData) -> Cells:
    """Lay out the most suspicious negatives; texts where the table has them."""
    rows = run.suspect_rows
    texts = [name for name in ("query", "title", "text") if any(row.get(name) for row in rows)]
    heading = ["query", "passage", *(f"{name}'s text" if name == "query" else name for name in texts), "why", "from"]
    heading += ["shared words", "margin (sd)", "rounds in top 3"]
    body = []
    for row in rows:
        margin, top = number(row.get("margin")), number(row.get("top_rounds"))
        overlap = number(row.get("overlap"))
        line = [str(row.get("query_id", DASH)), str(row.get("passage_id", DASH))]
        line += [cut(row.get(name) or DASH, 160) for name in texts]
        line += [str(row.get("reasons") or DASH).replace(",", ", "), str(row.get("sources") or DASH).replace(",", ", ")]
        line += [DASH if overlap is None else f"{100 * overlap:.0f}%", DASH if margin is None else f"{margin:.1f}"]
        body.append([*line, DASH if top is None else f"{top:.0f}"])
    return Cells(heading, body, left=len(heading) - 3)


def cut(text: Any, length: int = TEXT) -> str:
    """Cut a text to so many characters, on one line."""
    line = " ".join(str(text).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def marked(text: Any, words: Sequence[Any]) -> Markup:
    """Escape a text and mark the given words (lower case) in it."""
    wanted = {str(word).lower() for word in words}
    pieces = re.split(r"(\w+)", cut(text))
    return Markup("").join(
        Markup("<mark>{}</mark>").format(piece) if piece.lower() in wanted else escape(piece) for piece in pieces
    )


def cases(run: RunData) -> list[dict[str, Any]]:
    """Lay out the cases as in the paper's Table 10: query, positives, negatives of both classes with their ranks."""
    laid = []
    for case in run.cases:
        negatives = listed(case, "negatives")
        rounds = sorted({int(name) for one in negatives for name in part(one, "ranks") if str(name).isdigit()})
        mrr = {int(name): score(value) for name, value in part(case, "mrr").items() if str(name).isdigit()}
        laid.append(
            {
                "id": str(case.get("query_id", DASH)),
                "query": cut(case.get("query", "")),
                "mrr": sorted(mrr.items()),
                "positives": [_passage(one, ()) for one in listed(case, "positives")],
                "rounds": rounds,
                "negatives": [
                    {
                        **_passage(one, one.get("words")),
                        "class": str(one.get("class", DASH)),
                        "ranks": _ranks(one, rounds),
                    }
                    for one in negatives
                ],
            }
        )
    return laid


def _passage(one: Mapping[str, Any], words: Any) -> dict[str, Any]:
    wanted = words if isinstance(words, (list, tuple)) else ()
    return {
        "id": str(one.get("id", DASH)),
        "title": marked(one.get("title") or "", wanted),
        "text": marked(one.get("text") or "", wanted),
    }


def _ranks(one: Mapping[str, Any], rounds: Sequence[int]) -> list[str]:
    found = [number(part(one, "ranks").get(str(round_))) for round_ in rounds]
    return [DASH if rank is None else f"{rank:.0f}" for rank in found]
