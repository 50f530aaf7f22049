"""The tables of a run's report, whatever it is written in: what stands in which cell, as text."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from ance_tele.console.numbers import DASH, count, duration, number, percent, score, words
from ance_tele.report.summary import (
    SOURCES,
    Summary,
    baselines,
    conditions,
    episodes,
    metric_columns,
    part,
    rows,
    shares,
    text,
    training_metric,
)
from ance_tele.report.tables import best


@dataclass(frozen=True)
class Cells:
    """A table: headings, rows, how many columns from the left are text, and which cells (row, column) are best."""

    heading: Sequence[str]
    body: Sequence[Sequence[str]]
    left: int = 1
    best: Collection[tuple[int, int]] = ()


def description(summary: Summary) -> str:
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
    asked, how = count(queries.get(split)), "".join(f" {one}" for one in conditions(summary))
    return f"{said}; measured on the {'' if asked == DASH else asked + ' '}{split} queries.{_searched(trained)}{how}"


def _searched(trained: Sequence[Summary]) -> str:
    """Say how much an approximate search missed, where there was one."""
    recalls = [part(one, "recall") for one in trained]
    found = [
        value for one in recalls for name in ("queries", "positives") if (value := number(one.get(name))) is not None
    ]
    if not found:
        return ""
    depth = count(recalls[0].get("depth"))
    return f" Mining searched approximately: recall@{depth} was at least {score(min(found))} of exact."


def results(summary: Summary) -> Cells:
    """Lay out baselines and episodes with their metrics, dynamics and times."""
    listed = rows(summary)
    trained = bool(episodes(summary))
    metrics = metric_columns(summary)
    body: list[list[str]] = []
    marked: list[tuple[int, int]] = []
    winners = [best(listed, metric) for metric in metrics.values()]
    for row in listed:
        line = [row.name, *(score(row.metrics.get(metric)) for metric in metrics.values())]
        marked += [(len(body), column) for column, names in enumerate(winners, 1) if row.name in names]
        if trained:
            line += [percent(row.forgetting), percent(row.new_negatives)]
            line += [duration(seconds) for seconds in (row.mine, row.train, row.evaluate)]
        body.append(line)
    # Without training these columns would be dashes from top to bottom.
    extra = ["forgetting (%)", "new negatives (%)", "mine", "train", "evaluate"] if trained else []
    return Cells(["system", *metrics, *extra], body, best=marked)


def dynamics(summary: Summary) -> Cells:
    """Lay out what each episode changed, and how long it trained."""
    heading = [
        "episode",
        "did better (%)",
        "did worse (%)",
        "unchanged (%)",
        f"training {training_metric(summary)}",
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
    return Cells(heading, body)


def _yes(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else DASH


def pools(summary: Summary) -> Cells:
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
    return Cells(["episode", "negatives", *sources, "queries short", "missing", "repeated per pass"], body)


def collection(summary: Summary) -> Cells:
    """Lay out what the run was made of."""
    data = part(summary, "data")
    body = [("fingerprint", text(data, "fingerprint")), ("passages", count(data.get("passages")))]
    body += [(f"{name} queries", count(amount)) for name, amount in part(data, "queries").items()]
    if number(data.get("training_queries_used")) is not None:
        body.append(("training queries used", count(data["training_queries_used"])))
    if bm25 := part(summary, "bm25"):
        body.append(("BM25 reads", text(bm25, "reads")))
        body.append(("queries BM25 finds nothing for", count(bm25.get("found_nothing"))))
    for what in ("queries", "passages"):
        of = part(part(data, "tokens"), what)
        texts, cut = number(of.get("texts")), number(of.get("cut"))
        if texts and cut is not None:
            share = f"{count(cut)} ({percent(cut / texts)}%)"
            body.append((f"{what} cut at {count(of.get('max_length'))} tokens", share))
    if review := part(data, "review"):
        use = {"exclude": "no negatives", "positives": "positives"}.get(str(review.get("as")), DASH)
        body.append((f"passages that a review makes {use}", count(review.get("pairs"))))
    return Cells(("what", "value"), body, left=2)


def machine(summary: Summary) -> Cells:
    """Lay out where the run was made."""
    of = part(summary, "environment")
    body = [("machine", text(of, "machine")), ("Python", text(of, "python")), *sorted(values(part(of, "packages")))]
    return Cells(("what", "value"), body, left=2)


def settings(summary: Summary) -> Cells:
    """Lay out the settings of the run."""
    return Cells(("setting", "value"), sorted(values(part(summary, "settings"))), left=2)


def values(flat: Any) -> list[tuple[str, str]]:
    """List names and values; text as it is, the rest as JSON has it."""
    return [
        (
            str(name),
            value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, default=str),
        )
        for name, value in flat.items()
    ]
