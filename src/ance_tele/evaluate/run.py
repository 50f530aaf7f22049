"""A run: ranked passages per query."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ance_tele.console.errors import UserError
from ance_tele.data.formats.trec import read_trec_run

# As the bits of a float32: the largest subnormal number, and the largest finite one, counted from there.
_SUBNORMAL = 0x007FFFFF
_LARGEST = 0x7F7FFFFF - _SUBNORMAL


@dataclass(frozen=True)
class Run:
    """Ranked passages per query: score descending, then passage id ascending, in float32.

    Attributes:
        query_ids: Queries, in the order given.
        passage_ids: Ranked passage ids of each query.
        scores: Their scores, float32, descending.

    Example:
        >>> run = Run.from_dict({"q1": {"p1": 0.2, "p3": 0.7, "p2": 0.7}})
        >>> list(run.rankings())
        [('q1', ['p2', 'p3', 'p1'])]
    """

    query_ids: list[str]
    passage_ids: list[list[str]]
    scores: list[np.ndarray]

    @classmethod
    def from_dict(cls, run: Mapping[str, Mapping[str, float]]) -> "Run":
        """Rank ``{query id: {passage id: score}}``.

        Raises:
            UserError: A score is NaN.
        """
        ids, scores = [], []
        for query, ranking in run.items():
            names = list(ranking)
            values = np.array(list(ranking.values()), dtype=np.float32)
            if np.isnan(values).any():
                name = names[int(np.argmax(np.isnan(values)))]
                raise UserError(f"The score of passage '{name}' for query '{query}' is NaN.")
            # Not numpy's array of texts: each takes the room of the longest, and loses a NUL at its end.
            order = sorted(range(len(names)), key=list(zip((-values).tolist(), names, strict=True)).__getitem__)
            ids.append([names[place] for place in order])
            scores.append(values[np.array(order, dtype=np.int64)])
        return cls(list(run), ids, scores)

    def __len__(self) -> int:
        return len(self.query_ids)

    def rankings(self) -> Iterator[tuple[str, list[str]]]:
        """Yield each query id with its ranked passage ids."""
        yield from zip(self.query_ids, self.passage_ids, strict=True)

    def write_trec(self, path: Path, tag: str = "ance-tele") -> None:
        """Write the run in TREC format: query Q0 passage rank score tag.

        Scores are made strictly decreasing (:func:`falling`), so that every tool reads the same ranking.

        Raises:
            UserError: An id holds white space, which the format cannot carry.
        """
        tag = run_tag(tag)
        with path.open("w", encoding="utf-8") as file:
            for query, ids, scores in zip(self.query_ids, self.passage_ids, self.scores, strict=True):
                if len(f"{query} {' '.join(ids)}".split()) != 1 + len(ids):
                    wrong = next(f"'{query}' and '{each}'" for each in ids if len(f"{query} {each}".split()) != 2)
                    raise UserError(f"The ids {wrong} cannot stand in a TREC run: white space.")
                lines = enumerate(zip(ids, falling(scores).tolist(), strict=True), 1)
                file.writelines(f"{query} Q0 {passage} {rank} {score:.9g} {tag}\n" for rank, (passage, score) in lines)

    @classmethod
    def read_trec(cls, path: Path) -> "Run":
        """Read a run in TREC format, and rank it by score and id.

        Raises:
            UserError: A line has not six fields, its score is no finite number of 32 bits, or its passage was ranked
                for the query before; names file and line.
        """
        run: dict[str, dict[str, float]] = {}
        for number, query, passage, score in read_trec_run(path):
            if run.setdefault(query, {}).setdefault(passage, score) is not score:
                raise UserError(
                    f"{path.name} line {number} ranks passage '{passage}' for query '{query}', as a line before it "
                    "does; leave one of the two out."
                )
        return cls.from_dict(run)


def falling(scores: np.ndarray) -> np.ndarray:
    """Return strictly decreasing scores that are as close as possible to the given ones: float32 [k].

    Tools break ties differently: trec_eval by descending id, the MS MARCO script by ascending id, ranx by neither. A
    score that is not below the previous one becomes the next smaller float32, the smallest step that trec_eval
    distinguishes and nine digits preserve. All scores are finite and none is subnormal, since programs compiled with
    fast math read those as zero.

    Args:
        scores: In the order of the ranking, float [k].
    """
    # The bits of a float32, read as an integer, order as its magnitude: adjacent integers are adjacent floats.
    bits = np.asarray(scores, dtype=np.float32).view(np.int32).astype(np.int64)
    size = np.maximum((bits & 0x7FFFFFFF) - _SUBNORMAL, 0)
    steps = np.clip(np.where(bits < 0, -size, size), -_LARGEST, _LARGEST)
    place = np.arange(len(steps))
    steps = np.minimum.accumulate(steps + place) - place
    steps = np.maximum(steps, place[::-1] - _LARGEST)  # room for the following ones at the lower end of float32
    size = np.where(steps == 0, 0, np.abs(steps) + _SUBNORMAL)
    return np.copysign(size.astype(np.int32).view(np.float32), steps.astype(np.float32))


def run_tag(name: str) -> str:
    """Return a name as a TREC tag, which is one word: white space becomes "+"."""
    return "+".join(name.split()) or "ance-tele"
