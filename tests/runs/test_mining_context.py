"""What a run gives sources and filters to ask: searches of its mining checkpoint, for whatever is asked for."""

from pathlib import Path

import numpy as np
import pytest

from ance_tele.data.load import load_collection
from ance_tele.mining.sources import lookahead_anchors
from ance_tele.recipes import recipe
from ance_tele.runs.inputs import RunInputs
from ance_tele.runs.mine import mining_context, search


def test_passages_are_searched_whether_they_are_anchors_or_not(
    toy: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"depth": 7, "query_max_len": 16, "passage_max_len": 16, "precision": "float32"}
    inputs = RunInputs.of(recipe("ance-tele").with_settings(**settings), load_collection(toy), tiny_model, tmp_path)
    assert inputs.start is not None
    retriever, training, episode = inputs.retriever(inputs.start, 0), inputs.training_set(), next(inputs.episodes())
    searched = search(training, retriever, episode)
    context = mining_context(training, searched, retriever, inputs.bm25, episode)
    anchors = np.unique(lookahead_anchors(training.positives, "all")[0])
    others = np.setdiff1d(np.arange(len(inputs.collection.corpus)), anchors)[:5]
    for rows in (anchors, others, anchors[3:5]):
        found = context.search_passages(rows)
        exact = retriever.nearest(retriever.vectors.take(rows), 7)
        assert len(found) == len(rows)
        assert (found.passages.reshape(-1, 7) == exact.rows).all()
    monkeypatch.setattr("ance_tele.mining.storage.read_candidates", None)  # nothing that is held is read back
    assert context.search_queries() is context.search_queries()
    assert context.search_passages(anchors) is context.search_passages(anchors)
