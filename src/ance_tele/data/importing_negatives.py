"""Import of the negatives and teacher scores of training files: resolved to rows, deduplicated, written as Arrow."""

from collections import Counter
from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ance_tele.data.arrow import table_of, write_arrow
from ance_tele.data.collection import Texts
from ance_tele.data.raw import Listed

# Rows resolved at a time: every look-up of ids takes a pass over all ids.
ROWS_PER_LOOK_UP = 1 << 20
LISTED = pa.schema(
    [
        ("query", pa.large_string()),
        ("passage", pa.large_string()),
        ("negative", pa.bool_()),
        ("score", pa.float32()),
        ("margin", pa.bool_()),
    ]
)
WRITTEN = pa.schema([("query", pa.int64()), ("passage", pa.int64()), ("score", pa.float32())])


class Columns(NamedTuple):
    """Listed passages as parallel arrays [n] in the order of the source; see :class:`Listed`."""

    query: np.ndarray
    passage: np.ndarray
    negative: np.ndarray
    score: np.ndarray
    margin: np.ndarray

    def take(self, places: np.ndarray) -> "Columns":
        """Return the entries at indices, or of a mask."""
        return Columns(*(column[places] for column in self))


def resolve(rows: Iterable[Listed], corpus: Texts, queries: Texts, where: str, notes: Counter[str]) -> Columns:
    """Resolve ids to rows; ids that are not in the collection are left out and counted in the notes.

    They are no problem as in judgements: lists of negatives often come from a larger collection.
    """
    parts, unknown = [], 0
    stream = iter(rows)
    while block := next(stream, None):
        table = table_of(chain([block], islice(stream, ROWS_PER_LOOK_UP - 1)), LISTED, where)
        query, passage = queries.rows(table["query"]), corpus.rows(table["passage"])
        kept = (query >= 0) & (passage >= 0)
        unknown += int((~kept).sum())
        rest = (table[name].to_numpy() for name in ("negative", "score", "margin"))
        parts.append(Columns(query, passage, *rest).take(kept))
    if unknown:
        notes[f"{where}: given passages or queries that are not in the collection, left out"] += unknown
    return joined(parts)


def joined(parts: Iterable[Columns]) -> Columns:
    """Concatenate columns."""
    none = Columns(*(np.empty(0, kind) for kind in (np.int64, np.int64, bool, np.float32, bool)))
    return Columns(*(np.concatenate(columns) for columns in zip(none, *parts, strict=True)))


def write_listed(
    found: Columns, relevant: tuple[np.ndarray, np.ndarray], folder: Path, where: str, digest: Any, notes: Counter[str]
) -> None:
    """Write ``negatives.arrow`` and ``teacher.arrow``, by query in ascending order; no file where there is nothing.

    Negatives that are relevant to their query are left out and counted; of repeated pairs the first counts. Margins are
    kept for queries with one relevant passage only, since they refer to that passage.

    ``relevant`` are rows of queries and of passages; ``digest`` is updated with what is written, ``notes`` with counts,
    under the name ``where`` of the source.
    """
    width = 1 + max(int(found.passage.max(initial=0)), int(relevant[1].max(initial=0)))
    key = found.query * width + found.passage
    positive = np.isin(key, relevant[0] * width + relevant[1])
    negatives = _once(found.query, key, found.negative & ~positive)
    dropped = len(np.unique(key[found.negative & positive]))
    if dropped:
        notes[f"{where}: given negatives that are relevant passages of their query, left out"] += dropped

    scored = ~np.isnan(found.score)
    pairs = np.unique(np.stack(relevant), axis=1)[0]  # a pair may be judged in several splits
    several, counts = np.unique(pairs, return_counts=True)
    loose = scored & found.margin & np.isin(found.query, several[counts > 1])
    if loose.any():
        notes[f"{where}: margins of queries with several relevant passages, not used"] += int(loose.sum())
    teacher = _once(found.query, key, scored & ~loose)
    scores = np.full(len(negatives), np.nan, dtype=np.float32)
    if len(teacher):
        again = np.flatnonzero(scored & ~loose)
        if other := int((found.score[again] != found.score[_kept(key, teacher, key[again])]).sum()):
            notes[f"{where}: scores of a pair that had another before, which is kept"] += other
        kept = _kept(key, teacher, key[negatives])
        scores = np.where(key[kept] == key[negatives], found.score[kept], scores)
    for name, places, score in (("negatives", negatives, scores), ("teacher", teacher, found.score[teacher])):
        if len(places):
            columns = found.query[places], found.passage[places], score
            batch = pa.record_batch(list(map(pa.array, columns)), WRITTEN)
            write_arrow(folder / f"{name}.arrow", WRITTEN, [batch])
            digest.update(f"{name}\0{len(places)}\0".encode() + b"".join(column.tobytes() for column in columns))


def _once(query: np.ndarray, key: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the indices of the wanted pairs without repeats, ordered by query, then by place in the source."""
    places = np.flatnonzero(wanted)
    first = np.sort(places[np.unique(key[places], return_index=True)[1]])
    return first[np.argsort(query[first], kind="stable")]


def _kept(key: np.ndarray, kept: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the index among ``kept`` of each wanted pair; an arbitrary one if it is not there."""
    order = kept[np.argsort(key[kept])]
    return order[np.minimum(np.searchsorted(key[order], wanted), len(order) - 1)]
