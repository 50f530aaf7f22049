"""What other tools make of a run that we have written: our figures, whatever ties."""

from collections.abc import Mapping
from pathlib import Path

import ir_measures
import numpy as np
import pytest
import pytrec_eval
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ir_measures import RR, R, Success, nDCG

from ance_tele.console.errors import UserError
from ance_tele.evaluate.metrics import measure
from ance_tele.evaluate.run import Run, falling, run_tag

PASSAGES = [f"d{number}" for number in range(30)]
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
# Few values, so that ties are common, and their neighbours, so that steps run into one another.
FEW = st.sampled_from(
    [0.0, -0.0, 1.0, 1 - 2**-24, 1 - 2**-23, -1.0, 1e-45, -1e-45, 1.1754944e-38, 3.4028235e38, -3.4e38]
)
QUERIES = ["q", "1", "é"]
RUNS = st.dictionaries(
    st.sampled_from(QUERIES), st.dictionaries(st.sampled_from(PASSAGES), FEW | FINITE, min_size=1), min_size=1
)
QRELS = st.dictionaries(
    st.sampled_from(QUERIES), st.dictionaries(st.sampled_from(PASSAGES), st.integers(0, 3), min_size=1), min_size=1
)
METRICS = ("MRR@10", "MRR@100", "nDCG@10", "Recall@5", "Recall@20", "Success@10")


def by_trec_eval(path: Path, qrels: Mapping[str, Mapping[str, int]], level: int = 1) -> dict[str, list[float]]:
    """What trec_eval reads from a file; its reciprocal rank knows no cut-off, so that is made here."""
    with path.open(encoding="utf-8") as file:
        run = pytrec_eval.parse_run(file)
    names = {"ndcg_cut.10", "recall.5", "recall.20", "success.10", "recip_rank"}
    found = pytrec_eval.RelevanceEvaluator(
        {query: dict(of) for query, of in qrels.items()}, names, relevance_level=level
    ).evaluate(run)
    nothing = {"ndcg_cut_10": 0.0, "recall_5": 0.0, "recall_20": 0.0, "success_10": 0.0, "recip_rank": 0.0}
    rows = [found.get(query, nothing) for query in qrels]
    return {
        "MRR@10": [row["recip_rank"] if row["recip_rank"] >= 0.1 else 0.0 for row in rows],
        "MRR@100": [row["recip_rank"] for row in rows],
        "nDCG@10": [row["ndcg_cut_10"] for row in rows],
        "Recall@5": [row["recall_5"] for row in rows],
        "Recall@20": [row["recall_20"] for row in rows],
        "Success@10": [row["success_10"] for row in rows],
    }


@settings(max_examples=60, deadline=None)
@given(RUNS, QRELS, st.integers(1, 3))
@example({"q": dict.fromkeys(PASSAGES, 0.5)}, {"q": {"d7": 1}}, 1)
def test_other_tools_find_our_figures_in_our_file(
    tmp_path_factory: pytest.TempPathFactory,
    scored: Mapping[str, Mapping[str, float]],
    qrels: Mapping[str, Mapping[str, int]],
    level: int,
) -> None:
    path, run = tmp_path_factory.mktemp("runs") / "run.trec", Run.from_dict(scored)
    run.write_trec(path)
    ours = measure(run, qrels, METRICS, level)
    theirs = by_trec_eval(path, qrels, level)
    for name in METRICS:
        np.testing.assert_allclose(ours.values[name], theirs[name], atol=1e-12, err_msg=name)
    # ir_measures has its reciprocal rank with a cut-off from another script, whose ties go the other way.
    measures = {
        "MRR@10": RR(rel=level) @ 10, "MRR@100": RR(rel=level), "nDCG@10": nDCG @ 10, "Recall@5": R(rel=level) @ 5,
        "Recall@20": R(rel=level) @ 20, "Success@10": Success(rel=level) @ 10,
    }  # fmt: skip
    records = list(ir_measures.read_trec_run(str(path)))
    means = ir_measures.calc_aggregate(list(measures.values()), {q: dict(of) for q, of in qrels.items()}, records)
    for name, value in ours.means().items():
        assert value == pytest.approx(means[measures[name]], abs=1e-12), name


@settings(max_examples=150, deadline=None)
@given(st.lists(FEW | FINITE | st.sampled_from([float("inf"), float("-inf")]), max_size=60))
def test_scores_fall_strictly_by_the_smallest_steps(values: list[float]) -> None:
    scores = np.sort(np.array(values, dtype=np.float32))[::-1]
    fallen = falling(scores)
    assert fallen.dtype == np.float32 and np.isfinite(fallen).all()
    assert (np.abs(fallen[fallen != 0]) >= np.finfo(np.float32).tiny).all()  # none is subnormal
    printed = [f"{score:.9g}" for score in fallen.tolist()]
    for held in (np.float32, np.float64):
        assert (np.diff(np.array(printed, dtype=held)) < 0).all()
    # By hand, one after the other; at the lower end of all numbers there is no room below.
    expected = scores.copy()
    for place in range(1, len(expected)):
        if not expected[place] < expected[place - 1]:
            expected[place] = np.nextafter(expected[place - 1], np.float32(-np.inf))
    plain = (np.abs(scores) > 1e-30).all() and (np.abs(expected) < 3.4e38).all()
    if plain:
        assert fallen.tolist() == expected.tolist()


def test_copies_of_a_passage_keep_their_order_and_nearly_their_score() -> None:
    scores = np.full(1000, 0.7312, dtype=np.float32)
    fallen = falling(scores)
    assert fallen[0] == scores[0] and (scores - fallen).max() < 7e-5
    assert falling(np.array([3.0, 2.0, 2.0, 1.0])).tolist() == [3.0, 2.0, 2.0 - 2**-23, 1.0]


def test_a_tag_is_one_word(tmp_path: Path) -> None:
    assert run_tag("ance-tele alpha=0.3-s42-e3") == "ance-tele+alpha=0.3-s42-e3"
    assert run_tag(" my\tmodel \n") == "my+model" and run_tag("") == "ance-tele"
    Run.from_dict({"q": {"d": 1.0}}).write_trec(tmp_path / "run.trec", "q-neg beta=1 alpha=0")
    assert (tmp_path / "run.trec").read_text("utf-8") == "q Q0 d 1 1 q-neg+beta=1+alpha=0\n"


def test_scores_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="The score of passage 'b' for query 'q' is NaN"):
        Run.from_dict({"q": {"a": 1.0, "b": float("nan")}})
    (tmp_path / "run.trec").write_text("q Q0 d 1 nan tag\n", "utf-8")
    with pytest.raises(UserError, match=r"run.trec line 1: the score 'nan' is no number"):
        Run.read_trec(tmp_path / "run.trec")


def test_ranx_reads_our_ranking_and_tells_our_runs_apart(tmp_path: Path) -> None:
    ranx = pytest.importorskip("ranx")
    rng = np.random.default_rng(7)
    qrels = {f"q{query}": {f"d{passage}": 1 for passage in rng.choice(60, 3)} for query in range(40)}
    runs = {}
    for tag in ("zero-shot-0a1b2c", "ance-tele alpha=0.3-s42-e3"):
        scored = {query: {f"d{passage}": float(rng.integers(3)) for passage in range(60)} for query in qrels}
        runs[tag] = Run.from_dict(scored)
        runs[tag].write_trec(tmp_path / f"{tag}.trec", tag)
    read = [ranx.Run.from_file(str(tmp_path / f"{tag}.trec"), kind="trec") for tag in runs]
    report = ranx.compare(ranx.Qrels(qrels), read, ["mrr@10", "ndcg@10", "recall@20"]).to_dict()
    assert report["model_names"] == ["zero-shot-0a1b2c", "ance-tele+alpha=0.3-s42-e3"]
    names = {"mrr@10": "MRR@10", "ndcg@10": "nDCG@10", "recall@20": "Recall@20"}
    for tag, run in runs.items():
        means = measure(run, qrels, list(names.values())).means()
        for theirs, ours in names.items():
            assert report[run_tag(tag)]["scores"][theirs] == pytest.approx(means[ours], abs=1e-6), (tag, ours)
