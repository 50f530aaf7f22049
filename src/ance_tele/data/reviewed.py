"""A review resolved in a collection: which pairs of query and passage are used, and how."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection
from ance_tele.data.grades import ReviewAs, ReviewUse
from ance_tele.data.relabelling import Relabelled, is_relabelling, read_relabelled
from ance_tele.data.review import Verdict, read_review
from ance_tele.store.fingerprints import fingerprint

Pairs = tuple[np.ndarray, np.ndarray]
"""Rows of queries and of their passages, int64 [n] each, distinct and ascending."""


@dataclass(frozen=True)
class Review:
    """The pairs of a review, as rows of a collection.

    Attributes:
        path: Where it was read from.
        uses: What becomes of the pairs.
        relevant: Pairs with the verdict "relevant".
        doubtful: Pairs with the verdict "unsure".
        dropped: Pairs with the verdict "negative" that the training judgements have as relevant.
        irrelevant: Number of all pairs with the verdict "negative".
        left_out: Number of pairs of other queries than training queries, or of other passages.
        scale: Description of the grades; "" without grades.
        verdicts: Those that decide anything, in the order of the file.
    """

    path: Path
    uses: ReviewUse
    relevant: Pairs
    doubtful: Pairs
    dropped: Pairs
    irrelevant: int
    left_out: int
    scale: str
    verdicts: tuple[Verdict, ...]

    @property
    def fingerprint(self) -> str:
        """sha-256 (hex) of the pairs that decide anything, and their use."""
        parts: list[object] = [self.uses.relevant, _ids(self.verdicts, "relevant")]
        for verdict, use in (("unsure", self.uses.doubtful), ("negative", self.uses.irrelevant)):
            if use != "keep":
                parts += [verdict, _ids(self.verdicts, verdict), *([use] if isinstance(use, float) else [])]
        return fingerprint(parts)

    @property
    def excluded(self) -> Pairs:
        """Pairs that are no negatives, and no positives either."""
        parts = [self.relevant] * (self.uses.relevant == "exclude") + [self.doubtful] * (
            self.uses.doubtful == "exclude"
        )
        return _joined(parts)

    @property
    def line(self) -> str:
        """Log line: what was done with how many."""
        what = "never drawn as negatives" if self.uses.relevant == "exclude" else "further positives"
        parts = [f"{len(self.relevant[0]):,} passages called relevant, {what}"]
        if count := len(self.doubtful[0]):
            use = self.uses.doubtful
            becomes = f"which count as {use:g} of a negative" if isinstance(use, float) else _DOUBTFUL[use]
            parts.append(f"{count:,} doubtful, {becomes}")
        if self.irrelevant:
            own = len(self.dropped[0])
            judged = f", {own:,} of them relevant by the data, {_IRRELEVANT[self.uses.irrelevant]}" if own else ""
            parts.append(f"{self.irrelevant:,} irrelevant{judged}")
        if self.left_out:
            parts.append(f"{self.left_out:,} left out, of queries that are none of the training, or unknown passages")
        return f"review {self.path}{f' ({self.scale})' if self.scale else ''}: {'; '.join(parts)}"


_DOUBTFUL: Mapping[str, str] = {"keep": "used as if there were no verdict", "exclude": "never drawn as negatives"}
_IRRELEVANT: Mapping[str, str] = {"keep": "which stay positives", "drop": "which are dropped as positives"}


def load_review(path: str | Path, collection: Collection, use: ReviewAs | ReviewUse = "exclude") -> Review:
    """Read a review, or a file of a relabelling project, and resolve its ids in a collection.

    What a review of ours names must be there; of the files of others, pairs of other queries or passages are left out
    and counted.

    Raises:
        UserError: The file is no review, or not one of this collection's training queries.
    """
    path, uses = Path(path), use if isinstance(use, ReviewUse) else ReviewUse(use)
    ours = not is_relabelling(path)
    found = Relabelled(read_review(path), None) if ours else read_relabelled(path, uses.grades)
    rows = found.verdicts
    queries = collection.queries.rows([row.query_id for row in rows])
    passages = collection.corpus.rows([row.passage_id for row in rows])
    training = collection.split("train")
    known = (passages >= 0) & np.isin(queries, training.queries)
    if ours:
        where = f"collection '{collection.name}'"
        _refuse(path, rows, queries < 0, "query_id", f"no query of {where}")
        _refuse(path, rows, passages < 0, "passage_id", f"no passage of {where}")
        _refuse(path, rows, ~known, "query_id", f"no training query of {where}")
    elif not known.any():
        raise UserError(
            f"None of the {len(rows):,} verdicts of {path} is of a training query and a passage of collection "
            f"'{collection.name}'; is it of other data?"
        )
    verdicts = np.array([row.verdict for row in rows], dtype=object)
    pairs = {verdict: _distinct(queries, passages, known & (verdicts == verdict)) for verdict in _WANTED}
    width, relevant = len(collection.corpus), training.relevant()
    judged = np.isin(queries * width + passages, relevant.owners * width + relevant.passages)
    dropping = known & (verdicts == "negative") & judged
    decide = known & (verdicts == "relevant")
    decide |= known & (verdicts == "unsure") & (uses.doubtful != "keep")
    decide |= dropping & (uses.irrelevant != "keep")
    return Review(
        path,
        uses,
        pairs["relevant"],
        pairs["unsure"],
        _distinct(queries, passages, dropping),
        len(pairs["negative"][0]),
        int((~known).sum()),
        "" if found.scale is None else found.scale.words,
        tuple(row for row, kept in zip(rows, decide.tolist(), strict=True) if kept),
    )


_WANTED = ("relevant", "unsure", "negative")


def _distinct(queries: np.ndarray, passages: np.ndarray, chosen: np.ndarray) -> Pairs:
    pairs = np.unique(np.stack([queries[chosen], passages[chosen]], axis=1), axis=0)
    return pairs[:, 0], pairs[:, 1]


def _joined(parts: Sequence[Pairs]) -> Pairs:
    none = np.empty(0, dtype=np.int64)
    return np.concatenate([none, *(part[0] for part in parts)]), np.concatenate([none, *(part[1] for part in parts)])


def _ids(verdicts: Sequence[Verdict], verdict: str) -> list[tuple[str, str]]:
    return sorted({(row.query_id, row.passage_id) for row in verdicts if row.verdict == verdict})


def _refuse(path: Path, rows: Sequence[Verdict], wrong: np.ndarray, column: str, what: str) -> None:
    if wrong.any():
        first, count = rows[int(np.argmax(wrong))], int(wrong.sum())
        more = "" if count == 1 else f", and {count - 1:,} more like it"
        raise UserError(
            f"{path} line {first.line} has the {column} '{getattr(first, column)}', which is {what}{more} "
            f"({count:,} of {len(rows):,} rows); is this a review of other data?"
        )
