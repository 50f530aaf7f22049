"""Pairs and passages of a collection for a trainer of one's own, and what mining shows meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from datasets import Dataset
from sentence_transformers import SentenceTransformer

import ance_tele as at
from ance_tele.console.events import Bar
from ance_tele.runs.training_set import TrainingSet

CORPUS = {"p1": {"title": "Keys", "text": "A key opens a lock."}, "p2": "Old logs are rotated.", "p3": "A lock closes."}
QUERIES = {"q1": "what opens a lock?", "q2": "which logs are rotated?", "q3": "unjudged"}
QRELS = {"train": {"q1": {"p1": 1, "p3": 2, "p2": 0}, "q2": {"p2": 1}}, "dev": {"q2": {"p2": 1}}}


def test_each_relevant_pair_is_a_row_with_titles_in_front(tmp_path: Path) -> None:
    collection = at.collection_from_dicts(CORPUS, QUERIES, QRELS, cache=tmp_path)
    pairs, passages = at.pairs_of(collection)
    assert passages == ["Keys A key opens a lock.", "Old logs are rotated.", "A lock closes."]
    rows = [(row["anchor"], row["positive"]) for row in pairs]
    assert rows == [(QUERIES["q1"], passages[0]), (QUERIES["q1"], passages[2]), (QUERIES["q2"], passages[1])]
    assert len(at.pairs_of(collection, split="dev")[0]) == 1
    with pytest.raises(at.UserError, match="test"):
        at.pairs_of(collection, split="test")


def test_fewer_queries_are_those_that_a_run_takes(toy: Path) -> None:
    collection = at.load_collection(toy)
    pairs, _ = at.pairs_of(collection, max_queries=10)
    taken = TrainingSet.of(collection, at.MiningConfig(), 10).queries
    assert len(taken) == 10
    assert set(pairs["anchor"]) == {collection.queries[row]["text"] for row in taken}


@pytest.mark.parametrize("terminal", [True, False])
def test_mining_shows_bars_in_a_terminal_only(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    shown: list[str] = []

    class Shown:
        def __init__(self, *_: object) -> None: ...

        @contextmanager
        def showing(self, bar: Bar) -> Iterator[None]:
            shown.append(bar.what)
            yield

    stderr = SimpleNamespace(isatty=lambda: terminal)
    monkeypatch.setattr("ance_tele.console.progress.sys", SimpleNamespace(stderr=stderr))
    monkeypatch.setattr("ance_tele.console.progress.Display", Shown)
    pairs = Dataset.from_dict({"query": ["t1 u7", "t2 u8"], "answer": ["t1 u7 w9", "t2 u8 w5"]})
    model = SentenceTransformer(str(tiny_model), device="cpu")
    mined = at.mine_teleportation_negatives(pairs, model, corpus=["t1 w3", "t2 w4"], num_negatives=1, cache=tmp_path)
    wanted = {"encoding passages", "searching for anchors", "searching around positives", "mixing"}
    assert set(shown) >= wanted if terminal else not shown
    # Of four distinct texts three are not relevant to an anchor, in each of the two lists.
    assert repr(mined.pools) == "(Pool(2 queries, 12 negatives: {'query': 6, 'lookahead': 6}),)"
