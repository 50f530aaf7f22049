"""Whole runs on the toy collection: repeatable, resumable after SIGKILL in any phase, never stale."""

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from processes import started
from sentence_transformers import SentenceTransformer
from toy import run_command

from ance_tele.cli.main import main
from ance_tele.data.load import load_collection
from ance_tele.search.dense import DenseRetriever
from ance_tele.search.topk import TopK
from ance_tele.store.manifests import read_manifest

SETTINGS = {"shard_passages": 50, "epochs": 4, "refresh_fraction": 0.3, "logging_steps": 2}


def command(toy: Path, model: Path, out: Path, recipe: str = "ance-tele", **settings: Any) -> list[str]:
    return run_command(toy, model, out, recipe, **{**SETTINGS, **settings})


@pytest.fixture(scope="module")
def finished(toy: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert main(command(toy, tiny_model, out)) == 0
    return out


def figures(out: Path) -> dict[str, Any]:
    """Return all of a summary but its times."""
    summary = json.loads((out / "summary.json").read_text())
    for episode in summary["episodes"]:
        del episode["seconds"]
    for name in ("save_steps", "shard_passages"):
        del summary["settings"][name]
    return summary


def test_it_learns(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert [episode["number"] for episode in summary["episodes"]] == [1, 2, 3]
    assert [episode["steps"] for episode in summary["episodes"]] == [11, 11, 36]
    before = read_manifest(finished / "episode-0" / "training_lists").facts["MRR@20"]  # type: ignore[union-attr]
    assert summary["episodes"][-1]["training_mrr"] > before + 0.2
    assert summary["final"] == summary["episodes"][-1]["metrics"]
    assert set(summary["baselines"]) == {"bm25", "zero-shot"}
    assert summary["episodes"][0]["new_negatives"] == 1.0
    assert all(0 <= episode["forgetting_rate"] <= 1 for episode in summary["episodes"])
    assert set(summary["episodes"][0]["seconds"]) == {"encode", "search", "mix", "train", "evaluate"}
    assert (finished / "report.md").exists() and (finished / "curves.png").stat().st_size > 10_000


@pytest.mark.usefixtures("undrawn_here")
def test_twice_the_same(finished: Path, toy: Path, tiny_model: Path, tmp_path: Path) -> None:
    assert main(command(toy, tiny_model, tmp_path / "again")) == 0
    assert figures(tmp_path / "again") == figures(finished)
    for episode in (1, 2, 3):
        for name in ("candidates.parquet", "pool.parquet", "per_query.parquet", "run.trec"):
            first, second = (out / f"episode-{episode}" / name for out in (finished, tmp_path / "again"))
            assert first.read_bytes() == second.read_bytes(), f"episode {episode}: {name}"


def test_each_episode_mines_with_its_own_model(finished: Path) -> None:
    """Trap 1: a cache keyed by the model's name would give the first episode's candidates for ever."""
    tables = [pq.read_table(finished / f"episode-{i}" / "candidates.parquet") for i in (1, 2, 3)]
    lists = [table.filter(np.array(table["source"].to_pylist()) == "query")["passage_id"] for table in tables]
    assert not lists[0].equals(lists[1]) and not lists[1].equals(lists[2])
    weights = [read_manifest(finished / f"episode-{i}" / "model").facts["weights"] for i in (1, 2, 3)]  # type: ignore[union-attr]
    assert len(set(weights)) == 3


def test_pools_hold_what_the_method_says(finished: Path, toy: Path) -> None:
    qrels = dict(line.split("\t")[:2] for line in (toy / "qrels" / "train.tsv").read_text().splitlines()[1:])
    for episode, shares in ((1, (6, 6, 0)), (2, (6, 6, 12)), (3, (6, 6, 12))):
        pool = pq.read_table(finished / f"episode-{episode}" / "pool.parquet").to_pandas()
        assert not any(qrels[row.query_id] == row.passage_id for row in pool.itertuples())
        counts = pool.groupby("query_id")["source"].value_counts().unstack(fill_value=0)
        expected = dict(zip(("query", "lookahead", "momentum"), shares, strict=True))
        for source, count in expected.items():
            if count:
                assert (counts[source] == count).all()
        assert (pool["first_episode"] <= episode).all() and len(counts) == 72


def test_the_trained_model_is_a_sentence_transformer(finished: Path, toy: Path) -> None:
    """Same vectors as ours, same MRR@10 as the library's own evaluator, a card, and no absolute path anywhere."""
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    from ance_tele.encode.config import EncoderConfig
    from ance_tele.evaluate.model import evaluate_model

    model = SentenceTransformer(str(finished / "episode-3" / "model"))
    corpus = {row["id"]: f"{row['title']} {row['text']}" for row in load_collection(toy).corpus.table.to_pylist()}
    vectors = np.load(finished / "episode-3" / "vectors" / "passages-00000.npy")
    assert np.abs(model.encode_document(list(corpus.values())[:50]) - vectors).max() < 1e-5

    queries = {row["id"]: row["text"] for row in load_collection(toy).queries.table.to_pylist()}
    lines = [line.split("\t") for line in (toy / "qrels" / "test.tsv").read_text().splitlines()[1:]]
    relevant = {query: {passage} for query, passage, _ in lines}
    asked = {query: queries[query] for query in relevant}
    theirs = InformationRetrievalEvaluator(asked, corpus, relevant, mrr_at_k=[10], score_functions=None)(model)
    value = next(score for name, score in theirs.items() if name.endswith("mrr@10"))
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["final"]["MRR@10"] == pytest.approx(value, abs=1e-6)

    config = EncoderConfig(query_max_len=16, passage_max_len=16, precision="float32")
    _, scores = evaluate_model(finished / "episode-3" / "model", load_collection(toy), "test", config)
    assert scores.means()["MRR@10"] == pytest.approx(value, abs=1e-6)
    assert "ance-tele" in (finished / "episode-3" / "model" / "README.md").read_text()


def test_settings_that_came_later_are_no_inputs_of_a_training_without_them(finished: Path) -> None:
    """So a run that was begun before they came goes on."""
    manifest = json.loads((finished / "episode-1" / "model.manifest.json").read_text("utf-8"))
    assert "batch_queries" in manifest["inputs"]["settings"]
    assert not {"compile", "positives", "passage_loss", "replay"} & manifest["inputs"]["settings"].keys()
    pool = json.loads((finished / "episode-3" / "pool.parquet.manifest.json").read_text("utf-8"))["inputs"]
    assert pool["momentum"] == ["weighted", 0.5] and "forgotten" not in pool


def test_nothing_in_a_run_folder_is_absolute_or_pickled(finished: Path) -> None:
    for path in finished.rglob("*"):
        if path.is_file():
            assert path.suffix not in (".bin", ".pt", ".pth", ".pkl"), path
            if path.suffix in (".json", ".yaml", ".md", ".trec"):
                found = re.search(r"(?<![\w.])/(tmp|home|root|work|usr)/", path.read_text("utf-8"))
                assert not found, f"{path}: {found}"


@pytest.mark.usefixtures("undrawn_here")
def test_a_finished_run_does_nothing_again(
    finished: Path, toy: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(finished, tmp_path / "run")
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("episode-*/*.parquet")}
    assert main(command(toy, tiny_model, out)) == 0
    assert stamps and {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert "made again" not in capsys.readouterr().out


def test_another_model_in_the_same_folder_is_refused(
    finished: Path, toy: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ance_tele.encode.config import EncoderConfig
    from ance_tele.encode.loading import load_model

    other = load_model(tiny_model, EncoderConfig())
    next(other.parameters()).data.add_(0.01)
    other.save_pretrained(str(tmp_path / "other"))
    capsys.readouterr()
    assert main(command(toy, tmp_path / "other", finished)) == 2
    error = capsys.readouterr().err
    assert "the model was" in error and error.count("\n") == 1


# phase, function that dies, at which call, what must stand by then and not be made again
KILLS = [
    ("encode", "ance_tele.encode.shards", "encode_texts", 3, "episode-0/vectors/passages-00001.npy"),
    ("search", "ance_tele.search.dense", "DenseRetriever.nearest", 2, "episode-0/run.trec"),
    ("search", "ance_tele.runs.lists", "write_lists", 2, "episode-0/around_positives.parquet"),
    ("mix", "ance_tele.mining.mix", "_draw", 1, "episode-1/candidates.parquet"),
    ("train", "ance_tele.training.batches", "Collator.__call__", 7, "episode-1/pool.parquet"),
    ("evaluate", "ance_tele.evaluate.retrieval", "measure", 1, "episode-1/model/model.safetensors"),
]


@pytest.mark.usefixtures("undrawn_here")
def test_killed_in_every_phase_it_goes_on(finished: Path, toy: Path, tiny_model: Path, tmp_path: Path) -> None:
    """SIGKILL in one phase after the other, the same command each time: the same figures in the end."""
    out = tmp_path / "killed"
    stood: dict[Path, int] = {}
    for phase, module, name, call, stands in KILLS:
        errors = tmp_path / "errors.txt"
        child = started(command(toy, tiny_model, out, save_steps=4), errors, (module, name, call))
        child.join()
        assert child.exitcode == -signal.SIGKILL, f"{phase}: {errors.read_text()}"
        assert (out / stands).exists(), phase
        assert {path: path.stat().st_mtime_ns for path in stood if path.exists()}.items() <= stood.items(), phase
        done = [path for path in out.glob("episode-*/*.parquet") if not path.name.startswith(".")]
        stood = {path: path.stat().st_mtime_ns for path in done}
        if phase == "train":
            assert (out / "episode-1" / "checkpoints" / "checkpoint-4").is_dir()
    assert main(command(toy, tiny_model, out, save_steps=4)) == 0
    assert {path: path.stat().st_mtime_ns for path in stood} == stood
    assert figures(out) == figures(finished)
    logs = [json.loads((run / "episode-1" / "training_log.json").read_text()) for run in (out, finished)]
    assert logs[0] == logs[1]
    assert not list(out.rglob("*.tmp-*")) and not list(out.rglob("checkpoints"))


@pytest.mark.usefixtures("undrawn_here")
def test_queries_and_positives_share_a_pass(
    toy: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One search for both finds what two find; where both together would hold too much, there are two."""
    searched: list[str] = []

    def counted(self: DenseRetriever, asked: np.ndarray, depth: int, what: str, *search: Any) -> TopK:
        searched.append(what.removeprefix("searching "))
        return nearest(self, asked, depth, what, *search)

    nearest = DenseRetriever.nearest
    monkeypatch.setattr(DenseRetriever, "nearest", counted)
    begin, end = ["for test queries"], ["for test queries", "for training queries"]
    settings = {"episodes": 1, "epochs": 1}
    assert main(command(toy, tiny_model, tmp_path / "one", **settings)) == 0
    assert searched == [*begin, "for training queries and around positives", *end]
    searched.clear()
    monkeypatch.setattr("ance_tele.runs.lists.ONE_PASS_BYTES", 0)
    assert main(command(toy, tiny_model, tmp_path / "two", **settings)) == 0
    assert searched == [*begin, "for training queries", "around positives", *end]
    for name in ("episode-0/training_lists.parquet", "episode-1/candidates.parquet", "episode-1/pool.parquet"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    facts = read_manifest(tmp_path / "one" / "episode-0" / "training_lists").facts  # type: ignore[union-attr]
    assert facts["search_engine"] == "faiss"


def test_bm25_needs_no_model(toy: Path, tmp_path: Path) -> None:
    assert main(["run", "bm25", "--data", str(toy), "--out", str(tmp_path / "run")]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["final"] == summary["baselines"]["bm25"] and summary["final"]["MRR@10"] > 0.8


def test_search_finds_the_passage(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(finished), "t3 u18", "-k", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and lines[0].lstrip().startswith("1")


def test_an_exact_run_says_nothing_of_recall(finished: Path) -> None:
    for path in ("episode-0/training_lists", "episode-1/candidates.parquet", "episode-0/evaluation"):
        manifest = read_manifest(finished / path)
        assert manifest is not None and "depth" in manifest.inputs
        assert not {"search", "search_probes", "search_ef", "recall", "recall_around"} & {
            *manifest.inputs,
            *manifest.facts,
        }
    assert "recall" not in json.loads((finished / "summary.json").read_text())["episodes"][0]
    assert "recall@" not in (finished / "report.md").read_text()
