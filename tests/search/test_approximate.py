"""Approximate search: against an exact one, by hand, and in a whole run that it must not reach beyond mining."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.encode.vectors import Vectors
from ance_tele.mining.config import MiningConfig
from ance_tele.recipes import recipe
from ance_tele.report.conditions import description
from ance_tele.runs.summary import Summary
from ance_tele.search import approximate
from ance_tele.search.approximate import approximate_topk, default_probes, number_of_lists, recall_of_exact
from ance_tele.search.topk import TopK, exact_topk
from ance_tele.store.manifests import read_manifest

pytestmark = pytest.mark.usefixtures("undrawn")

ALL = 1 << 20


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small corpora be searched approximately."""
    monkeypatch.setattr(approximate, "FEW", 1)


def drawn(count: int, dimension: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)


def held(vectors: np.ndarray, *cuts: int) -> Vectors:
    return Vectors(tuple(np.split(vectors, cuts)), "")


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1 << 20),
    count=st.integers(1, 400),
    k=st.integers(1, 450),
    block=st.sampled_from([7, 64, 1000]),
    chunk=st.sampled_from([1, 3, 64]),
)
def test_with_all_lists_it_is_exact(seed: int, count: int, k: int, block: int, chunk: int) -> None:
    """Small whole numbers: products are exact, so scores are the same; who ties at the cut may differ."""
    rng = np.random.default_rng(seed)
    vectors = held(rng.integers(-9, 10, (count, 8)).astype(np.float32), count // 3)
    queries = rng.integers(-9, 10, (5, 8)).astype(np.float32)
    rank = rng.permutation(count)
    found = approximate_topk(queries, vectors, k, rank, ALL, "cpu", block, chunk)
    exact = exact_topk(queries, vectors, k, rank)
    assert np.array_equal(found.scores, exact.scores) and found.rows.shape == exact.rows.shape
    inside = exact.scores > exact.scores[:, -1:]
    assert np.array_equal(found.rows[inside], exact.rows[inside])
    assert recall_of_exact(found, lambda some: queries[some], vectors, rank) == 1.0
    order = np.lexsort((rank[found.rows], -found.scores), axis=1)
    assert np.array_equal(order, np.broadcast_to(np.arange(order.shape[1]), order.shape))


def test_ties_go_to_the_lower_id() -> None:
    vectors = np.repeat(drawn(20, 96), 10, axis=0)
    rank = np.random.default_rng(1).permutation(200)
    queries = drawn(6, 96, 2)
    found = approximate_topk(queries, held(vectors, 50), 10, rank, probes=ALL, block_rows=30)
    best = (queries @ vectors.T).argmax(axis=1)
    for line, row in zip(found.rows, best, strict=True):
        copies = np.flatnonzero((vectors == vectors[row]).all(axis=1))
        assert line.tolist() == copies[np.argsort(rank[copies])].tolist()


def test_the_engine_says_what_searched_and_finds_the_same_again() -> None:
    vectors, queries = held(drawn(1500), 700), drawn(20, seed=1)
    first, second = (approximate_topk(queries, vectors, 20, block_rows=400) for _ in range(2))
    assert first.engine == "faiss ivf"
    assert (first.rows.dtype, first.scores.dtype) == (np.int64, np.float32)
    assert np.array_equal(first.rows, second.rows) and np.array_equal(first.scores, second.scores)
    np.testing.assert_allclose(
        first.scores, np.take_along_axis(queries @ vectors.take(np.arange(1500)).T, first.rows, 1), rtol=1e-4, atol=1e-5
    )


def test_more_probes_find_more() -> None:
    vectors, queries = held(drawn(3000)), drawn(50, seed=1)
    recall = []
    for probes in (1, ALL):
        found = approximate_topk(queries, vectors, 10, probes=probes)
        exact = exact_topk(queries, vectors, 10)
        by_hand = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.rows, exact.rows, strict=True)])
        recall.append(recall_of_exact(found, lambda some: queries[some], vectors))
        assert recall[-1] == pytest.approx(by_hand)
    assert recall[0] < recall[1] and recall[1] > 0.99


def test_a_sample_measures_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "SAMPLE", 8)
    vectors, queries, asked = held(drawn(300)), drawn(40, seed=1), []
    exact = exact_topk(queries, vectors, 4)
    rows = exact.rows.copy()
    rows[:, 3] = -1
    found = TopK(rows, exact.scores, "faiss ivf")

    def of(some: np.ndarray) -> np.ndarray:
        asked.append(some.tolist())
        return queries[some]

    assert recall_of_exact(found, of, vectors) == recall_of_exact(found, of, vectors) == 0.75
    assert asked[0] == asked[1] == sorted(set(asked[0])) and len(asked[0]) == 8
    assert recall_of_exact(TopK(rows, exact.scores, "faiss"), of, vectors) == 1.0 and len(asked) == 2


def test_a_copy_stands_for_another_when_recall_is_measured() -> None:
    vectors, queries = held(np.repeat(drawn(10, 96), 30, axis=0)), drawn(5, 96, 1)
    exact = exact_topk(queries, vectors, 10)
    found = TopK(exact.rows + 10, exact.scores, "faiss ivf")  # ten other copies of the best
    assert recall_of_exact(found, lambda some: queries[some], vectors) == 1.0


def test_fewer_than_k() -> None:
    vectors = held(drawn(640))
    found = approximate_topk(drawn(9, seed=1), vectors, 300, probes=1)
    missing = found.rows < 0
    assert missing.any() and found.rows.shape == (9, 300)
    assert (np.diff(missing.astype(int), axis=1) >= 0).all()  # last
    assert np.array_equal(np.isneginf(found.scores), missing)
    for line in found.rows:
        assert len(set(line[line >= 0])) == (line >= 0).sum() > 0


def test_small_corpora_are_searched_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "FEW", 201)
    vectors, queries = held(drawn(200)), drawn(3, seed=1)
    found, exact = approximate_topk(queries, vectors, 250, probes=1), exact_topk(queries, vectors, 250)
    assert found.engine == exact.engine and np.array_equal(found.rows, exact.rows)
    assert recall_of_exact(found, lambda some: queries[some], vectors) == 1.0


def test_a_diverged_model_is_told() -> None:
    vectors = drawn(200)
    for bad in (np.nan, np.inf):
        broken = vectors.copy()
        broken[25, 3] = bad
        with pytest.raises(ValueError, match="Query vectors hold NaN or infinite values: the model has diverged"):
            approximate_topk(broken[20:30], held(vectors), 3)
        with pytest.raises(ValueError, match="Vectors 20 to 29 hold NaN or infinite values: the model has diverged"):
            approximate_topk(vectors[:2], held(broken), 3, block_rows=10)


def test_defaults_grow_with_the_corpus() -> None:
    assert [number_of_lists(count) for count in (1, 100, 10_000, 1_000_000, 9_000_000)] == [1, 1, 156, 4000, 12000]
    assert default_probes(9_000_000, 200) == 188  # 1/64
    assert default_probes(100_000, 200) == 81  # 6,400 of 100,000 vectors
    assert default_probes(1000, 1000) == number_of_lists(1000)


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"search": "lsh"}, "search is 'lsh'; it must be one of exact, ivf"),
        ({"search": "ivf", "search_probes": 0}, "search_probes is 0; it must lie between 1 and"),
        ({"search_probes": 8}, "search_probes is 8, but search is 'exact'; set search to 'ivf'"),
    ],
)
def test_settings_are_checked(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        recipe("ance-tele").with_settings(**wrong)


def test_what_decides_the_lists() -> None:
    assert MiningConfig().searching == {}
    assert MiningConfig(search="ivf", search_probes=4).searching == {"search": "ivf", "search_probes": 4}


def test_a_whole_run(
    toy: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approximate, "TRAINED", 40)  # three lists of 144 passages
    rates = "--epochs 2 --learning_rate 3e-3 --precision float32 --train_precision float32 --report_to [none]"
    shape = "--query_max_len 16 --passage_max_len 16 --pool_per_source 6 --negatives_per_query 4 --batch_queries 8"
    command = f"run ance-tele --data {toy} --model {tiny_model} --out {tmp_path} --episodes 1 --depth 20"
    assert main([*f"{command} {shape} {rates} --search ivf --search_probes 1".split()]) == 0
    first, last = tmp_path / "episode-0", tmp_path / "episode-1"
    parts = (first / "training_lists", last / "candidates.parquet", first / "evaluation", last / "evaluation")
    lists, mined, *measured = (read_manifest(path) for path in parts)
    assert lists is not None and mined is not None
    own = {"search": "ivf", "search_probes": 1}
    assert own.items() <= lists.inputs.items() and own.items() <= mined.inputs.items()
    assert lists.facts["search_engine"] == "faiss ivf"
    recall = {"depth": 20, "queries": lists.facts["recall"], "positives": mined.facts["recall_around"]}
    assert 0.3 < recall["queries"] < 1 and 0.3 < recall["positives"] <= 1
    for evaluation in measured:
        assert evaluation is not None and evaluation.facts["search_engine"] != "faiss ivf"
        assert not {"search", "search_probes"} & evaluation.inputs.keys()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["episodes"][0]["recall"] == recall
    low = min(recall["queries"], recall["positives"])
    said = f"Mining searched approximately: recall@20 was at least {low:.3f} of exact."
    assert said in description(Summary.of(summary))
    line = f"; recall@20 {recall['queries']:.3f} of exact, {recall['positives']:.3f} for positives"
    assert line in capsys.readouterr().out
