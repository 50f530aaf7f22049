"""The examples of the public functions and classes run, offline, each in a folder that holds a small model."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import ance_tele
from ance_tele import _MODULES

EXPORT = [f"ance_tele.export.{name}" for name in ("check", "choose", "milvus", "target")]
DOCUMENTS = [
    f"ance_tele.data.documents.{name}"
    for name in ("around", "html", "left_out", "markdown", "packing", "plain", "queries", "sections")
]
OTHERS = [
    "ance_tele.data.ragged",
    "ance_tele.encode.passage_sizes",
    "ance_tele.encode.saving",
    "ance_tele.evaluate.round_trip",
]
MODULES = sorted({*_MODULES.values(), *EXPORT, *DOCUMENTS, *OTHERS})
FOUND = [test for name in MODULES for test in doctest.DocTestFinder().find(import_module(name))]

# Without an example: those that take a whole run.
WITHOUT = {
    "analyse",
    "compare_systems",
    "distil",
    "evaluate_out_of_domain",
    "merge_run",
    "run",
    "search_run",
    "suspects_of",
    "train_teacher",
}


@pytest.mark.parametrize("example", [test for test in FOUND if test.examples], ids=lambda example: example.name)
def test_an_example_runs(
    example: doctest.DocTest, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-model").symlink_to(tiny_model)
    shown: list[str] = []
    failed = doctest.DocTestRunner().run(example, out=shown.append).failed
    assert not failed, "".join(shown)


@pytest.mark.parametrize("name", sorted(set(_MODULES) - WITHOUT))
def test_what_the_package_names_has_an_example(name: str) -> None:
    assert ">>> " in (getattr(ance_tele, name).__doc__ or "")
