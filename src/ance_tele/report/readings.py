"""What to read off each figure: a sentence or two out of its own numbers, which never say more than the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from ance_tele.console.numbers import SIGNIFICANT, count, magnitude, number, p_value, percent, score, signed, words
from ance_tele.report.paper_curves import Reference
from ance_tele.report.runs import RunData, at, composed, learning, listed, series
from ance_tele.report.summary import baselines, episodes, main_metric, part

REASONS = {
    "copy": "it is nearly a copy of a positive",
    "outscores": "the model scores it above the positive",
    "kept": "it was at the very top round after round",
}
"""Why a negative is suspect, as a sentence goes on."""


def readings(runs: Sequence[RunData], reference: Reference | None = None) -> dict[str, str]:
    """Return what to read off each figure, by the figure's name: a line a run, none for a figure without numbers."""
    several = len(runs) > 1
    found = {
        "forgetting": _forgetting,
        "learning-curves": _curves,
        "queries": _queries,
        "composition": _composition,
        "new-negatives": _new,
        "swing": _swing,
        "projection": _projection,
        "suspects": _suspects,
        "elsewhere": _elsewhere,
    }
    said = {}
    for name, say in found.items():
        sentences = [(run.name, sentence) for run in runs if (sentence := say(run))]
        said[name] = "\n".join(f"{who}: {what}" if several else _capital(what) for who, what in sentences)
    if reference and said["forgetting"]:
        said["forgetting"] += "\n" + _paper(reference)
    return said


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _pc(value: float) -> str:
    return f"{percent(value)}%"


def _times(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _forgetting(run: RunData) -> str:
    found = learning(run)
    lost, better = series(found, "episode", "forgotten"), dict(series(found, "episode", "learned"))
    if not lost:
        return ""
    episode, most = max(lost, key=lambda point: point[1])
    asked = number(run.dynamics.get("queries")) or number(part(run.summary, "data").get("training_queries_used"))
    of = f"the {count(asked)} training queries" if asked else "the training queries"
    said = f"{_pc(most)} of {of} did worse after episode {episode} than before it"
    if len(lost) > 1:
        said += ", the most of all episodes"
    if episode in better:
        said += f"; {_pc(better[episode])} did better"
    return said + "."


def _paper(reference: Reference) -> str:
    parts = [
        f"{name} {percent(min(y for _, y in points))} to {percent(max(y for _, y in points))}%"
        for name, points in reference.forgetting
    ]
    return f"In the paper, on MS MARCO: {words(parts)}."


def _curves(run: RunData) -> str:
    metric = main_metric(run.summary)
    steps = [("before training", number(part(baselines(run.summary), "zero-shot").get(metric)))]
    steps += [(f"after episode {one['number']}", number(part(one, "metrics").get(metric)))
              for one in episodes(run.summary)]  # fmt: skip
    known = [(name, value) for name, value in steps if value is not None]
    if len(known) < 2:
        return ""
    (start, first), (end, last) = known[0], known[-1]
    said = f"{metric} went from {score(first)} {start} to {score(last)} {end}"
    top, highest = max(known, key=lambda one: one[1])
    if score(highest) != score(last):
        said += f"; the highest was {score(highest)} {top}"
    return said + "."


def _queries(run: RunData) -> str:
    of = run.trajectories
    if of is None:
        return ""
    fell = (of.mrr[:, 1:] < of.mrr[:, :-1]).any(axis=1)
    below = fell & (of.mrr[:, -1] < of.mrr.max(axis=1))
    share = _pc(float(fell.mean()))
    said = f"{count(int(fell.sum()))} of {count(len(of.ids))} training queries ({share}) did worse in some episode"
    if fell.any():
        said += f", and {count(int(below.sum()))} of these end below their best"
    return said + "."


def _composition(run: RunData) -> str:
    said = []
    mined = composed(run, "mined", "round")
    if len(mined) > 1:
        round_, shares = mined[-1]
        first = max((name for name in shares if name != str(round_)), key=lambda name: shares[name], default=None)
        if first is not None:
            new = shares.get(str(round_), 0.0)
            part_ = f"of the lists of round {round_}, {_pc(new)} had been in no list before and {_pc(shares[first])}"
            said.append(f"{part_} were first met in round {first}")
    pools = composed(run, "sources", "episode")
    if pools:
        episode, shares = pools[-1]
        names = [f"{_pc(share)} {'BM25' if name == 'bm25' else name}" for name, share in shares.items()]
        said.append(f"the pool of episode {episode} is {words(names)} negatives")
    return "; ".join(said) + "." if said else ""


def _new(run: RunData) -> str:
    found = [one for one in listed(run.dynamics, "new") if one.get("round") != 1]
    new = series(found, "round", "new")
    if not new:
        return ""
    (first, most), (last, least) = new[0], new[-1]
    said = f"{_pc(least)} of the lists of round {last} were new"
    if last != first:
        said += f", {_pc(most)} of those of round {first}"
    if last == len(episodes(run.summary)) + 1:
        said += f" (round {last} is what a further episode would mine)"
    near, random = dict(series(found, "round", "near_positive")), dict(series(found, "round", "random"))
    shown = [round_ for round_, _ in new if near.get(round_) is not None and random.get(round_)]
    if shown:
        round_ = shown[-1]
        said += f"; {_pc(near[round_])} of the new ones of round {round_} lay near a positive, "
        said += f"{_times(near[round_] / random[round_])} times as many as of random passages"
    return said + "."


def _swing(run: RunData) -> str:
    points = series(listed(run.dynamics, "swing"), "round", "share")
    if not points:
        return ""
    round_, most = max(points, key=lambda point: point[1])
    said = f"{_pc(most)} of the lists of round {round_} were gone in round {round_ + 1} and back in round {round_ + 2}"
    return said + (", the most of all rounds." if len(points) > 1 else ".")


def _projection(run: RunData) -> str:
    start = at(run.projection, "start")
    if start is None or not listed(run.projection, "points"):
        return ""
    asked = " ".join(str(run.projection.get("query") or run.projection.get("query_id") or "").split())
    asked = asked if len(asked) <= 120 else asked[:119] + "…"
    return (
        f"one query, “{asked}”, by t-SNE: class A was in the list of round {start}, out in {start + 1} and back in "
        f"{start + 2}; class B in {start + 1}, out in {start + 2}, back in {start + 3}."
    )


def _suspects(run: RunData) -> str:
    pairs, found = number(run.suspects.get("pairs")), number(run.suspects.get("suspects"))
    if not pairs or found is None:
        return ""
    said = f"{count(found)} of {count(pairs)} query-negative pairs ({_pc(found / pairs)}) are suspect"
    sources = part(run.suspects, "by_source")
    known = {name: share for name in sources if (share := number(part(sources, name).get("share"))) is not None}
    if len(known) > 1:
        name = max(known, key=lambda one: known[one])
        said += f", most often those from {'BM25' if name == 'bm25' else name} ({_pc(known[name])})"
    reasons = {name: number(value) or 0 for name, value in part(run.suspects, "by_reason").items()}
    if any(reasons.values()):
        name = max(reasons, key=lambda one: reasons[one])
        said += f"; the most frequent reason ({count(reasons[name])}): {REASONS.get(name, name)}"
    return said + "."


def _elsewhere(run: RunData) -> str:
    said = []
    for one in run.elsewhere:
        metric = str(one.get("metric", "MRR@10"))
        difference, p = number(one.get("difference")), number(one.get("p"))
        if difference is None:
            continue
        where = f"on {one.get('collection', '?')} ({one.get('split', '?')})"
        if p is None:
            said.append(f"{where} {metric} changed by {signed(difference)}, not tested")
        elif p < SIGNIFICANT and difference:
            verb = "raised" if difference > 0 else "lowered"
            said.append(f"{where} training {verb} {metric} by {magnitude(difference)} ({p_value(p)})")
        else:
            said.append(f"{where} there is no significant difference in {metric} ({signed(difference)}, {p_value(p)})")
    return "; ".join(said) + "." if said else ""
