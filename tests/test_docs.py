"""The documents keep up with the code: every verb, recipe, format, table and short name stands in them."""

import re
from pathlib import Path

import pytest

from ance_tele.cli.convert import KINDS
from ance_tele.cli.verbs import VERBS
from ance_tele.data.load import NAMED, READERS
from ance_tele.experiments.reproduce import TABLES
from ance_tele.paper.published import CHECKPOINTS
from ance_tele.paper.settings import STARTS
from ance_tele.recipes import RECIPES

ROOT = Path(__file__).parents[1]
EXPERIMENTS = (ROOT / "docs" / "experiments.md").read_text("utf-8")
FORMATS = (ROOT / "docs" / "formats.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_documented(name: str) -> None:
    assert f"`{name}`" in EXPERIMENTS


@pytest.mark.parametrize("name", ["table1", *TABLES])
def test_every_table_is_documented(name: str) -> None:
    assert f"| `{name}` |" in EXPERIMENTS


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_stands_in_the_readme(verb: str) -> None:
    assert f"ance-tele {verb}" in README or f"make {verb}" in README


def test_every_format_is_documented() -> None:
    for name in (*READERS, *KINDS):
        assert f"| `{name}` |" in FORMATS, name
    for name in NAMED:
        assert f"| `{name}:" in FORMATS, name


def test_every_published_checkpoint_has_its_command() -> None:
    for checkpoint in CHECKPOINTS:
        assert checkpoint.query in EXPERIMENTS and checkpoint.passage in EXPERIMENTS
    for start in STARTS:
        assert start == "bert-base-uncased" or start in EXPERIMENTS


def test_what_the_documents_link_to_is_there() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").rglob("*.md")):
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
