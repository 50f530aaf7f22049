"""A comparison of six systems: what its cells share, how it resumes, the figures in its tables."""

import csv
import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from grids import SETTINGS, SYSTEMS, command, folder_of
from processes import started

from ance_tele.cli.main import main
from ance_tele.evaluate.comparison import ComparisonResult
from ance_tele.evaluate.statistics import holm, permutation_test
from ance_tele.experiments.compare import compare_systems
from ance_tele.experiments.grid import system
from ance_tele.experiments.tables import as_latex, as_markdown, columns, scores
from ance_tele.report.tables import cell
from ance_tele.store.files import read_json
from ance_tele.store.manifests import read_manifest

pytestmark = pytest.mark.usefixtures("undrawn")


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


def figures(folder: Path) -> dict[str, Any]:
    """Return what a run has measured, without its times."""
    summary = read_json(folder / "summary.json")
    for episode in summary["episodes"]:
        del episode["seconds"]
    return {name: summary[name] for name in ("baselines", "episodes", "final", "settings", "comparisons")}


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


# ---- resumed, and several at a time -------------------------------------------------------------------------


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


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc shows which processes run")
def test_killed_in_parallel_it_goes_on(whole: Path, toy: Path, tiny_model: Path, tmp_path: Path) -> None:
    """Two cells at a time, SIGKILL after the first trained one: no process stays behind, what is finished is not
    touched again, and in the end the figures are those of the comparison that ran one by one undisturbed."""
    out, systems = tmp_path / "killed", ("dpr", "q-neg", "q-neg+momentum")
    words = [*command(toy, tiny_model, out, *systems), "--parallel=2"]
    errors = tmp_path / "errors.txt"
    child = started(words, errors)
    workers: list[int] = []
    try:
        _wait(lambda: list(out.glob("cells/*/*/*/cost.json")) or child.exitcode is not None, 120)
        workers = _children(child.pid)
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL, errors.read_text()
        assert len(workers) >= 2
        _wait(lambda: not any(_runs(worker) for worker in workers), 10)
    finally:
        for process in (child.pid, *workers):
            if _runs(process):
                os.kill(process, signal.SIGKILL)
    done = [path.parent for path in out.glob("cells/*/*/*/cost.json")]
    before = {path: path.stat().st_mtime_ns for folder in done for path in folder.glob("episode-*/*.*")}
    assert 1 <= len(done) < 3 and before
    assert main(command(toy, tiny_model, out, *systems)) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    found = read_json(out / "comparison.json")
    assert [row["system"] for row in found["rows"]] == list(systems)
    for name in systems:
        assert figures(folder_of(out, name)) == figures(folder_of(whole, name)), name
    assert not list(out.rglob("*.tmp-*"))


@pytest.mark.slow
def test_stopped_in_parallel_each_cell_saves_its_step(toy: Path, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    words = [*command(toy, tiny_model, out, "dpr", seeds=(1, 2)), "--parallel=2", "--epochs=200", "--save_steps=50"]
    child = started(words, tmp_path / "errors.txt")
    try:
        _wait(lambda: len(list(out.glob("cells/*/*/*/episode-1/checkpoints/*.manifest.json"))) >= 2, 120)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGTERM)
        child.join(15)
        assert child.exitcode == 143
        logs = [path.read_text() for path in out.glob("cells/*/*/seed-*.log")]
        assert len(logs) == 2 and all("a checkpoint of step" in text for text in logs), logs
    finally:
        child.kill()


def _wait(until: Callable[[], Any], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


def _children(process: int) -> list[int]:
    threads = Path(f"/proc/{process}/task").glob("*/children")  # each of what that thread has started
    return [int(number) for path in threads for number in path.read_text().split()]


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


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
