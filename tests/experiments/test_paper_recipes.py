"""Every other recipe at the settings of a benchmark, as the authors' code has it, and plans at published sizes."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from judges import write_judge
from miniatures import (
    BENCHMARKS,
    BRIEF,
    answers_of,
    command,
    facts_of,
    measured,
    planned_steps,
    pool_of,
    summary_of,
    texts_of,
)

from ance_tele.cli.main import main
from ance_tele.data.answers import has_answer
from ance_tele.data.load import load_collection
from ance_tele.paper.settings import OFFICIAL
from ance_tele.recipes import RECIPES

pytestmark = pytest.mark.usefixtures("undrawn")


# ---- the other recipes at these scales -------------------------------------------------------------

# What the pools of the episodes are drawn from.
OTHERS: dict[str, list[set[str]]] = {
    "ance-tele": [{"query", "lookahead"}, {"query", "lookahead", "momentum"}],
    "marco/q-neg": [{"query"}, {"query"}],
    "nq/q-neg+momentum": [{"query"}, {"query", "momentum"}],
    "triviaqa/q-neg+lookahead": [{"query", "lookahead"}, {"query", "lookahead"}],
    "marco/ance": [{"bm25"}, {"query"}],
    "triviaqa/ance+cyclic-lr": [{"bm25"}, {"query"}],
    "marco/dpr": [{"bm25"}],
    "nq/zero-shot": [],
    "bm25": [],
    "nq/ance-tele+continue": [{"query", "lookahead"}, {"query", "lookahead", "momentum"}],
    "marco/ance-tele+bm25": [{"query", "lookahead", "bm25"}, {"query", "lookahead", "momentum"}],
    "marco/ance-tele-overlap": [{"query", "lookahead"}, {"query", "lookahead", "momentum"}],
    "triviaqa/ance-tele+teacher": [{"query", "lookahead"}, {"query", "lookahead", "momentum"}],
    "marco/rocketqa": [{"random"}, {"query"}],
    "nq/pair": [{"random"}, {"query"}],
    "triviaqa/ar2": [{"query"}, {"query"}],
    "marco/rocketqav2": [{"query"}, {"query"}],
    "marco/me-bert": [{"bm25", "random"}],
    "nq/drboost": [{"bm25"}, {"query"}],
}

# A teacher with random weights takes most passages for relevant.
LENIENT = {"teacher_negatives": 0.95, "teacher_positives": 0.999}
TAUGHT: dict[str, dict[str, Any]] = {
    "triviaqa/ance-tele+teacher": {},
    "marco/rocketqa": LENIENT,
    "nq/pair": LENIENT,
    "triviaqa/ar2": {},
    "marco/rocketqav2": {},
}


def test_every_recipe_is_tried() -> None:
    assert {name.rpartition("/")[2] for name in OTHERS} | set(BENCHMARKS) == set(RECIPES)


# The ablations have nothing of a benchmark but its settings; whole runs of them are among the golden ones.
ABLATIONS = {"marco/q-neg", "nq/q-neg+momentum", "triviaqa/q-neg+lookahead", "marco/dpr"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in ABLATIONS else []) for name in OTHERS]
)
def test_every_recipe_runs_at_a_paper_s_scale(name: str, data: Path, model: Path, tmp_path: Path) -> None:
    settings = {**BRIEF, "episodes": len(OTHERS[name])} | ({} if name == "bm25" else {"baselines": "[]"})
    start = [] if name == "bm25" else [f"--model={model}"]
    if name in TAUGHT:
        settings |= {**TAUGHT[name], "teacher": write_judge(model, tmp_path / "teacher", 1)}
    assert main(command(name, data, tmp_path / "run", *start, **settings)) == 0
    summary = summary_of(tmp_path / "run")
    assert [set(episode["pool"]["by_source"]) for episode in summary["episodes"]] == OTHERS[name]
    assert summary["recipe"] == name and summary["final"]
    for episode in range(1, len(OTHERS[name]) + 1):
        pairs = pool_of(tmp_path / "run", episode)
        assert len(pairs) == summary["episodes"][episode - 1]["pool"]["size"] > 0
        if name.endswith("-overlap"):
            assert len(set(pairs)) == len(pairs)
    if name == "marco/ance":
        assert [episode["steps"] for episode in summary["episodes"]] == [6, 3]


def test_as_the_authors_code_does(data: Path, model: Path, tmp_path: Path) -> None:
    """--official: the whole of the past pool, whatever the share; lookahead around the first positive; no mask."""
    out = tmp_path / "run"
    settings = {**BRIEF, "alpha": 0.3, "baselines": "[]"}
    assert main(command("marco", data, out, f"--model={model}", "--official", **settings)) == 0
    had = yaml.safe_load((out / "config.yaml").read_text())
    assert {key: had[key] for key in OFFICIAL} == OFFICIAL
    first, second = (sorted(pool_of(out, episode)) for episode in (1, 2))
    assert len(second) == 2 * len(first) and not [pair for pair in set(first) if second.count(pair) < first.count(pair)]


@pytest.mark.parametrize("ranker", ["model", "bm25"])
def test_questions_without_a_positive_get_one(ranker: str, data: Path, model: Path, tmp_path: Path) -> None:
    """The best-ranked passage that holds an answer; of the nine, one is answered by no passage and stays out."""
    out, settings = tmp_path / "run", {**BRIEF, "episodes": 1, "depth": 144, "baselines": "[]"}
    assert main(command("nq", data, out, f"--model={model}", without_positive=ranker, **settings)) == 0
    assert facts_of(out / "found_positives.parquet") == {"found": 8, "missing": 1}
    collection = load_collection(data / "nq")
    answers, texts = answers_of(collection), texts_of(collection)
    found = pq.read_table(out / "found_positives.parquet").to_pylist()
    assert len(found) == 8 and all(has_answer(texts[row["passage_id"]], answers[row["query_id"]]) for row in found)
    counted = summary_of(out)["data"]
    assert (counted["training_queries_used"], counted["training_queries_without_positive"]) == (72, 9)
    assert {row["query_id"] for row in found} < {query for query, _ in pool_of(out, 1)}


def test_plans_at_the_published_sizes_need_neither_data_nor_torch() -> None:
    names = [*BENCHMARKS, "marco/ance"]
    code = (
        "import sys; from ance_tele.cli.main import main\n"
        f"assert not any(main(['run', name, '--plan']) for name in {names})\n"
        "print(sorted({'torch', 'transformers', 'faiss', 'datasets'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.endswith("\n[]\n"), done.stderr
    plans = re.split(r"^(?=\S+: [\d,]+ passages)", done.stdout, flags=re.MULTILINE)[1:]
    assert [plan.partition(":")[0] for plan in plans] == names
    assert [planned_steps(plan) for plan in plans] == [
        [20_000, 20_000, 188_604],  # 502,939 / 8 in each of three epochs
        [2_000, 2_000, 24_760],  # 79,168 / 128 in each of forty
        [2_000, 2_000, 24_640],  # 78,785 / 128 in each of forty
        [188_604, 10_000, 10_000],
    ]


def test_a_published_checkpoint_stands_beside_its_published_figures(
    data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "ance-tele_msmarco_qry-psg-encoder"
    shutil.copytree(model, folder)
    assert main(["evaluate", str(folder), f"--data={data / 'marco'}"]) == 0
    printed = capsys.readouterr().out
    assert "split dev: 24 queries" in printed and re.search(r"measured +published", printed)
    values = measured(printed)
    assert values["MRR@10"][1:] == [0.391] and values["Recall@1000"] == [1, 0.984] and len(values["nDCG@10"]) == 1


def test_a_collection_that_changed_is_read_again_and_says_which_file(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(data / "nq", tmp_path / "nq")
    assert main(["data", str(tmp_path / "nq")]) == 0
    printed = capsys.readouterr().out
    assert "test              49 queries with answers only\n" in printed and " 0 judged" not in printed
    with (tmp_path / "nq" / "nq-dev.json").open("a") as file:
        file.write("\n")
    assert main(["data", str(tmp_path / "nq")]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "is made again" in line]
    assert line.endswith(" is made again: nq-dev.json changed") and Path(line.partition(" is made")[0]).is_dir()


def test_a_plan_of_bm25_counts_no_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "marco/bm25", "--plan"]) == 0
    assert "No model: nothing runs on the GPU." in capsys.readouterr().out
