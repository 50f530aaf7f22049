"""What is published: the wheel holds the package and nothing else, and its metadata and the documents name the same."""

import re
import zipfile
from collections.abc import Mapping
from email.message import Message
from pathlib import Path

import package
import pytest

import ance_tele

pytest.importorskip("hatchling")

ROOT = Path(__file__).parents[1]
INSTALLING = (ROOT / "docs" / "installing.md").read_text("utf-8")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package.build(ROOT, tmp_path_factory.mktemp("built") / "dist", "wheel")[0]


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    return package.metadata(wheel)


def row(name: str) -> str:
    return f"\n| `{name}` |"


def rewritten(wheel: Path, folder: Path, without: str, added: Mapping[str, str]) -> Path:
    """Write a copy of a wheel without a file, and with others."""
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(folder / wheel.name, "w") as target:
        for name in source.namelist():
            if name != without:
                target.writestr(name, source.read(name))
        for name, text in added.items():
            target.writestr(name, text)
    return folder / wheel.name


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path, tmp_path: Path) -> None:
    assert list(package.faults_of_wheel(wheel)) == []
    other = rewritten(wheel, tmp_path, "ance_tele/py.typed", {"tests/toy.py": ""})
    assert list(package.faults_of_wheel(other)) == [
        f"{wheel.name} lacks ance_tele/py.typed",
        f"{wheel.name} holds tests/toy.py",
    ]


@pytest.mark.slow  # and in `make package`
def test_the_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    (archive,) = package.build(ROOT, tmp_path / "dist", "sdist")
    assert list(package.faults_of_sources(archive, wheel)) == []
    other = rewritten(wheel, tmp_path, "ance_tele/py.typed", {})
    assert list(package.faults_of_sources(archive, other)) == [f"{archive.name} builds another {wheel.name}"]


def test_the_metadata_name_version_licence_and_pythons(metadata: Message) -> None:
    assert metadata["Version"] == ance_tele.__version__
    assert (metadata["License-Expression"], metadata["License-File"]) == ("Apache-2.0", "LICENSE")
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    pythons = package.pythons(metadata)
    assert metadata["Requires-Python"] == f">={pythons[0]}"
    assert f"Python {pythons[0]} to {pythons[-1]}" in INSTALLING


def test_every_extra_is_documented_and_every_documented_one_is_there(metadata: Message) -> None:
    extras = set(metadata.get_all("Provides-Extra", []))
    assert {name for name in extras if row(name) not in INSTALLING} == set()
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", *(ROOT / "src").rglob("*.py")]
    named = re.findall(r"ance-tele\[([\w,]+)\]", "\n".join(page.read_text("utf-8") for page in pages))
    assert {name for names in named for name in names.split(",")} <= extras


def test_every_dependency_has_its_reason(wheel: Path) -> None:
    table = (ROOT / "docs" / "decisions.md").read_text("utf-8").partition("\n## Documents\n")[0]
    core = [re.split(r"[<>=]", need)[0].lower() for need in package.requirements(wheel)]
    assert [name for name in core if name not in table.lower()] == []
    assert len(core) > 20


def test_the_oldest_versions_are_constraints(wheel: Path) -> None:
    needs = package.requirements(wheel)
    oldest = package.lowest(needs)
    assert len(oldest) == len(needs) and "torch==2.6" in oldest
