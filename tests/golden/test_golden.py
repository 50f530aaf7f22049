"""The numbers of tiny runs of every recipe and variant are those that were committed: a refactoring changes none."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ance_tele.recipes import RECIPES

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))
from golden import CASES, differences  # noqa: E402


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The numbers of all cases, run in a process of their own with kernels that every machine has."""
    path = tmp_path_factory.mktemp("golden") / "golden.json"
    done = subprocess.run([sys.executable, FOLDER / "golden.py", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize("case", CASES)
def test_no_number_has_changed(case: str, ours: dict[str, Any]) -> None:
    golden = json.loads((FOLDER / "golden.json").read_text("utf-8"))
    assert list(differences(golden[case], ours[case])) == []


# What the pools of the episodes are drawn from.
SOURCES: dict[str, list[set[str]]] = {
    "zero-shot": [],
    "dpr": [{"bm25"}],
    "ance": [{"bm25"}, {"query"}, {"query"}],
    "q-neg": [{"query"}] * 3,
    "q-neg+momentum": [{"query"}, {"query", "momentum"}, {"query", "momentum"}],
    "q-neg+lookahead": [{"query", "lookahead"}] * 3,
}


@pytest.mark.parametrize("recipe", SOURCES)
def test_a_recipe_draws_from_its_sources(recipe: str, ours: dict[str, Any]) -> None:
    episodes = ours[recipe]["summary"]["episodes"]
    assert [set(episode["pool"]["by_source"]) for episode in episodes] == SOURCES[recipe]


def test_every_recipe_is_among_them() -> None:
    assert {recipe for recipe, _ in CASES.values()} >= set(RECIPES) - {"triviaqa"}  # which has the settings of nq


def test_a_difference_shows() -> None:
    assert list(differences({"a": [1.0, "x"], "b": 1}, {"a": [1.0005, "x"], "b": 1})) == []
    assert list(differences({"a": [1.0, "x"], "b": 1}, {"a": [1.01, "y"], "c": 1})) == [
        "/a/0: 1.0 -> 1.01",
        "/a/1: x -> y",
        "/b: only in the first",
        "/c: only in the second",
    ]
