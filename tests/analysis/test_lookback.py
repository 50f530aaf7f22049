"""The statistics of a run's negatives, against a reading of their definitions in plain Python (design, Section 6)."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_run import FakeRun
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ance_tele.analysis import blocks
from ance_tele.analysis.analyse import analyse
from ance_tele.analysis.tables import coded
from ance_tele.console.errors import UserError
from ance_tele.runs.membership import membership

SOURCES = ("query", "lookahead", "momentum")


def share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def plain(run: FakeRun) -> dict[str, Any]:
    """Read every definition word by word, one query and one passage at a time."""
    rounds = range(len(run.lists))
    queries = range(len(run.queries))
    t = [[set(run.lists[r][q]) - set(run.positives[q]) for q in queries] for r in rounds]
    mined, new, swing = [], [], []
    swings = [0] * len(run.queries)
    for r in rounds:
        size = sum(len(t[r][q]) for q in queries)
        first = Counter(next(j for j in rounds if d in t[j][q]) for q in queries for d in t[r][q])
        mined.append({"round": r + 1, "size": size, "first": {str(j + 1): share(first[j], size) for j in range(r + 1)}})
        fresh = [{d for d in t[r][q] if not any(d in t[j][q] for j in range(r))} for q in queries]
        count = sum(map(len, fresh))
        near = chance = None
        if r and count and (ahead := run.ahead[r - 1]) is not None:
            around = [set(ahead[q]) - set(run.positives[q]) for q in queries]
            near = sum(len(fresh[q] & around[q]) for q in queries) / count
            chance = sum(len(fresh[q]) * len(around[q]) / run.passages for q in queries) / count
        new.append({"round": r + 1, "new": share(count, size), "near_positive": near, "random": chance})
        if r + 2 < len(run.lists):
            back = [len((t[r][q] & t[r + 2][q]) - t[r + 1][q]) for q in queries]
            swing.append({"round": r + 1, "share": share(sum(back), size), "count": sum(back)})
            swings = [a + b for a, b in zip(swings, back, strict=True)]
    learning: list[dict[str, float]] = []
    for e, values in enumerate(run.mrr):
        learning.append({"episode": e, "training_mrr": sum(values) / len(values)})
        if e:
            before = run.mrr[e - 1]
            for name, test in (("forgotten", lambda b, a: a < b), ("learned", lambda b, a: a > b)):
                learning[-1][name] = sum(test(b, a) for b, a in zip(before, values, strict=True)) / len(values)
            learning[-1]["unchanged"] = sum(b == a for b, a in zip(before, values, strict=True)) / len(values)
    pools, sources, origins = [], [], []
    for e, pool in enumerate(run.pools, 1):
        entries = [entry for of_query in pool for entry in of_query]
        met = Counter(entry[3] for entry in entries)
        first = {str(j): met[j] / max(1, len(entries)) for j in range(1, e + 1)}
        pools.append({"episode": e, "size": len(entries), "first": first})
        for listed, place in ((sources, 1), (origins, 2)):
            counts = Counter(entry[place] for entry in entries)
            listed.append({"episode": e, **{name: count / len(entries) for name, count in counts.items()}})
    return {
        "learning": learning,
        "composition": {"mined": mined, "pools": pools, "sources": sources, "origins": origins},
        "new": new,
        "swing": swing,
        "swings": swings,
    }


def same(found: Any, expected: Any, where: str = "") -> None:
    """Compare nested figures, fractions up to rounding."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected:
            same(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            same(one, other, f"{where}[{place}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected), where
    else:
        assert found == expected, where


@st.composite
def runs(draw: st.DrawFn) -> FakeRun:
    count, episodes = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    # Plain numbers take another path than names do, and "07" is not 7.
    ids = draw(st.sampled_from([[str(n) for n in range(12)], ["7", "07", "a", "ab", "é", "x-1", "b", "c", "d", "e"]]))
    ranking = st.lists(st.sampled_from(ids), unique=True, max_size=7)
    queries = draw(st.sampled_from([[str(5 - n) for n in range(count)], [f"q{n}" for n in range(count)]]))

    def per_query(of: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(of, min_size=count, max_size=count))

    def entry(episode: int) -> st.SearchStrategy[Any]:
        sources = st.sampled_from(SOURCES)
        return st.tuples(st.sampled_from(ids), sources, st.sampled_from(SOURCES[:2]), st.integers(1, episode))

    positives = per_query(st.lists(st.sampled_from(ids), unique=True, min_size=1, max_size=2))
    pools = [per_query(st.lists(entry(e), max_size=5)) for e in range(1, episodes + 1)]
    pools = [
        [[one for one in entries if one[0] not in positives[q]] for q, entries in enumerate(pool)] for pool in pools
    ]
    ahead = [draw(st.none()) if draw(st.booleans()) else per_query(ranking) for _ in range(episodes)]
    lists = [per_query(ranking) for _ in range(episodes + 1)]
    mrr = [per_query(st.sampled_from([0.0, 0.25, 0.5, 1.0])) for _ in range(episodes + 1)]
    return FakeRun(
        queries,
        positives,
        lists,
        ahead,
        pools,
        mrr,
        positive_scores=per_query(st.sampled_from([-6.5, -3.5, -1.5, 0.5])),
        settings={"sources": ("query",)},
    )


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs(), st.sampled_from([1, 2, 4096]), st.sampled_from([1, 3, 16384]))
def test_every_statistic_against_its_definition(
    tmp_path_factory: pytest.TempPathFactory, run: FakeRun, block: int, rows: int
) -> None:
    out = run.write(tmp_path_factory.mktemp("run"), rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "QUERIES_PER_BLOCK", block)
        folder = analyse(out)
    assert folder is not None
    expected = plain(run)
    swings = expected.pop("swings")
    found = json.loads((folder / "dynamics.json").read_text("utf-8"))
    same({name: found[name] for name in expected}, expected)
    table = pq.read_table(folder / "per_query.parquet").to_pydict()
    assert table["query_id"] == run.queries
    assert table["swings"] == swings
    drops = [[b - a for b, a in pairwise(line)] for line in zip(*run.mrr, strict=True)]
    assert table["falls"] == [sum(drop > 0 for drop in line) for line in drops]
    assert table["lost"] == pytest.approx([sum(max(0.0, drop) for drop in line) for line in drops])
    check_suspects(run, folder, table["suspects"])


def check_suspects(run: FakeRun, folder: Path, by_query: list[int]) -> None:
    """The suspects that need no texts, read pair by pair."""
    summary = json.loads((folder / "suspects.json").read_text("utf-8"))
    expected, pairs = {}, Counter[str]()
    for q, query in enumerate(run.queries):
        origins: dict[str, set[str]] = {}
        for pool in run.pools:
            for passage, _, origin, _ in pool[q]:
                origins.setdefault(passage, set()).add(origin)
        final = run.lists[-1][q]
        scores = [-float(rank) for rank in range(1, len(final) + 1)]
        spread = float(np.std(scores)) if final else 0.0
        for passage, mined in origins.items():
            pairs.update(mined)
            top = sum(passage in lists[q][:3] for lists in run.lists)
            reasons = []
            if passage in final and spread:
                margin = (scores[final.index(passage)] - run.positive_scores[q]) / spread
                known = run.mrr[-1][q] >= 1 / summary["settings"]["trust"]
                if margin >= summary["settings"]["margin"] and known:
                    reasons.append("above_positive")
            if top >= min(summary["settings"]["rounds"], len(run.lists)):
                reasons.append("persistently_top")
            if reasons:
                expected[query, passage] = (",".join(reasons), ",".join(n for n in SOURCES if n in mined), top)
    table = pq.read_table(folder / "suspects.parquet").to_pylist()
    found = {(r["query_id"], r["passage_id"]): (r["reasons"], r["sources"], r["top_rounds"]) for r in table}
    assert found == expected
    assert [row["score"] for row in table] == sorted((row["score"] for row in table), reverse=True)
    assert by_query == [sum(query == q for q, _ in expected) for query in run.queries]
    assert summary["suspects"] == len(found)
    assert summary["pairs"] == sum(len(_pooled(run, query)) for query in range(len(by_query)))
    assert {name: of["pairs"] for name, of in summary["by_source"].items()} == dict(pairs)
    named = Counter(name for reasons, _, _ in expected.values() for name in reasons.split(","))
    assert {name: count for name, count in summary["by_reason"].items() if count} == dict(named)


def _pooled(run: FakeRun, query: int) -> set[str]:
    return {entry[0] for pool in run.pools for entry in pool[query]}


THREE = FakeRun(
    queries=["q1", "q2"],
    positives=[["+"], ["*", "+"]],
    lists=[
        [["+", "a", "b", "c"], ["x", "y", "z", "*"]],
        [["a", "d", "+", "e"], ["x", "v", "w", "*"]],
        [["b", "d", "c", "f"], ["y", "v", "x", "u"]],
        [["a", "+", "e", "g"], ["*", "+", "x", "w"]],
    ],
    ahead=[
        [["d", "e", "+"], ["v", "*", "+"]],
        [["f", "+"], ["q", "u"]],
        [["h"], ["w"]],
    ],
    pools=[
        [[("a", "query", "query", 1), ("d", "lookahead", "lookahead", 1)], [("x", "query", "query", 1)]],
        [[("a", "momentum", "query", 1), ("e", "query", "query", 2)], [("v", "query", "query", 2)]],
        [[("e", "momentum", "query", 2)], [("x", "query", "query", 1), ("x", "momentum", "query", 1)]],
    ],
    mrr=[[1.0, 0.25], [1 / 3, 0.25], [0.0, 0.0], [0.5, 1.0]],
    positive_scores=[-2.0, -1.0],
    passages=50,
)


def test_three_episodes_with_known_answers(tmp_path: Path) -> None:
    folder = analyse(THREE.write(tmp_path / "run"))
    assert folder is not None
    found = json.loads((folder / "dynamics.json").read_text("utf-8"))
    # T_1: abc xyz; T_2: ade xvw (new: de vw); T_3: bdcf yvxu (new: f u); T_4: aeg xw (new: g).
    assert [one["size"] for one in found["composition"]["mined"]] == [6, 6, 8, 5]
    assert [one["new"] for one in found["new"]] == [1.0, 4 / 6, 2 / 8, 1 / 5]
    assert found["composition"]["mined"][2]["first"] == {"1": 4 / 8, "2": 2 / 8, "3": 2 / 8}
    assert found["composition"]["mined"][3]["first"] == {"1": 2 / 5, "2": 2 / 5, "3": 0.0, "4": 1 / 5}
    # Of d, e, v, w the lists around the positives held d, e, v; of f, u both; of g none.
    assert [one["near_positive"] for one in found["new"]] == [None, 3 / 4, 1.0, 0.0]
    # q1 has two new ones and two of fifty passages around its positive, q2 two and one: (4 + 2) / 50 of 4.
    assert found["new"][1]["random"] == pytest.approx(6 / 50 / 4)
    # b, c and y are back in T_3; a, e, w in T_4.
    assert [(one["round"], one["count"]) for one in found["swing"]] == [(1, 3), (2, 3)]
    assert [one["share"] for one in found["swing"]] == [3 / 6, 3 / 6]
    assert [one.get("forgotten") for one in found["learning"]] == [None, 0.5, 1.0, 0.0]
    assert [one.get("learned") for one in found["learning"]] == [None, 0.0, 0.0, 1.0]
    assert found["composition"]["pools"][2] == {"episode": 3, "size": 3, "first": {"1": 2 / 3, "2": 1 / 3, "3": 0.0}}
    assert found["composition"]["sources"][1] == {"episode": 2, "query": 2 / 3, "momentum": 1 / 3}
    assert found["composition"]["origins"][0] == {"episode": 1, "query": 2 / 3, "lookahead": 1 / 3}
    table = pq.read_table(folder / "per_query.parquet").to_pydict()
    assert (table["swings"], table["falls"]) == ([4, 2], [2, 1])
    assert table["lost"] == pytest.approx([1.0, 0.25])
    rows = {(row["query_id"], row["passage_id"]): row for row in pq.read_table(folder / "suspects.parquet").to_pylist()}
    # x is among the first three of every list; a led twice of four, and scores above q1's positive at the end.
    assert {key: row["reasons"] for key, row in rows.items()} == {
        ("q2", "x"): "persistently_top",
        ("q1", "a"): "above_positive,persistently_top",
    }
    assert rows["q1", "a"]["margin"] == pytest.approx(1 / np.std([1, 2, 3, 4]))


def test_round_one_of_ance_is_bm25s(tmp_path: Path) -> None:
    fake = FakeRun(
        queries=["1", "2"],
        positives=[["9"], ["9"]],
        lists=[[["1", "2"], ["3"]], [["2", "4"], ["3", "5"]]],
        ahead=[None],
        pools=[[[("1", "bm25", "bm25", 1)], [("3", "bm25", "bm25", 1)]]],
        mrr=[[0.5, 0.0], [1.0, 0.0]],
        settings={"sources": ("query",), "first_sources": ("bm25",)},
    )
    folder = analyse(fake.write(tmp_path / "run"))
    assert folder is not None
    found = json.loads((folder / "dynamics.json").read_text("utf-8"))
    assert [one["source"] for one in found["rounds"]] == ["bm25", "query"]
    assert found["new"][1] == {"round": 2, "new": 0.5, "near_positive": None, "random": None}


def test_an_analysis_stands_until_its_run_changes(tmp_path: Path, logged: list[str]) -> None:
    out = THREE.write(tmp_path / "run")
    analyse(out)
    assert len(logged) == 1 and logged[0].startswith("without texts: ")
    before = (out / "analysis" / "dynamics.json").stat().st_mtime_ns
    analyse(out)
    assert (out / "analysis" / "dynamics.json").stat().st_mtime_ns == before
    (out / "episode-2" / "pool.parquet").unlink()
    with pytest.raises(UserError, match=r"episode-2/pool\.parquet is missing: the run is not finished"):
        analyse(out)


def test_a_table_of_another_run_is_refused(tmp_path: Path) -> None:
    out = THREE.write(tmp_path / "run")
    table = pq.read_table(out / "episode-1" / "training_lists.parquet")
    ids = pa.array(["q1", *["q9"] * (len(table) - 1)], pa.large_string())
    FakeRun._save(THREE, out / "episode-1" / "training_lists.parquet", table.set_column(0, "query_id", ids), 9)
    FakeRun._exists(THREE, out / "episode-1" / "training_lists", [out / "episode-1" / "training_lists.parquet"])
    with pytest.raises(UserError, match="holds the query 'q9', which is none of the run's 2 training queries"):
        analyse(out)


@pytest.mark.parametrize(
    "ids", [["1", "01"], ["-1", "1"], ["+1", "1"], [" 1", "1"], ["1", "99999999999999"], ["", "1"], ["١", "1"]]
)
def test_only_plain_numbers_are_their_own_codes(ids: list[str]) -> None:
    found = coded([pa.chunked_array([pa.array(ids, pa.large_string())]), pa.chunked_array([["1"]])])
    assert found.names is not None
    assert found.parts[0][0] != found.parts[0][1] and found.parts[1][0] == found.parts[0][ids.index("1")]
    assert found.ids(found.parts[0]).to_pylist() == ids


def test_too_many_lists_are_refused() -> None:
    nothing = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    with pytest.raises(UserError, match="65 lists are to be compared; at most 64"):
        membership([nothing] * 65, 1)
