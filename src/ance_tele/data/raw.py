"""What a reader hands over: streams of passages, queries, judgements, answers and given negatives.

What a reader cannot read it refuses with a :class:`~ance_tele.console.errors.UserError` that names the file and the
line (of a JSON array: the element), what was found there, and what is needed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Record(NamedTuple):
    """One passage or query as a source gives it.

    Attributes:
        line: Its line in the source, counted from 1.
        prompt: Of a query: the instruction that its source puts before it, if any.
    """

    id: str
    title: str
    text: str
    line: int
    prompt: str = ""


class Judgement(NamedTuple):
    """One line of the qrels; ``line`` is its line in the source, counted from 1."""

    query: str
    passage: str
    grade: int
    line: int


class Answered(NamedTuple):
    """The answer strings of one query (any of them will do); ``line`` is their line in the source, counted from 1."""

    query: str
    answers: tuple[str, ...]
    line: int


class Listed(NamedTuple):
    """A passage that a training file lists for a query.

    Attributes:
        negative: It is a negative; otherwise it is relevant, and listed here for its score.
        score: Of a teacher; NaN where there is none.
        margin: The score says only how far the passage lies from the others of the same row.
        line: Its line in the source, counted from 1.
    """

    query: str
    passage: str
    negative: bool
    score: float
    margin: bool
    line: int


# The place of answers that belong to queries of whatever split: they put no query into one.
ANY_SPLIT = ""


@dataclass(frozen=True)
class RawCollection:
    """What a reader hands over: streams that are read once, and the names to use in messages.

    ``qrels``, ``answers`` and ``listed`` hold, by split, the name to use in messages and the stream. A query that has
    answers in a split belongs to it, judged or not. Answers under ``ANY_SPLIT`` are only looked up: queries that
    are not in the collection are passed over there. The streams are read in the order corpus, queries, qrels, answers,
    listed. Where ``repeats`` is true a pair may be judged several times, as training rows do it. ``notes`` fills while
    the streams are read: facts worth a line each, such as rows joined, with their counts.
    """

    name: str
    corpus: Iterable[Record]
    queries: Iterable[Record]
    qrels: Mapping[str, tuple[str, Iterable[Judgement]]]
    corpus_name: str = "the corpus"
    queries_name: str = "the queries"
    answers: Mapping[str, tuple[str, Iterable[Answered]]] = field(default_factory=dict)
    listed: Mapping[str, tuple[str, Iterable[Listed]]] = field(default_factory=dict)
    repeats: bool = False
    notes: Counter[str] = field(default_factory=Counter)
