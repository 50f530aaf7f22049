"""The verdict of a report: was training stable, what was forgotten, where do negatives come from, what to change.

Every sentence is computed. The thresholds are the paper's figures where it has any, and say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ance_tele.console.numbers import counted, magnitude, number, percent, score, words
from ance_tele.report.runs import RunData, composed, learning, listed, series
from ance_tele.report.summary import baselines, comparisons, episodes, final_split, main_metric, part
from ance_tele.report.tables import is_significant

FORGOTTEN_MUCH = 0.20
"""ANCE forgets 20 to 29% of the training queries at each refresh (notebooks), ANCE-Tele at most 18.5% (Table 9): 20%
lies between."""

FELL = 0.006
"""ANCE's MRR@10 falls by 0.63 points at its fourth episode (Figure 2), that of ANCE-Tele never (Figure 8a)."""

NEW_FEW = 0.05
"""In Figure 5, 5.2% and 4.3% of ANCE's fourth and fifth lists are new, and its MRR@10 does not rise any more."""

SUSPECTS_MANY = 1 / 31
"""The paper trains with 31 negatives for a query: from this share on, each such group holds a suspect on average."""

SWINGS_MUCH = 0.10
"""The paper has no figure for all queries; plain ANCE had 11 to 15% after its second round in our laboratory."""


@dataclass(frozen=True)
class Answer:
    """A question of the verdict and what the numbers say to it."""

    question: str
    sentences: Sequence[str]


def verdict(run: RunData) -> list[Answer]:
    """Answer, for a run, the questions that its numbers have an answer to."""
    answers = [
        Answer("Was training stable?", stability(run)),
        Answer("What was forgotten?", forgotten(run)),
        Answer("Where do the negatives come from?", negatives(run)),
        Answer("Which negatives are probably false?", false_negatives(run)),
        Answer("What to change?", advice(run)),
    ]
    return [answer for answer in answers if answer.sentences]


def quality(run: RunData) -> list[tuple[int, float]]:
    """Return the main metric by episode (0: before training)."""
    metric = main_metric(run.summary)
    systems = [(0, part(baselines(run.summary), "zero-shot"))]
    systems += [(int(one["number"]), part(one, "metrics")) for one in episodes(run.summary)]
    points = [(episode, number(of.get(metric))) for episode, of in systems]
    return [(episode, value) for episode, value in points if value is not None]


def falls(run: RunData) -> list[tuple[int, float]]:
    """Return the episodes after which the main metric was lower by FELL or more, and by how much."""
    points = quality(run)
    steps = [(episode, before - after) for (_, before), (episode, after) in pairwise(points)]
    return [(episode, by) for episode, by in steps if by >= FELL]


def stability(run: RunData) -> list[str]:
    """Say whether the main metric fell on the way."""
    points = quality(run)
    if len(points) < 2 or not episodes(run.summary):
        return []
    metric, fell = main_metric(run.summary), falls(run)
    if fell:
        parts = [f"by {magnitude(by)} after episode {episode}" for episode, by in fell]
        said = [f"No: {metric} fell {words(parts)}."]
    else:
        said = [f"Yes: no episode lowered {metric} by {FELL:g} or more."]
    top = max(points, key=lambda point: point[1])
    if points[-1][1] < top[1] and score(points[-1][1]) != score(top[1]):
        where = f"after episode {top[0]}" if top[0] else "before training"
        said.append(f"It was highest {where}: {score(top[1])}, against {score(points[-1][1])} at the end.")
    return said


def worst(run: RunData) -> tuple[int, float] | None:
    """Return the episode that forgot most, and its rate."""
    return max(series(learning(run), "episode", "forgotten"), key=lambda point: point[1], default=None)


def forgotten(run: RunData) -> list[str]:
    """Say how much each episode made worse."""
    found = worst(run)
    if found is None:
        return []
    lost, better = series(learning(run), "episode", "forgotten"), dict(series(learning(run), "episode", "learned"))
    rates = [percent(rate) for _, rate in lost]
    least, most = min(rates, key=float), max(rates, key=float)
    whole = f"{most}%" if least == most else f"between {least} and {most}%"
    said = [f"Each episode made {whole} of the training queries worse." if len(lost) > 1
            else f"The episode made {whole} of the training queries worse."]  # fmt: skip
    net = [str(episode) for episode, rate in lost if episode in better and rate > better[episode]]
    if net:
        said.append(f"{'Episode' if len(net) == 1 else 'Episodes'} {words(net)} made more queries worse than better.")
    of = run.trajectories
    if of is not None:
        below = (of.mrr[:, -1] < of.mrr.max(axis=1)).mean()
        said.append(f"In the end {percent(float(below))}% are below their best.")
    return said


def negatives(run: RunData) -> list[str]:
    """Say what the last pool consists of, and how much swings."""
    pools, said = composed(run, "sources", "episode"), []
    if pools:
        episode, shares = pools[-1]
        parts = [f"{percent(share)}% {'BM25' if name == 'bm25' else name}" for name, share in shares.items()]
        said.append(f"The pool of episode {episode}: {words(parts)}.")
    swings = series(listed(run.dynamics, "swing"), "round", "share")
    if swings:
        round_, most = max(swings, key=lambda point: point[1])
        often = "much" if most > SWINGS_MUCH else "little"
        said.append(f"They swing {often}: at most {percent(most)}% of a list (round {round_}) left and came back.")
    return said


def suspect_share(run: RunData) -> float | None:
    """Return the share of the query-negative pairs that are suspect."""
    pairs, found = number(run.suspects.get("pairs")), number(run.suspects.get("suspects"))
    return found / pairs if pairs and found is not None else None


def false_negatives(run: RunData) -> list[str]:
    """Say how many negatives are suspect, and from which source most."""
    share = suspect_share(run)
    if share is None:
        return []
    sources = part(run.suspects, "by_source")
    known = {name: value for name in sources if (value := number(part(sources, name).get("share"))) is not None}
    said = f"{percent(share)}% of the query-negative pairs are suspect"
    if len(known) > 1:
        name = max(known, key=lambda one: known[one])
        said += f"; of the {'BM25' if name == 'bm25' else name} negatives, {percent(known[name])}%"
    return [said + ". Suspect is not false: it takes reading."]


def advice(run: RunData) -> list[str]:
    """Say what the numbers suggest to change; only what follows from a threshold."""
    said = [*_against_forgetting(run), *_further(run), *_against_false(run)]
    points = quality(run)
    if points and episodes(run.summary):
        top, value = max(points, key=lambda point: point[1])
        last = points[-1][1]
        if 0 < top < points[-1][0] and value - last >= FELL:
            said.append(f"Take the model of episode {top}, or judge both on queries that were not used to choose.")
        if top == 0 and len(points) > 1:
            said.append("Training did not help here: lower the learning rate, or train on more queries.")
    short = sum(number(part(one, "pool").get("short_queries")) or 0 for one in episodes(run.summary))
    if short:
        queries = counted(short, "training query", "training queries")
        said.append(f"Pools were short for {queries}, all episodes counted: raise depth, or lower pool_per_source.")
    tested = [one for one in comparisons(run.summary) if one.baseline == "bm25" and is_significant(one)]
    if any(one.difference < 0 for one in tested):
        said.append("BM25 is significantly better here: try a stronger model to start from, or more training.")
    return said


def _against_forgetting(run: RunData) -> list[str]:
    found = worst(run)
    if found is None or found[1] <= FORGOTTEN_MUCH:
        return []
    alpha = number(part(run.summary, "settings").get("alpha"))
    remedy = "raise alpha" if alpha else "keep past negatives (momentum, alpha 0.5)"
    rose = f"Forgetting rose above {FORGOTTEN_MUCH:.0%} at episode {_first_above(run)}"
    return [f"{rose}: {remedy} or lower the learning rate."]


def _first_above(run: RunData) -> int:
    return next(episode for episode, rate in series(learning(run), "episode", "forgotten") if rate > FORGOTTEN_MUCH)


def _further(run: RunData) -> list[str]:
    """Say what a further episode would meet, and whether fewer would have done."""
    new, made = series(listed(run.dynamics, "new"), "round", "new"), len(episodes(run.summary))
    if not new or new[-1][0] != made + 1 or made < 1:
        return []
    share = new[-1][1]
    met = f"A further episode would meet {percent(share)}% new negatives"
    if share > NEW_FEW:
        points = quality(run)
        rising = len(points) > 1 and points[-1][1] - points[-2][1] >= FELL
        return [f"{met}, and {main_metric(run.summary)} was still rising: it may be worth its time."] if rising else []
    how_many = {1: "one episode is", 2: "two episodes are", 3: "three episodes are"}.get(made, f"{made} episodes are")
    return [f"{met.replace('would meet', 'would meet only')}: {how_many} enough."]


def _against_false(run: RunData) -> list[str]:
    share = suspect_share(run)
    if share is None or share <= SUSPECTS_MANY:
        return []
    groups = "31 negatives, as many as the paper gives a query, hold one or more on average"
    return [f"With {percent(share)}% suspects, {groups}: read the list below, then filter or relabel."]


def side_by_side(runs: Sequence[RunData]) -> list[str]:
    """Say which of several runs is highest, and which forgets least; no test was made, and that is said."""
    said = []
    metric, split = main_metric(runs[0].summary), final_split(runs[0].summary)
    same = {(run.summary.get("collection"), final_split(run.summary), main_metric(run.summary)) for run in runs}
    reached = [(run.name, number(part(run.summary, "final").get(metric))) for run in runs]
    known = [(name, value) for name, value in reached if value is not None]
    if len(same) == 1 and len(known) == len(runs):
        ordered = sorted(known, key=lambda one: -one[1])
        parts = [f"{score(value)} ({name})" for name, value in ordered]
        untested = "The runs were not tested against each other; ance-tele compare does that."
        said.append(f"Final {metric} on {split}: {words(parts)}. {untested}")
    elif len(same) > 1:
        said.append("The runs are of different collections, splits or measures: compare courses, not scores.")
    rates = [(run.name, found) for run in runs if (found := worst(run)) is not None]
    if len(rates) > 1:
        ordered_rates = sorted(rates, key=lambda one: one[1][1])
        parts = [f"{percent(rate)}% ({name}, episode {episode})" for name, (episode, rate) in ordered_rates]
        said.append(f"Most forgotten in one episode: {words(parts)}.")
    return said
