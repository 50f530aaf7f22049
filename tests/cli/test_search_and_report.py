"""Searching a run, and writing its report again."""

import json
import os
import shutil
from pathlib import Path

import pytest
from steps import Refusal, append

from ance_tele.cli.main import main


def test_search_answers(untrained: Path, toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(untrained), "t3 u20", "-k", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[::2]] == ["1", "2", "3"]
    ids = {json.loads(line)["_id"] for line in (toy / "corpus.jsonl").read_text().splitlines()}
    assert all(line.split()[2] in ids for line in lines[::2])
    scores = [float(line.split()[1]) for line in lines[::2]]
    assert scores == sorted(scores, reverse=True)


def test_search_where_there_is_nothing_to_search(
    lexical: Path, untrained: Path, toy: Path, tmp_path: Path, refusal: Refusal
) -> None:
    assert refusal("search", tmp_path, "x").startswith(f"{tmp_path} is no run folder: it holds no run.json")
    assert "no run folder" in refusal("search", tmp_path / "nowhere", "x")
    (tmp_path / "run.json").write_text('{"name": "of another tool"}')
    assert "its run.json is of something else" in refusal("search", tmp_path, "x")
    (tmp_path / "run.json").write_text('{"name"')
    assert "is not valid JSON" in refusal("search", tmp_path, "x")
    assert "a run without a model (recipe 'bm25')" in refusal("search", lexical, "x")
    assert "is not a folder" in refusal("search", untrained, "x", "--data", tmp_path / "nowhere")
    other = tmp_path / "other"
    shutil.copytree(toy, other)
    append("corpus.jsonl", '{"_id": "new", "text": "new"}')(other)
    assert "is not the data that" in refusal("search", untrained, "x", "--data", other)
    crooked = tmp_path / "nowhere" / ".." / "other"
    (tmp_path / "nowhere").mkdir()
    assert refusal("search", untrained, "x", "--data", crooked).startswith(f"{other} is not the data that")


def test_a_moved_run_folder_finds_its_data_when_told_where(
    untrained: Path, toy: Path, tiny_model: Path, tmp_path: Path, refusal: Refusal
) -> None:
    run = tmp_path / "a" / "b" / "run"
    shutil.copytree(untrained, run)
    assert str(toy.parent) not in (run / "run.json").read_text()  # paths are relative to the run folder
    assert "is not a folder" in refusal("search", run, "t3")
    identity = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**identity, "data": None, "model": os.path.relpath(tiny_model, run)}))
    assert refusal("search", run, "t3").endswith("does not say where its data lies; give that with --data.")
    assert main(["search", str(run), "t3", "--data", str(toy)]) == 0


def test_report_is_written_again(lexical: Path, tmp_path: Path, refusal: Refusal) -> None:
    report = lexical / "report.md"
    text = report.read_text()
    report.unlink()
    assert main(["report", str(lexical)]) == 0
    assert report.read_text() == text
    for nothing in (tmp_path, tmp_path / "nowhere", report):
        assert f"There is no summary.json in {nothing}" in refusal("report", nothing)
