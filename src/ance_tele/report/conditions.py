"""Conditions of a run in sentences: data, evaluation, truncation, dropped candidates, times."""

from collections.abc import Mapping

from ance_tele.console.numbers import DASH, count, counted, duration, percent, score, words
from ance_tele.data import notes
from ance_tele.runs.summary import EpisodeSummary, Summary

_FROM = {"heading": "from headings", "first sentence": "from first sentences", "generated": "by a generator"}
_FILTERS = {"answer_bearing": "filter_answers", "same_text": "text (that of a relevant passage or of the query)"}
_SAME = {"id": "by id", "text": "by text"}


def recorded(value: object, name: str) -> str:
    """Return a value as text, or that it is not recorded."""
    return f"(no {name} recorded)" if value in (None, "") else str(value)


def description(summary: Summary) -> str:
    """Return a sentence on the run, with unusual conditions of its evaluation."""
    data, episodes = summary.data, len(summary.episodes)
    recipe, model = recorded(summary.recipe, "recipe"), recorded(summary.model, "model")
    split, seed = recorded(summary.split, "split"), recorded(summary.seed, "seed")
    collection = recorded(summary.collection, "collection")
    on = collection if data.passages is None else f"{collection} ({count(data.passages)} passages)"
    if episodes:
        used, available = count(data.training_queries_used), count(data.queries.get("train"))
        amount = "" if used == DASH else f" on {used} training queries"
        if amount and available not in (DASH, used):
            amount = f" on {used} of the {available} training queries"
        run = f"Recipe {recipe} trained {model} for {counted(episodes, 'episode', 'episodes')}{amount} of {on}"
        run += f", with seed {seed}"
    else:
        names = [{"bm25": "BM25", "zero-shot": f"{model} as it is"}[name] for name in summary.untrained]
        run = f"Recipe {recipe} searched {on}{' with ' + words(names) if names else ''}, without any training"
    queries = count(data.queries.get(split))
    measured = f"measured on the {'' if queries == DASH else queries + ' '}{split} queries."
    conditions = (made, expanded, given, approximate, unusual)
    return " ".join([f"{run}; {measured}", *(sentence for of in conditions for sentence in of(summary))])


def made(summary: Summary) -> list[str]:
    """Return a sentence on queries that nobody has asked: figures of them are of such queries only."""
    found = [f"{count(amount)} {note}" for note, amount in notes.how_made(summary.data.notes).items()]
    said = [f"Of all queries, {words(found)}."] if found else []
    within = summary.data.notes.get(notes.IN_PASSAGES)
    return [*said, f"{count(within)} {notes.IN_PASSAGES}."] if within else said


def on_made(summary: Summary) -> str:
    """Return of which queries figures are where nobody has asked them, as part of a sentence; "" where people have.

    Example: ``" on queries made from headings"``.
    """
    said = notes.how_made(summary.data.notes)
    of = {note.removeprefix(notes.MADE).strip(" ()"): amount for note, amount in said.items()}
    if not of:
        return ""
    partly = "partly " if sum(of.values()) < sum(summary.data.queries.values()) else ""
    return f" on queries {partly}made {words([_FROM.get(name, f'otherwise ({name})') for name in of])}"


def expanded(summary: Summary) -> list[str]:
    """Return a sentence on each file of terms that passages or queries are expanded by."""
    return [
        f"{count(of.filled)} of {count(of.texts)} {part} are read with terms that {recorded(of.file, 'file')} adds."
        for part, of in summary.data.expansions.items()
    ]


def given(summary: Summary) -> list[str]:
    """Return a sentence on each given run of another system."""
    found = []
    for name, of in summary.beside.items():
        sentence = f"{name} was run by others ({recorded(of.file, 'file')})"
        if not of.metrics:
            sentence += f" and has no line for the {recorded(summary.split, 'split')} queries"
        elif of.found_nothing:
            sentence += f"; {counted(of.found_nothing, 'query', 'queries')} without a line count 0"
        found.append(f"{sentence}.")
    return found


def approximate(summary: Summary) -> list[str]:
    """Return the recall of approximate search, if used."""
    recalls = [one.recall for one in summary.episodes if one.recall]
    found = [one[name] for one in recalls for name in ("queries", "positives") if name in one]
    if not found:
        return []
    depth = count(recalls[0].get("depth"))
    return [f"Mining searched approximately: recall@{depth} was at least {score(min(found))} of exact."]


def unusual(summary: Summary) -> list[str]:
    """Return a sentence for each unusual condition of evaluation."""
    found = []
    for split, of in summary.evaluation.items():
        level, own, deeper = of.get("relevance_level"), of.get("queries_excluded"), of.get("not_measured")
        if level not in (None, 1):
            found.append(
                f"On {split}, MRR, recall and success count a passage as relevant from grade {count(level)} on."
            )
        if own:
            same = _SAME.get(str(of.get("exclude_self")), "by id and text")
            found.append(
                f"On {split}, {counted(own, 'query is a passage itself', 'queries are passages themselves')} ({same}), "
                "and such a passage is left out of its query's ranking."
            )
        if isinstance(deeper, list) and deeper:
            depth = count(of.get("eval_depth"))
            names = words([str(name) for name in deeper])
            found.append(f"On {split}, {names} were not measured: {depth} passages were retrieved.")
    metric = summary.forgetting_metric
    if summary.episodes and metric != "MRR@100":
        found.append(f"Forgetting is read from {metric} of the training queries: no more passages were mined.")
    return found


def making(summary: Summary) -> list[str]:
    """Return sentences on dropped candidates, shortages, truncation and times."""
    return [
        *_dropped(summary),
        *_pairs(summary),
        *_shortage(summary),
        *_teacher(summary),
        *_cut(summary),
        *_times(summary),
    ]


def _dropped(summary: Summary) -> list[str]:
    parts = []
    for one in summary.episodes:
        counts = [
            f"{count(sum(by_source.values()))} by {_FILTERS.get(name, name)}"
            for name, by_source in one.pool.dropped.items()
        ]
        if counts:
            parts.append(f"{words(counts)} in episode {one.number}")
    return [f"Candidates that filters dropped: {'; '.join(parts)}."] if parts else []


def _pairs(summary: Summary) -> list[str]:
    used = [one for one in summary.episodes if one.pairs]
    if not used:
        return []
    parts = [f"{count(one.pairs.get('used'))} in episode {one.number}" for one in used]
    return [f"Of {count(used[-1].pairs.get('all'))} pairs of query and positive, trained on: {words(parts)}."]


def _shortage(summary: Summary) -> list[str]:
    troubles = [(one.number, _troubles(one)) for one in summary.episodes]
    return [f"Shortage in episode {number}: {words(found)}." for number, found in troubles if found]


def _troubles(episode: EpisodeSummary) -> list[str]:
    pool, found = episode.pool, []
    if pool.without:
        found.append(f"{counted(pool.without, 'training query', 'training queries')} had no negative at all")
    if pool.short_queries:
        found.append(f"{counted(pool.short_queries, 'training query', 'training queries')} had too few negatives")
    if pool.missing:
        found.append(f"{counted(pool.missing, 'negative was', 'negatives were')} missing")
    if pool.repeats:
        found.append(f"each pass of training repeated {counted(pool.repeats, 'negative', 'negatives')}")
    return found


def _teacher(summary: Summary) -> list[str]:
    """Return how well the teacher ranks the lists that are learned from, against the retriever that it teaches."""
    return [
        f"On the lists of episode {one.number} the teacher ranks a positive first for "
        f"{percent(one.teacher.get('teacher_first'))}% of the queries, the retriever before that episode for "
        f"{percent(one.teacher.get('retriever_first'))}%{_weak(one.teacher)}."
        for one in summary.episodes
        if one.teacher
    ]


def _weak(shares: Mapping[str, float]) -> str:
    weak = shares.get("teacher_first", 1) < shares.get("retriever_first", 0)
    return ": there was little to learn from this teacher" if weak else ""


def _cut(summary: Summary) -> list[str]:
    return [
        f"{percent(of['cut'] / of['texts'])}% of the {what} are longer than {count(of.get('max_length'))} tokens and "
        f"are cut there (median {count(of.get('median'))} tokens)."
        for what, of in summary.data.tokens.items()
        if of.get("texts") and of.get("cut")
    ]


def _times(summary: Summary) -> list[str]:
    phases = {"mining": ("search", "mix"), "training": ("train",), "encoding and evaluation": ("encode", "evaluate")}
    parts = []
    for title, names in phases.items():
        taken = [spent for one in summary.episodes if (spent := one.spent(*names)) is not None]
        if taken:
            parts.append(f"{duration(sum(taken))} for {title}")
    amount = len(summary.episodes)
    whole = "1 episode" if amount == 1 else f"{count(amount)} episodes together"
    return [f"Time of the {whole}: {words(parts)}."] if parts else []
