import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import ir_measures
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import RR, R, Success, nDCG

from ance_tele.data.collection import Collection, Qrels, Texts
from ance_tele.evaluate.config import METRICS, EvaluateConfig
from ance_tele.evaluate.evaluation import Evaluation
from ance_tele.evaluate.metrics import measure
from ance_tele.evaluate.retrieval import qrels_dict, run_of
from ance_tele.evaluate.run import Run
from ance_tele.search.topk import TopK

Grades = Mapping[str, Mapping[str, int]]


def by_hand(metric: str, ranking: Sequence[str], grades: Mapping[str, int]) -> float:
    """A metric of one query, from its definition."""
    name, _, cutoff = metric.partition("@")
    top = ranking[: int(cutoff)]
    relevant = {passage for passage, grade in grades.items() if grade > 0}
    hits = [passage in relevant for passage in top]
    if name == "MRR":
        return 1 / (1 + hits.index(True)) if any(hits) else 0.0
    if name == "Recall":
        return sum(hits) / len(relevant) if relevant else 0.0
    if name == "Success":
        return float(any(hits))
    gain = sum(max(0, grades.get(passage, 0)) / math.log2(rank + 1) for rank, passage in enumerate(top, 1))
    best = sorted((grade for grade in grades.values() if grade > 0), reverse=True)[: int(cutoff)]
    ideal = sum(grade / math.log2(rank + 1) for rank, grade in enumerate(best, 1))
    return gain / ideal if ideal else 0.0


PASSAGES = [f"{number}" for number in range(25)]
QUERIES = ["0", "1", "q", "é", "unseen"]
RUNS = st.dictionaries(
    st.sampled_from(QUERIES),
    st.dictionaries(st.sampled_from(PASSAGES), st.sampled_from([0.0, 0.5, 1.0, 1 + 1e-12, 2.0]), max_size=25),
)
QRELS = st.dictionaries(
    st.sampled_from(QUERIES),
    st.dictionaries(st.sampled_from([*PASSAGES, "elsewhere"]), st.integers(-1, 3), min_size=1, max_size=6),
    min_size=1,
)
SHALLOW = ("MRR@3", "MRR@10", "nDCG@3", "nDCG@10", "Recall@2", "Recall@20", "Success@1", "Success@10")


@settings(max_examples=150, deadline=None)
@given(RUNS, QRELS)
def test_metrics_are_what_their_definitions_say(scored: Mapping[str, Mapping[str, float]], qrels: Grades) -> None:
    run = Run.from_dict(scored)
    rankings = dict(run.rankings())
    scores = measure(run, qrels, (*METRICS, *SHALLOW))
    assert scores.query_ids == list(qrels)
    assert set(scores.values) == {*METRICS, *SHALLOW}
    for name, values in scores.values.items():
        expected = [by_hand(name, rankings.get(query, []), grades) for query, grades in qrels.items()]
        np.testing.assert_allclose(values, expected, atol=1e-12, err_msg=name)
        assert scores.means()[name] == pytest.approx(sum(expected) / len(expected))
    assert scores.missing == sum(not rankings.get(query) for query in qrels)


@settings(max_examples=60, deadline=None)
@given(RUNS, QRELS)
def test_metrics_are_those_of_ir_measures(scored: Mapping[str, Mapping[str, float]], qrels: Grades) -> None:
    """The same ranking, handed over through ir_measures' own records rather than through ours."""
    kinds = {"MRR": RR, "nDCG": nDCG, "Recall": R, "Success": Success}
    measures = {name: kinds[name.partition("@")[0]] @ int(name.partition("@")[2]) for name in (*METRICS, *SHALLOW)}
    records = []
    for query, passages in scored.items():
        ranking = sorted(passages, key=lambda p: (-np.float32(passages[p]), p))
        records += [ir_measures.ScoredDoc(query, passage, 1 / (1 + rank)) for rank, passage in enumerate(ranking)]
    judgements = [ir_measures.Qrel(q, p, grade) for q, grades in qrels.items() for p, grade in grades.items()]
    expected = ir_measures.calc_aggregate(list(measures.values()), judgements, records)
    means = measure(Run.from_dict(scored), qrels, list(measures)).means()
    for name, value in means.items():
        assert value == pytest.approx(expected[measures[name]], abs=1e-12), name


def test_ties_are_read_in_one_order_by_all_metrics() -> None:
    """By trec_eval's own rule "b" would come first, by MS MARCO's script "a": here every metric sees "a"."""
    run = Run.from_dict({"q": {"b": 1.0, "a": 1.0}})
    scores = measure(run, {"q": {"a": 1}}, ("MRR@10", "nDCG@10", "Recall@1", "Success@1"))
    assert scores.means() == {"MRR@10": 1.0, "nDCG@10": 1.0, "Recall@1": 1.0, "Success@1": 1.0}
    scores = measure(run, {"q": {"b": 1}}, ("MRR@10", "nDCG@10", "Recall@1", "Success@1"))
    assert scores.means() == pytest.approx(
        {"MRR@10": 0.5, "nDCG@10": 1 / math.log2(3), "Recall@1": 0.0, "Success@1": 0.0}
    )


def test_grades_weigh_in_ndcg() -> None:
    run = Run.from_dict({"q": {"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0}})
    (found,) = measure(run, {"q": {"a": 1, "c": 3, "d": 0, "e": 2}}, ("nDCG@10",)).values["nDCG@10"]
    ideal = 3 + 2 / math.log2(3) + 1 / math.log2(4)
    assert found == pytest.approx((1 + 3 / math.log2(4)) / ideal)


def test_cutoffs_of_long_rankings() -> None:
    run = Run.from_dict({"q": {f"d{number}": -float(number) for number in range(1200)}})
    qrels = {"q": {f"d{number}": 1 for number in (10, 99, 999, 1100)}}
    assert measure(run, qrels).means() == pytest.approx(
        {
            "MRR@10": 0.0,
            "MRR@100": 1 / 11,
            "nDCG@10": 0.0,
            "Recall@5": 0.0,
            "Recall@20": 0.25,
            "Recall@100": 0.5,
            "Recall@1000": 0.75,
            "Success@10": 0.0,
        }
    )


@pytest.mark.parametrize("cutoff", [1, 3, 10, 49, 100, 1000])
def test_a_reciprocal_rank_counts_up_to_its_cut_off_and_no_further(cutoff: int) -> None:
    """1 / 49 x 49 is less than one: the cut is made by ranks."""
    ids = [f"d{rank:04d}" for rank in range(1, 1003)]
    ranks = [cutoff - 1, cutoff, cutoff + 1] if cutoff > 1 else [cutoff, cutoff + 1]
    run = Run(
        [f"q{rank}" for rank in ranks], [ids] * len(ranks), [np.arange(1002, 0, -1, dtype=np.float32)] * len(ranks)
    )
    found = measure(run, {f"q{rank}": {ids[rank - 1]: 1} for rank in ranks}, [f"MRR@{cutoff}"])
    assert found.values[f"MRR@{cutoff}"].tolist() == [1 / rank if rank <= cutoff else 0.0 for rank in ranks]


def test_a_missing_query_scores_zero_and_is_counted() -> None:
    run = Run(["a", "empty", "other"], [["x"], [], ["x"]], [np.ones(1, np.float32), np.empty(0, np.float32)] * 2)
    scores = measure(run, {"gone": {"x": 1}, "a": {"x": 1}, "empty": {"x": 1}, "lost": {"y": 1}}, ("MRR@10",))
    assert scores.query_ids == ["gone", "a", "empty", "lost"]
    assert scores.values["MRR@10"].tolist() == [0.0, 1.0, 0.0, 0.0]
    assert scores.missing == 3 and scores.means() == {"MRR@10": 0.25}


def test_unjudged_queries_change_nothing() -> None:
    qrels = {"q": {"a": 1}}
    one = measure(Run.from_dict({"q": {"a": 1.0}}), qrels)
    both = measure(Run.from_dict({"p": {"a": 1.0}, "q": {"a": 1.0}, "r": {"b": 2.0}}), qrels)
    assert one.means() == both.means() and both.query_ids == ["q"] and both.missing == 0


def test_without_judgements_there_is_no_mean() -> None:
    scores = measure(Run.from_dict({"q": {"a": 1.0}}), {})
    assert scores.query_ids == [] and scores.means() == {}
    assert set(measure(Run.from_dict({}), {"q": {"a": 1}}).means().values()) == {0.0}


@pytest.mark.parametrize("name", ["MAP@10", "MRR", "MRR@", "nDCG@ten", "ndcg@10", ""])
def test_an_unknown_metric_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' is no metric; take MRR@k, nDCG@k, Recall@k or Success@k"):
        measure(Run.from_dict({}), {}, ("MRR@10", name))


def test_a_search_becomes_the_artefacts_of_an_evaluation(tmp_path: Path) -> None:
    def texts(ids: list[str]) -> Texts:
        return Texts(pa.table({"id": pa.array(ids, pa.large_string())}))

    qrels = Qrels(np.array([0, 2, 3]), np.array([0, 2, 3, 4]), np.array([1, 0, 2, 3]), np.array([2, 0, 1, 1]))
    collection = Collection(
        "toy", texts(["d0", "d1", "d2", "d3"]), texts(["q0", "q1", "q2", "q3"]), {"dev": qrels}, "", tmp_path
    )
    assert qrels_dict(qrels, collection) == {"q0": {"d1": 2, "d0": 0}, "q2": {"d2": 1}, "q3": {"d3": 1}}
    found = TopK(
        np.array([[0, 1], [2, -1], [-1, -1]]),
        np.array([[2.0, 1.0], [0.5, -np.inf], [-np.inf, -np.inf]], dtype=np.float32),
    )
    run = run_of(found, qrels.queries, collection)
    assert dict(run.rankings()) == {"q0": ["d0", "d1"], "q2": ["d2"], "q3": []}

    scores = Evaluation.of(EvaluateConfig("dev"), collection).write(found, tmp_path / "out", "mine")
    assert scores.values["MRR@10"].tolist() == [0.5, 1.0, 0.0]
    facts = json.loads((tmp_path / "out" / "metrics.json").read_text("utf-8"))
    assert (facts["split"], facts["queries"], facts["missing_queries"]) == ("dev", 3, 1)
    assert facts["metrics"] == scores.means() and facts["metrics"]["MRR@10"] == 0.5
    table = pq.read_table(tmp_path / "out" / "per_query.parquet")
    assert table.column_names == ["query_id", *METRICS]
    assert table["query_id"].to_pylist() == ["q0", "q2", "q3"]
    assert table["MRR@10"].to_pylist() == [0.5, 1.0, 0.0]
    # What stands on disk gives the same figures again.
    back = measure(Run.read_trec(tmp_path / "out" / "run.trec"), qrels_dict(qrels, collection))
    assert back.means() == scores.means() and back.missing == scores.missing
