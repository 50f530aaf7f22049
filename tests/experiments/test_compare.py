"""Comparisons: which cells there are, what they share, how they resume and fail, and what the tables say."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.evaluate.comparison import ComparisonResult
from ance_tele.evaluate.statistics import holm, permutation_test
from ance_tele.experiments import cells
from ance_tele.experiments.compare import compare_systems
from ance_tele.experiments.grid import Cell, beginning, grid, slug, system
from ance_tele.experiments.reproduce import TABLES, systems_of
from ance_tele.experiments.tables import as_latex, as_markdown, columns, scores
from ance_tele.plan.defaults import NEGATIVES
from ance_tele.recipes import RECIPES, recipe
from ance_tele.report.tables import cell
from ance_tele.store.files import read_json
from ance_tele.store.manifests import read_manifest

pytestmark = pytest.mark.usefixtures("undrawn")

SETTINGS: dict[str, Any] = {
    "episodes": 2, "query_max_len": 16, "passage_max_len": 16, "depth": 20, "pool_per_source": 6,
    "negatives_per_query": 3, "batch_queries": 24, "epochs": 3, "refresh_step": 4, "learning_rate": 3e-3,
    "precision": "float32", "train_precision": "float32", "report_to": ["none"], "split": "dev",
}  # fmt: skip
SYSTEMS = ("zero-shot", "bm25", "ance", "dpr", "q-neg", "q-neg+momentum")


def command(data: Path, model: Path, out: Path, *systems: str, seeds: tuple[int, ...] = (1,)) -> list[str]:
    words = ["compare", "--recipes", *systems, "--seeds", *map(str, seeds)]
    flags = [f"--{name}={'[none]' if name == 'report_to' else value}" for name, value in SETTINGS.items()]
    return [*words, f"--data={data}", f"--model={model}", f"--out={out}", *flags]


@pytest.fixture(scope="module")
def whole(toy: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of six systems with two seeds."""
    out = tmp_path_factory.mktemp("comparisons") / "whole"
    assert main(command(toy, tiny_model, out, *SYSTEMS, seeds=(1, 2))) == 0
    return out


@pytest.fixture(scope="module")
def result(whole: Path) -> dict[str, Any]:
    return dict(read_json(whole / "comparison.json"))


def row_of(result: dict[str, Any], name: str) -> dict[str, Any]:
    return dict(next(row for row in result["rows"] if row["system"] == name))


def folder_of(out: Path, name: str, seed: int = 1) -> Path:
    return out / "cells" / "tiny-bert" / slug(name) / f"seed-{seed}"


def figures(folder: Path) -> dict[str, Any]:
    """Return what a run has measured, without its times."""
    summary = read_json(folder / "summary.json")
    for episode in summary["episodes"]:
        del episode["seconds"]
    return {name: summary[name] for name in ("baselines", "episodes", "final", "settings", "comparisons")}


# ---- systems ---------------------------------------------------------------------------------------------


def test_a_system_is_a_recipe_with_settings_of_its_own() -> None:
    made = system("ance-tele alpha=0.3  negatives_per_query=5", alpha=0.1, depth=50)
    assert made.name == "ance-tele alpha=0.3 negatives_per_query=5"
    assert (made.mining.alpha, made.training.negatives_per_query, made.mining.depth) == (0.3, 5, 50)
    given = {"alpha": 0.3, "negatives_per_query": 5, "depth": 50}
    assert made.settings() == {**recipe("ance-tele").settings(), **given}


@pytest.mark.parametrize(
    ("written", "setting", "value"),
    [
        ("learning_rate=1e-5", "learning_rate", 1e-5),
        ("refresh_step=100", "refresh_step", 100),
        ("refresh_step=null", "refresh_step", None),
        ("dedup=true", "dedup", True),
        ("momentum=all", "momentum", "all"),
        ("sources=[query,bm25]", "sources", ("query", "bm25")),
        ('first_sources=["bm25"]', "first_sources", ("bm25",)),
    ],
)
def test_values_are_read_as_on_the_command_line(written: str, setting: str, value: Any) -> None:
    assert system(f"ance-tele {written}").settings()[setting] == value


def test_what_makes_a_recipe_the_one_it_is_stays() -> None:
    """Settings of the whole comparison do not turn zero-shot into training, nor Q-Neg into ANCE-Tele."""
    given: dict[str, Any] = {"episodes": 5, "alpha": 0.3, "sources": ("random",), "restart": "scratch", "epochs": 7}
    made = {name: system(name, **given).settings() for name in RECIPES if name not in ("marco", "nq", "triviaqa")}
    assert {name: one["episodes"] for name, one in made.items() if one["episodes"] != 5} == {
        "zero-shot": 0, "bm25": 0, "dpr": 1,
    }  # fmt: skip
    assert {name for name, one in made.items() if one["alpha"] == 0} >= {"q-neg", "q-neg+lookahead", "ance", "dpr"}
    assert made["ance"]["restart"] == made["ance-tele+continue"]["restart"] == "continue"
    assert made["q-neg"]["sources"] == ("query",) and made["ance-tele"]["sources"] == ("random",)
    assert {one["epochs"] for one in made.values()} == {7}
    assert system("zero-shot episodes=1", **given).episode.episodes == 1, "unless the system says so itself"
    assert system("marco", **given).episode.episodes == system("marco/q-neg", **given).episode.episodes == 5
    assert system("marco/dpr", **given).episode.episodes == 1
    assert system("marco/q-neg", **given).mining.alpha == 0


def test_at_the_settings_of_a_benchmark() -> None:
    made = system("q-neg", "marco", negatives_per_query=5)
    assert made.name == "q-neg" and (made.training.negatives_per_query, made.episode.refresh_step) == (5, 20_000)
    assert system("ance", "marco").episode.refresh_step == 10_000


@pytest.mark.parametrize(
    ("text", "scale", "sentence"),
    [
        ("ance-tel", None, "There is no recipe 'ance-tel'; did you mean 'ance-tele'?"),
        ("  ", None, "There is no recipe ''; there are: ance-tele, q-neg"),
        ("ance-tele alhpa=0.3", None, "There is no setting 'alhpa'; did you mean 'alpha'?"),
        ("ance-tele 0.3", None, "'0.3' in 'ance-tele 0.3' is no setting; write name=value, such as alpha=0.3."),
        ("ance-tele alpha=[", None, "alpha is '['; it must be a number."),
        ("ance-tele alpha=2", None, "alpha is 2.0; it must lie between 0 and 1."),
        ("ance-tele seed=2", None, "every system runs with all seeds of the comparison; use --seeds."),
        ("bm25 episodes=2", None, "episodes is 2; recipe 'bm25' has no model to train: it must be 0."),
        ("ance-tele", "marko", "There is no scale 'marko'; did you mean 'marco'?"),
    ],
)
def test_a_system_that_cannot_be_is_refused(text: str, scale: str | None, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        system(text, scale)
    assert sentence in str(caught.value)


# ---- the grid --------------------------------------------------------------------------------------------


def cells_of(*names: str, models: tuple[str, ...] = ("m",), seeds: tuple[int, ...] = (1,), **given: Any) -> list[Cell]:
    return grid([system(name, **given) for name in names], models, seeds)


def test_every_system_with_every_model_and_seed() -> None:
    cells = cells_of("ance-tele", "q-neg", models=("a/one", "two"), seeds=(1, 2, 3))
    assert len({cell.folder for cell in cells}) == len(cells) == 12
    assert {(cell.recipe.name, cell.model, cell.recipe.episode.seed) for cell in cells} == {
        (name, model, seed) for name in ("ance-tele", "q-neg") for model in ("a/one", "two") for seed in (1, 2, 3)
    }
    assert cells[0].folder == "cells/one/ance-tele/seed-1" and cells[0].label == "ance-tele, one, seed 1"


def test_what_is_not_trained_is_measured_once_however_many_seeds() -> None:
    cells = cells_of("zero-shot", "bm25", "dpr", models=("m", "n"), seeds=(5, 6))
    assert [(cell.recipe.name, cell.recipe.episode.seed) for cell in cells if cell.model == "m"] == [
        ("zero-shot", 5), ("bm25", 5), ("dpr", 5), ("dpr", 6),
    ]  # fmt: skip


def test_donors_come_first() -> None:
    """A first episode that recipes have in common is made by one of them, whatever the order of the systems."""
    cells = cells_of("ance-tele", "q-neg+momentum", "ance", "dpr", "q-neg", "ance-tele alpha=0.3", "ance-tele beta=0.3")
    donors = {cell.recipe.name: cell.donor and Path(cell.donor).parent.name for cell in cells}
    assert donors == {
        "ance-tele": None,
        "q-neg+momentum": None,
        "ance": None,
        "ance-tele beta=0.3": None,  # mixes its first pool in other shares
        "dpr": "ance",
        "q-neg": "q-neg+momentum",
        "ance-tele alpha=0.3": "ance-tele",  # alpha has no part in a first episode
    }
    places = {cell.folder: place for place, cell in enumerate(cells)}
    assert all(cell.donor is None or places[cell.donor] < places[cell.folder] for cell in cells)


def test_seeds_models_and_schedules_share_nothing() -> None:
    cells = cells_of("q-neg", "q-neg+momentum", models=("m", "n"), seeds=(1, 2))
    for one in cells:
        if one.donor:
            assert Path(one.donor).parts[1::2] == Path(one.folder).parts[1::2], "same model, same seed"
    assert sum(one.donor is None for one in cells) == 4
    # A single episode runs to its end; the first of three stops at the refresh step.
    assert all(cell.donor is None for cell in cells_of("q-neg episodes=1", "q-neg+momentum"))
    assert beginning(system("q-neg", temperature=0.1)) != beginning(system("q-neg", temperature=0.2))


def test_each_cell_has_a_folder_of_its_own() -> None:
    names = ["ance-tele", "ance-tele+bm25", "ance-tele sources=[query]", "ance-tele sources=[random]", "marco/q-neg"]
    folders = [cell.folder for cell in cells_of(*names)]
    assert len(set(folders)) == 5
    assert all(re.fullmatch(r"cells/m/[\w+.-]+/seed-1", folder) for folder in folders), folders


@pytest.mark.parametrize(
    ("names", "models", "seeds", "sentence"),
    [
        (["dpr", "dpr"], ["m"], [1], "different systems, but the system 'dpr' is named twice"),
        (["dpr alpha=0", "dpr  alpha=0"], ["m"], [1], "the system 'dpr alpha=0' is named twice"),
        (["dpr"], ["m", "m"], [1], "different models, but the model 'm' is named twice"),
        (["dpr"], ["a/m", "b/m/"], [1], "the model 'm' is named twice"),
        (["dpr"], ["m"], [1, 2, 1], "different seeds, got 1, 2, 1."),
        ([], ["m"], [1], "no system is named"),
        (["dpr"], [], [1], "no model is named"),
        (["dpr"], ["m"], [], "different seeds, got none."),
    ],
)
def test_nothing_is_named_twice_or_not_at_all(
    names: list[str], models: list[str], seeds: list[int], sentence: str
) -> None:
    with pytest.raises(UserError) as caught:
        grid([system(name) for name in names], models, seeds)
    assert sentence in str(caught.value)


# ---- what cells share ------------------------------------------------------------------------------------


def test_the_first_mining_is_done_once(whole: Path) -> None:
    """Links where the file system has them, else copies: the same times to the millisecond."""
    shared = whole / "shared" / "tiny-bert" / "episode-0"
    for name, seeds in {"zero-shot": (1,), "ance": (1, 2), "dpr": (1, 2), "q-neg": (1, 2)}.items():
        for seed in seeds:
            for artefact in ("evaluation", "training_lists"):
                ours = read_manifest(folder_of(whole, name, seed) / "episode-0" / artefact)
                assert ours is not None and ours == read_manifest(shared / artefact), (name, seed, artefact)
            own = folder_of(whole, name, seed) / "episode-0" / "training_lists.parquet"
            assert own.samefile(shared / "training_lists.parquet")
    assert not list(whole.rglob("episode-0/vectors")), "nobody reads them any more"


def test_a_first_episode_in_common_is_trained_once(whole: Path) -> None:
    def model(name: str, seed: int, episode: int = 1) -> Path:
        return folder_of(whole, name, seed) / f"episode-{episode}" / "model" / "model.safetensors"

    for seed in (1, 2):
        assert model("dpr", seed).samefile(model("ance", seed))
        assert model("q-neg", seed).samefile(model("q-neg+momentum", seed))
        assert model("q-neg", seed, 2).read_bytes() != model("q-neg+momentum", seed, 2).read_bytes()
    assert model("dpr", 1).read_bytes() != model("dpr", 2).read_bytes()
    assert model("dpr", 1).read_bytes() != model("q-neg", 1).read_bytes()


def test_a_cell_is_the_same_run_alone(whole: Path, toy: Path, tiny_model: Path, tmp_path: Path) -> None:
    """Also one that has begun with another's first episode."""
    _, *flags = command(toy, tiny_model, tmp_path / "alone")
    flags = [flag for flag in flags if flag.startswith("--") and flag not in ("--recipes", "--seeds")]
    assert main(["run", "q-neg+momentum", *flags, "--seed=1"]) == 0
    assert figures(tmp_path / "alone") == figures(folder_of(whole, "q-neg+momentum"))
    for name in ("pool.parquet", "per_query.parquet", "run.trec", "model/model.safetensors"):
        alone, cell = (out / "episode-2" / name for out in (tmp_path / "alone", folder_of(whole, "q-neg+momentum")))
        assert alone.read_bytes() == cell.read_bytes(), name


def test_what_episodes_in_common_cost_is_counted_once(whole: Path, result: dict[str, Any]) -> None:
    trained = [folder_of(whole, name, seed) for name in SYSTEMS[2:] for seed in (1, 2)]
    models = {path.stat().st_ino: path for folder in trained for path in folder.glob("episode-*/model.manifest.json")}
    assert len(models) == 10
    spent = sum(json.loads(path.read_text())["seconds"] for path in models.values())
    assert result["cost"]["seconds"]["train"] == pytest.approx(spent, abs=0.1)
    assert 0 < result["cost"]["training_share"] < 1 and result["cost"]["peak_bytes"] > 10**8


# ---- resumed, beside each other --------------------------------------------------------------------------


def test_a_finished_comparison_does_nothing_again(
    whole: Path, result: dict[str, Any], toy: Path, tiny_model: Path, logged: list[str]
) -> None:
    """Also where one system is left out: the others keep their figures, but for the tests among them."""
    stamps = {path: path.stat().st_mtime_ns for path in whole.glob("cells/**/*.parquet")}
    saved = {path: path.read_bytes() for path in whole.glob("comparison.*")}
    systems = [system(name, **SETTINGS) for name in ("zero-shot", "bm25", "dpr")]
    again = compare_systems(systems, [str(tiny_model)], [1, 2], toy, whole)
    for path, content in saved.items():
        path.write_bytes(content)
    assert {path: path.stat().st_mtime_ns for path in whole.glob("cells/**/*.parquet")} == stamps
    assert not any("made again" in line for line in logged)
    for row in again["rows"]:
        for metric, found in row["values"]["dev"].items():
            assert found["by_seed"] == row_of(result, row["system"])["values"]["dev"][metric]["by_seed"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="tells by /proc who is still running")
def test_killed_beside_each_other_it_goes_on(whole: Path, toy: Path, tiny_model: Path, tmp_path: Path) -> None:
    """Two cells at a time, SIGKILL after the first trained one: no process stays behind, what is finished is not
    touched again, and in the end the figures are those of the comparison that ran one by one undisturbed."""
    out, systems = tmp_path / "killed", ("dpr", "q-neg", "q-neg+momentum")
    words = [*command(toy, tiny_model, out, *systems), "--parallel=2"]
    script = "import sys; from ance_tele.cli.main import main; sys.exit(main(sys.argv[1:]))"
    with (tmp_path / "said.txt").open("w") as said:
        child = subprocess.Popen([sys.executable, "-c", script, *words], stdout=said, stderr=said)
    workers: list[int] = []
    try:
        _wait(lambda: list(out.glob("cells/*/*/*/cost.json")) or child.poll() is not None, 120)
        workers = _children(child.pid)
        child.kill()
        assert child.wait() == -signal.SIGKILL, (tmp_path / "said.txt").read_text()
        assert len(workers) >= 2
        _wait(lambda: not any(_runs(worker) for worker in workers), 10)
    finally:
        for process in (child.pid, *workers):
            if _runs(process):
                os.kill(process, signal.SIGKILL)
    done = [path.parent for path in out.glob("cells/*/*/*/cost.json")]
    stood = {path: path.stat().st_mtime_ns for folder in done for path in folder.glob("episode-*/*.*")}
    assert 1 <= len(done) < 3 and stood
    assert main(command(toy, tiny_model, out, *systems)) == 0
    assert {path: path.stat().st_mtime_ns for path in stood} == stood
    found = read_json(out / "comparison.json")
    assert [row["system"] for row in found["rows"]] == list(systems)
    for name in systems:
        assert figures(folder_of(out, name)) == figures(folder_of(whole, name)), name
    assert not list(out.rglob("*.tmp-*"))


def _wait(until: Callable[[], Any], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


def _children(process: int) -> list[int]:
    return [int(number) for number in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# ---- cells that fail -------------------------------------------------------------------------------------

DIVERGES = "q-neg learning_rate=10 weight_decay=10 max_grad_norm=1e9"
TOO_LONG = "q-neg query_max_len=500"


def test_a_cell_that_fails_is_named_and_the_others_finish(
    toy: Path, tiny_model: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    """One cannot work at all, and comes first; one diverges."""
    out = tmp_path / "out"
    words = command(toy, tiny_model, out, TOO_LONG, DIVERGES, "zero-shot")
    sentence = refusal(*words)
    for name, why in ((TOO_LONG, "reads at most 128 tokens, and 500 are asked for"), (DIVERGES, "has diverged")):
        assert re.search(rf"{slug(name)}/seed-1: [^;]*{why}".replace("+", r"\+"), sentence), sentence
    assert sentence.startswith("2 of 3 cells failed (") and f"tables of the others are in {out}" in sentence
    assert sentence.endswith("the same command tries them again.")
    assert [row["system"] for row in read_json(out / "comparison.json")["rows"]] == ["zero-shot"]
    assert "zero-shot" in (out / "comparison.md").read_text()


def test_a_crash_is_a_cells_own(
    toy: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., str]
) -> None:
    """What is no error of the user's, such as a GPU out of memory, stands whole in the cell's log."""
    run = cells.run

    def crashing(chosen: Any, *rest: Any) -> Any:
        if chosen.name == "bm25":
            raise RuntimeError("CUDA out of memory.\nTried to allocate 20 GiB")
        return run(chosen, *rest)

    monkeypatch.setattr(cells, "run", crashing)
    sentence = refusal(*command(toy, tiny_model, tmp_path / "out", "zero-shot", "bm25"))
    log = tmp_path / "out" / "cells" / "tiny-bert" / "bm25" / "seed-1.log"
    assert f"bm25/seed-1: RuntimeError: CUDA out of memory. (see {log})" in sentence
    assert "Traceback" in log.read_text() and "Tried to allocate 20 GiB" in log.read_text()
    assert [row["system"] for row in read_json(tmp_path / "out" / "comparison.json")["rows"]] == ["zero-shot"]
    monkeypatch.undo()
    assert main(command(toy, tiny_model, tmp_path / "out", "zero-shot", "bm25")) == 0


def test_where_all_fail_there_is_no_table(
    toy: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., str]
) -> None:
    """A reason that cells have in common is given once."""

    def failing(*given: Any) -> None:
        raise UserError("The moon is in the way; wait.")

    monkeypatch.setattr(cells, "run", failing)
    assert refusal(*command(toy, tiny_model, tmp_path / "out", "zero-shot", "bm25")) == (
        "2 of 2 cells failed (cells/tiny-bert/zero-shot/seed-1, cells/tiny-bert/bm25/seed-1: The moon is in the way; "
        "wait); the same command tries them again."
    )
    assert not list(tmp_path.glob("*/comparison.*"))


def test_a_model_that_nobody_can_use_is_refused_at_once(
    toy: Path, tiny_model: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    sentence = refusal(*command(toy, tiny_model, tmp_path / "long", TOO_LONG, seeds=(1, 2, 3)))
    assert sentence.startswith("The model reads at most 128 tokens, and 500 are asked for")
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in refusal(*command(toy, tmp_path / "empty", tmp_path / "out", "zero-shot", "dpr"))
    assert not list(tmp_path.glob("*/cells"))


# ---- the tables ------------------------------------------------------------------------------------------


def test_means_spreads_and_values_are_those_of_the_runs(whole: Path, result: dict[str, Any]) -> None:
    assert [row["system"] for row in result["rows"]] == list(SYSTEMS), "in the order they were named"
    assert (result["seeds"], result["models"], result["splits"]) == ([1, 2], ["tiny-bert"], ["dev", "test"])
    for row in result["rows"]:
        assert row["seeds"] == ([1] if row["system"] in ("zero-shot", "bm25") else [1, 2])
        for place, seed in enumerate(row["seeds"]):
            final = read_json(folder_of(whole, row["system"], seed) / "summary.json")["final"]
            for metric, found in row["values"]["test"].items():
                assert found["by_seed"][place] == pytest.approx(final[metric], abs=1e-9), (row["system"], metric)
        for found in (found for split in row["values"].values() for found in split.values()):
            assert found["mean"] == pytest.approx(np.mean(found["by_seed"]))
            if len(row["seeds"]) == 1:
                assert found["spread"] is None
            else:
                assert found["spread"] == pytest.approx(abs(found["by_seed"][0] - found["by_seed"][1]) / np.sqrt(2))


def test_the_tests_are_those_of_two_systems_over_queries(whole: Path, result: dict[str, Any]) -> None:
    """Values of a query averaged over seeds; Holm over the 15 pairs of a column."""
    column = [one for one in result["tests"] if (one["split"], one["metric"]) == ("test", "MRR@10")]
    assert len(column) == 15

    def values(name: str) -> np.ndarray:
        seeds = row_of(result, name)["seeds"]
        tables = [pq.read_table(folder_of(whole, name, seed) / "final" / "per_query.parquet") for seed in seeds]
        assert len({tuple(table["query_id"].to_pylist()) for table in tables}) == 1
        return np.mean([table["MRR@10"].to_numpy() for table in tables], axis=0)

    expected = holm([permutation_test(values(one["a"]), values(one["b"])) for one in column])
    for one, p in zip(column, expected, strict=True):
        assert one["difference"] == pytest.approx((values(one["a"]) - values(one["b"])).mean())
        assert one["p"] == pytest.approx(p, abs=0.02 + 0.2 * p)


def test_letters_agree_with_the_tests(result: dict[str, Any]) -> None:
    letters = {row["system"]: row["letter"] for row in result["rows"]}
    assert list(letters.values()) == list("abcdef")
    marked = 0
    for row in result["rows"]:
        for split, metric in columns(ComparisonResult.of(result)):
            expected = set()
            for one in result["tests"]:
                if (one["split"], one["metric"]) == (split, metric) and one["p"] < 0.05:
                    winner, loser = (one["a"], one["b"]) if one["difference"] > 0 else (one["b"], one["a"])
                    expected |= {letters[loser]} if winner == row["system"] else set()
            assert set(row["values"][split][metric]["better_than"]) == expected
            marked += len(expected)
    assert marked > 0
    assert "a" in row_of(result, "bm25")["values"]["test"]["MRR@10"]["better_than"], "BM25 beats random weights"


def test_csv_markdown_and_latex_hold_the_figures_of_the_json(whole: Path, result: dict[str, Any]) -> None:
    rows = list(csv.DictReader((whole / "comparison.csv").read_text().splitlines()))
    found = {(row["system"], row["split"], row["metric"], int(row["seed"])): float(row["value"]) for row in rows}
    expected = {
        (row["system"], split, metric, seed): value
        for row in result["rows"]
        for split, metrics in row["values"].items()
        for metric, figures in metrics.items()
        for seed, value in zip(row["seeds"], figures["by_seed"], strict=True)
    }
    assert found == pytest.approx(expected, abs=1e-6) and len(rows) == len(expected)

    md = [line for line in (whole / "comparison.md").read_text().splitlines() if re.match(r"\| [a-f] \|", line)]
    tex = [line for line in (whole / "comparison.tex").read_text().splitlines() if re.match(r"[a-f] &", line)]
    assert len(md) == len(tex) == len(result["rows"])
    comparison = ComparisonResult.of(result)
    table = scores(comparison, "tiny-bert", columns(comparison))
    shown = {str(row[0]): [cell(one) for one in row] for row in table.rows}
    for row, in_md, in_tex in zip(result["rows"], md, tex, strict=True):
        cells = shown[row["letter"]]
        for place, (split, metric) in enumerate(columns(comparison)):
            mean, spread, letters = (getattr(cells[2 + place], name) for name in ("text", "spread", "letters"))
            assert float(mean) == pytest.approx(100 * row["values"][split][metric]["mean"], abs=0.0501)
            written = in_md.split(" | ")[2 + place], in_tex.removesuffix(r" \\").split(" & ")[2 + place]
            for text in written:
                numbers = re.findall(r"\d+\.\d+", text)
                assert numbers == [mean, *([spread] if spread else [])], text
            assert re.findall(r"<sup>(\w+)</sup>", written[0]) == ([letters] if letters else [])
            assert re.findall(r"textsuperscript\{(\w+)\}", written[1]) == ([letters] if letters else [])


def test_awkward_names_break_no_table(result: dict[str, Any]) -> None:
    """A bar, an ampersand and the like are text: every row has as many cells as its head."""
    awkward = r"a_b|c & 50% #1 $x^2$ {y} ~z \n *s* `t` [u] <v>"
    text = json.dumps(result).replace('"q-neg"', json.dumps(awkward))
    changed = json.loads(text.replace('"tiny-bert"', json.dumps(awkward)).replace('"toy"', json.dumps(awkward)))
    tables = [line for line in as_markdown(ComparisonResult.of(changed)).splitlines() if line.startswith("|")]
    cells = [len(re.findall(r"(?<!\\)\|", line.replace(r"\\", ""))) for line in tables]
    assert cells[:8] == [cells[0]] * 8 and cells[8:] == [cells[8]] * len(cells[8:])
    assert r"a_b\|c" in tables[6] and r"\*s\* \`t\` \[u\] &lt;v&gt;" in tables[6]

    lines = as_latex(ComparisonResult.of(changed)).splitlines()
    body = [line for line in lines if not line.startswith("%")]
    row = next(line for line in body if line.startswith("e & "))
    assert len(re.findall(r"(?<!\\)&", row)) == 1 + len(columns(ComparisonResult.of(changed)))
    name = re.split(r"(?<!\\)&", row)[1]
    bare = re.sub(r"\\textbackslash(\{\}| )|\\text\w+\{\}|\\[&%$#_{}^~]", "", name)
    assert not re.search(r"[\\&%$#_{}^~]", bare), name
    for written in (r"a\_b", r"50\%", r"\#1", r"\$x", r"\{y\}"):
        assert written in name
    assert not any(re.search(r"(?<!\\)%", line) for line in body)


def test_the_papers_figures_stand_beside(
    toy: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where collection and model are those of the paper, by name."""
    data, model = tmp_path / "msmarco", tmp_path / "co-condenser-marco"
    shutil.copytree(toy, data)
    shutil.copytree(tiny_model, model)
    tele = "ance-tele alpha=0.3 negatives_per_query=31"
    assert main(command(data, model, tmp_path / "out", "zero-shot", "dpr", tele)) == 0
    said = capsys.readouterr().out
    found = read_json(tmp_path / "out" / "comparison.json")
    assert found["metrics"] == ["MRR@10", "Recall@1000"]
    lines = (tmp_path / "out" / "comparison.md").read_text().splitlines()
    # The first two from Table 3, the shares from Table 2.
    for letter, known in (("a", ["11.4", "77.1"]), ("b", ["36.2", "97.7"]), ("c", ["39.1", "98.3"])):
        line = next(line for line in lines if line.startswith(f"| {letter} |"))
        assert [part.strip(" |") for part in line.split(" | ")[-2:]] == known
    assert "paper MRR@10" in "".join(lines) and "paper" in said


# ---- the command line ------------------------------------------------------------------------------------


def test_what_a_comparison_needs(toy: Path, tiny_model: Path, tmp_path: Path, refusal: Callable[..., str]) -> None:
    data, model, out = f"--data={toy}", f"--model={tiny_model}", f"--out={tmp_path / 'out'}"
    assert refusal("compare", data, model, out).startswith("--recipes is missing: systems: a recipe's name and")
    some = ("compare", "--recipes", "zero-shot", "dpr")
    assert refusal(*some, model, out).startswith("--data is missing")
    assert refusal(*some, data, model) == "--out is missing: the folder of the comparison."
    assert refusal(*some, data, out).endswith("--models takes several.")
    assert refusal(*some, data, model, out, "--parallel", 0) == "parallel is 0; it must be at least 1."
    assert refusal(*some, data, model, out, "--seeds", 1, 1) == "A comparison needs different seeds, got 1, 1."
    assert refusal(*some, data, model, out, "--seeds", 1, "x") == (
        "seeds is [1, 'x']; it must be numbers such as 1 2 3, in a file [1, 2, 3]."
    )
    assert refusal(*some, "dpr alpha=3", data, model, out) == "alpha is 3; it must lie between 0 and 1."
    assert refusal(*some, "dpr alpha", data, model, out).startswith("'alpha' in 'dpr alpha' is no setting;")
    assert refusal(*some, "--recipe=dpr", data, model, out).endswith("did you mean --recipes?")
    assert refusal(*some, data, model, out, "--scale=marko") == "There is no scale 'marko'; did you mean 'marco'?"
    assert not (tmp_path / "out").exists()


def test_a_table_that_the_paper_lacks(refusal: Callable[..., str]) -> None:
    assert refusal("reproduce", "tabel3") == "There is no table 'tabel3'; did you mean 'table3'?"
    assert refusal("reproduce", "xyz").endswith(f"there are: {', '.join(TABLES)}.")
    assert "table" in refusal("reproduce")
    assert refusal("reproduce", "table3").startswith("--data is missing")


def test_only_the_folder_of_a_comparison_is_taken(
    toy: Path, tiny_model: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("mine")
    for name in ("file", "full"):
        sentence = refusal(*command(toy, tiny_model, tmp_path / name, "zero-shot"))
        assert sentence == f"{tmp_path / name} is not the folder of a comparison; give --out a new folder."
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["precious.txt"]


def test_a_config_file(tmp_path: Path, refusal: Callable[..., str]) -> None:
    config = tmp_path / "grid.yaml"
    config.write_text("recipes: dpr\n")
    assert refusal("compare", "--config", config) == (
        f"{config} line 1: recipes is 'dpr'; it must be a list, such as '[bm25]'."
    )
    config.write_text("seeds: 1\n")
    assert "seeds is 1; it must be numbers such as 1 2 3, in a file [1, 2, 3]." in refusal(
        "compare", "--config", config
    )
    config.write_text("recipe: dpr\nepochs: 1\n")
    assert refusal("compare", "--config", config) == (
        f"{config} line 1: There is no setting 'recipe'; did you mean 'recipes'?"
    )


class Stop(Exception):
    """Ends a command where its work would begin."""


@pytest.fixture
def asked(toy: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Return what a command line asks of :func:`compare`, without doing it."""
    names = ("systems", "models", "seeds", "data", "out", "cache", "parallel", "table", "suit")
    found: dict[str, Any] = {}

    def noting(*given: Any) -> None:
        found.update(zip(names, given, strict=True))
        raise Stop

    monkeypatch.setattr("ance_tele.experiments.compare.compare_systems", noting)

    def ask(*words: Any) -> dict[str, Any]:
        with pytest.raises(Stop):
            main([*map(str, words), f"--data={toy}", "--out=x"])
        return found

    return ask


def test_seeds_and_models(asked: Callable[..., dict[str, Any]]) -> None:
    some = ("compare", "--recipes", "dpr", "ance-tele")
    assert asked(*some, "--model=m")["seeds"] == [42]
    assert asked(*some, "--model=m", "--seed=7")["seeds"] == [7], "not left unheard"
    found = asked(*some, "--models", "m", "co-condenser-marco", "--seeds", 3, 4, "--parallel=2")
    assert (found["seeds"], found["parallel"]) == ((3, 4), 2)
    assert found["models"] == ["m", "Luyu/co-condenser-marco"]


def test_settings_hold_for_all_systems_that_have_them_open(
    asked: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("compare", "--recipes", "zero-shot", "dpr", "ance-tele alpha=0.7", "--episodes=2", "--alpha=0.2")
    systems = asked(*words, "--model=m", "--learning-rate=1e-4", "--lenient", "--official")["systems"]
    settings = [one.settings() for one in systems]
    assert [one["episodes"] for one in settings] == [0, 1, 2]
    assert [one["alpha"] for one in settings] == [0.2, 0.0, 0.7]
    assert {one["learning_rate"] for one in settings} == {1e-4} and {one["strict"] for one in settings} == {False}
    assert {one["momentum"] for one in settings} == {"all"} and {one["split"] for one in settings} == {"dev"}
    said = capsys.readouterr().out
    assert "zero-shot stays what it is: episodes 0\n" in said
    assert "dpr stays what it is: episodes 1, alpha 0.0\n" in said and "ance-tele alpha=0.7 stays" not in said


@pytest.mark.parametrize("table", TABLES)
def test_a_table_of_the_paper(table: str, asked: Callable[..., dict[str, Any]]) -> None:
    found = asked("reproduce", table, "--model=m")
    assert found["table"] == table
    assert [one.name for one in found["systems"]] == list(systems_of(table, NEGATIVES))
    grid(found["systems"], found["models"], found["seeds"])


def test_table_2_has_fewer_and_more_negatives(asked: Callable[..., dict[str, Any]], tiny_model: Path) -> None:
    """23 and 47 beside 31; in proportion where there are others, as there are unless somebody says otherwise."""

    def negatives(*words: Any) -> list[int]:
        found = asked("reproduce", "table2", f"--model={tiny_model}", *words)
        suited = [found["suit"](one, str(tiny_model), Path("x")) for one in found["systems"]]
        return [one.training.negatives_per_query for one in suited]

    assert negatives() == [7] * 5 + [5, 11]
    assert negatives("--negatives-per-query=7") == [7] * 5 + [5, 11]
    assert negatives("--scale=nq") == [11] * 5 + [8, 17]
    assert negatives("--scale=marco") == [31] * 5 + [23, 47]
