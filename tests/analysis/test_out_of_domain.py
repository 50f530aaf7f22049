"""A run's model against its start on other collections."""

import json
from pathlib import Path

import pytest
from toy import write_toy

from ance_tele.analysis.out_of_domain import evaluate_out_of_domain
from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.data.load import load_collection
from ance_tele.encode.config import EncoderConfig
from ance_tele.episode import run
from ance_tele.evaluate.model import evaluate_model
from ance_tele.evaluate.statistics import holm, permutation_test
from ance_tele.recipes import recipe

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, toy: Path, tiny_model: Path) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    sizes = {"episodes": 1, "depth": 20, "pool_per_source": 4, "negatives_per_query": 2, "batch_queries": 8}
    small = recipe("q-neg").with_settings(**sizes, baselines=[], max_train_queries=16)
    run(small, load_collection(toy), tiny_model, out, toy)
    return out


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folders = [tmp_path_factory.mktemp("others") / name for name in ("one", "two <b>")]
    for folder in folders:
        write_toy(folder)
    (folders[1] / "qrels" / "test.tsv").unlink()
    return folders


def test_both_models_are_measured_and_compared(
    trained: Path, others: list[Path], capsys: pytest.CaptureFixture, logged: list[str]
) -> None:
    found = evaluate_out_of_domain(trained, others)
    assert [(one.collection, one.split) for one in found] == [("one", "test"), ("two <b>", "dev")]
    assert sum("measured on" in line for line in logged) == 4
    raw = []
    for one, folder in zip(found, others, strict=True):
        collection = load_collection(folder)
        models = {"zero-shot": json.loads((trained / "run.json").read_text())["model"], "trained": "episode-1/model"}
        scores = {}
        for system, model in models.items():
            place = (trained / model).resolve()
            scores[system] = evaluate_model(place, collection, one.split, EncoderConfig())[1]
            means = one.before if system == "zero-shot" else one.after
            assert means == pytest.approx(scores[system].means())
        before, after = (scores[system].values["MRR@10"] for system in ("zero-shot", "trained"))
        assert one.difference == pytest.approx((after - before).mean())
        raw.append(permutation_test(after, before))
    assert [one.p for one in found] == pytest.approx(holm(raw))
    stored = json.loads((trained / "elsewhere" / "two--b-.json").read_text("utf-8"))
    assert (stored["collection"], stored["p"]) == ("two <b>", found[1].p)
    assert sorted(path.name for path in (trained / "elsewhere").glob("*.json")) == ["one.json", "two--b-.json"]

    logged.clear()
    assert evaluate_out_of_domain(trained, others[:1]) == found  # cached results are reused
    assert not any("measured" in line for line in logged)
    assert main(["evaluate", str(trained), "--on", *map(str, others)]) == 0
    assert "two <b>" in capsys.readouterr().out


def test_what_cannot_be_measured(trained: Path, others: list[Path], toy: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(UserError, match="is no run folder"):
        evaluate_out_of_domain(toy, others)
    with pytest.raises(UserError, match="has no qrels for split 'nowhere'"):
        evaluate_out_of_domain(trained, others, split="nowhere")
    for words, sentence in (
        (["evaluate", "--on", str(toy)], "--on comes between a run folder and collections"),
        (["evaluate", str(trained), "--on", str(toy), "--query_max_len", "8"], "leave out --query_max_len"),
    ):
        assert main(words) == 2
        assert sentence in capsys.readouterr().err
