"""Runs with a teacher: its scores beside the pool, distillation, denoising and augmentation, alternation; resumed."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from judges import write_judge
from processes import started
from sentence_transformers import CrossEncoder
from torch import nn
from toy import run_command

from ance_tele.cli.main import main
from ance_tele.data.load import load_collection
from ance_tele.store.manifests import read_manifest

pytestmark = pytest.mark.usefixtures("undrawn")

QUICK: dict[str, Any] = {"epochs": 1, "episodes": 2, "baselines": "[zero-shot]", "max_train_queries": 36}


@pytest.fixture(scope="module")
def judge(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_judge(tiny_model, tmp_path_factory.mktemp("judges") / "judge", 1)


def command(toy: Path, model: Path, out: Path, recipe: str = "ance-tele+teacher", **given: Any) -> list[str]:
    return run_command(toy, model, out, recipe, **{**QUICK, **given})


@pytest.fixture(scope="module")
def taught(toy: Path, tiny_model: Path, judge: Path, tmp_path_factory: pytest.TempPathFactory, undrawn: None) -> Path:
    """An undisturbed run with a teacher."""
    out = tmp_path_factory.mktemp("runs") / "taught"
    assert main(command(toy, tiny_model, out, teacher=judge)) == 0
    return out


def table(path: Path, *columns: str) -> list[tuple[Any, ...]]:
    read = pq.read_table(path)
    return list(zip(*(read[name].to_pylist() for name in columns), strict=True))


def predicted(judge: Path, toy: Path, pairs: list[tuple[str, str]]) -> np.ndarray:
    """Return the logits of pairs of ids by sentence-transformers."""
    collection = load_collection(toy)
    queries = {row["id"]: row["text"] for row in (collection.queries[i] for i in range(len(collection.queries)))}
    corpus = [collection.corpus[i] for i in range(len(collection.corpus))]
    texts = {row["id"]: f"{row['title']} {row['text']}" for row in corpus}
    model = CrossEncoder(str(judge))
    found: np.ndarray = model.predict([(queries[q], texts[p]) for q, p in pairs], activation_fn=nn.Identity())
    return found


def test_scores_lie_beside_the_pool(taught: Path, judge: Path, toy: Path) -> None:
    """One of each distinct pair of positives and pool, as sentence-transformers scores it; known pairs once."""
    positives = table(taught / "positives.parquet", "query_id", "passage_id")
    before: set[Any] = set()
    for episode in (1, 2):
        folder = taught / f"episode-{episode}"
        pool = set(table(folder / "pool.parquet", "query_id", "passage_id"))
        scored = table(folder / "teacher_scores.parquet", "query_id", "passage_id", "score")
        pairs = [row[:2] for row in scored]
        assert len(set(pairs)) == len(pairs) and set(pairs) == pool | set(positives)
        assert np.allclose([row[2] for row in scored], predicted(judge, toy, pairs), atol=1e-5)
        manifest = read_manifest(folder / "teacher_scores.parquet")
        assert manifest is not None and len(manifest.inputs["teacher"]) == 64
        assert manifest.facts["pairs"] == len(pairs) and manifest.facts["scored"] == len(set(pairs) - before)
        before = set(pairs)
        assert not (folder / "checkpoints").exists()


def test_the_teacher_changes_what_is_learned(
    taught: Path, toy: Path, tiny_model: Path, judge: Path, tmp_path: Path
) -> None:
    assert main(command(toy, tiny_model, tmp_path / "plain", "ance-tele", teacher=judge)) == 0  # ignored
    assert "teacher" not in json.loads((tmp_path / "plain/run.json").read_text())
    for name in ("pool.parquet", "candidates.parquet"):
        assert (tmp_path / "plain/episode-1" / name).read_bytes() == (taught / "episode-1" / name).read_bytes()
    logs = [json.loads((out / "episode-1/training_log.json").read_text()) for out in (tmp_path / "plain", taught)]
    assert logs[0] != logs[1]
    plain = read_manifest(tmp_path / "plain/episode-1/model")
    assert plain is not None and "teaching" not in plain.inputs and "passage_loss" not in plain.inputs["settings"]


def summary(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "summary.json").read_text())
    for episode in found["episodes"]:
        del episode["seconds"]
    for name in ("save_steps", "shard_passages"):
        del found["settings"][name]
    return found


KILLS = [
    ("ance_tele.encode.cross_encoder", "pair_logits", 3, "episode-1/checkpoints/teacher_scores/part-00001.npy"),
    ("ance_tele.training.batches", "Collator.__call__", 4, "episode-1/teacher_scores.parquet"),
]


def test_killed_while_the_teacher_scores_it_goes_on(
    taught: Path, toy: Path, tiny_model: Path, judge: Path, tmp_path: Path
) -> None:
    """SIGKILL between two parts of the scores, then in training; parts that are done are not scored again."""
    out, errors = tmp_path / "killed", tmp_path / "errors.txt"
    given = command(toy, tiny_model, out, teacher=judge, save_steps=2, shard_passages=800)
    for module, name, call, stands in KILLS:
        child = started(given, errors, (module, name, call))
        child.join()
        assert child.exitcode == -signal.SIGKILL, errors.read_text()
        assert (out / stands).exists()
    assert main(given) == 0
    assert summary(out) == summary(taught)
    for name in ("episode-1/teacher_scores.parquet", "episode-2/pool.parquet"):
        assert table(out / name, "query_id", "passage_id") == table(taught / name, "query_id", "passage_id")
    scores = [np.array(table(run / "episode-2/teacher_scores.parquet", "score")) for run in (out, taught)]
    assert np.allclose(*scores, atol=1e-5)


def test_two_processes_score_as_one_does(
    taught: Path, toy: Path, tiny_model: Path, judge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same parts, of the first episode, by worker processes; what they do is not done here too."""
    from ance_tele.data.ragged import owners
    from ance_tele.encode.config import EncoderConfig
    from ance_tele.engine.processes import Processes
    from ance_tele.mining.storage import read_teacher_scores
    from ance_tele.search.scorer import CrossEncoderScorer
    from ance_tele.search.scoring import score_pairs

    collection = load_collection(toy)
    ids = sorted({row[0] for row in table(taught / "positives.parquet", "query_id")})
    asked = np.sort(collection.queries.rows(ids))
    path = taught / "episode-1/teacher_scores.parquet"
    known = read_teacher_scores(path, asked, collection.queries, collection.corpus)
    scorer = CrossEncoderScorer(str(judge), EncoderConfig(precision="float32"), collection)
    assert len(scorer.key) == 64
    monkeypatch.setattr(scorer, "logits", None)  # this process scores nothing
    queries, size = asked[owners(known.offsets)], -(-len(known.scores) // 5)
    processes = Processes(2)
    try:
        found = score_pairs(scorer, queries, known.passages, tmp_path / "parts", {}, size, processes)
    finally:
        processes.end()
    assert len(list((tmp_path / "parts").glob("part-*.npy"))) == 5
    assert np.allclose(found, known.scores, atol=1e-6)


def test_a_teacher_that_ranks_worse_than_the_retriever_is_told(
    taught: Path, toy: Path, tiny_model: Path, judge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a random cross-encoder and a trained retriever the latter ranks positives first more often: log and report."""
    given = command(toy, taught / "episode-2/model", tmp_path / "run", teacher=judge, epochs=8, episodes=2)
    assert main(given) == 0
    told = capsys.readouterr()
    found = summary(tmp_path / "run")["episodes"][1]["teacher"]
    assert 0 <= found["teacher_first"] < found["retriever_first"] <= 1
    assert "train it longer" in told.out + told.err
    assert "there was little to learn from this teacher" in (tmp_path / "run/report.md").read_text()


def test_without_negatives_the_sentence_says_what_to_do(
    toy: Path, tiny_model: Path, judge: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    given = command(toy, tiny_model, tmp_path / "run", "rocketqa", teacher=judge, teacher_negatives=0.0)
    assert "train the teacher longer" in refusal(*given)


def test_another_teacher_is_refused(
    taught: Path, toy: Path, tiny_model: Path, judge: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    other = CrossEncoder(str(judge))
    next(other.parameters()).data.add_(0.01)
    other.save_pretrained(str(tmp_path / "other"))
    assert "the teacher was" in refusal(*command(toy, tiny_model, taught, teacher=tmp_path / "other"))
    moved = judge.rename(judge.with_name("moved"))  # the same weights elsewhere are the same teacher
    try:
        assert main(command(toy, tiny_model, taught, teacher=moved)) == 0
    finally:
        moved.rename(judge)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "Recipe ance-tele+teacher learns from a teacher: give"),
        ({"teacher": "nowhere"}, "neither a folder nor a hub name"),
        ({"distillation": "margin_mse", "adversarial": 0.5}, "set distillation to 'kl'"),
        ({"distillation": "off", "teacher_updates": "mutual"}, "nothing is learned from the teacher"),
        ({"teacher_temperature": 0}, "it must be above zero"),
    ],
)
def test_what_cannot_work_is_refused(
    given: dict[str, Any], sentence: str, toy: Path, tiny_model: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    assert sentence in refusal(*command(toy, tiny_model, tmp_path / "run", **given))
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize("recipe", ["ance-tele+teacher", "pair", "ar2", "rocketqa", "rocketqav2"])
def test_every_family_learns_end_to_end(
    recipe: str, toy: Path, tiny_model: Path, judge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more: dict[str, Any] = {"teacher": judge, "epochs": 2, "teacher_temperature": 4.0}
    if recipe in ("rocketqa", "pair"):
        more |= {"teacher_negatives": 0.5, "teacher_positives": 0.95, "relative_margin": 0.001}
        del more["teacher_temperature"]
    given = command(toy, tiny_model, tmp_path / "run", recipe, **more)
    assert main(given) == 0
    found = summary(tmp_path / "run")
    assert [episode["number"] for episode in found["episodes"]] == [1, 2]
    capsys.readouterr()
    assert main(given) == 0
    assert "made again" not in capsys.readouterr().out and summary(tmp_path / "run") == found


# ---- denoising and augmentation ------------------------------------------------------------------


def test_denoised_and_augmented(toy: Path, tiny_model: Path, judge: Path, tmp_path: Path) -> None:
    """Faults of RocketQA's code: random negatives that the teacher has not seen; ids looked for within a string."""
    out = tmp_path / "run"
    limits = {"teacher_negatives": 0.4, "teacher_positives": 0.8}
    assert main(command(toy, tiny_model, out, "rocketqa", teacher=judge, **limits)) == 0
    positives = set(table(out / "positives.parquet", "query_id", "passage_id"))
    for episode in (1, 2):
        folder = out / f"episode-{episode}"
        scored = dict(
            zip(
                table(folder / "mined_scores.parquet", "query_id", "passage_id"),
                (row[0] for row in table(folder / "mined_scores.parquet", "score")),
                strict=True,
            )
        )
        likely = {pair: 1 / (1 + np.exp(-score)) for pair, score in scored.items()}
        pool = table(folder / "pool.parquet", "query_id", "passage_id")
        assert pool and all(likely[pair] <= 0.4 + 1e-6 for pair in pool)  # all seen, none too likely
        found = table(folder / "found_positives.parquet", "query_id", "passage_id")
        assert set(found) == {pair for pair, share in likely.items() if share >= 0.8} - positives
        assert len(found) == len(set(found)) > 0 and not set(found) & set(pool)
        model = read_manifest(folder / "model")
        assert model is not None and model.facts["pairs"] == len(positives | set(found))
    dropped = summary(out)["episodes"][1]["pool"]["dropped"]["teacher_negatives"]
    assert dropped["query"] > 0
    config = (out / "config.yaml").read_text()
    assert str(tmp_path) not in config


# ---- alternation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["ar2", "rocketqav2"])
def test_the_teacher_learns_between_episodes(
    recipe: str, toy: Path, tiny_model: Path, judge: Path, tmp_path: Path
) -> None:
    """A teacher of each episode, from that of the one before, trained by its own pool; killed in that, it goes on."""
    given = {"teacher": judge, "teacher_learning_rate": 1e-3, "save_steps": 1}
    out, errors = tmp_path / "run", tmp_path / "errors.txt"
    death = ("ance_tele.training.cross_encoder", "_Keep.on_step_end", 4)
    child = started(command(toy, tiny_model, out, recipe, **given), errors, death)
    child.join()
    assert child.exitcode == -signal.SIGKILL, errors.read_text()
    assert (out / "episode-1/checkpoints/teacher/checkpoint-3").is_dir()
    assert main(command(toy, tiny_model, out, recipe, **given)) == 0
    assert main(command(toy, tiny_model, tmp_path / "whole", recipe, **given)) == 0
    weights = []
    for episode in (1, 2):
        manifests = [read_manifest(run / f"episode-{episode}/teacher") for run in (out, tmp_path / "whole")]
        killed, whole = manifests
        assert killed is not None and whole is not None and killed.facts["weights"] == whole.facts["weights"]
        weights.append(whole.facts["weights"])
        scores = read_manifest(out / f"episode-{episode}/teacher_scores.parquet")
        assert scores is not None and scores.facts["scored"] == scores.facts["pairs"]  # by another teacher each time
        assert CrossEncoder(str(out / f"episode-{episode}/teacher")).num_labels == 1
    assert weights[0] != weights[1]
    assert summary(out) == summary(tmp_path / "whole")
    assert not [path for path in out.rglob("*") if path.suffix in (".bin", ".pt", ".pth", ".pkl")]
