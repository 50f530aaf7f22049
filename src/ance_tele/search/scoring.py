"""The unit of a teacher's work: a run of pairs to their logits, wherever it is done."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ance_tele.console.log import muted
from ance_tele.console.progress import Advance, progress
from ance_tele.data.collection import Collection
from ance_tele.data.ragged import offsets_of
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.shards import located, shards_of
from ance_tele.engine.executor import IN_PROCESS, Executor
from ance_tele.engine.work import Facts, Unit, Work, missing
from ance_tele.search.scorer import CrossEncoderScorer
from ance_tele.store.artefacts import build
from ance_tele.store.files import atomic
from ance_tele.store.tables import open_array, write_array


@dataclass(frozen=True)
class ScoreJob:
    """Pairs of a file to logits; a unit is the number of a part, its first pair, and the pair after its last.

    Attributes:
        model: Folder or hub name of the cross-encoder.
        config: Settings of the encoder, which decide how texts are joined and in which precision they are scored.
        collection: Folder of the collection.
        pairs: File of the rows of queries, ascending, and of passages, int64 [2, n].
        folder: Where the parts belong.
        reads: What decides the logits of a pair.
        of: What decides the pairs.
    """

    model: str
    config: dict[str, Any]
    collection: str
    pairs: str
    folder: str
    reads: dict[str, Any]
    of: dict[str, Any]
    _held: CrossEncoderScorer | None = field(default=None, compare=False)
    _advance: Advance = field(default=lambda pairs: None, compare=False)

    def path(self, unit: Unit) -> Path:
        """Return where the logits of a unit belong."""
        return Path(self.folder) / f"part-{unit[0]:05d}.npy"

    def inputs(self, unit: Unit) -> dict[str, Any]:
        """Return what decides the logits of a unit."""
        return {**self.of, **self.reads, "part": [unit[1], unit[2] - unit[1]]}

    def open(self) -> Work:
        """Load the cross-encoder, unless it is at hand; return what scores a part."""
        scorer = self._held
        if scorer is None:
            config = EncoderConfig(**{**self.config, "precision": self.reads["precision"]})
            scorer = CrossEncoderScorer(self.model, config, Collection.open(Path(self.collection)))
        pairs, again = open_array(Path(self.pairs)), False

        def work(unit: Unit) -> Facts:
            nonlocal again

            def make(target: Path) -> None:
                queries, passages = np.asarray(pairs[:, slice(*unit[1:])])
                asked, sizes = np.unique(queries, return_counts=True)
                write_array(target, scorer.logits(asked, offsets_of(sizes), passages, self._advance))

            with muted(again):  # why one part is made again is why all are
                manifest = build(self.path(unit), "part of teacher scores", self.inputs(unit), make)
            again = again or not manifest.reused
            return {}

        return work


def score_pairs(
    scorer: CrossEncoderScorer,
    queries: np.ndarray,
    passages: np.ndarray,
    folder: Path,
    of: dict[str, Any],
    size: int,
    executor: Executor = IN_PROCESS,
) -> np.ndarray:
    """Return the logits of pairs, float32 [n], scored in parts of which those in ``folder`` are taken over.

    Args:
        scorer: The cross-encoder.
        queries: Rows of the queries, int64 [n], ascending.
        passages: Rows of the passages, int [n].
        folder: Of the parts, to be removed by the caller.
        of: What decides the pairs.
        size: Pairs of a part.
        executor: Where parts are scored; it changes no logit.
    """
    if not len(queries):
        return np.empty(0, dtype=np.float32)
    file, units = folder / "pairs.npy", shards_of(len(queries), size)
    with atomic(file) as temporary:
        write_array(temporary, np.stack([queries, passages]).astype(np.int64))
    job = ScoreJob(
        located(scorer.name),
        dict(vars(scorer.config)),
        str(scorer.collection.folder.resolve()),
        str(file.resolve()),
        str(folder.resolve()),
        scorer.reads,
        of,
        _held=scorer,
    )
    absent = missing(job, units)
    elsewhere = executor if len(absent) > 1 else IN_PROCESS
    with progress("scoring by the teacher", len(queries), "pairs") as advance:
        advance(len(queries) - sum(stop - start for _, start, stop in absent))

        def done(unit: Unit, facts: Facts) -> None:
            if elsewhere is not IN_PROCESS:
                advance(unit[2] - unit[1])

        elsewhere.run(replace(job, _advance=advance), absent, done)
    return np.concatenate([open_array(job.path(unit)) for unit in units])
