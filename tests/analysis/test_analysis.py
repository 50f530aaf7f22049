"""The analysis of real runs: with texts and models, at the end of a run and afterwards."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from toy import write_toy

from ance_tele.analysis.analyse import analyse
from ance_tele.analysis.cases import choose, start_of, swinging
from ance_tele.analysis.projection import project
from ance_tele.analysis.suspect_texts import suspects_of
from ance_tele.analysis.suspects import jaccard
from ance_tele.cli.main import main
from ance_tele.data.load import load_collection
from ance_tele.data.review import read_review, write_review
from ance_tele.episode import run
from ance_tele.recipes import recipe
from ance_tele.report import page, write
from ance_tele.runs.analysed import Analysis

SMALL = {"depth": 40, "pool_per_source": 20, "negatives_per_query": 2, "batch_queries": 8, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy collection, in which one passage has a copy that differs in its last word."""
    folder = tmp_path_factory.mktemp("data") / "copied"
    write_toy(folder)
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text("utf-8").splitlines()]
    copy = {**rows[0], "_id": "copy", "text": f"{rows[0]['text']} w99"}
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, [*rows, copy])) + "\n", "utf-8")
    return folder


@pytest.fixture(autouse=True, scope="module")
def _without_figures() -> Iterator[None]:
    """Reports without figures; projections, which "undrawn" leaves out, are tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "panel_svg", lambda *panel: "<svg xmlns='http://www.w3.org/2000/svg'></svg>")
        patch.setattr(write, "curves", lambda run: b"")
        yield


@pytest.fixture(scope="module")
def finished(data: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    run(recipe("ance-tele").with_settings(**SMALL, baselines=[]), load_collection(data), tiny_model, out, data)
    return out


def test_a_copy_of_a_positive_is_suspect(finished: Path, data: Path) -> None:
    table = pq.read_table(finished / "analysis" / "suspects.parquet").to_pylist()
    copies = [row for row in table if row["passage_id"] == "copy" and "near_duplicate" in row["reasons"].split(",")]
    corpus = {row["_id"]: row for row in map(json.loads, (data / "corpus.jsonl").read_text("utf-8").splitlines())}
    words = {key: frozenset(row["text"].split()) for key, row in corpus.items()}
    assert [row["query_id"] for row in copies] == ["q00-0"]
    assert copies[0]["overlap"] == pytest.approx(jaccard(words["copy"], words["d00-0"]))
    summary = json.loads((finished / "analysis" / "suspects.json").read_text("utf-8"))
    assert summary["texts"] is True
    assert summary["by_reason"]["near_duplicate"] == sum("near_duplicate" in row["reasons"].split(",") for row in table)


def test_cases_tell_who_went_and_came_back(finished: Path) -> None:
    cases = json.loads((finished / "analysis" / "cases.json").read_text("utf-8"))
    assert cases, "three episodes of an untrained model swing"
    lists = [pq.read_table(finished / f"episode-{number}" / "training_lists.parquet") for number in range(4)]
    for case in cases:
        for negative in case["negatives"]:
            ranks = []
            for table in lists:
                rows = table.filter(np.array(table["query_id"]) == case["query_id"]).to_pylist()
                ranks.append(next((row["rank"] for row in rows if row["passage_id"] == negative["id"]), None))
            assert list(negative["ranks"].values()) == ranks
            start = 1 + (negative["class"] == "B")
            seen = [rank is not None for rank in ranks[start - 1 : start + 2]]
            assert seen == [True, False, True]
            assert negative["id"] not in [positive["id"] for positive in case["positives"]]
            assert all(word in negative["text"].split() or word in negative["title"] for word in negative["words"])


def test_the_projection_has_every_point_in_every_episode(finished: Path) -> None:
    found = json.loads((finished / "analysis" / "projection.json").read_text("utf-8"))
    points = {(point["kind"], point["id"], point["episode"]) for point in found["points"]}
    assert len(points) == len(found["points"])
    named = {(kind, key) for kind, key, _ in points}
    assert points == {(kind, key, episode) for kind, key in named for episode in range(4)}
    assert {kind for kind, _ in named} >= {"query", "positive"}
    assert all(np.isfinite([point["x"], point["y"]]).all() for point in found["points"])


def test_texts_are_added_when_the_data_is_found_again(
    finished: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture, logged: list[str]
) -> None:
    (finished / "analysis" / "cases.json").unlink()  # damaged, so it is made again
    moved = data.rename(data.with_name("moved"))
    try:
        folder = analyse(finished)
        assert folder is not None and not (folder / "cases.json").exists()
        assert any(line.startswith("without texts: ") for line in logged)
        assert main(["report", str(finished), "--data", str(moved)]) == 0
        assert (folder / "cases.json").exists()
    finally:
        moved.rename(data)
    capsys.readouterr()


def test_a_run_without_training_has_nothing_to_look_back_on(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    run(recipe("zero-shot").with_settings(baselines=[]), load_collection(data), tiny_model, tmp_path / "run", data)
    assert analyse(tmp_path / "run") is None


def test_classes_by_hand() -> None:
    ranks = {
        "a": [5, None, 1, None],
        "b": [None, 2, None, 9],
        "c": [1, None, 3, 4],
        "d": [1, 1, None, None],
        "e": [2, None],
    }
    assert swinging(ranks, 1) == {"A": ["c", "a"], "B": ["b"]}
    assert swinging({"x": [None, 3, None, 1, None], "y": [None, None, 1, None, 2]}, 2) == {"A": ["x"], "B": ["y"]}
    assert [start_of(rounds) for rounds in (2, 3, 4, 5, 6)] == [0, 1, 1, 2, 2]
    assert choose(np.array([0, 3, 3, 1]), np.array([9.0, 0.1, 0.5, 0.0]), 3) == [2, 1, 3]


def test_the_plane_is_the_same_each_time() -> None:
    vectors = np.random.default_rng(3).normal(size=(2, 6, 8)).astype(np.float32)
    first, second = project(vectors), project(vectors)
    assert first.shape == (2, 6, 2)
    np.testing.assert_array_equal(first, second)
    with pytest.raises(ValueError, match="t-SNE got 2 vectors; it needs at least 4"):
        project(vectors[:1, :2])


def test_reasons_of_older_runs_and_commands_are_understood(
    finished: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Suspects were written, and asked for, under other names."""
    old = tmp_path / "run"
    shutil.copytree(finished, old, ignore=shutil.ignore_patterns("analysis*"))
    with monkeypatch.context() as patch:
        for module in ("analyse", "suspects"):
            patch.setattr(f"ance_tele.analysis.{module}.REASONS", ("copy", "outscores", "kept"))
        analyse(old, data=data)
    assert "kept" in pq.read_table(old / "analysis" / "suspects.parquet")["reasons"].to_pylist()
    found, expected = Analysis.read(old), Analysis.read(finished)
    assert found.suspects == expected.suspects and found.suspect_rows == expected.suspect_rows
    for before, now in (("copy", "near_duplicate"), ("kept", "persistently_top")):
        rows = suspects_of(old, reasons=[before], data=data)
        assert rows and rows == suspects_of(finished, reasons=[now], data=data)
    review = tmp_path / "review.csv"
    write_review(review, [replace(rows[0], reasons="copy,kept")])
    assert read_review(review)[0].reasons == "near_duplicate,persistently_top"


def test_suspects_go_into_a_review_and_come_back(
    finished: Path, data: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "review.csv"
    assert main(["suspects", str(finished), "--to", str(file), "--reasons", "copy"]) == 0
    assert "suspect" in capsys.readouterr().out
    rows = read_review(file)
    assert ("q00-0", "copy") in {(row.query_id, row.passage_id) for row in rows}
    assert {row.verdict for row in rows} == {"unsure"} and all("near_duplicate" in row.reasons for row in rows)
    write_review(file, [replace(row, verdict="relevant") for row in rows])
    out = tmp_path / "run"
    chosen = recipe("q-neg").with_settings(**SMALL, episodes=1, baselines=[])
    run(chosen, load_collection(data), tiny_model, out, data, review=file)
    pool = pq.read_table(out / "episode-1" / "pool.parquet").to_pylist()
    drawn = {(row["query_id"], row["passage_id"]) for row in pool}
    assert drawn and not drawn & {(row.query_id, row.passage_id) for row in rows}
    assert len(suspects_of(out, most=2)) == 2
    sample = suspects_of(finished, sample=5, seed=1)
    assert sample == suspects_of(finished, sample=5, seed=1) != suspects_of(finished, sample=5, seed=2)
    assert main(["suspects", str(finished), "--reasons", "hunch"]) == 2
    assert (
        "There is no reason 'hunch'; there are: near_duplicate, above_positive, persistently_top."
        in capsys.readouterr().err
    )
