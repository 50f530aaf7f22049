"""Example questions for the first page: queries of the split that the run is evaluated on."""

import numpy as np
import pyarrow as pa

from ance_tele.data.collection import Collection

COUNT = 6
LONGEST = 160  # characters
LOOKED_AT = 1000  # queries, of a split of any size


def examples(collection: Collection, split: str) -> list[str]:
    """Return the texts of a few judged queries, spread evenly over a split, always the same; [] without such a split.

    Empty, long and repeated texts are passed over.
    """
    judged = collection.qrels.get(split)
    if judged is None or not len(judged.queries):
        return []
    rows = _spread(judged.queries, LOOKED_AT)
    texts = collection.queries.table["text"].take(pa.array(rows)).to_pylist()
    short = dict.fromkeys(text.strip() for text in texts if 0 < len(text.strip()) <= LONGEST)
    return [str(text) for text in _spread(np.array([*short], dtype=object), COUNT)]


def _spread(items: np.ndarray, count: int) -> np.ndarray:
    """Return at most ``count`` items, evenly spread."""
    if len(items) <= count:
        return items
    found: np.ndarray = items[np.linspace(0, len(items) - 1, count).astype(np.int64)]
    return found
