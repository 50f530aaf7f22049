"""Table 1: its rows and their published figures, what they start from, and the whole of it on the toy collection."""

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from processes import started
from zoo_folders import t5

import ance_tele
from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.evaluate.comparison import ComparisonResult, Cost, Score, System
from ance_tele.evaluate.statistics import rank_agreement
from ance_tele.experiments import cells, starts
from ance_tele.experiments.rows import ROWS, figures, rows_of, starts_wanted
from ance_tele.experiments.starts import make_starts, pretraining_defaults, teacher_defaults
from ance_tele.experiments.table1 import order_kept
from ance_tele.experiments.tables import as_csv, as_latex
from ance_tele.recipes import RECIPES
from ance_tele.store.files import read_json
from ance_tele.store.manifests import read_manifest
from ance_tele.training.teaching import CrossEncoderConfig

pytestmark = pytest.mark.usefixtures("undrawn")

FACTS = yaml.safe_load((Path(ance_tele.__file__).parent / "paper" / "facts.yaml").read_text("utf-8"))["table1"]

# ---- rows ------------------------------------------------------------------------------------------------

# Recipes of rows that stand in the table as soon as there are such recipes.
TO_COME: set[str] = set()


def test_every_row_has_its_published_figures() -> None:
    """As facts.yaml has them, by the label of the row."""
    known = {row["system"]: row for row in FACTS}
    for row in ROWS:
        shown = figures(row.label, row)
        if row.further:
            assert set(shown) == {"MARCO MRR@10"}, row.label
            continue
        of = known[row.label]
        expected = {"MARCO MRR@10": of.get("msmarco", [None])[0], "NQ Answer@20": of.get("nq", [None, None])[1]}
        assert {name: round(100 * value, 4) for name, value in shown.items()} == {
            name: value for name, value in expected.items() if value is not None
        }
        assert shown
    further = {row.label: figures(row.label, row)["MARCO MRR@10"] for row in ROWS if row.further}
    assert further["ANCE-Tele from BERT"] == 0.36 and further["DPR from coCondenser"] == 0.362


def test_every_family_of_the_table_is_a_row() -> None:
    """All but larger models, a second run of the same system, and what only others' files bring."""
    bring = {"DeepCT", "docT5query", "GAR"}
    larger = {"DPR-PAQ-large", "GTR-large", "GTR-XL", "GTR-XXL", "coCondenser (the paper's own run)"}
    assert {row["system"] for row in FACTS} - bring - larger == {row.label for row in ROWS if not row.further}
    assert all(figures(name) for name in bring)
    assert {row.recipe for row in ROWS} - RECIPES.keys() <= TO_COME


def test_rows_are_told_apart_by_recipe_and_start() -> None:
    assert len({row.label for row in ROWS}) == len({(row.system, row.start) for row in ROWS}) == len(ROWS)
    starts_of = {row.start for row in ROWS if row.recipe == "ance"}
    assert starts_of >= {"bert", "condenser", "cocondenser"}
    for recipe in ("dpr", "ance-tele"):
        assert {row.start for row in ROWS if row.recipe == recipe} >= {"bert", "condenser", "cocondenser"}


def test_rows_that_cannot_be_are_left_out_with_a_sentence() -> None:
    rows, left_out = rows_of(["mlm", "condenser"])
    assert not {"SEED-Encoder", "GTR-base", "coCondenser", "ANCE-Tele"} & {row.label for row in rows}
    assert {"ANCE-Tele from Condenser", "Condenser", "AR2"} <= {row.label for row in rows}
    assert "GTR-base is left out: no T5 is given (--t5)." in left_out
    assert "SEED-Encoder is left out: there is no start seed." in left_out
    assert len(rows) + len(left_out) == len(ROWS)
    rows, _ = rows_of(["mlm"], "my-t5", "d2q.jsonl", "gar.tsv")
    assert {row.label: row.system for row in rows[:4]} == {
        "BM25": "bm25",
        "docT5query": "bm25 expand_passages=d2q.jsonl",
        "GAR": "bm25 expand_queries=gar.tsv",
        "DPR": "dpr",
    }
    assert [row.start for row in rows if row.label == "GTR-base"] == ["t5"]


def test_starts_come_in_the_order_in_which_they_are_made() -> None:
    assert starts_wanted(["seed", "cocondenser"]) == ("condenser", "cocondenser", "seed")
    with pytest.raises(UserError, match="There is no start 'condensr'; did you mean 'condenser'"):
        starts_wanted(["condensr"])


# ---- settings by what is at hand ---------------------------------------------------------------------------


@pytest.mark.parametrize("passages", [1, 144, 30_016, 8_841_823])
@pytest.mark.parametrize("width", [0, 32, 128, 768])
def test_settings_of_pretrainings(passages: int, width: int) -> None:
    found = pretraining_defaults(passages, width, 32)
    steps = found["epochs"] * -(-passages // found["batch_passages"])
    assert found["epochs"] in (1, 8) or 250 <= steps < 250 + passages / found["batch_passages"] + 1
    assert 1 <= found["epochs"] <= 8 and 1e-4 <= found["learning_rate"] <= 1e-3
    assert pretraining_defaults(8_841_823, 768, 128)["batch_passages"] == 256


@pytest.mark.parametrize("queries", [1, 400, 502_939])
def test_an_ignorant_teacher_still_leaves_negatives(queries: int) -> None:
    """What it takes for relevant before it knows anything lies below RocketQA's threshold."""
    config = CrossEncoderConfig(**teacher_defaults(queries))
    config.check()
    threshold = RECIPES["rocketqa"]().teaching.teacher_negatives
    assert config.loss == "binary" and threshold is not None
    assert 1 / (1 + config.negatives_per_query) < threshold


# ---- the order against the paper's ---------------------------------------------------------------------------


def test_agreement_of_ranks() -> None:
    """One swapped pair of the six of four systems: tau (5 - 1) / 6, rho 1 - 6 * 2 / (4 * 15)."""
    assert rank_agreement([1, 2, 3, 4], [10, 20, 40, 30]) == (0.6667, 0.8)
    assert rank_agreement([1, 2, 3], [3, 2, 1]) == (-1.0, -1.0)
    assert np.isnan(rank_agreement([1], [2])).all()


def result_of(means: dict[str, float]) -> ComparisonResult:
    rows = tuple(
        System(
            letter="a", system=name, model="m", seeds=(1,), shares={}, episodes=(), folders=(), start="bert",
            values={"test": {"MRR@10": Score(mean=mean, spread=None, by_seed=(mean,), better_than=())}},
            seconds={"training": 60.0, "pretraining": 30.0}, paper=figures(name),
        )
        for name, mean in means.items()
    )  # fmt: skip
    cost = Cost(seconds={}, training_share=0.0, peak_bytes=0)
    return ComparisonResult(
        schema=1, collection="c", metrics=("MRR@10",), splits=("test",), models=("m",), seeds=(1,), rows=rows,
        tests=(), untested=(), cost=cost, table="table1",
    )  # fmt: skip


def test_the_order_is_compared_with_the_papers() -> None:
    """MARCO: DPR < ANCE < Condenser < coCondenser; ours has the last two swapped, and ME-BERT has no figure on NQ."""
    means = {"DPR": 0.1, "ANCE": 0.2, "Condenser": 0.4, "coCondenser": 0.3, "BM25": 0.9}
    assert order_kept(result_of(means), [*means][:4]) == [
        "Order of the 4 trained systems by test MRR@10 against the paper's MARCO MRR@10: Kendall's tau 0.67, "
        "Spearman's rho 0.80.",
        "Order of the 4 trained systems by test MRR@10 against the paper's NQ Answer@20: Kendall's tau 0.67, "
        "Spearman's rho 0.80.",
    ]
    assert len(order_kept(result_of({"DPR": 0.1, "ME-BERT": 0.2}), ["DPR", "ME-BERT"])) == 1


def test_published_figures_stand_in_latex_and_csv() -> None:
    result = result_of({"DPR": 0.1, "ANCE": 0.2})
    assert r"\textit{31.1} & \textit{78.4} \\" in as_latex(result) and "& 90 &" in as_latex(result)
    lines = as_csv(result).splitlines()
    assert "paper,DPR,,MARCO MRR@10,,0.311000" in lines and "m,ANCE,,seconds training,,60.000000" in lines
    assert ComparisonResult.of(json.loads(json.dumps(result.content()))) == result


# ---- the verb ----------------------------------------------------------------------------------------------

SETTINGS: dict[str, Any] = {
    "episodes": 2, "query_max_len": 16, "passage_max_len": 16, "depth": 20, "pool_per_source": 6,
    "negatives_per_query": 3, "batch_queries": 12, "epochs": 1, "learning_rate": 3e-3, "max_train_queries": 24,
    "precision": "float32", "train_precision": "float32", "report_to": "[none]",
}  # fmt: skip
PRETRAINING = ("steps=4", "batch_passages=24", "span_min_tokens=2", "report_to=[none]", "save_steps=2")
# Enough to learn how rarely a passage is relevant.
TEACHING = ("steps=40", "learning_rate=5e-3")


def command(data: Path, model: Path, out: Path, *more: object) -> list[str]:
    flags = [f"--{name}={value}" for name, value in SETTINGS.items()]
    words = ["reproduce", "table1", f"--data={data}", f"--model={model}", f"--out={out}", *flags]
    return [*words, "--pretraining", *PRETRAINING, "--teaching", *TEACHING, *map(str, more)]


def test_what_the_verb_refuses(toy: Path, tiny_model: Path, tmp_path: Path, refusal: Callable[..., str]) -> None:
    some = ("reproduce", "table1", f"--data={toy}", f"--out={tmp_path / 'out'}")
    assert refusal(*some).startswith("--model is missing")
    assert (
        refusal(*some, "--models", "a", "b") == "table1 makes its starts of one model; give a single --model, a BERT."
    )
    given = (*some, f"--model={tiny_model}")
    assert refusal(*given, "--starts", "mlmm") == "There is no start 'mlmm'; did you mean 'mlm'?"
    assert refusal(*given, "--pretraining", "step=2").startswith("There is no setting of pretraining 'step'; did you")
    assert refusal(*given, "--pretraining", "objective=mlm").startswith(
        "There is no setting of pretraining 'objective'"
    )
    assert refusal(*given, "--pretraining", "2") == "pretraining is '2'; it must be NAME=VALUE, such as epochs=2."
    assert refusal(*given, "--teaching", "epochs=x") == "epochs is 'x'; it must be a whole number or null."
    assert refusal(*given, "--teaching", "epochs=0") == "epochs is 0; it must lie between 1 and 1048576."
    sentence = refusal(*given, "--teacher_negatives", 0.5)
    assert sentence.startswith("The settings make every row learn from a teacher, also DPR")
    nowhere = tmp_path / "nowhere"
    for flag in ("--teacher", "--t5"):  # before hours of other rows
        assert f"{nowhere} is neither a folder nor a hub name" in refusal(*given, flag, nowhere)
    assert "nowhere is neither a folder" in refusal(*some, f"--model={nowhere}")
    assert "is no cross-encoder" in refusal(*given, "--teacher", tiny_model)
    table3 = ("reproduce", "table3", f"--data={toy}", f"--model={tiny_model}", f"--out={tmp_path / 'out'}")
    assert refusal(*table3, "--starts", "mlm") == "--starts is a flag of table1; leave it out for table3."
    assert not (tmp_path / "out").exists()


def made_at(out: Path) -> dict[str, int]:
    paths = [path for path in out.rglob("*.manifest.json") if "shared" not in path.parts]
    return {path.relative_to(out).as_posix(): path.stat().st_mtime_ns for path in paths}


@pytest.mark.slow  # a minute: starts, a teacher, every family
def test_the_whole_table_killed_and_resumed(
    toy: Path,
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    refusal: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SIGKILL where the teacher begins; what stands is not made again, nor is anything of a table that is whole."""
    out, small, ranked = tmp_path / "out", tmp_path / "t5", tmp_path / "deepct.trec"
    t5(small)
    files = [toy / "qrels" / f"{split}.tsv" for split in ("dev", "test")]
    asked = [line.split("\t")[:2] for path in files for line in path.read_text().splitlines()[1:]]
    lines = [
        f"{query} Q0 {passage[:-1]}{place} {place + 1} {9 - place} x" for query, passage in asked for place in range(6)
    ]
    ranked.write_text("\n".join(lines) + "\n")
    given = command(
        toy, tiny_model, out, "--starts", "mlm", "cocondenser", "--t5", small, "--beside", f"DeepCT={ranked}"
    )
    child = started(given, tmp_path / "errors.txt", ("ance_tele.experiments.table1", "train_teacher", 1))
    child.join()
    assert child.exitcode == -signal.SIGKILL, (tmp_path / "errors.txt").read_text()
    before = made_at(out)
    assert "starts/cocondenser.manifest.json" in before and "teacher.manifest.json" not in before
    assert "cells/cocondenser/ance-tele/seed-42/episode-2/model.manifest.json" in before

    assert main(given) == 0
    printed, after = capsys.readouterr().out, made_at(out)
    assert {name: after[name] for name in before} == before
    found = ComparisonResult.of(read_json(out / "table1.json"))
    rows = {row.system: row for row in found.rows}
    left_out = {note.partition(" is left out")[0] for note in found.notes if " is left out: " in note}
    assert rows.keys() | left_out == {"DeepCT", *(row.label for row in ROWS)} and "SEED-Encoder" in left_out
    assert [*rows] == [*(row.label for row in ROWS if row.label in rows), "DeepCT"]
    assert rows["coCondenser"].start == "cocondenser" and rows["BM25"].start is None and not rows["BM25"].seconds
    assert rows["AR2"].seconds.keys() == {"pretraining", "DPR before", "teacher", "mining", "scoring", "training"}
    assert rows["ANCE"].seconds.keys() == {"pretraining", "mining", "scoring", "training"}
    both = [read_manifest(out / "starts" / name) for name in ("condenser", "cocondenser")]
    spent = sum(one.seconds for one in both if one is not None)
    assert rows["coCondenser"].seconds["pretraining"] == pytest.approx(spent, abs=0.1)
    assert rows["DeepCT"].paper == {"MARCO MRR@10": 0.243} and rows["GTR-base"].seconds["pretraining"] == 0
    dpr = json.loads((out / "cells/dpr-seed-42/ar2/seed-42/run.json").read_text())["model"]
    assert dpr.endswith("bert/dpr/seed-42/episode-1/model") and not Path(dpr).is_absolute()
    for row in ("rocketqa", "pair"):
        identity = json.loads((out / f"cells/bert/{row}/seed-42/run.json").read_text())
        assert identity["teacher"].endswith("teacher") and not Path(identity["teacher"]).is_absolute()
    text = (out / "table1.md").read_text()
    assert "| ANCE-Tele | cocondenser |" in text and re.search(r"\| \*39\.1\* \| \*84\.9\* \|\n", text)
    assert "Kendall's tau" in text and "Kendall's tau" in printed and "- Teacher: one for all rows" in text
    assert "; reranking dev top-" in text
    assert {path.name for path in out.glob("table1.*")} == {
        f"table1.{end}" for end in ("md", "tex", "csv", "json", "png")
    }

    assert main(given) == 0
    assert made_at(out) == after

    # A row that fails leaves the others, and its sentence.
    run = cells.run

    def failing(chosen: Any, *rest: Any) -> Any:
        if chosen.name == "rocketqa":
            raise UserError("The moon is in the way; wait.")
        return run(chosen, *rest)

    monkeypatch.setattr(cells, "run", failing)
    assert refusal(*given) == (
        f"1 of {len(rows) - 1} rows failed (RocketQA: The moon is in the way; wait); the tables of the others are in "
        f"{out}; the same command tries them again."
    )
    assert read_json(out / "table1.json")["notes"][-1] == "RocketQA failed: The moon is in the way; wait."
    text = (out / "table1.md").read_text()
    assert "| AR2 |" in text and "| RocketQA |" not in text


def test_a_start_that_fails_fails_its_rows_alone(
    toy: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = starts.pretrain

    def failing(model: Any, collection: Any, out: Path, *rest: Any) -> Any:
        if out.name == "condenser":
            raise UserError("The moon is in the way; wait.")
        return whole(model, collection, out, *rest)

    monkeypatch.setattr(starts, "pretrain", failing)
    from ance_tele.data.load import load_collection

    settings = {"steps": 1, "batch_passages": 8, "span_min_tokens": 2, "report_to": ("none",)}
    names = ("mlm", "condenser", "cocondenser")
    found = make_starts(names, str(tiny_model), load_collection(toy), tmp_path, 16, settings)
    assert [*found.folders] == ["bert"] and found.folders["bert"] == str(tmp_path / "mlm")
    assert found.failed == dict.fromkeys(("condenser", "cocondenser"), "The moon is in the way; wait.")
    assert make_starts((), "my-bert", load_collection(toy), tmp_path, 16, {}).folders == {"bert": "my-bert"}
