"""The layers of the house: imports point down only, and what needs no torch never meets it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ance_tele

PACKAGE = Path(ance_tele.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
}

# The floors, top first. A module may import from floors below its own, and from its own floor only within its room.
FLOORS: list[set[str]] = [
    {"cli"},
    {"experiments", "explorer", "export"},
    {"episode"},
    {"analysis", "dropin"},
    {"plan"},
    {"report"},
    {"runs"},
    {"recipes"},
    {"settings"},
    {"pretraining"},
    {"training"},
    {"mining"},
    {"evaluate"},
    {"search"},
    {"encode"},
    {"data"},
    {"engine"},
    {"paper", "store"},
    {"console"},
]
# Where the order of the floors allows more than it should.
ONLY = {
    "report": {
        "console",
        "data.notes",
        "evaluate.config",
        "evaluate.statistics",
        "mining.sources",
        "paper",
        "runs.analysed",
        "runs.merged",
        "runs.summary",
        "store",
    },
    "plan": {
        "console",
        "data",
        "mining.plugins",
        "mining.quota",
        "paper",
        "recipes",
        "runs.identity",
        "settings",
        "store",
    },
    "training": {
        "console",
        "data",
        "encode",
        "engine.work",
        "mining.never",
        "mining.pool",
        "mining.seeding",
        "mining.teacher_scores",
        "store",
    },
    "mining": {"console", "data", "search.retriever", "search.topk", "store"},
}


def imports(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line, module and name of every import of a file, also of those inside functions."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} line {node.lineno}: a relative import"
            for alias in node.names:
                yield node.lineno, node.module or "", alias.name


def internal(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and module, without the package's name, of every import from the package itself."""
    for line, module, name in imports(path):
        if module == "ance_tele" or module.startswith("ance_tele."):
            whole = f"{module}.{name}"
            yield line, (whole if whole in MODULES else module).partition(".")[2]


def room(module: str) -> str:
    return module.partition(".")[0]


def floor(module: str) -> int:
    found = [number for number, rooms in enumerate(FLOORS) if room(module) in rooms]
    assert len(found) == 1, f"{module} has no floor: name its room in FLOORS"
    return found[0]


def offences(module: str, path: Path) -> Iterator[str]:
    here = module.partition(".")[2]
    for line, target in internal(path):
        if not target or room(target) == room(here):
            continue
        below = floor(target) > floor(here)
        allowed = ONLY.get(room(here))
        listed = allowed is None or room(target) in allowed or target in allowed
        if not (below and listed):
            yield f"{module} line {line} imports {target}"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_down(module: str) -> None:
    assert list(offences(module, MODULES[module])) == []


def test_the_test_sees_an_import_that_points_up(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("def f():\n    from ance_tele.training.loss import x\n    from ance_tele.encode import encoder\n")
    assert list(offences("ance_tele.encode.x", path)) == ["ance_tele.encode.x line 2 imports training.loss"]
    assert len(list(offences("ance_tele.mining.x", path))) == 2
    assert len(list(offences("ance_tele.report.x", path))) == 2
    assert list(offences("ance_tele.episode", path)) == []


def test_every_module_has_a_floor() -> None:
    assert {room(module.partition(".")[2]) for module in MODULES} == set().union(*FLOORS)
    assert len(MODULES) > 30


def test_there_are_no_circles() -> None:
    needs = {module: {f"ance_tele.{target}" for _, target in internal(path)} for module, path in MODULES.items()}
    while needs:
        free = {module for module, targets in needs.items() if not (targets & needs.keys()) - {module}}
        assert free, f"these import each other: {sorted(needs)}"
        needs = {module: targets for module, targets in needs.items() if module not in free}


def test_nothing_inside_imports_the_public_face() -> None:
    for module, path in MODULES.items():
        faces = [name for _, target, name in imports(path) if target == "ance_tele"]
        assert faces == (["__version__"] if module == "ance_tele.cli.main" else []), module


def test_the_rooms_have_empty_fronts() -> None:
    fronts = [path for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE]
    assert {path.parent.name for path in fronts} >= {"data", "encode", "mining", "training", "evaluate", "report"}
    assert {path: path.read_text() for path in fronts if path.read_text()} == {}


HEAVY = ("torch", "transformers", "sentence_transformers", "datasets", "faiss")


@pytest.mark.parametrize("module", [module for module in MODULES if module.startswith("ance_tele.report.")])
def test_the_report_names_no_heavy_library(module: str) -> None:
    assert not {target.partition(".")[0] for _, target, _ in imports(MODULES[module])} & set(HEAVY)


def loaded_by(statements: str) -> set[str]:
    """Return which heavy libraries a fresh Python has loaded after some statements."""
    code = f"import sys\n{statements}\nprint(*({set(HEAVY)!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_configs_and_recipes_do_without_torch() -> None:
    configs = sorted(module for module in MODULES if module.endswith(".config"))
    assert len(configs) == 5
    assert loaded_by("\n".join(f"import {module}" for module in [*configs, "ance_tele.recipes", "ance_tele"])) == set()


def test_the_explorer_loads_torch_only_to_ask() -> None:
    rooms = [module for module in MODULES if module.startswith("ance_tele.explorer.")]
    assert len(rooms) > 5
    assert loaded_by("\n".join(f"import {module}" for module in rooms)) == set()


def test_reading_data_and_writing_reports_do_without_torch() -> None:
    light = [
        module
        for module in MODULES
        if module.startswith(("ance_tele.report.", "ance_tele.data.", "ance_tele.store.", "ance_tele.console."))
    ]
    assert len(light) > 12
    assert loaded_by("\n".join(f"import {module}" for module in [*light, "ance_tele.cli.main"])) == set()
