"""The verdict of a report: stability, forgetting, negatives, advice.

Every sentence is computed. The thresholds are the paper's figures where it has any.
"""

from collections.abc import Sequence
from itertools import pairwise

from ance_tele.console.numbers import counted, magnitude, number, percent, score, words
from ance_tele.report.between import of_pairs
from ance_tele.report.load import RunData
from ance_tele.report.sentences import highest, pool, shown, significant, suspects, swing

FORGOTTEN_MUCH = 0.20
"""ANCE forgets 20 to 29% of the training queries at each refresh (notebooks), ANCE-Tele at most 18.5% (Table 9): 20%
lies between."""

FELL = 0.006
"""ANCE's MRR@10 falls by 0.63 points at its fourth episode (Figure 2), that of ANCE-Tele never (Figure 8a)."""

NEW_FEW = 0.05
"""In Figure 5, 5.2% and 4.3% of ANCE's fourth and fifth lists are new, and its MRR@10 does not rise any more."""

SWINGS_MUCH = 0.10
"""The paper has no figure for all queries; plain ANCE had 11 to 15% after its second round in our laboratory."""


def verdict(run: RunData) -> dict[str, list[str]]:
    """Return sentences by question, for the questions that the data of a run answer."""
    answers = {
        "Was training stable?": stability(run),
        "What was forgotten?": forgotten(run),
        "Where do the negatives come from?": negatives(run),
        "Which negatives are probably false?": false_negatives(run),
        "What to change?": advice(run),
    }
    return {question: sentences for question, sentences in answers.items() if sentences}


def stability(run: RunData) -> list[str]:
    """Return whether the main metric fell between episodes."""
    points, metric = run.summary.quality(), run.summary.main_metric
    if len(points) < 2 or not run.summary.episodes:
        return []
    steps = [(episode, before - after) for (_, before), (episode, after) in pairwise(points)]
    fell = [f"by {magnitude(by)} after episode {episode}" for episode, by in steps if by >= FELL]
    answer = f"No: {metric} fell {words(fell)}." if fell else f"Yes: no episode lowered {metric} by {FELL:g} or more."
    return [answer, *filter(None, [highest(run.summary)])]


def forgotten(run: RunData) -> list[str]:
    """Return the forgetting rates of the episodes."""
    if not run.learning:
        return []
    rates = [percent(one.forgotten) for one in run.learning]
    least, most = min(rates, key=float), max(rates, key=float)
    whole = f"{most}%" if least == most else f"between {least} and {most}%"
    which = "Each" if len(rates) > 1 else "The"
    found = [f"{which} episode made {whole} of the training queries worse."]
    net = [str(one.episode) for one in run.learning if one.learned is not None and one.forgotten > one.learned]
    if net:
        found.append(f"{'Episode' if len(net) == 1 else 'Episodes'} {words(net)} made more queries worse than better.")
    of = run.analysis.trajectories
    return found if of is None else [*found, f"In the end {shown(of.below_best.mean())} are below their best."]


def negatives(run: RunData) -> list[str]:
    """Return the composition of the last pool, and the swing."""
    most = run.analysis.dynamics.most_swing
    often = "" if most is None else f"They swing {'much' if most.share > SWINGS_MUCH else 'little'}: {swing(run)}"
    return [sentence for sentence in (pool(run), often) if sentence]


def false_negatives(run: RunData) -> list[str]:
    """Return the share of suspects."""
    found = suspects(run)
    return [found, "Suspect is not false: it takes reading."] if found else []


def advice(run: RunData) -> list[str]:
    """Return suggestions that follow from thresholds."""
    summary = run.summary
    found = [*_against_forgetting(run), *_further(run), *_against_false(run)]
    points = summary.quality()
    if points and summary.episodes:
        (top, value), (end, last) = max(points, key=lambda point: point[1]), points[-1]
        if 0 < top < end and value - last >= FELL:
            found.append(f"Take the model of episode {top}, or judge both on queries that were not used to choose.")
        if top == 0 and len(points) > 1:
            found.append("Training did not help here: lower the learning rate, or train on more queries.")
    short = max((one.pool.short_queries or 0 for one in summary.episodes), default=0)
    if short:
        queries = counted(short, "training query", "training queries")
        loosen = ", loosen the filters" if any(one.pool.dropped for one in summary.episodes) else ""
        found.append(
            f"In an episode {queries} had fewer negatives than wanted: raise depth{loosen}, or lower pool_per_source."
        )
    if any(one.baseline == "bm25" and significant(one) and one.difference < 0 for one in summary.comparisons):
        found.append("BM25 is significantly better here: try a stronger model to start from, or more training.")
    return found


def _against_forgetting(run: RunData) -> list[str]:
    above = [one.episode for one in run.learning if one.forgotten > FORGOTTEN_MUCH]
    if not above:
        return []
    remedy = "raise alpha" if run.summary.settings.get("alpha") else "keep past negatives (momentum, alpha 0.5)"
    return [f"Forgetting rose above {FORGOTTEN_MUCH:.0%} at episode {above[0]}: {remedy} or lower the learning rate."]


def _further(run: RunData) -> list[str]:
    """Return what a further episode would mine, and whether fewer would have sufficed."""
    new, made = run.analysis.dynamics.new, len(run.summary.episodes)
    if made < 1 or not new or new[-1].round != made + 1:
        return []
    share, points, metric = new[-1].new, run.summary.quality(), run.summary.main_metric
    if share > NEW_FEW:
        highest = max((value for _, value in points[:-1]), default=0.0)
        rising = len(points) > 1 and points[-1][1] - highest >= FELL
        met = f"A further episode would meet {shown(share)} new negatives, and {metric} was still rising"
        return [f"{met}: it may be worth its time. {_longer(made + 1)}"] if rising else []
    how_many = {1: "one episode is", 2: "two episodes are", 3: "three episodes are"}.get(made, f"{made} episodes are")
    return [f"A further episode would meet only {shown(share)} new negatives: {how_many} enough."]


def _longer(episodes: int) -> str:
    """Return how a run with more episodes is had."""
    return (
        f"That is another run: the same command with --episodes {episodes} and a new --out, since the schedules of "
        "training depend on how many episodes a run has."
    )


def _against_false(run: RunData) -> list[str]:
    share, each = run.analysis.suspects.share, number(run.summary.settings.get("negatives_per_query")) or 31
    if share is None or share <= 1 / each:
        return []
    many = f"of the {each:.0f} negatives that a query is trained with, {share * each:.1f} are suspects on average"
    return [f"{many[0].upper()}{many[1:]}: read the list below, then filter or relabel."]


def side_by_side(runs: Sequence[RunData]) -> list[str]:
    """Return which run is best, by a test where the runs allow one, and which forgets most."""
    found = []
    first = runs[0].summary
    same = {(run.summary.collection, run.summary.final_split, run.summary.main_metric) for run in runs}
    reached = [(run.name, run.summary.final.get(first.main_metric)) for run in runs]
    known = [(name, value) for name, value in reached if value is not None]
    if len(same) == 1 and len(known) == len(runs):
        ordered = sorted(known, key=lambda one: -one[1])
        parts = words([f"{score(value)} ({name})" for name, value in ordered])
        found.append(f"Final {first.main_metric} on {first.final_split}: {parts}.")
        found += of_pairs(runs)
    elif len(same) > 1:
        found.append("The runs are of different collections, splits or measures: compare courses, not scores.")
    worst = [(run.name, one) for run in runs if (one := run.most_forgetting) is not None]
    if len(worst) > 1:
        worst.sort(key=lambda named: named[1].forgotten)
        parts = words([f"{shown(one.forgotten)} ({name}, episode {one.episode})" for name, one in worst])
        found.append(f"Most forgotten in one episode: {parts}.")
    return found
