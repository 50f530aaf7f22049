"""A dataset of (anchor, positive) rows as a collection: distinct texts, and which pair each row is."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from ance_tele.console.errors import UserError
from ance_tele.data.arrow import gather
from ance_tele.data.collection import Collection, Texts
from ance_tele.data.load import cache_folder, collection_from_dicts
from ance_tele.mining.config import MiningConfig
from ance_tele.runs.training_set import TrainingSet

log = logging.getLogger(__name__)

# Columns that sentence-transformers reads as labels, and those that are added.
_LABELS = ("label", "labels", "score", "scores")
_TAKEN = re.compile(rf"negative(_\d+)?|{'|'.join(_LABELS)}")


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
            UserError: It is no Dataset, there is no such column or no row, or a text is empty or no string.
        """
        if not isinstance(dataset, Dataset):
            raise UserError(
                f"The dataset is of type {type(dataset).__name__}; give one datasets.Dataset, such as "
                "dataset['train'] or Dataset.from_list(list(rows))."
            )
        if not len(dataset):
            raise UserError("The dataset has no rows; give pairs of an anchor and a positive.")
        names = _columns(list(dataset[0]), anchor, positive)  # as read: a transform may resolve ids to texts
        read = dataset[:]
        anchors, positives = (_texts(read[name], f"column '{name}'") for name in names)
        queries, passages = _numbered(anchors), _numbered([*_corpus(corpus), *positives])
        rows = [(queries[query], passages[text]) for query, text in zip(anchors, positives, strict=True)]
        judged: dict[str, dict[str, int]] = {}
        for query, passage in rows:
            judged.setdefault(_id(query), {})[_id(passage)] = 1
        folder = cache_folder() if cache is None else Path(cache)
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


def _columns(columns: Sequence[str], anchor: str | None, positive: str | None) -> tuple[str, str]:
    """Return the names of the columns of anchors and positives."""
    if len(columns) < 2:
        raise UserError(f"The dataset has the column {columns[0]} alone; it needs anchors and positives.")
    names = anchor or columns[0], positive or columns[1]
    for name in names:
        if name not in columns:
            raise UserError(f"The dataset has no column '{name}'; its columns are {', '.join(columns)}.")
        if _TAKEN.fullmatch(name):
            raise UserError(
                f"The column '{name}' holds anchors or positives, but negatives, labels and scores get this name; "
                "rename it, or name other columns by anchor_column_name and positive_column_name."
            )
    if names[0] == names[1]:
        raise UserError(
            f"Anchors and positives are both the column '{names[0]}'; name the other one too, by anchor_column_name "
            f"and positive_column_name: there are {', '.join(columns)}."
        )
    for name in set(columns) & set(_LABELS):
        log.warning(f"the column '{name}' is not read: every row is taken for a pair of an anchor and a positive")
    return names


def _corpus(corpus: Iterable[str] | None) -> list[str]:
    """Return the texts of a corpus; what would be read as other texts than were meant is refused."""
    if corpus is None:
        return []
    if isinstance(corpus, str | Mapping | Dataset) or not isinstance(corpus, Iterable):
        raise UserError(
            f"The corpus is of type {type(corpus).__name__}; give a list of texts, such as dataset['text'] or "
            "list(texts.values())."
        )
    return _texts(corpus, "the corpus")


def _texts(values: Iterable[Any], where: str) -> list[str]:
    """Return a list of texts, none of which is empty."""
    texts = list(values)
    for number, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"Row {number} of {where} is {text!r:.60}; it must be a text that is not empty.")
    return texts


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
