"""The verb distil: the query side of a run's model in one encoder, plain, resumed, measured with its passages."""

import itertools
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import age, started
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize
from toy import PASSAGES_PER_TOPIC, TOPICS, run_command, write_toy

import ance_tele as at
from ance_tele.cli.main import main
from ance_tele.data.load import load_collection
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.loading import load_model, load_pair
from ance_tele.store.manifests import read_manifest
from ance_tele.training.teaching import DistilConfig

pytestmark = pytest.mark.usefixtures("undrawn")


def trained(data: Path, model: Path, out: Path, recipe: str, **settings: Any) -> Path:
    assert main(run_command(data, model, out, recipe, baselines="[zero-shot]", **settings)) == 0
    return out


@pytest.fixture(scope="module")
def worded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy collection with four more training queries a passage: they have all words of dev and test."""
    folder = tmp_path_factory.mktemp("data") / "worded"
    write_toy(folder)
    rng = np.random.default_rng(1)
    with (folder / "queries.jsonl").open("a") as queries, (folder / "qrels/train.tsv").open("a") as judged:
        for passage, turn in itertools.product(range(TOPICS * PASSAGES_PER_TOPIC), range(4)):
            topic, number = divmod(passage, PASSAGES_PER_TOPIC)
            name, text = f"r{passage}-{turn}", f"t{topic} u{passage} w{rng.integers(60)}"
            queries.write(json.dumps({"_id": name, "text": text}) + "\n")
            judged.write(f"{name}\td{topic:02d}-{number}\t1\n")
    return folder


@pytest.fixture(scope="module")
def boosted(worded: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory, undrawn: None) -> Path:
    """An ensemble of two rounds of 12 numbers, which ranks well."""
    out = tmp_path_factory.mktemp("runs") / "boosted"
    return trained(worded, tiny_model, out, "drboost", episodes=2, projection=12, epochs=1)


def command(run: Path, model: Path, out: Path, **given: Any) -> list[str]:
    usual = {"steps": 6, "batch_queries": 16, "precision": "float32"}
    flags = [f"--{name}={value}" for name, value in {**usual, **given}.items()]
    return ["distil", str(run), f"--model={model}", f"--out={out}", *flags]


def of_pair(query: Path, passage: Path, data: Path, split: str, capsys: pytest.CaptureFixture[str]) -> float:
    """Return the MRR@10 that `ance-tele evaluate` prints of a pair, with the settings of the passages' run."""
    capsys.readouterr()
    pair = [f"--query_model={query}", f"--passage_model={passage}", f"--data={data}", f"--split={split}"]
    assert main(["evaluate", *pair]) == 0
    found = re.search(r"MRR@10 +([0-9.]+)", capsys.readouterr().out)
    assert found is not None
    return float(found[1])


def test_one_encoder_in_place_of_an_ensemble(
    boosted: Path, worded: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, passages = tmp_path / "queries", boosted / "episode-2/model"
    given = command(boosted, tiny_model, out, steps=300, learning_rate=5e-3)
    assert main(given) == 0
    said = capsys.readouterr().out
    made = read_manifest(out)
    assert made is not None and (made.facts["dimension"], made.facts["queries"]) == (24, 72 + 576)
    mse, ranked = made.facts["mse"], made.facts["ranked"]
    assert (mse["split"], mse["queries"]) == ("dev", 24) and mse["after"] < 0.05 * mse["before"]
    assert ranked["dev"]["metric"] == "MRR@10" and ranked["test"]["queries"] == 48
    metrics = json.loads((boosted / "episode-2/metrics.json").read_text())
    assert metrics["metrics"]["MRR@10"] == pytest.approx(ranked[metrics["split"]]["own"], abs=1e-4)
    for split in ("dev", "test"):
        one = ranked[split]
        assert one["own"] > 0.8 and one["distilled"] > one["own"] - 0.1
        assert f"ranking {split}: MRR@10 {one['own']:.3f} by the model of episode 2, {one['distilled']:.3f}" in said
        assert of_pair(out, passages, worded, split, capsys) == pytest.approx(one["distilled"], abs=1e-4)
    assert main(given) == 0
    assert "cached: 300 steps" in capsys.readouterr().out


def test_what_comes_out_is_plain(boosted: Path, tiny_model: Path, tmp_path: Path) -> None:
    """sentence-transformers alone loads it: a Dense layer without bias, not normalised, as the ensemble's vectors."""
    out = tmp_path / "queries"
    assert main(command(boosted, tiny_model, out)) == 0
    plain = SentenceTransformer(str(out), device="cpu", trust_remote_code=False)
    dense = plain[-1]
    assert isinstance(dense, Dense) and dense.linear.bias is None and dense.out_features == 24
    assert plain.similarity_fn_name == "dot"
    found = plain.encode_query(["t3 u20 w1", "t5"])
    pair = load_pair(out, boosted / "episode-2/model", EncoderConfig(16, 16, projection=12, precision="float32"), "cpu")
    assert np.allclose(pair.encode_query(["t3 u20 w1", "t5"]), found, atol=1e-6)
    whole = load_model(boosted / "episode-2/model", EncoderConfig(16, 16), "cpu")
    assert np.allclose(pair.encode_document("t3 u20"), whole.encode_document("t3 u20"), atol=1e-6)
    assert np.linalg.norm(whole.encode_query("t3 u20")) == pytest.approx(2**0.5, abs=1e-4)
    card = (out / "README.md").read_text()
    assert "`drboost`" in card and "mean squared error" in card and "Ranking dev: MRR@10" in card
    assert "trust_remote_code=True" in card and str(tmp_path) not in card and str(boosted) not in card
    files = {path.suffix for path in out.rglob("*") if path.is_file()}
    assert files <= {".json", ".md", ".safetensors"} and not list(tmp_path.glob(".queries*"))


def test_passages_of_a_pair_with_an_ensemble_are_cut_as_alone(boosted: Path, tiny_model: Path, tmp_path: Path) -> None:
    from ance_tele.encode.encoder import text_format

    config = EncoderConfig(8, 12)
    student = at.load_model(tiny_model, EncoderConfig(normalize=False, projection=24), "cpu")
    student.save_pretrained(str(tmp_path / "student"))
    pair = load_pair(tmp_path / "student", boosted / "episode-2/model", config, "cpu")
    assert (text_format(pair, config, "query").max_length, text_format(pair, config, "document").max_length) == (8, 12)


@pytest.mark.parametrize("normalize", ["true", "false"])
def test_of_any_run(
    normalize: str, toy: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Several vectors a passage; vectors of length one where the run's are."""
    more = {"passage_vectors": 2, "projection": 24, "normalize": normalize, "learning_rate": "1e-3"}
    run = trained(toy, tiny_model, tmp_path / "run", "me-bert", episodes=1, epochs=2, **more)
    out = tmp_path / "queries"
    assert main(command(run, tiny_model, out)) == 0
    made = read_manifest(out)
    assert made is not None and made.facts["dimension"] == 24
    plain = SentenceTransformer(str(out), device="cpu")
    assert isinstance(plain[-1], Normalize) == (normalize == "true")
    assert plain.similarity_fn_name == ("cosine" if normalize == "true" else "dot")
    measured = of_pair(out, run / "episode-1/model", toy, "dev", capsys)
    assert measured == pytest.approx(made.facts["ranked"]["dev"]["distilled"], abs=1e-4)


def test_an_ensemble_that_was_told_to_normalise(
    toy: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its members are normalised, and its vectors are not of length one; nor are the encoder's."""
    run = trained(toy, tiny_model, tmp_path / "run", "drboost", episodes=2, projection=8, epochs=1, normalize="true")
    out = tmp_path / "queries"
    assert main(command(run, tiny_model, out)) == 0
    assert SentenceTransformer(str(out), device="cpu").similarity_fn_name == "dot"
    made = read_manifest(out)
    assert made is not None
    measured = of_pair(out, run / "episode-2/model", toy, "dev", capsys)
    assert measured == pytest.approx(made.facts["ranked"]["dev"]["distilled"], abs=1e-4)


def test_killed_it_goes_on_to_the_same_weights(boosted: Path, tiny_model: Path, tmp_path: Path) -> None:
    out, whole, errors = tmp_path / "killed", tmp_path / "whole", tmp_path / "errors.txt"
    death = ("ance_tele.training.query_side", "VectorBatches.__call__", 6)
    child = started(command(boosted, tiny_model, out, save_steps=1, steps=12), errors, death)
    child.join()
    assert child.exitcode == -signal.SIGKILL, errors.read_text()
    assert not out.exists()
    age(tmp_path / ".killed.training", 1000)
    assert main(command(boosted, tiny_model, out, save_steps=1, steps=12)) == 0
    assert main(command(boosted, tiny_model, whole, steps=12)) == 0
    killed, undisturbed = read_manifest(out), read_manifest(whole)
    assert killed is not None and undisturbed is not None and killed.facts == undisturbed.facts
    assert 1000 < killed.seconds < 1600


def test_every_query_once_an_epoch_in_another_order() -> None:
    from ance_tele.data.tokens import TokenStore
    from ance_tele.training.query_side import VectorBatches

    store = TokenStore.from_lists([[2, 5 + row, 3] for row in range(20)])
    rows, targets = np.arange(3, 13), np.arange(20, dtype=np.float32).reshape(10, 2)
    made = VectorBatches(store, rows, targets, 4, 42, 0)
    epochs = [np.concatenate([made.places(step) for step in range(first, first + 3)]) for first in (0, 3)]
    assert [sorted(one.tolist()) for one in epochs] == [list(range(10))] * 2 and not np.array_equal(*epochs)
    feature = made(5)
    assert feature["input_ids"][:, 1].tolist() == (5 + rows[epochs[1][8:]]).tolist()
    assert np.array_equal(feature["targets"].numpy(), targets[epochs[1][8:]])


def test_settings_by_what_is_at_hand() -> None:
    usual = DistilConfig()
    for queries, width, chosen in ((502_939, 768, (31_434, 5e-5)), (8_000, 128, (3_000, 3e-4)), (72, 0, (120, 5e-5))):
        found = usual.suited(queries, width)
        assert (found.steps, found.learning_rate) == (chosen[0], pytest.approx(chosen[1]))
    assert DistilConfig(epochs=3, steps=7, learning_rate=1e-3).suited(10, 32).steps == 7


def test_what_cannot_be_distilled_is_refused(
    boosted: Path, lexical: Path, untrained: Path, tiny_model: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    out = tmp_path / "out"
    assert "ranks by words (recipe bm25)" in refusal(*command(lexical, tiny_model, out))
    assert "holds no trained model" in refusal(*command(untrained, tiny_model, out))
    assert "is no run folder" in refusal(*command(tmp_path, tiny_model, out))
    assert "--model is missing" in refusal("distil", boosted, "--out", out)
    assert "batch_queries is 0" in refusal(*command(boosted, tiny_model, out, batch_queries=0))
    assert "learning_rate is 0," in refusal(*command(boosted, tiny_model, out, learning_rate=0))
    assert "neither a folder nor a hub name" in refusal(*command(boosted, tmp_path / "nowhere", out))
    assert "is an ensemble" in refusal(*command(boosted, boosted / "episode-1/model", out))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    assert "give --out a new folder" in refusal(*command(boosted, tiny_model, tmp_path / "full"))
    assert "give --out a new folder" in refusal(*command(boosted, tiny_model, boosted / "episode-1/model"))
    assert not out.exists()
    assert main(command(boosted, tiny_model, out)) == 0
    assert "of another training" in refusal(*command(boosted, tiny_model, out, seed=7))


def test_an_encoder_that_declares_otherwise(toy: Path, tiny_model: Path, tmp_path: Path) -> None:
    """Truncated, normalised, with encoders of its own for both sides: its query encoder is taken, whole."""
    from sentence_transformers.base.modules import Router

    from ance_tele.encode.loading import load_query_encoder

    declared = load_model(tiny_model, EncoderConfig(truncate_dim=8, untie_encoders=True), "cpu")
    assert isinstance(declared[0], Router)
    declared.save_pretrained(str(tmp_path / "declared"))
    found = load_query_encoder(tmp_path / "declared", EncoderConfig(), 48, False, 1, "cpu")
    vectors = found.encode(["t1 u7", "t2"])
    assert vectors.shape == (2, 48) and not any(isinstance(one, (Router, Normalize)) for one in found.modules())
    again = load_query_encoder(tmp_path / "declared", EncoderConfig(), 48, False, 1, "cpu")
    other = load_query_encoder(tmp_path / "declared", EncoderConfig(), 48, True, 2, "cpu")
    assert np.array_equal(again.encode(["t1 u7", "t2"]), vectors)
    unit = other.encode(["t1 u7", "t2"])
    assert np.allclose(np.linalg.norm(unit, axis=1), 1) and not np.allclose(
        unit[0] * np.linalg.norm(vectors[0]), vectors[0]
    )
    assert load_query_encoder(tiny_model, EncoderConfig(), 32, True, 1, "cpu").encode("t1").shape == (32,)


def test_from_python(boosted: Path, tiny_model: Path, tmp_path: Path, worded: Path) -> None:
    found = at.distil(boosted, tiny_model, tmp_path / "queries", at.DistilConfig(steps=2), data=worded)
    assert found.facts["steps"] == 2 and found.kind == "query encoder"
    assert load_collection(worded).fingerprint == found.inputs["data"]
