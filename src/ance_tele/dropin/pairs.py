"""A dataset of (anchor, positive) rows as a collection: distinct texts, and which pair each row is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset

from ance_tele.console.errors import UserError
from ance_tele.data.arrow import gather
from ance_tele.data.collection import Collection, Texts
from ance_tele.data.load import cache_folder, collection_from_dicts
from ance_tele.mining.config import MiningConfig
from ance_tele.runs.training_set import TrainingSet


@dataclass(frozen=True)
class Pairs:
    """The rows of a dataset as training queries and positives of a collection.

    Attributes:
        anchor: Name of the column of anchors.
        positive: Name of the column of positives.
        training: Distinct anchors in the order of their first rows, with the positives of all their rows.
        examples: For each row of the dataset its pair, an index into ``training.positives.passages``: int64 [rows].
        cache: Folder of Arrow files and tokens.
    """

    anchor: str
    positive: str
    training: TrainingSet
    examples: np.ndarray
    cache: Path

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        corpus: Sequence[str] | None = None,
        anchor: str | None = None,
        positive: str | None = None,
        cache: Path | None = None,
    ) -> "Pairs":
        """Read a dataset; equal anchors are one query, and the positives of all its rows are relevant to it.

        Args:
            dataset: With a column of anchors and one of positives.
            corpus: Texts to mine in addition to the positives.
            anchor: Column of anchors; the first by default.
            positive: Column of positives; the second by default.
            cache: Folder of Arrow files and tokens; that of the package by default.

        Raises:
            UserError: There is no such column or no row, or a text is empty or no string.
        """
        if not len(dataset):
            raise UserError("The dataset has no rows; give pairs of an anchor and a positive.")
        columns = list(dataset[0])  # as read: a transform may resolve ids to texts
        if len(columns) < 2:
            raise UserError(f"The dataset has the column {columns[0]} alone; it needs anchors and positives.")
        names = anchor or columns[0], positive or columns[1]
        for name in names:
            if name not in columns:
                raise UserError(f"The dataset has no column '{name}'; its columns are {', '.join(columns)}.")
        read = dataset[:]
        anchors, positives = (list(read[name]) for name in names)
        queries, passages = _numbered(anchors), _numbered([*(corpus or ()), *positives])
        rows = [(queries[query], passages[text]) for query, text in zip(anchors, positives, strict=True)]
        judged: dict[str, dict[str, int]] = {}
        for query, passage in rows:
            judged.setdefault(_id(query), {})[_id(passage)] = 1
        folder = cache or cache_folder()
        texts, asked = ({_id(row): text for text, row in numbers.items()} for numbers in (passages, queries))
        collection = collection_from_dicts(texts, asked, {"train": judged}, name="dataset", cache=folder)
        training = TrainingSet.of(collection, MiningConfig())
        width = len(passages)
        pairs = training.positives.owners * width + training.positives.passages
        order = np.argsort(pairs)
        wanted = np.array(rows, dtype=np.int64)
        examples = order[np.searchsorted(pairs[order], wanted[:, 0] * width + wanted[:, 1])]
        return cls(*names, training, examples, folder)

    @property
    def collection(self) -> Collection:
        """Distinct anchors and texts."""
        return self.training.collection


def texts_at(texts: Texts, rows: np.ndarray) -> list[str]:
    """Return the texts at some rows, int64 [n], in their order."""
    distinct, place = np.unique(rows, return_inverse=True)
    found = gather(texts.table["text"], distinct)
    return [found[number] for number in place.tolist()]


def _numbered(texts: Sequence[str]) -> dict[str, int]:
    """Return the number of each distinct text, in the order in which they come first."""
    return {text: number for number, text in enumerate(dict.fromkeys(texts))}


def _id(row: int) -> str:
    """Return an id whose order is that of rows, which breaks ties."""
    return f"{row:010d}"
