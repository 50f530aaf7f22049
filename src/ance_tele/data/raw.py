"""The output of readers: streams of passages, queries, judgements, answers and given negatives.

Readers raise a :class:`~ance_tele.console.errors.UserError` that names the file and the line (of a JSON array: the
element), what was found, and what is needed.
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
        negative: It is a negative; otherwise it is relevant, and listed for its score.
        score: Of a teacher; NaN without.
        margin: The score is relative to the other passages of the same row.
        line: Its line in the source, counted from 1.
    """

    query: str
    passage: str
    negative: bool
    score: float
    margin: bool
    line: int


# Key of answers for queries of any split.
ANY_SPLIT = ""


@dataclass(frozen=True)
class RawCollection:
    """Streams of a reader, each read once, and names for messages.

    ``qrels``, ``answers`` and ``listed`` hold a name for messages and the stream by split. Queries with answers in a
    split belong to it, judged or not. Answers under ``ANY_SPLIT`` assign no split, and unknown queries are ignored
    there. Streams are read in the order corpus, queries, qrels, answers, listed. With ``repeats`` a pair may be judged
    several times, as in training rows. ``notes`` is filled while the streams are read: counts of facts to log, such as
    rows joined.
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
