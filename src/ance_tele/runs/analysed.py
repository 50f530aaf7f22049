"""The results of an analysis, read back: ``analysis/``, ``elsewhere/``, ``merged/``; missing parts are empty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ance_tele.console.errors import UserError
from ance_tele.console.numbers import number
from ance_tele.data.reasons import current_reasons
from ance_tele.runs.merged import MERGED, MergeSummary
from ance_tele.runs.out_of_domain import OutOfDomain
from ance_tele.store.files import read_json, read_json_object
from ance_tele.store.records import decode, decode_list

if TYPE_CHECKING:
    import numpy as np

AGAIN = "write it again with `ance-tele report`, or delete it to have the report without it"
SHOWN_SUSPECTS = 20
"""How many suspects are read."""


@dataclass(frozen=True)
class Trajectories:
    """The reciprocal rank of each training query by checkpoint.

    Attributes:
        mrr: (n, E + 1), float.
        lost: Sum of its decreases by query, (n), float.
    """

    ids: Sequence[str]
    mrr: np.ndarray
    lost: np.ndarray

    @property
    def fell(self) -> np.ndarray:
        """Which queries did worse in some episode, bool (n)."""
        return cast("np.ndarray", (self.mrr[:, 1:] < self.mrr[:, :-1]).any(axis=1))

    @property
    def below_best(self) -> np.ndarray:
        """Which queries end below their best, bool (n)."""
        return cast("np.ndarray", self.mrr[:, -1] < self.mrr.max(axis=1))


@dataclass(frozen=True)
class Learned:
    """Shares of the training queries that did worse, better and the same after an episode."""

    episode: int
    forgotten: float
    learned: float | None = None
    unchanged: float | None = None


@dataclass(frozen=True)
class New:
    """The share of new negatives in a round, and the share of these (and of random passages) near a positive."""

    round: int
    new: float
    near_positive: float | None = None
    random: float | None = None


@dataclass(frozen=True)
class Swing:
    """The negatives of a round that left in the next one and came back in the one after."""

    round: int
    share: float
    count: int | None = None


@dataclass(frozen=True)
class Dynamics:
    """``analysis/dynamics.json``; ``composition`` is read by :meth:`composed`."""

    metric: str | None = None
    queries: int | None = None
    rounds: tuple[Mapping[str, Any], ...] = ()
    learning: tuple[Learned, ...] = ()
    composition: Mapping[str, Any] = field(default_factory=dict)
    new: tuple[New, ...] = ()
    swing: tuple[Swing, ...] = ()

    @property
    def lexical(self) -> bool:
        """Whether BM25 mined the first round."""
        return any(one.get("source") == "bm25" for one in self.rounds[:1])

    @property
    def most_swing(self) -> Swing | None:
        """The round with the largest swing."""
        return max(self.swing, key=lambda one: one.share, default=None)

    def composed(self, name: str) -> list[tuple[int, dict[str, float]]]:
        """Return the bars of a composition: round or episode, and shares.

        Args:
            name: "mined" (by round) and "pools" (by episode): by the round that met a negative first; "sources" and
                "origins": by source.
        """
        listed = self.composition.get(name)
        bars = []
        for one in listed if isinstance(listed, list) else []:
            place = number(one.get("round" if name == "mined" else "episode")) if isinstance(one, Mapping) else None
            shares = one.get("first") if name in ("mined", "pools") and place is not None else one
            if place is not None and isinstance(shares, Mapping):
                known = {str(key): number(value) for key, value in shares.items() if key not in _NO_SHARES}
                bars.append((int(place), {key: value for key, value in known.items() if value is not None}))
        return [(place, shares) for place, shares in bars if shares]


_NO_SHARES = ("round", "episode", "size")


@dataclass(frozen=True)
class SourceSuspects:
    """Suspects of a source."""

    pairs: int | None
    suspects: int | None
    share: float | None


@dataclass(frozen=True)
class Suspects:
    """``analysis/suspects.json``: pairs of query and negative that are probably false, by source and reason."""

    pairs: int | None = None
    suspects: int | None = None
    by_source: Mapping[str, SourceSuspects] = field(default_factory=dict)
    by_reason: Mapping[str, int] = field(default_factory=dict)

    @property
    def share(self) -> float | None:
        """The share of all pairs."""
        return self.suspects / self.pairs if self.pairs and self.suspects is not None else None

    @property
    def most_suspect(self) -> tuple[str, float] | None:
        """The source with the highest share, where there are several."""
        known = {name: one.share for name, one in self.by_source.items() if one.share is not None}
        return max(known.items(), key=lambda one: one[1]) if len(known) > 1 else None


@dataclass(frozen=True)
class Point:
    """A point of the projection."""

    kind: str
    id: str | None
    episode: int
    x: float
    y: float


@dataclass(frozen=True)
class Projection:
    """``analysis/projection.json``: a query, its positives and swinging negatives on a plane, by episode."""

    query_id: str | None = None
    query: str | None = None
    start: int | None = None
    points: tuple[Point, ...] = ()


@dataclass(frozen=True)
class Passage:
    """A passage of a case; for a negative, its class, its rank by round, and words that it shares with the query."""

    id: str | None
    title: str | None
    text: str | None
    words: tuple[str, ...]
    ranks: Mapping[str, Any]
    kind: str | None = field(metadata={"key": "class"}, default=None)


@dataclass(frozen=True)
class Case:
    """An entry of ``analysis/cases.json``."""

    query_id: str | None
    query: str | None
    mrr: Mapping[str, float]
    positives: tuple[Passage, ...]
    negatives: tuple[Passage, ...]

    @property
    def by_episode(self) -> list[tuple[int, float]]:
        """The reciprocal rank of the query's best positive by checkpoint."""
        return sorted((int(name), value) for name, value in self.mrr.items() if name.isdigit())

    @property
    def rounds(self) -> list[int]:
        """The rounds with known ranks."""
        return sorted({int(name) for one in self.negatives for name in one.ranks if name.isdigit()})


@dataclass(frozen=True)
class Analysis:
    """All results; ``done`` is False without an analysis."""

    done: bool = False
    dynamics: Dynamics = field(default_factory=Dynamics)
    trajectories: Trajectories | None = None
    suspects: Suspects = field(default_factory=Suspects)
    suspect_rows: Sequence[Mapping[str, Any]] = ()
    cases: Sequence[Case] = ()
    projection: Projection = field(default_factory=Projection)
    out_of_domain: Sequence[OutOfDomain] = ()
    merge: MergeSummary | None = None

    @classmethod
    def read(cls, run: Path) -> Analysis:
        """Read what a run folder has of it.

        Raises:
            UserError: A file is broken; the message says which, and what to do.
        """
        folder = Path(run) / "analysis"
        cases = folder / "cases.json"
        others = [path for path in sorted((Path(run) / "elsewhere").glob("*.json")) if ".manifest." not in path.name]
        return cls(
            done=(folder / "dynamics.json").is_file(),
            dynamics=decode(Dynamics, _object(folder / "dynamics.json")),
            trajectories=_trajectories(folder / "per_query.parquet"),
            suspects=_renamed(decode(Suspects, _object(folder / "suspects.json"))),
            suspect_rows=_first_rows(folder / "suspects.parquet", SHOWN_SUSPECTS),
            cases=decode_list(Case, read_json(cases, AGAIN)) if cases.is_file() else (),
            projection=decode(Projection, _object(folder / "projection.json")),
            out_of_domain=[decode(OutOfDomain, _object(path)) for path in others],
            merge=_merge(Path(run) / MERGED / "merge.json"),
        )


def _merge(path: Path) -> MergeSummary | None:
    found = _object(path)
    try:
        return decode(MergeSummary, found) if found else None
    except ValueError:
        raise UserError(f"{path} is no merge: write it again with `ance-tele merge`, or delete it.") from None


def _object(path: Path) -> Mapping[str, Any]:
    return read_json_object(path, AGAIN) if path.is_file() else {}


def _trajectories(path: Path) -> Trajectories | None:
    if not path.is_file():
        return None
    import numpy as np

    with _table(path) as file:
        columns = sorted((n for n in file.schema_arrow.names if n.startswith("mrr_")), key=lambda n: int(n[4:]))
        table = file.read(["query_id", *columns, "lost"])
    mrr = np.column_stack([table[name].to_numpy() for name in columns]) if columns else np.empty((table.num_rows, 0))
    if mrr.shape[1] < 2 or not len(mrr):
        return None
    return Trajectories(table["query_id"].to_pylist(), mrr, table["lost"].to_numpy())


def _first_rows(path: Path, amount: int) -> list[Mapping[str, Any]]:
    if not path.is_file():
        return []
    with _table(path) as file:
        rows: list[dict[str, Any]] = next((b.to_pylist() for b in file.iter_batches(batch_size=amount)), [])
    return [{**row, "reasons": current_reasons(row.get("reasons") or "")} for row in rows]


def _renamed(suspects: Suspects) -> Suspects:
    counts = {current_reasons(name): count for name, count in suspects.by_reason.items()}
    return replace(suspects, by_reason=counts)


@contextmanager
def _table(path: Path) -> Iterator[Any]:
    """Open a Parquet file; errors become one sentence."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except Exception as error:
        trouble = " ".join(str(error).split())[:120]
        raise UserError(f"{path} is not a table this version can read ({trouble}): {AGAIN}.") from error
