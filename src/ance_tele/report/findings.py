"""What the numbers of a run say, in plain sentences that never say more than the numbers."""

from __future__ import annotations

from ance_tele.console.numbers import (
    count,
    counted,
    duration,
    magnitude,
    number,
    p_value,
    percent,
    score,
    signed,
    words,
)
from ance_tele.report.summary import (
    Comparison,
    Summary,
    baselines,
    comparisons,
    episodes,
    final_split,
    main_metric,
    part,
    rows,
    text,
)
from ance_tele.report.tables import is_significant

_FILTERS = {"answer_bearing": "filter_answers", "same_text": "text (that of a relevant passage or of the query)"}
_NAMES = {"bm25": "BM25", "zero-shot": "the untrained model"}


def findings(summary: Summary) -> list[str]:
    """Say what the run shows, one sentence or two to an item."""
    return [
        *_against_baselines(summary),
        *_course(summary),
        *_final(summary),
        *_dynamics(summary),
        *_new_negatives(summary),
        *_filtered(summary),
        *_pairs(summary),
        *_shortage(summary),
        *_cut(summary),
        *_times(summary),
    ]


def _against_baselines(summary: Summary) -> list[str]:
    measure = main_metric(summary)
    trained = episodes(summary)
    measured = baselines(summary)
    if trained:
        subject, system, metrics = (
            "the last model",
            f"episode {trained[-1]['number']}",
            part(trained[-1], "metrics"),
        )
    elif "zero-shot" in measured:
        subject, system, metrics = _NAMES["zero-shot"], "zero-shot", measured["zero-shot"]
    elif "bm25" in measured:
        subject, system, metrics = _NAMES["bm25"], "bm25", measured["bm25"]
    else:
        return []
    reached = number(metrics.get(measure))
    said = _unfit(summary)
    others = [name for name in measured if name != system and not (name == "bm25" and said)]
    if not others and said:
        return said
    if not others and reached is not None:
        alone = "No other system was measured, so there is nothing to hold this number against."
        return [f"{_capital(subject)} reaches {score(reached)} {measure}. {alone}"]
    for name in others:
        tested = [
            one for one in comparisons(summary) if (one.system, one.baseline, one.metric) == (system, name, measure)
        ]
        theirs = number(measured[name].get(measure))
        if tested:
            said.append(_tested(subject, _NAMES[name], tested[0]))
        elif reached is not None and theirs is not None:
            said.append(_tested(subject, _NAMES[name], Comparison(system, name, measure, reached - theirs, None)))
    return said


def _unfit(summary: Summary) -> list[str]:
    """Return a sentence where BM25 found too little to be a baseline."""
    bm25 = part(summary, "bm25")
    if bm25.get("usable") is not False:
        return []
    without, asked = count(bm25.get("found_nothing")), count(bm25.get("queries"))
    return [
        f"BM25 found nothing for {without} of {asked} queries ({text(bm25, 'reads')}): no test was made against it."
    ]


def _tested(subject: str, other: str, one: Comparison) -> str:
    if one.p is None:
        return (
            f"The difference in {one.metric} between {subject} and {other} is {signed(one.difference)}; "
            "whether it is more than chance was not tested."
        )
    if not is_significant(one):
        return (
            f"Between {subject} and {other} there is no significant difference in {one.metric} "
            f"({signed(one.difference)}, {p_value(one.p)})."
        )
    better = "better" if one.difference > 0 else "worse"
    return (
        f"{_capital(subject)} is {better} than {other} by {magnitude(one.difference)} {one.metric} ({p_value(one.p)})."
    )


def _course(summary: Summary) -> list[str]:
    """Say how the metric went by episode, and warn where the last model is not the highest."""
    measure = main_metric(summary)
    names = {"zero-shot": "before training"}
    steps = [
        (names.get(row.name, f"after {row.name}"), number(row.metrics.get(measure)))
        for row in rows(summary)
        if row.name != "bm25"
    ]
    measured = [(name, value) for name, value in steps if value is not None]
    if not episodes(summary) or len(measured) < 2:
        return []
    said = [f"{measure} was {words([f'{score(value)} {name}' for name, value in measured])}."]
    top_name, top = max(measured, key=lambda step: step[1])
    if score(top) != score(measured[-1][1]):
        said.append(f"The highest {measure} was {top_name}, not at the end.")
        if summary.get("split") == "test":
            said[-1] += " It was seen on the very queries reported here, so choosing that model would flatter it."
    return said


def _final(summary: Summary) -> list[str]:
    """Give the final scores where the rest is about another split."""
    measure = main_metric(summary)
    split = final_split(summary)
    reached = number(part(summary, "final").get(measure))
    if split == summary.get("split") or reached is None or not episodes(summary):
        return []
    return [f"On the {split} queries, the last model reaches {score(reached)} {measure}."]


def _dynamics(summary: Summary) -> list[str]:
    said = []
    for one in episodes(summary):
        worse, better, same = (
            number(one.get("forgetting_rate")),
            number(one.get("learned_rate")),
            number(one.get("unchanged_rate")),
        )
        if worse is None:
            continue
        others = ((better, "did better"), (same, "the same"))
        rest = [f"{percent(value)}% {how}" for value, how in others if value is not None]
        said.append(
            f"{percent(worse)}% of the training queries did worse after episode {one['number']} "
            f"than before it{'; ' if rest else ''}{words(rest)}."
        )
    return said


def _new_negatives(summary: Summary) -> list[str]:
    # The first episode has nothing before it, so all its negatives are new whatever happened.
    later = [(one["number"], number(one.get("new_negatives"))) for one in episodes(summary)[1:]]
    parts = [f"{percent(share)}% in episode {which}" for which, share in later if share is not None]
    return [f"Negatives mined for the queries that no earlier episode had mined: {words(parts)}."] if parts else []


def _filtered(summary: Summary) -> list[str]:
    """Say how many candidates each filter dropped."""
    parts = []
    for one in episodes(summary):
        dropped = part(part(one, "pool"), "dropped")
        names = {name: _FILTERS.get(name, name) for name in dropped}
        counts = [
            f"{count(sum(number(amount) or 0 for amount in part(dropped, name).values()))} by {shown}"
            for name, shown in names.items()
        ]
        if counts:
            parts.append(f"{words(counts)} in episode {one['number']}")
    return [f"Candidates that filters dropped: {'; '.join(parts)}."] if parts else []


def _pairs(summary: Summary) -> list[str]:
    """Return on how many pairs each episode trained, where queries have several positives."""
    used = [(one["number"], part(one, "pairs")) for one in episodes(summary)]
    parts = [f"{count(pairs.get('used'))} in episode {which}" for which, pairs in used if pairs]
    every = count(used[-1][1].get("all")) if parts else ""
    return [f"Of {every} pairs of query and positive, trained on: {words(parts)}."] if parts else []


def _shortage(summary: Summary) -> list[str]:
    said = []
    for one in episodes(summary):
        pool = part(one, "pool")
        short, missing, repeats = (number(pool.get(name)) or 0 for name in ("short_queries", "missing", "repeats"))
        troubles = []
        if without := number(pool.get("without")):
            troubles.append(f"{counted(without, 'training query', 'training queries')} had no negative at all")
        if short:
            troubles.append(f"{counted(short, 'training query', 'training queries')} had too few negatives")
        if missing:
            troubles.append(f"{counted(missing, 'negative was', 'negatives were')} missing")
        if repeats:
            troubles.append(f"each pass of training repeated {counted(repeats, 'negative', 'negatives')}")
        if troubles:
            said.append(f"Shortage in episode {one['number']}: {words(troubles)}.")
    return said


def _cut(summary: Summary) -> list[str]:
    """Return how many queries and passages are truncated."""
    tokens = part(part(summary, "data"), "tokens")
    said = []
    for what in ("queries", "passages"):
        of = part(tokens, what)
        texts, cut, median = (number(of.get(name)) for name in ("texts", "cut", "median"))
        if texts and cut:
            at = count(of.get("max_length"))
            said.append(
                f"{percent(cut / texts)}% of the {what} are longer than {at} tokens and are cut there (median "
                f"{count(median)} tokens)."
            )
    return said


def _times(summary: Summary) -> list[str]:
    trained = [row for row in rows(summary) if row.name.startswith("episode ")]
    parts = []
    for name, values in (
        ("mining", [row.mine for row in trained]),
        ("training", [row.train for row in trained]),
        ("encoding and evaluation", [row.evaluate for row in trained]),
    ):
        taken = [value for value in values if value is not None]
        if taken:
            parts.append(f"{duration(sum(taken))} for {name}")
    if not parts:
        return []
    how_many = "1 episode" if len(trained) == 1 else f"{count(len(trained))} episodes together"
    return [f"Time of the {how_many}: {words(parts)}."]


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
