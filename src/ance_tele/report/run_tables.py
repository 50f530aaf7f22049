"""The tables of a run: results, episodes, pools, data, settings, suspects, headline numbers."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ance_tele.console.numbers import DASH, SIGNIFICANT, count, duration, number, p_value, percent, score, signed
from ance_tele.report.conditions import recorded
from ance_tele.report.load import RunData
from ance_tele.report.style import source_title, sources_in_order
from ance_tele.report.tables import Table, highest_strong
from ance_tele.runs.summary import Summary

_JUDGED = ("MRR@10", "nDCG@10", "Recall@100")
_BOTH = ("MRR@10", "Recall@100", "Answer@20")
_ANSWERED = ("Answer@5", "Answer@20", "Answer@100")


def short(metric: str) -> str:
    """Return a metric as in column headings: R@100, R@1k, A@20."""
    return metric.replace("Recall@1000", "R@1k").replace("Recall", "R").replace("Answer", "A")


def shown_metrics(summary: Summary) -> list[str]:
    """Return the metrics of the results, by judgements, by answers, or both, as measured."""
    measured = summary.measured
    answered = any(name.startswith("Answer@") for name in measured)
    names = _JUDGED if not answered else _BOTH if "MRR@10" in measured else _ANSWERED
    deepest = next((f"Recall@{k}" for k in (100, 20, 5) if f"Recall@{k}" in measured), "Recall@100")
    return [deepest if name == "Recall@100" else name for name in names]


def results(summary: Summary) -> Table:
    """Lay out all systems with their metrics, dynamics and times.

    Mining is search and mixing. Evaluation includes encoding, since the next episode mines with the same vectors.
    """
    metrics = shown_metrics(summary)
    episodes = {f"episode {one.number}": one for one in summary.episodes}
    rows = []
    for name, values in summary.systems.items():
        row, one = [name, *(score(values.get(metric)) for metric in metrics)], episodes.get(name)
        if one is not None:
            row += [percent(one.forgetting_rate), percent(one.new_negatives)]
            row += [duration(one.spent(*names)) for names in (("search", "mix"), ("train",), ("encode", "evaluate"))]
        elif episodes:
            row += [DASH] * 5
        rows.append(row)
    extra = ["forgetting (%)", "new negatives (%)", "mine", "train", "evaluate"] if episodes else []
    heading = ["system", *map(short, metrics), *extra]
    title = [recorded(getattr(summary, name), name) for name in ("recipe", "collection", "split")]
    return Table(
        heading,
        highest_strong(heading, rows, list(map(short, metrics))),
        title="{} on {}, {} split".format(*title),
        note="mine: search and mix; evaluate: encode and evaluate" if episodes else "",
        groups={1, len(metrics) + 1, len(metrics) + 3},
    )


def episodes(summary: Summary) -> Table:
    """Lay out what each episode changed, and how long it trained."""
    changed = ["did better (%)", "did worse (%)", "unchanged (%)"]
    heading = ["episode", *changed, f"training {summary.forgetting_metric}", "steps", "stopped at refresh"]
    rows = []
    for one in summary.episodes:
        rates = [percent(rate) for rate in (one.learned_rate, one.forgetting_rate, one.unchanged_rate)]
        stopped = {True: "yes", False: "no", None: DASH}[one.stopped_at_refresh]
        rows.append([str(one.number), *rates, score(one.training_mrr), count(one.steps), stopped])
    return Table(heading, rows)


def pools(summary: Summary) -> Table:
    """Lay out the sources of the negatives by episode; a source that no pool has gets no column."""
    parts = [one.pool.shares() for one in summary.episodes]
    sources = sources_in_order(name for shares in parts for name in shares)
    rows = []
    for one, shares in zip(summary.episodes, parts, strict=True):
        amounts = one.pool.by_source
        row = [str(one.number), count(one.pool.size)]
        row += [f"{count(amounts[name])} ({percent(shares[name])}%)" if name in shares else DASH for name in sources]
        rows.append([*row, *map(count, (one.pool.short_queries, one.pool.missing, one.pool.repeats))])
    titles = [source_title(name, summary.sources) for name in sources]
    return Table(["episode", "negatives", *titles, "queries short", "missing", "repeated per pass"], rows)


def collection(summary: Summary) -> Table:
    """Lay out collection and model of the run."""
    data, bm25 = summary.data, summary.bm25
    rows = [("fingerprint", recorded(data.fingerprint, "fingerprint")), ("passages", count(data.passages))]
    rows += [(f"{name} queries", count(amount)) for name, amount in data.queries.items()]
    if data.training_queries_used is not None:
        rows.append(("training queries used", count(data.training_queries_used)))
    if bm25 is not None:
        rows.append(("BM25 reads", recorded(bm25.reads, "reads")))
        rows.append(("queries BM25 finds nothing for", count(bm25.found_nothing)))
    for what, of in data.tokens.items():
        if of.get("texts") and "cut" in of:
            share = f"{count(of['cut'])} ({percent(of['cut'] / of['texts'])}%)"
            rows.append((f"{what} cut at {count(of.get('max_length'))} tokens", share))
    if data.review is not None:
        use = {"exclude": "no negatives", "positives": "positives"}.get(str(data.review.use), DASH)
        rows.append((f"passages that a review makes {use}", count(data.review.pairs)))
        if data.review.doubtful is not None:
            weight = data.review.weight
            what = "no negatives" if weight is None else f"{weight:g} of a negative"
            rows.append((f"doubtful passages that a review makes {what}", count(data.review.doubtful)))
        if data.review.dropped is not None:
            rows.append(("positives that a review drops", count(data.review.dropped)))
    return Table(("what", "value"), rows, text_columns=2)


def machine(summary: Summary) -> Table:
    """Lay out hardware and software of the run."""
    of = summary.environment
    rows = [("machine", recorded(of.machine, "machine")), ("Python", recorded(of.python, "python"))]
    return Table(("what", "value"), [*rows, *sorted(_values(of.packages))], text_columns=2)


def settings(summary: Summary) -> Table:
    """Lay out the settings of the run."""
    return Table(("setting", "value"), sorted(_values(summary.settings)), text_columns=2)


def _values(flat: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and values; other values than texts as JSON."""
    written = {name: json.dumps(value, ensure_ascii=False, default=str) for name, value in flat.items()}
    return [(str(name), value if isinstance(value, str) and value else written[name]) for name, value in flat.items()]


def headline(run: RunData) -> list[tuple[str, str, str]]:
    """Return the headline numbers: (name, value, caveat)."""
    summary, metric = run.summary, run.summary.main_metric
    tiles = []
    last = summary.episodes[-1].metrics.get(metric) if summary.episodes else None
    reached = summary.final.get(metric, last)
    if reached is not None:
        tiles.append((metric, score(reached), f"{summary.final_split or ''} queries".strip()))
    for one in summary.comparisons:
        name = {"bm25": "BM25", "zero-shot": "before training"}.get(str(one.baseline), str(one.baseline))
        how = "not tested" if one.p is None else p_value(one.p)
        if one.p is not None and one.p >= SIGNIFICANT:
            how += ", not significant"
        tiles.append((f"against {name}", signed(one.difference), f"{one.metric}, {how}"))
    if worst := run.most_forgetting:
        forgotten = f"{percent(worst.forgotten)}%"
        tiles.append(("most forgotten", forgotten, f"of training queries, episode {worst.episode}"))
    if run.new and run.new[-1].round == len(summary.episodes) + 1:
        tiles.append(("new in a further episode", f"{percent(run.new[-1].new)}%", "of what it would mine"))
    if run.analysis.suspects.share is not None:
        tiles.append(("suspect negatives", f"{percent(run.analysis.suspects.share)}%", "of query-negative pairs"))
    return tiles


def headlines(run: RunData) -> Table:
    """Lay out the headline numbers for several runs."""
    return Table(("", "value"), [(what, f"{value} ({how})") for what, value, how in headline(run)], text_columns=2)


def suspects(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Lay out the most suspect negatives, with texts if present."""
    texts = {name: title for name, title in _TEXTS.items() if any(row.get(name) for row in rows)}
    numbers = ["shared words", "margin (sd)", "rounds in top 3"]
    heading = ["query", "passage", *texts.values(), "why", "from", *numbers]
    body = []
    for row in rows:
        line = [str(row.get("query_id", DASH)), str(row.get("passage_id", DASH))]
        line += [cut(row.get(name) or DASH, 160) for name in texts]
        line += [str(row.get(name) or DASH).replace(",", ", ") for name in ("reasons", "sources")]
        overlap, margin, top = (number(row.get(name)) for name in ("overlap", "margin", "top_rounds"))
        line += [DASH if overlap is None else f"{100 * overlap:.0f}%", DASH if margin is None else f"{margin:.1f}"]
        body.append([*line, count(top)])
    return Table(heading, body, text_columns=len(heading) - len(numbers))


_TEXTS = {"query": "query's text", "title": "title", "text": "text"}


def cut(text: Any, length: int = 320) -> str:
    """Truncate a text to ``length`` characters on one line."""
    line = " ".join(str(text).split())
    return line if len(line) <= length else line[: length - 1] + "…"
