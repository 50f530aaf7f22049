"""Runs with several vectors a passage, and of ensembles: exact, nothing encoded twice, resumed after a kill."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from processes import Death, started
from toy import run_command

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.data.load import load_collection
from ance_tele.encode import shards
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.loading import load_model
from ance_tele.explorer.search import search_run
from ance_tele.recipes import recipe

pytestmark = pytest.mark.usefixtures("undrawn")

QUICK: dict[str, Any] = {"epochs": 1, "max_train_queries": 24, "baselines": "[zero-shot]"}
BOOSTED: dict[str, Any] = {**QUICK, "episodes": 3, "projection": 8, "shard_passages": 100}


def figures(out: Path) -> list[Any]:
    """Return what a run has measured, and the fingerprints of its models."""
    models = [json.loads(path.read_text()) for path in sorted(out.glob("episode-*/model.manifest.json"))]
    metrics = [json.loads(path.read_text()) for path in sorted(out.glob("*/metrics.json"))]
    return [metrics, [one["facts"]["weights"] for one in models], (out / "episode-3" / "run.trec").read_text()]


def vectors_in(folder: Path) -> np.ndarray:
    return np.concatenate([np.load(path) for path in sorted(folder.glob("passages-*.npy"))])


@pytest.fixture(scope="module")
def boosted(toy: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory, undrawn: None) -> tuple[Path, int]:
    """An undisturbed run of drboost, and how many passages were encoded in it."""
    out, passages, whole = tmp_path_factory.mktemp("runs") / "boosted", 0, shards.encode_texts

    def counting(model: Any, tokens: Any, rows: np.ndarray, task: str, *rest: Any) -> np.ndarray:
        nonlocal passages
        passages += len(rows) if task == "document" else 0
        return whole(model, tokens, rows, task, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "encode_texts", counting)
        assert main(run_command(toy, tiny_model, out, "drboost", **BOOSTED)) == 0
    return out, passages


def test_only_the_newest_member_is_encoded(boosted: tuple[Path, int], tiny_model: Path) -> None:
    out, passages = boosted
    assert passages == 144 * (1 + 3)  # with the untrained model, and with each round's own
    found = [vectors_in(out / f"episode-{number}" / "vectors") for number in (1, 2, 3)]
    assert [one.shape for one in found] == [(144, 8), (144, 16), (144, 24)]
    assert np.array_equal(found[2][:, :16], found[1]) and np.array_equal(found[1][:, :8], found[0])
    assert not list(out.glob("episode-*/vectors/newest*"))
    rounds = [
        load_model(out / f"episode-{number}" / "model", EncoderConfig(), "cpu")[0].members for number in (1, 2, 3)
    ]
    assert [len(members) for members in rounds] == [1, 2, 3]


def test_an_ensemble_is_one_model_for_every_verb(
    boosted: tuple[Path, int], toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its folder, encoded from nothing, has the metrics of the run; search finds by the sum of scores."""
    out, _ = boosted
    model, lengths = out / "episode-3" / "model", ["--passage_max_len=16", "--query_max_len=16", "--precision=float32"]
    capsys.readouterr()
    assert main(["evaluate", str(model), f"--data={toy}", "--split=test", *lengths]) == 0
    metrics = json.loads((out / "episode-3" / "metrics.json").read_text())["metrics"]
    assert f"{metrics['MRR@10']:.4f}" in capsys.readouterr().out
    corpus = load_collection(toy).corpus
    loaded = load_model(model, EncoderConfig(16, 16, precision="float32"), "cpu")
    scores = vectors_in(out / "episode-3" / "vectors") @ loaded.encode_query("t3 u20")
    best = search_run(out, "t3 u20", k=5, data=toy)
    order = np.lexsort((corpus.id_rank, -scores))[:5]
    assert [hit.id for hit in best] == [corpus[int(row)]["id"] for row in order]
    assert np.allclose([hit.score for hit in best], scores[order], atol=1e-4)
    assert "trust_remote_code=True" in (model / "README.md").read_text()


def test_settings_that_a_start_cannot_follow_are_refused(
    boosted: tuple[Path, int], toy: Path, tiny_model: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    """An ensemble keeps its encoders: nothing that was asked of it is left out in silence."""
    model = boosted[0] / "episode-3" / "model"
    for name, value in {"projection": 4, "passage_vectors": 2, "untie_encoders": "true"}.items():
        sentence = refusal(*run_command(toy, model, tmp_path / "run", **{**QUICK, name: value}))
        assert "is an ensemble, whose encoders stay what they are" in sentence and f"set {name} to" in sentence
    sentence = refusal(*run_command(toy, tiny_model, tmp_path / "run", "drboost", **{**BOOSTED, "truncate_dim": 4}))
    assert "has vectors of 4 numbers by truncation" in sentence
    assert not (tmp_path / "run").exists()


# Killed while the newest member's shards are written, beside those before, and when its ensemble is saved.
DEATHS: list[Death] = [
    ("ance_tele.runs.train", "ensemble", 2),
    ("ance_tele.encode.shards", "write_array", 2),
    ("ance_tele.search.ensemble", "write_array", 2),
]


def test_killed_where_an_ensemble_grows_it_goes_on(
    boosted: tuple[Path, int], toy: Path, tiny_model: Path, tmp_path: Path
) -> None:
    out, errors = tmp_path / "killed", tmp_path / "errors.txt"
    for death in DEATHS:
        child = started(run_command(toy, tiny_model, out, "drboost", **BOOSTED), errors, death)
        child.join()
        assert child.exitcode == -signal.SIGKILL, errors.read_text()
    assert main(run_command(toy, tiny_model, out, "drboost", **BOOSTED)) == 0
    assert figures(out) == figures(boosted[0])
    assert not list(out.rglob("*.tmp-*")) and not list(out.glob("episode-*/vectors/newest*"))


@pytest.fixture(scope="module")
def several(toy: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory, undrawn: None) -> Path:
    """ANCE-Tele with three vectors a passage, which keeps the vectors of every checkpoint."""
    out = tmp_path_factory.mktemp("runs") / "several"
    more = {"passage_vectors": 3, "episodes": 2, "keep_vectors": "true", "projection": 8}
    assert main(run_command(toy, tiny_model, out, **{**QUICK, **more})) == 0
    return out


def test_lookahead_is_the_nearest_of_all_pairs_of_vectors(several: Path, toy: Path) -> None:
    collection = load_collection(toy)
    rows = vectors_in(several / "episode-0" / "vectors")
    assert rows.shape == (144, 3 * 8)
    apart = rows.reshape(144, 3, 8)
    scores = np.einsum("pad,qbd->pqab", apart, apart).max(axis=(2, 3))
    table = pq.read_table(several / "episode-1" / "candidates.parquet").to_pydict()
    found: dict[str, list[tuple[int, str]]] = {}
    for query, passage, source, rank in zip(
        *(table[name] for name in ("query_id", "passage_id", "source", "rank")), strict=True
    ):
        if source == "lookahead":
            found.setdefault(query, []).append((rank, passage))
    assert len(found) == 24
    for query, ranked in found.items():
        own = collection.corpus.rows([query.replace("q", "d")])[0]
        order = [row for row in np.lexsort((collection.corpus.id_rank, -scores[own]))[:20] if row != own]
        nearest = {collection.corpus[int(row)]["id"] for row in order}
        # Scores that differ in the last digit may change places at the end of the list.
        assert len(nearest & {passage for _, passage in ranked}) >= len(nearest) - 1


def test_alone_as_in_the_run(several: Path, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Evaluated, and encoded and searched as an array of two tasks: the run's own ranking."""
    model, folder = several / "episode-2" / "model", tmp_path / "vectors"
    flags = [
        f"--data={toy}",
        "--passage_max_len=16",
        "--query_max_len=16",
        "--precision=float32",
        "--shard_passages=50",
    ]
    assert main(["encode", str(model), f"--out={folder}", *flags]) == 0
    for index in (0, 1):
        part = ["--unit_index", str(index), "--unit_count", "2", f"--out={tmp_path / 'run.trec'}"]
        assert main(["retrieve", str(model), f"--vectors={folder}", "--depth=20", *part, *flags]) == 0
    assert main(["evaluate", str(model), f"--run_file={tmp_path / 'alone.trec'}", *flags]) == 0

    def ranking(path: Path) -> list[list[str]]:
        return [[*line.split()[:1], *line.split()[2:4]] for line in path.read_text().splitlines()]

    alone = [line for line in ranking(tmp_path / "alone.trec") if int(line[2]) <= 20]
    assert ranking(tmp_path / "run.trec") == alone
    assert [line for line in ranking(several / "episode-2" / "run.trec") if int(line[2]) <= 20] == alone
    assert "reshape(-1, queries.shape[1])" in (model / "README.md").read_text()
    assert [hit.rank for hit in search_run(several, "t3 u20", k=3, data=toy)] == [1, 2, 3]


def test_a_start_of_several_vectors_is_refused_where_one_is_taken(
    several: Path, toy: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    """The settings do not say how many vectors the model that is given has."""
    model = several / "episode-2" / "model"
    for name, value, remedy in (("ensemble", "true", "false"), ("search", "ivf", "exact"), ("passage_loss", 0.1, "0")):
        sentence = refusal(*run_command(toy, model, tmp_path / "run", **{**QUICK, name: value}))
        assert "has 3 vectors a passage, and" in sentence and sentence.endswith(f"set {name} to {remedy}.")
    assert not (tmp_path / "run").exists()


def test_me_bert_learns(toy: Path, tiny_model: Path, tmp_path: Path, logged: list[str]) -> None:
    """Four vectors, BM25 and random negatives, one episode; the loss falls."""
    assert main(run_command(toy, tiny_model, tmp_path / "run", "me-bert", **{**QUICK, "epochs": 4})) == 0
    pool = pq.read_table(tmp_path / "run" / "episode-1" / "pool.parquet").to_pydict()
    assert set(pool["source"]) == {"bm25", "random"}
    loss = json.loads((tmp_path / "run" / "episode-1" / "training_log.json").read_text())["loss"]
    assert loss[-1][1] < loss[0][1]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"passage_vectors": 4, "ensemble": True}, "passage_vectors is 4, and ensemble True"),
        ({"passage_vectors": 4, "passage_loss": 0.1}, "passage_vectors is 4, and passage_loss 0.1"),
        ({"passage_vectors": 4, "search": "ivf"}, "passage_vectors is 4, and search ivf"),
        ({"ensemble": True, "restart": "continue"}, "restart is continue"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        recipe("ance-tele").with_settings(**settings)
