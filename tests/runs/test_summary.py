"""The summary of a run: key for key what is on disk, and its figures."""

import json
from pathlib import Path

from fake_report import demo_summary, metrics

from ance_tele.runs.summary import Summary


def test_a_summary_on_disk_is_read_and_written_key_for_key(explored: Path, tmp_path: Path) -> None:
    summary = Summary.read(explored)
    summary.write(tmp_path)
    assert (tmp_path / "summary.json").read_text("utf-8") == (explored / "summary.json").read_text("utf-8")
    content = json.loads((explored / "summary.json").read_text("utf-8"))
    assert summary.content() == content
    assert list(content["episodes"][1])[:5] == ["number", "metrics", "forgetting_rate", "new_negatives", "seconds"]


def test_parts_that_older_runs_lack_are_empty() -> None:
    summary = Summary.of({"schema": 1, "recipe": "bm25", "collection": "demo", "later": 1})
    assert summary.systems == {} and summary.episodes == () and summary.data.queries == {}
    assert summary.main_metric == "MRR@10" and summary.forgetting_metric == "MRR@100"


def test_the_systems_of_a_run() -> None:
    summary = Summary.of(demo_summary(2))
    assert list(summary.systems) == ["bm25", "zero-shot", "episode 1", "episode 2"]
    assert summary.quality() == [(0, 0.58), (1, 0.611), (2, 0.655)]
    assert summary.episodes[0].spent("search", "mix") == 3.1 + 0.2 and summary.episodes[0].spent("none") is None
    assert summary.episodes[0].pool.shares() == {"query": 0.75, "lookahead": 0.25}


def test_final_scores_are_those_of_a_run_without_training() -> None:
    content = {"recipe": "marco/bm25", "collection": "demo", "split": "dev", "final": metrics(0.4, 0.5, 0.6)}
    assert Summary.of(content).untrained == {"bm25": metrics(0.4, 0.5, 0.6)}
    other_split = {**content, "data": {"queries": {"test": 3}}}
    assert Summary.of(other_split).untrained == {} and Summary.of(other_split).final_split == "test"
