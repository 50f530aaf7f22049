"""The negatives that a trainer reads: a table of rows of the corpus, exchanged while its data loader exists."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset

from ance_tele.console.errors import UserError
from ance_tele.data.arrow import read_arrow
from ance_tele.data.collection import Texts
from ance_tele.data.ragged import owners
from ance_tele.dropin.pairs import Pairs, texts_at

ROW = "row"
"""The only column of the dataset itself: everything else is read by it."""

UNMINED = "(mined while training)"
"""Stands for a negative until there are any: sentence-transformers reads examples for its model card."""


class Served:
    """The negatives of each row of a dataset, and a teacher's scores.

    Attributes:
        table: Rows of the corpus, int32 [rows, negatives]; -1 before the first mining.
        labels: A teacher's scores of the positive and the negatives, float32 [rows, 1 + negatives]; None without.
        attached: A trainer has the callback that mines.
        last: The rows of the dataset that were read last.
    """

    def __init__(self, rows: int, negatives: int, labelled: bool) -> None:
        self.table = torch.full((rows, negatives), -1, dtype=torch.int32)
        self.labels = torch.zeros((rows, 1 + negatives)) if labelled else None
        self.attached, self.last = False, list[int]()

    def share(self) -> None:
        """Move the tables to memory that worker processes share, so that those that live on see what is exchanged."""
        self.table.share_memory_()
        if self.labels is not None:
            self.labels.share_memory_()

    def exchange(self, table: np.ndarray, labels: np.ndarray | None, kept: np.ndarray | None = None) -> None:
        """Put other negatives and scores in place, except for some rows of the dataset, int64 [n]."""
        change = np.ones(len(table), dtype=bool)
        if kept is not None:
            change[kept] = False
        rows = torch.from_numpy(np.flatnonzero(change))
        self.table[rows] = torch.from_numpy(table.astype(np.int32))[rows]
        if self.labels is not None and labels is not None:
            self.labels[rows] = torch.from_numpy(labels.astype(np.float32))[rows]


class Resolve:
    """Returns anchors, positives and negatives of rows as texts; the transform of the trainer's dataset.

    Texts are read from memory-mapped files, which worker processes open anew, rather than get copies of them.
    """

    def __init__(self, pairs: Pairs, served: Served) -> None:
        self.served, self.folder, self.names = served, pairs.collection.folder, (pairs.anchor, pairs.positive)
        positives = pairs.training.positives
        self.anchors = positives.queries[owners(positives.offsets)][pairs.examples].astype(np.int32)
        self.positives = positives.passages[pairs.examples].astype(np.int32)

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Return the columns of a batch of rows."""
        rows = np.array(batch[ROW], dtype=np.int64)
        table = self.served.table[torch.from_numpy(rows)].numpy()
        self.served.last = rows.tolist()
        anchor, positive = self.names
        read: dict[str, list[Any]] = {
            anchor: texts_at(self._queries, self.anchors[rows]),
            positive: texts_at(self._corpus, self.positives[rows]),
        }
        if (table < 0).any():
            if not self.served.attached:
                raise UserError(
                    "Nothing has been mined for this dataset yet; give the trainer its callback: callbacks=[callback]."
                )
            missing = [UNMINED] * len(rows)
            return read | {f"negative_{number + 1}": missing for number in range(table.shape[1])} | self._labels(rows)
        for number in range(table.shape[1]):
            read[f"negative_{number + 1}"] = texts_at(self._corpus, table[:, number])
        return read | self._labels(rows)

    def _labels(self, rows: np.ndarray) -> dict[str, list[Any]]:
        labels = self.served.labels
        return {} if labels is None else {"label": labels[torch.from_numpy(rows)].tolist()}

    @cached_property
    def _queries(self) -> Texts:
        return _open(self.folder, "queries")

    @cached_property
    def _corpus(self) -> Texts:
        return _open(self.folder, "corpus")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_queries", "_corpus")}

    def __deepcopy__(self, memo: dict[int, Any]) -> "Resolve":
        return self  # copies of a dataset read the same tables


def served_dataset(resolve: Resolve) -> Dataset:
    """Return the dataset for the trainer: its rows are numbers, and ``resolve`` reads the texts."""
    dataset = Dataset(pa.table({ROW: np.arange(len(resolve.anchors))}))
    dataset.set_transform(resolve)
    return dataset


def _open(folder: Path, part: str) -> Texts:
    return Texts(read_arrow(folder / f"{part}.arrow"))
