"""A collection: corpus, queries, relevance judgements and answers, checked once, memory-mapped ever after."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ance_tele.data.artefacts import read_manifest
from ance_tele.data.errors import UserError


class Record(NamedTuple):
    """One passage or query as a source gives it; ``line`` is where it stands, counted from 1."""

    id: str
    title: str
    text: str
    line: int


class Judgement(NamedTuple):
    """One line of the qrels; ``line`` is where it stands, counted from 1."""

    query: str
    passage: str
    grade: int
    line: int


class Answered(NamedTuple):
    """The answer strings of one query (any of them will do); ``line`` is where they stand, counted from 1."""

    query: str
    answers: tuple[str, ...]
    line: int


# Stands for the passage of a query that is in a split without a judgement (qrels.arrow).
UNJUDGED = -1

# The place of answers that belong to queries of whatever split: they put no query into one.
ANY_SPLIT = ""


@dataclass(frozen=True)
class RawCollection:
    """What a reader hands over: streams that are read once, and the names to use in messages.

    ``qrels`` and ``answers`` hold, by split, the name to use in messages and the stream. A query that has
    answers in a split belongs to it, judged or not. Answers under ``ANY_SPLIT`` are only looked up: queries that
    are not in the collection are passed over there.
    """

    name: str
    corpus: Iterable[Record]
    queries: Iterable[Record]
    qrels: Mapping[str, tuple[str, Iterable[Judgement]]]
    corpus_name: str = "the corpus"
    queries_name: str = "the queries"
    answers: Mapping[str, tuple[str, Iterable[Answered]]] = field(default_factory=dict)


class Texts:
    """Ids, titles and texts of a corpus or of queries, in memory-mapped Arrow; rows are numbered from 0."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __len__(self) -> int:
        return self.table.num_rows

    @cached_property
    def ids(self) -> pa.Array:
        """All ids, in row order."""
        return self.table["id"].combine_chunks()

    @cached_property
    def id_rank(self) -> np.ndarray:
        """Position of each row's id among all ids in ascending order, int64 [rows]: the breaker of ties."""
        rank = np.empty(len(self), dtype=np.int64)
        rank[pc.sort_indices(self.ids).to_numpy()] = np.arange(len(self))
        return rank

    def rows(self, ids: Any) -> np.ndarray:
        """Return the row of each id, int64, -1 where it is unknown."""
        asked = ids if isinstance(ids, pa.ChunkedArray) else pa.chunked_array([pa.array(ids, pa.large_string())])
        return pc.index_in(asked, value_set=self.ids).fill_null(-1).to_numpy().astype(np.int64)

    def take_ids(self, rows: np.ndarray) -> pa.Array:
        """Return the ids of the given rows."""
        return self.ids.take(pa.array(rows))

    def __getitem__(self, row: int) -> dict[str, str]:
        return {name: self.table[name][int(row)].as_py() for name in ("id", "title", "text")}

    def batches(self, rows: np.ndarray | None = None, size: int = 16384) -> Iterator[tuple[list[str], list[str]]]:
        """Yield titles and texts in row order, ``size`` at a time; of ``rows`` only, where given."""
        count = len(self) if rows is None else len(rows)
        for start in range(0, count, size):
            part = self.table.slice(start, size) if rows is None else self.table.take(rows[start : start + size])
            yield part["title"].to_pylist(), part["text"].to_pylist()


@dataclass(frozen=True)
class Qrels:
    """The queries of one split and their judgements as row numbers, grouped by query (ragged).

    Attributes:
        queries: Rows of the split's queries, int64 [q], ascending; one that has only answers has no judgement.
        offsets: int64 [q + 1]; the judgements of ``queries[i]`` are ``offsets[i]:offsets[i + 1]``.
        passages: Rows of the judged passages, int64 [n].
        grades: int64 [n]; above zero means relevant.
    """

    queries: np.ndarray
    offsets: np.ndarray
    passages: np.ndarray
    grades: np.ndarray

    @classmethod
    def from_arrays(
        cls, queries: np.ndarray, passages: np.ndarray, grades: np.ndarray, others: np.ndarray | None = None
    ) -> "Qrels":
        """Group judgements (parallel arrays) by query; the order within a query is kept.

        Args:
            queries: Query row of each judgement, int64 [n].
            passages: Passage row of each judgement, int64 [n].
            grades: int64 [n].
            others: Rows of queries that belong to the split also where nothing is judged for them.
        """
        order = np.argsort(queries, kind="stable")
        judged = queries[order]
        unique = np.unique(judged if others is None else np.concatenate([judged, others]))
        offsets = np.append(np.searchsorted(judged, unique), len(judged))
        return cls(unique, offsets, passages[order], grades[order])

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def owners(self) -> np.ndarray:
        """The query row of each judgement, int64 [n]."""
        return np.repeat(self.queries, np.diff(self.offsets))

    def judged(self) -> np.ndarray:
        """Return the rows of the queries that have a judgement, int64, ascending."""
        return self.queries[np.diff(self.offsets) > 0]

    def relevant(self, level: int = 1) -> "Qrels":
        """Return only the judgements of at least ``level``, and only the queries that have one."""
        keep = self.grades >= level
        return Qrels.from_arrays(self.owners[keep], self.passages[keep], self.grades[keep])

    def extended(self, queries: np.ndarray, passages: np.ndarray) -> "Qrels":
        """Return these judgements and further relevant passages, after the others of their query; none comes twice.

        Args:
            queries: Query row of each, int64 [n].
            passages: Passage row of each, int64 [n].
        """
        owner = self.owners
        width = 1 + max(int(self.passages.max(initial=0)), int(passages.max(initial=0)))
        pairs = queries * width + passages
        _, first = np.unique(pairs, return_index=True)
        first = np.sort(first[~np.isin(pairs[first], owner * width + self.passages)])
        return Qrels.from_arrays(
            np.concatenate([owner, queries[first]]),
            np.concatenate([self.passages, passages[first]]),
            np.concatenate([self.grades, np.ones(len(first), dtype=np.int64)]),
            self.queries,
        )

    def select(self, queries: np.ndarray) -> "Qrels":
        """Return only the given query rows, as far as they are there, and their judgements."""
        owner = self.owners
        keep = np.isin(owner, queries)
        chosen = self.queries[np.isin(self.queries, queries)]
        return Qrels.from_arrays(owner[keep], self.passages[keep], self.grades[keep], chosen)


class Answers:
    """Answer strings by query row, in memory-mapped Arrow.

    Attributes:
        queries: Rows of the queries that have answers, int64 [n], ascending.
    """

    def __init__(self, queries: np.ndarray, texts: pa.ChunkedArray) -> None:
        self.queries, self._texts = queries, texts

    @classmethod
    def none(cls) -> "Answers":
        """Return the answers of a collection that has none."""
        return cls(np.empty(0, dtype=np.int64), pa.chunked_array([], pa.list_(pa.large_string())))

    @classmethod
    def open(cls, path: Path) -> "Answers":
        """Open a file of query rows and answer lists; where there is no file, there are no answers."""
        if not path.is_file():
            return cls.none()
        table = read_arrow(path)
        return cls(table["query"].to_numpy(), table["answers"])

    def of(self, query_row: int) -> list[str]:
        """Return the answer strings of a query, in the order of the source; none if it has none."""
        place = int(np.searchsorted(self.queries, query_row))
        if place == len(self.queries) or self.queries[place] != query_row:
            return []
        return self._texts[place].as_py()

    def __len__(self) -> int:
        return len(self.queries)

    def __contains__(self, query_row: int) -> bool:
        return bool(np.isin(query_row, self.queries))


@dataclass(frozen=True)
class Given:
    """Passages that training files name beside the relevant ones, or scores of a teacher, by query (ragged).

    Attributes:
        queries: Rows of the queries, int64 [q], ascending.
        offsets: int64 [q + 1]; the passages of ``queries[i]`` are ``offsets[i]:offsets[i + 1]``.
        passages: Rows of the passages, int64 [n], in the order of the source.
        scores: Of a teacher, float32 [n]; NaN where the source gives none.
    """

    queries: np.ndarray
    offsets: np.ndarray
    passages: np.ndarray
    scores: np.ndarray

    @classmethod
    def none(cls) -> "Given":
        """Return what a source gives that has no such thing."""
        empty = np.empty(0, dtype=np.int64)
        return cls(empty, np.zeros(1, dtype=np.int64), empty, np.empty(0, dtype=np.float32))

    def __len__(self) -> int:
        return len(self.queries)


@dataclass(frozen=True)
class Collection:
    """Corpus, queries, qrels by split, answers.

    Attributes:
        name: Short name, for reports.
        corpus: The passages.
        queries: The queries of all splits.
        qrels: Queries and judgements by split, e.g. ``qrels["train"]``.
        fingerprint: sha-256 of all ids, texts, judgements and answers.
        problems: Count of what was left out on reading, by kind (empty where all was well).
        folder: Where the Arrow files lie.
        answers: Answer strings by query row; of length 0 where the source has none.
        negatives: Negatives that training files give, by query.
        teacher: Scores that training files give, of relevant passages and of negatives, by query.
    """

    name: str
    corpus: Texts
    queries: Texts
    qrels: dict[str, Qrels]
    fingerprint: str
    folder: Path
    problems: dict[str, int] = field(default_factory=dict)
    answers: Answers = field(default_factory=Answers.none)
    negatives: Given = field(default_factory=Given.none)
    teacher: Given = field(default_factory=Given.none)

    @classmethod
    def open(cls, folder: Path) -> "Collection":
        """Open a folder that ``store`` has written; nothing but the ids is read into memory."""
        manifest = read_manifest(folder)
        if manifest is None:
            raise UserError(f"{folder} holds no whole collection; delete it and import the data again.")
        judgements = read_arrow(folder / "qrels.arrow")
        splits: dict[str, Qrels] = {}
        for split in manifest.facts["splits"]:
            part = judgements.filter(pc.equal(judgements["split"], split))
            query, passage, grade = (part[name].to_numpy() for name in ("query", "passage", "grade"))
            judged = passage != UNJUDGED
            splits[split] = Qrels.from_arrays(query[judged], passage[judged], grade[judged], query)
        return cls(
            manifest.facts["name"],
            Texts(read_arrow(folder / "corpus.arrow")),
            Texts(read_arrow(folder / "queries.arrow")),
            splits,
            manifest.facts["fingerprint"],
            folder,
            dict(manifest.facts["problems"]),
            Answers.open(folder / "answers.arrow"),
        )

    def split(self, name: str) -> Qrels:
        """Return the queries of a split and their judgements.

        Raises:
            UserError: There is no such split.
        """
        if name not in self.qrels:
            have = ", ".join(self.qrels) or "none"
            raise UserError(f"Collection '{self.name}' has no qrels for split '{name}'; it has: {have}.")
        return self.qrels[name]


def read_arrow(path: Path) -> pa.Table:
    """Open an Arrow file, memory-mapped."""
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()
