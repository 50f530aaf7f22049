"""Collections given as dictionaries."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.data.formats.fields import score_of
from ance_tele.data.grades import whole_grade
from ance_tele.data.raw import ANY_SPLIT, Answered, Judgement, Listed, RawCollection, Record
from ance_tele.data.splits import our_splits

Passages = Mapping[str, tuple[str, str] | Mapping[str, str] | str]
# {split: {query id: {passage id: grade}}}
Grades = Mapping[str, Mapping[str, Mapping[str, Any]]]


def whole_grades(qrels: Grades) -> dict[str, dict[str, dict[str, int]]]:
    """Return judgements with normalised split names, ids as strings and grades as integers."""
    for split, queries in _mapping(qrels, "qrels").items():
        for query, grades in _mapping(queries, f"qrels['{split}']").items():
            _mapping(grades, f"qrels['{split}'], query '{query}'")
    names = our_splits(map(str, qrels))

    def where(split: str, query: object, key: object) -> str:
        return f"qrels['{split}'], query '{query}', passage '{key}'"

    return {
        names[str(split)]: {
            str(query): {str(key): whole_grade(grade, where(split, query, key)) for key, grade in grades.items()}
            for query, grades in queries.items()
        }
        for split, queries in qrels.items()
    }


def _mapping(value: Any, where: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f"{where} must be a dictionary, got {value!r:.60}.")
    return value


def raw_from_dicts(
    name: str,
    corpus: Passages,
    queries: Mapping[str, str],
    graded: Mapping[str, Mapping[str, Mapping[str, int]]],
    answers: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
    listed: Sequence[Listed] = (),
    prompts: Mapping[str, str] | None = None,
) -> RawCollection:
    """Wrap dictionaries as :func:`~ance_tele.data.load.collection_from_dicts` takes them.

    ``graded`` comes from :func:`whole_grades`, ``listed`` from :func:`listed_of`.
    """
    for what, given in (("corpus", corpus), ("queries", queries), ("prompts", prompts or {})):
        _mapping(given, what)
    for split, some in _mapping(answers or {}, "answers").items():
        _mapping(some, f"answers['{split}']")
    named = {str(split): some for split, some in (answers or {}).items()}
    answered = {our: named[split] for split, our in our_splits(named).items()}
    unjudged = {split: [query for query, grades in rows.items() if not grades] for split, rows in graded.items()}
    notes = Counter(
        {f"qrels['{split}']: queries without a judgement": len(some) for split, some in unjudged.items() if some}
    )
    notes["prompts: of queries that are not in the collection, left out"] = len((prompts or {}).keys() - queries.keys())
    # A split without any judgement cannot be evaluated.
    alone = {split for split, some in unjudged.items() if len(some) == len(graded[split]) and split not in answered}

    def others(split: str) -> list[Answered]:
        given = _answered(answered.get(split, {}))
        return given + [Answered(query, (), 0) for query in unjudged.get(split, ()) if split not in alone]

    splits = [*graded, *(split for split in answered if split not in graded)]
    return RawCollection(
        name,
        (_passage(number, key, value) for number, (key, value) in enumerate(corpus.items(), 1)),
        (
            _record("the queries", number, key, text, prompt=(prompts or {}).get(key, ""))
            for number, (key, text) in enumerate(queries.items(), 1)
        ),
        {split: (f"qrels['{split}']", _judgements(grades)) for split, grades in graded.items()},
        answers={split: (f"answers['{split}']", some) for split in splits if (some := others(split))},
        listed={ANY_SPLIT: ("negatives and scores", listed)},
        notes=notes,
    )


def _passage(number: int, key: str, value: tuple[str, str] | Mapping[str, str] | str) -> Record:
    if isinstance(value, Mapping):
        if "text" not in value:
            fields = ", ".join(map(str, value))
            raise UserError(f"the corpus, entry {number} has no field 'text' (its fields: {fields}).")
        value = (value.get("title") or "", value.get("text") or "")
    if not isinstance(value, str) and not (isinstance(value, Sequence) and len(value) == 2):
        raise UserError(f"the corpus, entry {number}: a text or title and text are needed, got {value!r:.60}.")
    title, text = ("", value) if isinstance(value, str) else value
    return _record("the corpus", number, key, text, title)


def _record(where: str, number: int, key: str, text: str, title: str = "", prompt: str = "") -> Record:
    for what, given in (("id", key), ("title", title), ("text", text), ("prompt", prompt)):
        if not isinstance(given, str):
            raise UserError(f"{where}, entry {number}: the {what} must be a string, got {given!r:.60}.")
    return Record(key, title, text, number, prompt)


def _judgements(split: Mapping[str, Mapping[str, int]]) -> list[Judgement]:
    pairs = [(query, key, grade) for query, grades in split.items() for key, grade in grades.items()]
    return [Judgement(query, key, grade, number) for number, (query, key, grade) in enumerate(pairs, 1)]


def _answered(split: Mapping[str, Sequence[str]]) -> list[Answered]:
    for query, given in split.items():
        listed = isinstance(given, Iterable) and not isinstance(given, str)
        if not listed or not all(isinstance(answer, str) for answer in given):
            raise UserError(f"The answers of query '{query}' must be a list of strings, got {given!r:.60}.")
    return [Answered(str(query), tuple(given), number) for number, (query, given) in enumerate(split.items(), 1)]


def listed_of(negatives: Mapping[str, Sequence[str]], scores: Mapping[str, Mapping[str, float]]) -> list[Listed]:
    """Return given negatives (passage ids by query id) and a teacher's scores (by passage id by query id) as a list."""
    found = [
        Listed(str(query), str(key), False, score_of(score, f"scores['{query}']", str(key)), False, number)
        for number, (query, scored) in enumerate(_mapping(scores, "scores").items(), 1)
        for key, score in _mapping(scored, f"scores['{query}']").items()
    ]
    for number, (query, keys) in enumerate(_mapping(negatives, "negatives").items(), 1):
        if isinstance(keys, str) or not isinstance(keys, Iterable):
            raise UserError(f"negatives['{query}'] must be a list of passage ids, got {keys!r:.60}.")
        found += [Listed(str(query), str(key), True, math.nan, False, number) for key in keys]
    return found
