"""The verb teach: a cross-encoder from a run's pools, by sentence-transformers' trainer; resumed and described."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from processes import age, started
from sentence_transformers import CrossEncoder
from toy import run_command

import ance_tele as at
from ance_tele.cli.main import main
from ance_tele.store.manifests import read_manifest
from ance_tele.training.teaching import CrossEncoderConfig

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def run(toy: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory, undrawn: None) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(run_command(toy, tiny_model, out, "q-neg", episodes=1, epochs=1, baselines="[zero-shot]")) == 0
    return out


def command(run: Path, model: Path, out: Path, **given: Any) -> list[str]:
    usual = {"epochs": 1, "batch_queries": 8, "learning_rate": 3e-3, "precision": "float32"}
    flags = [f"--{name}={value}" for name, value in {**usual, **given}.items()]
    return ["teach", str(run), f"--model={model}", f"--out={out}", *flags]


@pytest.mark.parametrize("loss", ["binary", "list"])
def test_a_teacher_learns_and_is_a_cross_encoder(
    loss: str, run: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It tells what shares a query's words from what does not, after some epochs."""
    out = tmp_path / "teacher"
    assert main(command(run, tiny_model, out, loss=loss, epochs=6)) == 0
    said = capsys.readouterr().out
    assert "72 queries" in said and f"--teacher {out}" in said and "{'loss'" not in said
    made = read_manifest(out)
    assert made is not None and made.facts["steps"] == 6 * 9
    first = 1.6 if loss == "list" else 0.69
    assert made.facts["loss"][-1][1] < first  # of five passages, or of two verdicts, one guessed
    model = CrossEncoder(str(out))
    assert model.num_labels == 1 and model.max_seq_length == 32
    reranked = made.facts["reranked"]
    assert (reranked["split"], reranked["metric"], reranked["queries"], reranked["episode"]) == ("dev", "MRR@10", 24, 1)
    assert 0 < reranked["before"] < 1 and 0 <= reranked["after"] <= 1
    assert f"MRR@10 {reranked['before']:.3f} -> {reranked['after']:.3f}" in said
    card = (out / "README.md").read_text()
    assert f"Reranking dev top-50: MRR@10 {reranked['before']:.3f}" in card
    assert "text-ranking" in card and "`q-neg`" in card and str(tmp_path) not in card
    assert {path.suffix for path in out.iterdir()} <= {".json", ".md", ".safetensors"}
    assert not list(tmp_path.glob(".teacher*"))
    assert main(command(run, tiny_model, out, loss=loss, epochs=6)) == 0
    assert capsys.readouterr().out.splitlines()[-2].startswith("cached")


def test_killed_it_goes_on_to_the_same_weights(run: Path, tiny_model: Path, tmp_path: Path) -> None:
    out, whole, errors = tmp_path / "killed", tmp_path / "whole", tmp_path / "errors.txt"
    death = ("ance_tele.training.cross_encoder", "_Keep.on_step_end", 6)
    child = started(command(run, tiny_model, out, save_steps=2), errors, death)
    child.join()
    assert child.exitcode == -signal.SIGKILL, errors.read_text()
    assert not out.exists() and (tmp_path / ".killed.training" / "checkpoint-4").is_dir()
    age(tmp_path / ".killed.training", 1000)
    assert main(command(run, tiny_model, out, save_steps=2)) == 0
    assert main(command(run, tiny_model, whole)) == 0
    killed, undisturbed = read_manifest(out), read_manifest(whole)
    assert killed is not None and undisturbed is not None
    assert killed.facts == undisturbed.facts
    assert 1000 < killed.seconds < 1600


def test_reranked_as_by_sentence_transformers(run: Path, tiny_model: Path, tmp_path: Path) -> None:
    """The best ten of dev queries, sorted by the scores of CrossEncoder.predict."""
    from ance_tele.evaluate.retrieval import run_of
    from ance_tele.runs.folder import open_run
    from ance_tele.runs.reranking import rerank

    assert main(command(run, tiny_model, tmp_path / "teacher", rerank=0)) == 0
    opened, model = open_run(run), CrossEncoder(str(tmp_path / "teacher"))
    collection = opened.collection
    relevant = collection.split("dev").relevant()
    best = opened.retriever(1).search(relevant.queries, 100)
    found = run_of(best, relevant.queries, collection)
    expected, before = [], []
    for name, passages in found.rankings():
        row, top = int(collection.queries.rows([name])[0]), passages[:10]
        shown = [collection.corpus[int(one)] for one in collection.corpus.rows(top)]
        query = collection.queries[row]["text"]
        scores = model.predict([(query, f"{one['title']} {one['text']}") for one in shown])
        place = int(np.flatnonzero(relevant.queries == row)[0])
        right = collection.corpus.take_ids(relevant.passages[relevant.offsets[place] : relevant.offsets[place + 1]])
        order = [top[i] for i in np.lexsort((np.array(top), -scores))]
        for values, ranking in ((before, top), (expected, order)):
            values.append(next((1 / rank for rank, one in enumerate(ranking, 1) if one in right.to_pylist()), 0.0))
    reranked = rerank(model, opened, 10, "float32")
    assert reranked is not None and (reranked.depth, reranked.queries) == (10, len(found))
    assert (reranked.before, reranked.after) == pytest.approx((np.mean(before), np.mean(expected)), abs=1e-3)


def test_settings_by_what_is_at_hand() -> None:
    usual = CrossEncoderConfig()
    for queries, width, chosen in ((502_939, 768, (2, 5e-5)), (8_000, 128, (6, 3e-4)), (72, 0, (10, 5e-5))):
        found = usual.suited(queries, width)
        assert (found.epochs, found.learning_rate) == (chosen[0], pytest.approx(chosen[1]))
    given = CrossEncoderConfig(epochs=1, learning_rate=3e-3)
    assert given.suited(8_000, 128) == given


def test_what_it_learns_from(run: Path, toy: Path, tmp_path: Path) -> None:
    """A row a passage: the positive, then negatives of the query's pool, drawn anew in each epoch."""
    from ance_tele.data.collection import Qrels
    from ance_tele.encode.config import EncoderConfig
    from ance_tele.encode.cross_encoder import new_cross_encoder
    from ance_tele.mining.storage import read_pool
    from ance_tele.runs.folder import open_run
    from ance_tele.runs.ranker import write_training_lists
    from ance_tele.runs.training_set import read_pairs
    from ance_tele.training.batches import BatchPlan, by_turn

    opened = open_run(run)
    collection, config = opened.collection, CrossEncoderConfig(epochs=2, negatives_per_query=3, batch_queries=8)
    queries, passages = read_pairs(run / "positives.parquet", collection)
    positives = Qrels.from_arrays(queries, passages, queries * 0 + 1)
    pool = read_pool(run / "episode-1/pool.parquet", positives.queries, collection.queries, collection.corpus)
    plan = BatchPlan(pool, by_turn(positives, 42), 8, 3, 42)
    model = new_cross_encoder(str(opened.model), EncoderConfig(), 0)
    write_training_lists(tmp_path / "pairs.arrow", plan, config, model, collection, " ")
    found = pa.ipc.open_stream(tmp_path / "pairs.arrow").read_all().to_pylist()
    assert len(found) == 2 * 72 * 4
    texts = [f"{row['title']} {row['text']}" for row in (collection.corpus[i] for i in range(len(collection.corpus)))]
    rows = {text: row for row, text in enumerate(texts)}
    asked = {collection.queries[int(row)]["text"]: place for place, row in enumerate(positives.queries)}
    drawn: dict[int, list[int]] = {}
    for place, row in enumerate(found):
        query, passage = asked[row["query"]], rows[row["passage"]]
        assert row["label"] == float(place % 4 == 0)
        if place % 4 == 0:
            assert passage in positives.passages[positives.offsets[query] : positives.offsets[query + 1]]
        else:
            assert passage in pool.negatives(query)
            drawn.setdefault(query, []).append(passage)
    assert all(len(set(each)) == 6 for each in drawn.values())


def test_what_cannot_be_taught_is_refused(
    run: Path, tiny_model: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    out = tmp_path / "out"
    assert "no pool of episode 4" in refusal(*command(run, tiny_model, out, episode=4))
    assert "batch_queries is 0" in refusal(*command(run, tiny_model, out, batch_queries=0))
    assert "--model is missing" in refusal("teach", run, "--out", out)
    assert "is no run folder" in refusal(*command(tmp_path, tiny_model, out))
    assert "neither a folder nor a hub name" in refusal(*command(run, tmp_path / "nowhere", out))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    assert "give --out a new folder" in refusal(*command(run, tiny_model, tmp_path / "full"))
    assert not out.exists()


def test_from_python(run: Path, tiny_model: Path, tmp_path: Path) -> None:
    config = at.CrossEncoderConfig(steps=2, batch_queries=4, precision="float32")
    found = at.train_teacher(run, str(tiny_model), tmp_path / "teacher", config)
    assert found.facts["steps"] == 2
