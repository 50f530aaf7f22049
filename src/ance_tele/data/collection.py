"""A collection: corpus, queries, relevance judgements and answers, in memory-mapped Arrow files."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ance_tele.console.errors import UserError
from ance_tele.data.annotations import Answers, Expansion, Part, ScoredPassages, derived
from ance_tele.data.arrow import read_arrow
from ance_tele.data.hold_out import chosen, target
from ance_tele.data.splits import split_name
from ance_tele.store.fingerprints import fingerprint
from ance_tele.store.manifests import read_manifest

# Passage row of a query without judgements in qrels.arrow.
UNJUDGED = -1


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
        """Rank of each row's id in ascending order of ids, int64 [rows]; breaks ties."""
        rank = np.empty(len(self), dtype=np.int64)
        rank[pc.sort_indices(self.ids).to_numpy()] = np.arange(len(self))
        return rank

    @cached_property
    def prompts(self) -> pa.ChunkedArray | None:
        """The instruction of each query, "" where it has none of its own; None where no query has one."""
        if "prompt" not in self.table.column_names or not pc.any(pc.not_equal(self.table["prompt"], "")).as_py():
            return None
        return self.table["prompt"]

    def rows(self, ids: Any) -> np.ndarray:
        """Return the row of each id, int64, -1 where it is unknown."""
        column = ids if isinstance(ids, pa.ChunkedArray) else pa.chunked_array([pa.array(ids, pa.large_string())])
        return pc.index_in(column, value_set=self.ids).fill_null(-1).to_numpy().astype(np.int64)

    def take_ids(self, rows: np.ndarray) -> pa.Array:
        """Return the ids of the given rows."""
        return self.ids.take(pa.array(rows))

    def __getitem__(self, row: int) -> dict[str, str]:
        return {name: self.table[name][int(row)].as_py() for name in ("id", "title", "text")}

    def batches(
        self, rows: np.ndarray | None = None, size: int = 16384, expanded: bool = False
    ) -> Iterator[tuple[list[str], list[str]]]:
        """Yield titles and texts in row order, ``size`` at a time; of ``rows`` only, where given.

        With ``expanded``, terms that an expansion adds follow the text: what retrievers read, and people do not.
        """
        expanded = expanded and "terms" in self.table.column_names
        count = len(self) if rows is None else len(rows)
        for start in range(0, count, size):
            part = self.table.slice(start, size) if rows is None else self.table.take(rows[start : start + size])
            texts = part["text"].to_pylist()
            if expanded:
                terms = part["terms"].to_pylist()
                texts = [f"{text} {more}" if more else text for text, more in zip(texts, terms, strict=True)]
            yield part["title"].to_pylist(), texts


@dataclass(frozen=True)
class Qrels:
    """The queries of one split and their judgements as row numbers, grouped by query (ragged).

    Attributes:
        queries: Rows of the split's queries, int64 [q], ascending; one that has only answers has no judgement.
        offsets: int64 [q + 1]; the judgements of ``queries[i]`` are ``offsets[i]:offsets[i + 1]``.
        passages: Rows of the judged passages, int64 [n].
        grades: int64 [n]; above zero means relevant.

    Example:
        >>> qrels = Qrels.from_arrays(np.array([4, 2, 4]), passages=np.array([7, 1, 9]), grades=np.array([1, 1, 0]))
        >>> qrels.queries.tolist(), qrels.offsets.tolist(), qrels.relevant().passages.tolist()
        ([2, 4], [0, 1, 3], [1, 7])
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
            others: Rows of queries that belong to the split even without judgements.
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
        """Return these judgements with further relevant passages appended to their queries, without duplicates.

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
        """Return the given query rows, as far as they are in the split, and their judgements."""
        owner = self.owners
        keep = np.isin(owner, queries)
        chosen = self.queries[np.isin(self.queries, queries)]
        return Qrels.from_arrays(owner[keep], self.passages[keep], self.grades[keep], chosen)


@dataclass(frozen=True)
class Collection:
    """Corpus, queries, qrels by split, answers.

    Attributes:
        name: Short name, for reports.
        corpus: The passages.
        queries: The queries of all splits.
        qrels: Queries and judgements by split, e.g. ``qrels["train"]``.
        fingerprint: sha-256 of all ids, texts, judgements and answers.
        problems: Counts of what was left out on reading, by kind.
        folder: Of the Arrow files.
        answers: Answer strings by query row; of length 0 where the source has none.
        negatives: Negatives that training files give, by query.
        teacher: Scores that training files give, of relevant passages and of negatives, by query.
        notes: Counts of what is no problem but worth logging, such as training rows joined.
        hold_out: Share or number of training queries held out as dev; None without.
        whole: Fingerprint of the collection before queries were held out and texts expanded; None without.
        expansions: Terms added to passages or queries.

    Example:
        >>> import ance_tele as at
        >>> passages, queries = {"p1": "A lock file names its owner."}, {"q1": "who owns a lock?"}
        >>> collection = at.collection_from_dicts(passages, queries, {"test": {"q1": {"p1": 1}}})
        >>> collection.corpus[0]["text"], collection.split("test").passages.tolist()
        ('A lock file names its owner.', [0])
    """

    name: str
    corpus: Texts
    queries: Texts
    qrels: dict[str, Qrels]
    fingerprint: str
    folder: Path
    problems: dict[str, int] = field(default_factory=dict)
    answers: Answers = field(default_factory=Answers.none)
    negatives: ScoredPassages = field(default_factory=ScoredPassages.none)
    teacher: ScoredPassages = field(default_factory=ScoredPassages.none)
    notes: dict[str, int] = field(default_factory=dict)
    hold_out: float | None = None
    whole: str | None = None
    expansions: Mapping[Part, Expansion] = field(default_factory=dict)

    @property
    def texts(self) -> str:
        """Fingerprint for artefacts of the texts alone, independent of held-out queries and added terms."""
        return self.whole or self.fingerprint

    def texts_of(self, part: Part) -> str:
        """Return the fingerprint of passages or queries as retrievers read them, with the terms added to them."""
        added = self.expansions.get(part)
        return self.texts if added is None else fingerprint([self.texts, "expanded", added.fingerprint])

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
            ScoredPassages.open(folder / "negatives.arrow"),
            ScoredPassages.open(folder / "teacher.arrow"),
            dict(manifest.facts.get("notes", {})),
        )

    @property
    def usual_split(self) -> str:
        """The split that a model is measured on unless another is named: "test", or "dev" if there is only that."""
        return "test" if "test" in self.qrels or "dev" not in self.qrels else "dev"

    def split(self, name: str) -> Qrels:
        """Return the queries of a split and their judgements; "validation" and its synonyms mean dev if there is none.

        Raises:
            UserError: There is no such split.
        """
        for known in (name, split_name(name)):
            if known in self.qrels:
                return self.qrels[known]
        have = ", ".join(self.qrels) or "none"
        only = set(self.qrels) == {"train"}
        remedy = "; hold out some training queries as dev: --hold_out 0.1 (collection.held_out(0.1))" if only else ""
        raise UserError(f"Collection '{self.name}' has no qrels for split '{name}'; it has: {have}{remedy}.")

    def held_out(self, hold_out: float | None) -> "Collection":
        """Return this collection with some training queries held out as dev, independent of seed and file order.

        They are chosen by a hash of their texts, so that queries with the same (stripped) text stay together.

        Args:
            hold_out: Below 1 a share of the training queries, from 1 on a number of them; None changes nothing.

        Raises:
            UserError: There is no train split or there is a dev split; or no query would be left to train on.
        """
        if hold_out is None or hold_out == self.hold_out:
            return self
        train = self.split("train")
        if "dev" in self.qrels:
            what = "was held out already" if self.hold_out else "is there already"
            raise UserError(
                f"hold_out is {hold_out:g}, but a dev split {what} in collection '{self.name}' "
                f"({len(self.qrels['dev']):,} queries); leave hold_out out."
            )
        texts = self.queries.table["text"].take(pa.array(train.queries))
        dev = chosen(texts, target(hold_out, len(train)))
        if dev.all():
            raise UserError(
                f"hold_out is {hold_out:g}, which leaves none of the {len(train):,} training queries to train on "
                "(queries of one text stay together); make it smaller."
            )
        parts = {"train": train.select(train.queries[~dev]), "dev": train.select(train.queries[dev])}
        return replace(
            self,
            qrels=parts | {name: qrels for name, qrels in self.qrels.items() if name != "train"},
            fingerprint=derived(self.texts, float(hold_out), self.expansions),
            hold_out=float(hold_out),
            whole=self.texts,
        )
