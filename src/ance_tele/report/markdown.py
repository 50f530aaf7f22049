"""The report of a run as a Markdown file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from ance_tele.report.findings import findings
from ance_tele.report.formats import DASH, count, duration, number, percent, score, words
from ance_tele.report.summary import (
    SOURCES,
    Row,
    Summary,
    baselines,
    episodes,
    metric_columns,
    part,
    rows,
    shares,
    text,
)
from ance_tele.report.tables import best, significance_lines


class Markup(str):
    """Markdown that the report itself wrote; every other text is escaped."""

    __slots__ = ()


def markdown(summary: Summary) -> str:
    """Write the report of a run; it shows curves.png from the folder it lies in."""
    environment = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Whatever the template prints passes here, so no name can be forgotten.
        finalize=lambda value: value if isinstance(value, Markup) else escape(str(value)),
        autoescape=False,  # It would escape for HTML, which is not what is written here.
    )
    template = files("ance_tele.report") / "templates" / "report.md.jinja"
    trained, model = episodes(summary), summary.get("model")
    data = part(summary, "data")
    machine = part(summary, "environment")
    packages = part(machine, "packages")
    significance = significance_lines(summary)
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        collection=text(summary, "collection"),
        sentence=_sentence(summary),
        results=_results(summary),
        trained=bool(trained),
        last=trained[-1]["number"] if trained else None,
        findings=findings(summary),
        picture=_picture(summary),
        significance=significance,
        episodes=_episodes(summary),
        pool=_pool(summary),
        settings=table(("setting", "value"), sorted(_values(part(summary, "settings"))), left=2),
        has_settings=bool(part(summary, "settings")),
        environment=table(
            ("what", "value"),
            [
                ("machine", text(machine, "machine")),
                ("Python", text(machine, "python")),
                *sorted(_values(packages)),
            ],
            left=2,
        ),
        data=_data(summary),
        review=part(data, "review"),
        fingerprint=text(data, "fingerprint"),
        recipe=text(summary, "recipe"),
        model=model,
    )


def escape(plain: str) -> str:
    """Escape a text for Markdown, for a table's cell too, so that it is shown as it is."""
    line = " ".join("".join(char if char.isprintable() else " " for char in plain).split())
    # As entities, because not every renderer knows these after a backslash. Before a space "<" opens nothing,
    # and "p < 0.001" should stay legible in the file.
    line = re.sub(r"<(?! )", "&lt;", line.replace("&", "&amp;").replace(">", "&gt;"))
    line = re.sub(r"([\\`*\[\]|~$])", r"\\\1", line)
    # Only these start something at the beginning of a line: a heading or a list.
    line = re.sub(r"^([#+-])(?=[#\s])", r"\\\1", line)
    # Inside a word an underscore stands for itself, and batch_size should stay legible in the file.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", line)


def table(heading: Sequence[str], body: Iterable[Sequence[str]], left: int = 1) -> Markup:
    """Write a Markdown table; so many columns from the left are text, the others numbers."""
    rule = ["---" if column < left else "---:" for column in range(len(heading))]
    lines = [[escape(name) for name in heading], rule]
    lines += [[cell if isinstance(cell, Markup) else escape(cell) for cell in row] for row in body]
    return Markup("\n".join("| " + " | ".join(line) + " |" for line in lines))


def _sentence(summary: Summary) -> str:
    """Say in one sentence what was run."""
    data, trained, measured = part(summary, "data"), episodes(summary), baselines(summary)
    queries = part(data, "queries")
    recipe, collection, model = (text(summary, name) for name in ("recipe", "collection", "model"))
    split = text(summary, "split")
    passages = count(data.get("passages"))
    on = f"{collection} ({passages} passages)" if passages != DASH else collection
    if trained:
        used, available = count(data.get("training_queries_used")), count(queries.get("train"))
        amount = "" if used == DASH else f" on {used} training queries"
        if amount and available not in (DASH, used):
            amount = f" on {used} of the {available} training queries"
        for_ = "1 episode" if len(trained) == 1 else f"{len(trained)} episodes"
        said = f"Recipe {recipe} trained {model} for {for_}{amount} of {on}, with seed {text(summary, 'seed')}"
    else:
        systems = {"bm25": "BM25", "zero-shot": f"{model} as it is"}
        names = [systems[name] for name in measured]
        said = f"Recipe {recipe} searched {on}{' with ' + words(names) if names else ''}, without any training"
    asked = count(queries.get(split))
    return f"{said}; measured on the {'' if asked == DASH else asked + ' '}{split} queries."


def _results(summary: Summary) -> Markup:
    listed = rows(summary)
    trained = bool(episodes(summary))
    metrics = metric_columns(summary)
    winners = {metric: best(listed, metric) for metric in metrics.values()}

    def cells(row: Row) -> list[str]:
        line = [row.name]
        for metric in metrics.values():
            value = score(row.metrics.get(metric))
            line.append(Markup(f"**{value}**") if row.name in winners[metric] else value)
        if trained:
            line += [percent(row.forgetting), percent(row.new_negatives)]
            line += [duration(seconds) for seconds in (row.mine, row.train, row.evaluate)]
        return line

    # Without training these columns would be dashes from top to bottom.
    extra = ["forgetting (%)", "new negatives (%)", "mine", "train", "evaluate"] if trained else []
    return table(["system", *metrics, *extra], [cells(row) for row in listed])


def _episodes(summary: Summary) -> Markup:
    heading = [
        "episode",
        "did better (%)",
        "did worse (%)",
        "unchanged (%)",
        "training MRR",
        "steps",
        "stopped at refresh",
    ]
    body = []
    for one in episodes(summary):
        shown = [
            percent(number(one.get("learned_rate"))),
            percent(one.get("forgetting_rate")),
            percent(one.get("unchanged_rate")),
        ]
        body.append(
            [
                str(one["number"]),
                *shown,
                score(one.get("training_mrr")),
                count(one.get("steps")),
                _yes(one.get("stopped_at_refresh")),
            ]
        )
    return table(heading, body)


def _yes(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else DASH


def _pool(summary: Summary) -> Markup:
    """Write the sources of the negatives by episode; a source no pool has gets no column."""
    pools = [(one["number"], part(one, "pool")) for one in episodes(summary)]
    found = {name for _, pool in pools for name in shares(pool)}
    sources = [name for name in SOURCES if name in found] + sorted(found - set(SOURCES))
    body = []
    for which, pool in pools:
        amounts, parts = part(pool, "by_source"), shares(pool)
        line = [str(which), count(pool.get("size"))]
        line += [f"{count(amounts[name])} ({percent(parts[name])}%)" if name in parts else DASH for name in sources]
        line += [count(pool.get(name)) for name in ("short_queries", "missing", "repeats")]
        body.append(line)
    return table(["episode", "negatives", *sources, "queries short", "missing", "repeated per pass"], body)


def _data(summary: Summary) -> Markup:
    data = part(summary, "data")
    body = [("fingerprint", text(data, "fingerprint")), ("passages", count(data.get("passages")))]
    body += [(f"{name} queries", count(amount)) for name, amount in part(data, "queries").items()]
    if number(data.get("training_queries_used")) is not None:
        body.append(("training queries used", count(data["training_queries_used"])))
    if review := part(data, "review"):
        use = {"exclude": "no negatives", "positives": "positives"}.get(str(review.get("as")), DASH)
        body.append((f"passages that a review makes {use}", count(review.get("pairs"))))
    return table(("what", "value"), body, left=2)


def _picture(summary: Summary) -> str:
    """Describe the picture for those who do not see it."""
    if not episodes(summary):
        return "Scores of the systems that were measured."
    return "By episode: scores, training queries that did better or worse, sources of negatives, training loss."


def _values(flat: Any) -> list[tuple[str, str]]:
    """List names and values; text as it is, the rest as JSON has it."""
    return [
        (
            str(name),
            value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, default=str),
        )
        for name, value in flat.items()
    ]
