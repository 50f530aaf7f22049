"""A run: passages ranked once per query, for every metric to read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ance_tele.data.errors import UserError


@dataclass(frozen=True)
class Run:
    """Ranked passages per query: score descending, then passage id ascending, in float32.

    Attributes:
        query_ids: Queries, in the order given.
        passage_ids: Ranked passage ids of each query.
        scores: Their scores, float32, descending.
    """

    query_ids: list[str]
    passage_ids: list[list[str]]
    scores: list[np.ndarray]

    @classmethod
    def from_dict(cls, run: Mapping[str, Mapping[str, float]]) -> "Run":
        """Rank ``{query id: {passage id: score}}``."""
        ids, scores = [], []
        for ranking in run.values():
            names = np.array(list(ranking), dtype=str)
            values = np.array(list(ranking.values()), dtype=np.float32)
            order = np.lexsort((names, -values))
            ids.append(names[order].tolist())
            scores.append(values[order])
        return cls(list(run), ids, scores)

    def __len__(self) -> int:
        return len(self.query_ids)

    def rankings(self) -> Iterator[tuple[str, list[str]]]:
        """Yield each query id with its ranked passage ids."""
        yield from zip(self.query_ids, self.passage_ids, strict=True)

    def write_trec(self, path: Path, tag: str = "ance-tele") -> None:
        """Write the run in TREC format: query Q0 passage rank score tag.

        Raises:
            UserError: An id holds white space, which the format cannot carry.
        """
        with path.open("w", encoding="utf-8") as file:
            for query, ids, scores in zip(self.query_ids, self.passage_ids, self.scores, strict=True):
                if len(f"{query} {' '.join(ids)}".split()) != 1 + len(ids):
                    wrong = next(f"'{query}' and '{each}'" for each in ids if len(f"{query} {each}".split()) != 2)
                    raise UserError(f"The ids {wrong} cannot stand in a TREC run: white space.")
                lines = enumerate(zip(ids, scores.tolist(), strict=True), 1)
                file.writelines(f"{query} Q0 {passage} {rank} {score:.9g} {tag}\n" for rank, (passage, score) in lines)

    @classmethod
    def read_trec(cls, path: Path) -> "Run":
        """Read a run in TREC format, ranking it anew.

        Raises:
            UserError: A line has not six fields, or its score is no number.
        """
        run: dict[str, dict[str, float]] = {}
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                parts = line.split()
                try:
                    query, _, passage, _, score, _ = parts
                    run.setdefault(query, {})[passage] = float(score)
                except ValueError:
                    raise UserError(
                        f"{path.name} line {number} is not a line of a TREC run (query Q0 passage rank score tag)."
                    ) from None
        return cls.from_dict(run)
