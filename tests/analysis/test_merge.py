"""Merges of a run's model with its start: measured along the weight, chosen by the stated rule, saved and reported."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from toy import run_command, write_toy

from ance_tele.analysis.merge import best_weight, checked, merge_run
from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.evaluate.statistics import holm, permutation_test
from ance_tele.report.load import read_run
from ance_tele.store.files import read_json
from ance_tele.store.manifests import read_manifest

pytestmark = pytest.mark.usefixtures("undrawn")

# ---- the rule ------------------------------------------------------------------------------------------


@given(st.integers(1, 4), st.integers(1, 5), st.data())
def test_the_rules(places: int, count: int, data: st.DataObject) -> None:
    weights = [number / 4 for number in range(count)]
    values = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9])
    scores = [{weight: data.draw(values) for weight in weights} for _ in range(places)]
    mean = best_weight(scores, "mean", 0.01)
    totals = {weight: sum(on[weight] for on in scores) for weight in weights}
    assert totals[mean] == pytest.approx(max(totals.values()))
    assert all(totals[weight] < totals[mean] - 1e-13 for weight in weights if weight > mean)
    if places > 1:
        own, *others = scores
        kept = best_weight(scores, "retain", 0.3)
        assert own[kept] >= 0.7 * max(own.values())
        allowed = [weight for weight in weights if own[weight] >= 0.7 * max(own.values())]
        best = max(sum(on[weight] for on in others) for weight in allowed)
        assert sum(on[kept] for on in others) == pytest.approx(best)


def test_weights_that_are_none() -> None:
    assert checked([1, 0.25, 0, 0.25], "mean", 0.01, []) == [0.0, 0.25, 1.0]
    for weights, rule, within, on, sentence in (
        ([], "mean", 0.01, [], "weight is none; weights lie between 0"),
        ([0.5, 1.5], "mean", 0.01, [], r"weight is 0\.5, 1\.5; weights lie between 0, the base, and 1"),
        ([0.5], "retain", 0.01, [], "The rule retain chooses by other collections; name some with --on"),
        ([0.5], "retain", 1.0, ["x"], "within is 1; it must be a share"),
    ):
        with pytest.raises(UserError, match=sentence):
            checked(weights, rule, within, on)  # type: ignore[arg-type]


# ---- a run -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, toy: Path, tiny_model: Path) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(run_command(toy, tiny_model, out, "q-neg", episodes=1, split="dev", baselines="[zero-shot]")) == 0
    return out


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("others") / "other"
    write_toy(folder, topics=8)
    (folder / "qrels" / "dev.tsv").unlink()
    return folder


def test_along_the_weight(
    trained: Path, other: Path, tiny_model: Path, logged: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = merge_run(trained, weights=(0, 0.5, 1), on=[other])
    assert [(one.collection, one.own, one.split, one.final_split) for one in found.on] == [
        ("toy", True, "dev", "test"),
        ("other", False, "test", "test"),
    ]
    # Both ends are the models of the run.
    own = found.on[0]
    for weight, episode in (("0", 0), ("1", 1)):
        metrics = read_json(trained / f"episode-{episode}" / "metrics.json")["metrics"]
        assert own.scores[weight] == pytest.approx(metrics["MRR@10"])
    assert own.final["trained"] == pytest.approx(read_json(trained / "summary.json")["final"]["MRR@10"])
    scores = [{float(weight): value for weight, value in one.scores.items()} for one in found.on]
    assert found.weight == best_weight(scores, "mean", 0.01)
    # The model is that of the weight, and an ordinary folder.
    model = SentenceTransformer(str(trained / "merged" / "model"), device="cpu")
    manifest = read_manifest(trained / "merged" / "model")
    assert manifest is not None and model.encode_query("t1 u7").shape == (32,)
    card = (trained / "merged" / "model" / "README.md").read_text()
    chosen = f"{found.weight:g} was chosen: the highest mean over toy (dev) and other (test)"
    assert "## Merged" in card and chosen in card
    assert f"`{manifest.facts['weights']}`" in card and card.count("Weights (sha-256") == 1
    assert card.startswith("---\nlibrary_name: sentence-transformers")
    # Tests against both ends, adjusted together.
    raw = []
    for one in found.on:
        folder = f"{one.collection}-{one.final_split}"
        columns = {
            name: pq.read_table(trained / "merged" / "linear" / f"weight-{weight:g}" / folder / "per_query.parquet")[
                "MRR@10"
            ].to_numpy()
            for name, weight in (("base", 0), ("trained", 1), ("merged", found.weight))
        }
        assert one.final == pytest.approx({name: values.mean() for name, values in columns.items()})
        raw += [permutation_test(columns["merged"], columns[name]) for name in ("base", "trained")]
    assert [one.p[name] for one in found.on for name in ("base", "trained")] == pytest.approx(holm(raw))

    # Cached; only what is new is measured.
    logged.clear()
    assert merge_run(trained, weights=(0, 0.5, 1), on=[other]) == found
    assert not any("weight 0" in line or "weight 1" in line for line in logged if "chosen" not in line)
    merge_run(trained, weights=(0, 0.25, 0.5, 1), on=[other], rule="retain", within=0.5)
    measured = [line for line in logged if line.startswith("weight ") and "toy, dev" in line]
    assert len(measured) == 1 and measured[0].startswith("weight 0.25: ")

    # Reported, from the command line as well.
    assert main(["merge", str(trained), "--weight", "0", "0.5", "1", "--on", str(other)]) == 0
    printed = capsys.readouterr().out
    assert f"{found.weight:g} was chosen" in printed and "the merge reaches" in printed
    again = read_run(trained).analysis.merge
    assert again == found
    assert main(["report", str(trained)]) == 0
    page = (trained / "report.html").read_text()
    assert "Between the base and the trained model" in page and "was chosen: the highest mean" in page
    rows = (trained / "figures" / "merge.csv").read_text().splitlines()
    assert rows[0] == "run,collection,split,metric,weight,score,chosen" and len(rows) == 1 + 2 * 3
    assert np.isclose(float(rows[1].split(",")[5]), own.scores["0"])


def test_the_merged_model_is_used_as_any_other(trained: Path, toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = merge_run(trained, weights=(0.5,), method="spherical")
    assert found.weight == 0.5 and "the highest score on toy (dev)" in (trained / "merged/model/README.md").read_text()
    capsys.readouterr()
    assert main(["evaluate", str(trained / "merged" / "model"), f"--data={toy}", "--split=test"]) == 0
    assert f"{found.on[0].final['merged']:.4f}" in capsys.readouterr().out


def test_what_cannot_be_merged(
    trained: Path, lexical: Path, toy: Path, tiny_model: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    assert "holds no trained model" in refusal("merge", lexical)
    assert "is no run folder" in refusal("merge", toy)
    assert "weights lie between 0" in refusal("merge", trained, "--weight", "2")
    assert "must be one of linear, spherical" in refusal("merge", trained, "--method", "cubic")
    assert "Two collections are named 'toy'" in refusal("merge", trained, "--on", toy)
    assert "takes a folder" in refusal("merge", trained, "--on", tmp_path / "nowhere")
    from transformers import BertConfig, BertModel

    small = tmp_path / "small"
    small.mkdir()
    for file in tiny_model.iterdir():
        (small / file.name).write_bytes(file.read_bytes())
    config = BertConfig.from_pretrained(small)
    config.num_hidden_layers = 1
    BertModel(config, add_pooling_layer=False).save_pretrained(small)
    assert "are not of one kind" in refusal("merge", trained, "--with", small)
    (trained / "merged" / "merge.json").write_text(json.dumps({"on": 3}))
    assert "is no merge: write it again" in refusal("report", trained)
