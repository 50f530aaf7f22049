from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ance_tele.console.errors import UserError
from ance_tele.evaluate.run import Run, falling

IDS = st.sampled_from(["0", "00", "1", "10", "2", "a", "A", "b", "é", "z", "文", "𝔘", "-", "d9", "d10"])
# Few values, so that ties are common; 0.1 + 0.2 and 0.3 are one number in float32, not in float64.
SCORES = st.sampled_from([0.0, -0.0, 0.3, 0.1 + 0.2, 1.0, -1.0, 1e-30, 16777216.0, 16777217.0, 3.4e38]) | st.floats(
    width=32, allow_nan=False, allow_infinity=False
)
RUNS = st.dictionaries(IDS, st.dictionaries(IDS, SCORES, max_size=12), max_size=6)


@settings(max_examples=150, deadline=None)
@given(RUNS)
def test_score_descending_then_id_ascending(scored: dict[str, dict[str, float]]) -> None:
    run = Run.from_dict(scored)
    assert len(run) == len(scored) and run.query_ids == list(scored)
    for (query, ids), scores in zip(run.rankings(), run.scores, strict=True):
        assert ids == sorted(scored[query], key=lambda passage: (-np.float32(scored[query][passage]), passage))
        assert scores.dtype == np.float32
        assert scores.tolist() == [np.float32(scored[query][passage]) for passage in ids]


def test_scores_that_float32_cannot_tell_apart_are_equal() -> None:
    run = Run.from_dict({"q": {"b": 0.1 + 0.2, "a": 0.3, "d": 16777217.0, "c": 16777216.0, "z": 1.0}})
    assert run.passage_ids == [["c", "d", "z", "a", "b"]]


@settings(max_examples=80, deadline=None)
@given(RUNS)
def test_trec_files_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, scored: dict[str, dict[str, float]]
) -> None:
    path = tmp_path_factory.mktemp("runs") / "run.trec"
    run = Run.from_dict(scored)
    run.write_trec(path)
    back = Run.read_trec(path)
    # A query without passages has no line in such a file.
    assert list(back.rankings()) == [(query, ids) for query, ids in run.rankings() if ids]
    for scores, again in zip([scores for scores in run.scores if len(scores)], back.scores, strict=True):
        assert falling(scores).tolist() == again.tolist()


def test_the_lines_of_a_trec_file(tmp_path: Path) -> None:
    run = Run.from_dict({"q1": {"d1": 0.1, "d2": 2.0}, "q0": {"d1": -1e-8}})
    run.write_trec(tmp_path / "run.trec", tag="mine")
    assert (tmp_path / "run.trec").read_text("utf-8").splitlines() == [
        "q1 Q0 d2 1 2 mine",
        "q1 Q0 d1 2 0.100000001 mine",
        "q0 Q0 d1 1 -9.99999994e-09 mine",
    ]


def test_a_foreign_trec_file_is_ranked_by_its_scores(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    path.write_text("q\tQ0\td1\t1\t0.5\tx\nq Q0 d3 2 0.7 x\r\np Q0 d1 0 1e3 x\nq Q0 d2 3 0.5 x\n", "utf-8")
    assert list(Run.read_trec(path).rankings()) == [("q", ["d3", "d1", "d2"]), ("p", ["d1"])]


@pytest.mark.parametrize("line", ["q Q0 d 1 0.5", "q Q0 d 1 0.5 a tag", "q Q0 d 1 high tag", "q d 0.5"])
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "other.trec"
    path.write_text(f"q Q0 d 1 0.5 tag\n{line}\n", "utf-8")
    with pytest.raises(UserError, match=r"other.trec line 2"):
        Run.read_trec(path)


@pytest.mark.parametrize(("query", "passage"), [("q 1", "d"), ("q", "d\t1"), ("q", "d\u00a01"), ("", "d"), ("q", "")])
def test_ids_that_the_format_cannot_carry_are_refused(tmp_path: Path, query: str, passage: str) -> None:
    with pytest.raises(UserError, match="cannot stand in a TREC run"):
        Run.from_dict({query: {passage: 1.0}}).write_trec(tmp_path / "run.trec")
