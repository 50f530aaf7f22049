"""Results of a run in sentences; each fact is phrased here, once."""

from ance_tele.console.numbers import SIGNIFICANT, count, magnitude, p_value, percent, score, signed, words
from ance_tele.report.conditions import making, on_made, recorded
from ance_tele.report.load import RunData
from ance_tele.report.run_tables import cut
from ance_tele.report.style import source_title
from ance_tele.runs.analysed import Learned
from ance_tele.runs.summary import Comparison, Summary

TEST = "paired permutation test"
"""The test behind every p-value of a run."""

REASONS = {
    "near_duplicate": "it is nearly a copy of a positive",
    "above_positive": "the model scores it above the positive",
    "persistently_top": "it was at the very top round after round",
}
"""Why a negative is suspect, as a sentence goes on."""


def findings(run: RunData) -> list[str]:
    """Return the findings of a run, one or two sentences per item."""
    summary = run.summary
    found = [
        *unfit(summary),
        *against_baselines(summary),
        curves(run),
        final(summary),
        *(changed(run, one) for one in run.learning),
        new_by_episode(summary),
        *making(summary),
    ]
    return [sentence for sentence in found if sentence]


def capital(sentence: str) -> str:
    """Capitalise the first letter of a sentence."""
    return sentence[:1].upper() + sentence[1:]


def shown(share: float) -> str:
    """Format a share as a percentage with its sign."""
    return f"{percent(share)}%"


def system_name(name: str | None) -> str:
    """Return the name of a system in sentences."""
    named = {"bm25": "BM25", "zero-shot": "the untrained model"}
    episode = (name or "").removeprefix("episode ")
    return f"the model of episode {episode}" if episode.isdigit() else named.get(name or "?", name or "?")


# Differences between systems


def tested(of: Comparison, on: str = "") -> str:
    """Return the outcome of a comparison, as part of a sentence; ``on`` qualifies the queries."""
    system, other = system_name(of.system), system_name(of.baseline)
    if of.p is None:
        return (
            f"the difference in {of.metric} between {system} and {other} is {signed(of.difference)}{on}; "
            "whether it is more than chance was not tested."
        )
    evidence = f"{p_value(of.p)}, {TEST}"
    if not significant(of):
        return (
            f"between {system} and {other} there is no significant difference in {of.metric}{on} "
            f"({signed(of.difference)}, {evidence})."
        )
    better = "better" if of.difference > 0 else "worse"
    return f"{system} is {better} than {other} by {magnitude(of.difference)} {of.metric}{on} ({evidence})."


def significant(of: Comparison) -> bool:
    """Return whether a test found a significant difference."""
    return of.p is not None and of.p < SIGNIFICANT and of.difference != 0


def significance(summary: Summary) -> list[str]:
    """Return a sentence for each comparison of the run."""
    return [capital(tested(one, on_made(summary))) for one in summary.comparisons]


def unfit(summary: Summary) -> list[str]:
    """Return a sentence on BM25 and on each given run that found too little for a test."""
    found, bm25 = [], summary.bm25
    if bm25 is not None and bm25.usable is False:
        without, queries, reads = count(bm25.found_nothing), count(bm25.queries), recorded(bm25.reads, "reads")
        found.append(f"BM25 found nothing for {without} of {queries} queries ({reads}): no test was made against it.")
    for name, of in summary.beside.items():
        if of.usable is False:
            without, queries = count(of.found_nothing), count(of.queries)
            found.append(f"{name} has no line for {without} of {queries} queries: no test was made against it.")
    return found


def against_baselines(summary: Summary) -> list[str]:
    """Return the comparison of the last model with each baseline."""
    metric, measured = summary.main_metric, summary.systems
    last = f"episode {summary.episodes[-1].number}" if summary.episodes else None
    system = last or next((name for name in ("zero-shot", "bm25") if name in measured), None)
    if system is None:
        return []
    untested = {"bm25"} if summary.bm25 is not None and summary.bm25.usable is False else set[str]()
    untested |= {name for name, of in summary.beside.items() if of.usable is False}
    others = [name for name in (*summary.untrained, *summary.given) if name != system and name not in untested]
    reached = measured[system].get(metric)
    if not others and reached is not None and not unfit(summary):
        alone = "No other system was measured, so there is nothing to compare this number with."
        return [f"{capital(system_name(system))} reaches {score(reached)} {metric}{on_made(summary)}. {alone}"]
    found = []
    for name in others:
        wanted = (system, name, metric)
        made = next((one for one in summary.comparisons if (one.system, one.baseline, one.metric) == wanted), None)
        theirs = measured[name].get(metric)
        if made is None and reached is not None and theirs is not None:
            made = Comparison(system=system, baseline=name, metric=metric, difference=reached - theirs, p=None)
        found += [capital(tested(made, on_made(summary)))] if made is not None else []
    return found


# Quality by episode


def _when(checkpoint: int) -> str:
    return f"after episode {checkpoint}" if checkpoint else "before training"


def course(summary: Summary) -> str:
    """Return the main metric by episode."""
    points = summary.quality()
    if not summary.episodes or len(points) < 2:
        return ""
    steps = [f"{score(value)} {_when(checkpoint)}" for checkpoint, value in points]
    return f"{summary.main_metric} was {words(steps)}."


def highest(summary: Summary) -> str:
    """Return the episode with the highest main metric, if it is not the last."""
    points = summary.quality()
    top = max(points, key=lambda point: point[1], default=None)
    if top is None or not summary.episodes or score(top[1]) == score(points[-1][1]):
        return ""
    sentence = f"It was highest {_when(top[0])}: {score(top[1])}, against {score(points[-1][1])} at the end."
    if summary.split == "test":
        sentence += " These are the queries reported here: choosing a model by them overstates its score."
    return sentence


def final(summary: Summary) -> str:
    """Return the final score if it is of another split."""
    split, reached = summary.final_split, summary.final.get(summary.main_metric)
    if split == summary.split or reached is None or not summary.episodes:
        return ""
    theirs = {name: of.final.get(summary.main_metric) for name, of in summary.beside.items()}
    others = [f"{name} {score(value)}" for name, value in theirs.items() if value is not None]
    whole = words([f"the last model reaches {score(reached)} {summary.main_metric}", *others])
    return f"On the {split} queries, {whole}."


# Learning and forgetting


def changed(run: RunData, one: Learned, note: str = "") -> str:
    """Return the shares of training queries that an episode made worse and better; ``note`` follows the former."""
    amount = run.analysis.dynamics.queries or run.summary.data.training_queries_used
    queries = f"the {count(amount)} training queries" if amount else "the training queries"
    others = ((one.learned, "did better"), (one.unchanged, "the same"))
    rest = [f"{shown(share)} {how}" for share, how in others if share is not None]
    sentence = f"{shown(one.forgotten)} of {queries} did worse after episode {one.episode} than before it{note}"
    return sentence + (f"; {words(rest)}." if rest else ".")


def forgetting(run: RunData) -> str:
    """Return the changes by the episode that forgot most."""
    one = run.most_forgetting
    return "" if one is None else changed(run, one, ", the most of all episodes" if len(run.learning) > 1 else "")


def curves(run: RunData) -> str:
    """Return the course of the main metric."""
    return " ".join(filter(None, (course(run.summary), highest(run.summary))))


def queries(run: RunData) -> str:
    """Return the number of training queries that fell, and of those that ended below their best."""
    of = run.analysis.trajectories
    if of is None:
        return ""
    fell, whole = of.fell, count(len(of.ids))
    below = count(int((fell & of.below_best).sum()))
    found = f"{count(int(fell.sum()))} of {whole} training queries ({shown(fell.mean())}) did worse in some episode"
    return found + (f", and {below} of these end below their best." if fell.any() else ".")


# Negatives


def pool(run: RunData) -> str:
    """Return the composition of the last pool."""
    if not run.pools:
        return ""
    episode, shares = run.pools[-1]
    parts = [f"{shown(share)} {source_title(name, run.summary.sources)}" for name, share in shares.items()]
    return f"The pool of episode {episode} is {words(parts)} negatives."


def composition(run: RunData) -> str:
    """Return the rounds of the negatives in the last lists, and the composition of the last pool."""
    mined = run.analysis.dynamics.composed("mined")
    if len(mined) < 2:
        return pool(run)
    last, shares = mined[-1]
    sentence = f"Of the lists of round {last}, {shown(shares.get(str(last), 0.0))} had been in no list before"
    earlier = {name: share for name, share in shares.items() if name != str(last)}
    if earlier:
        first = max(earlier, key=lambda name: earlier[name])
        sentence += f" and {shown(earlier[first])} were first met in round {first}"
    return f"{sentence}. {pool(run)}".strip()


def new_by_episode(summary: Summary) -> str:
    """Return the share of new negatives in each episode but the first."""
    later = [one for one in summary.episodes[1:] if one.new_negatives is not None]
    parts = [f"{shown(one.new_negatives or 0.0)} in episode {one.number}" for one in later]
    return f"Negatives mined for the queries that no earlier episode had mined: {words(parts)}." if parts else ""


def new(run: RunData) -> str:
    """Return the shares of new negatives in the first and last round, and of those near positives."""
    if not run.new:
        return ""
    first, last = run.new[0], run.new[-1]
    sentence = f"{shown(last.new)} of the lists of round {last.round} were new"
    if last != first:
        sentence += f", {shown(first.new)} of those of round {first.round}"
    if last.round == len(run.summary.episodes) + 1:
        sentence += f" (round {last.round} is what a further episode would mine)"
    near = [(one.round, one.near_positive, one.random) for one in run.new if one.near_positive is not None]
    for place, share, random in near[-1:]:
        sentence += f"; {shown(share)} of the new ones of round {place} lay near a positive"
        sentence += f", against {shown(random)} of random passages" if random else ""
    return f"{sentence}."


def swing(run: RunData) -> str:
    """Return the largest share of negatives that left a list and came back."""
    most = run.analysis.dynamics.most_swing
    if most is None:
        return ""
    several = ", the most of all rounds" if len(run.analysis.dynamics.swing) > 1 else ""
    where = f"were gone in round {most.round + 1} and back in round {most.round + 2}"
    return f"{shown(most.share)} of the lists of round {most.round} {where}{several}."


def projection(run: RunData) -> str:
    """Return query and classes of the projection."""
    of, start = run.analysis.projection, run.analysis.projection.start
    if start is None or not of.points:
        return ""
    query = cut(of.query or of.query_id or "", 120)
    return (
        f"One query, “{query}”, by t-SNE: class A was in the list of round {start}, out in {start + 1} and back in "
        f"{start + 2}; class B in {start + 1}, out in {start + 2}, back in {start + 3}."
    )


def suspects(run: RunData) -> str:
    """Return the number of suspects, with the main source and reason."""
    of = run.analysis.suspects
    if of.share is None:
        return ""
    sentence = f"{count(of.suspects)} of {count(of.pairs)} query-negative pairs ({shown(of.share)}) are suspect"
    if of.most_suspect:
        name, share = of.most_suspect
        sentence += f", most often those from {source_title(name, run.summary.sources)} ({shown(share)})"
    if any(of.by_reason.values()):
        reason = max(of.by_reason, key=lambda one: of.by_reason[one])
        sentence += f"; the most frequent reason ({count(of.by_reason[reason])}): {REASONS.get(reason, reason)}"
    return f"{sentence}."


def out_of_domain(run: RunData) -> str:
    """Return the comparison of trained and initial model on other collections."""
    found = [(one.collection or "?", one.split or "?", one.comparison) for one in run.analysis.out_of_domain]
    return " ".join(f"On {name} ({split}), {tested(made)}" for name, split, made in found if made is not None)
