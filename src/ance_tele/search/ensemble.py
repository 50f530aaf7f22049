"""Dense retrieval by an ensemble, whose newest member alone is encoded: the others' vectors are there already."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ance_tele.encode.corpus import encode_corpus
from ance_tele.encode.ensemble import members_of, newest_member
from ance_tele.encode.shards import EncodeJob, shards_of
from ance_tele.encode.vectors import Vectors, open_vectors
from ance_tele.engine.work import missing
from ance_tele.search.dense import DenseRetriever
from ance_tele.store.artefacts import build
from ance_tele.store.files import remove
from ance_tele.store.tables import write_array


class EnsembleRetriever(DenseRetriever):
    """An ensemble over the corpus of one collection.

    Args:
        given: Arguments of :class:`ance_tele.search.dense.DenseRetriever`.
        before: Folder of the corpus vectors of the ensemble without its newest member, and fingerprint of its weights;
            None for a first member.
        options: Its keyword arguments.
    """

    def __init__(self, *given: Any, before: tuple[Path, str] | None, **options: Any) -> None:
        super().__init__(*given, **options)
        self._before = before

    @property
    def vectors(self) -> Vectors:
        """Vectors of the corpus: those of the ensemble before, and beside them the newest member's, encoded now.

        Where those before are gone, all members encode.
        """
        if self._vectors is None:
            seconds = self._beside_those_before()
            found = super().vectors
            self._vectors = replace(found, seconds=found.seconds + seconds)
        return self._vectors

    def _beside_those_before(self) -> float:
        """Write the shards of all members; return how long the newest took to encode."""
        checkpoint, tokens, config = self.checkpoint, self.tokens.passages, self.config
        model, name = checkpoint.model, checkpoint.name
        job = EncodeJob.of(model, tokens, "document", config, self.folder, checkpoint.weights, "passages", name)
        absent = missing(job, shards_of(len(tokens), config.shard_passages))
        before = self._before and open_vectors(*self._before, tokens.key, len(tokens))
        if not absent or before is None:
            return 0.0
        members = members_of(model)
        place = None if name is None else newest_member(name, len(members))
        alone = self.folder / "newest"
        with checkpoint.explained():
            own = encode_corpus(members[-1], tokens, "document", config, alone, name=place, executor=self.executor)
        for unit in absent:
            rows = np.arange(*unit[1:])

            def make(target: Path, rows: np.ndarray = rows) -> None:
                write_array(target, np.concatenate([before.take(rows), own.take(rows)], axis=1))

            build(job.path(unit), "vectors", job.inputs(unit), make)
        remove(alone)
        return own.seconds

    def close(self, keep_vectors: bool) -> None:
        """Free the model's memory; the next ensemble takes the vectors up."""
        super().close(True)
