"""Recipes of a user's own: the example of the documents, and everything that can be wrong with one."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from steps import Refusal

import ance_tele
from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.experiments.grid import system

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text("utf-8")

WRONG = """
import ance_tele

RATE = 0.1

def number():
    return 5

def raises():
    return {}["rate"]

def asks(rate):
    return ance_tele.recipe("dpr")

def refused():
    return ance_tele.recipe("dpr").with_settings(alpha=2)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with modules of a user's own, in which the command starts."""
    (tmp_path / "my_recipes.py").write_text(example("A recipe"))
    (tmp_path / "wrong.py").write_text(WRONG)
    (tmp_path / "broken.py").write_text("import ance_tele\n\ndef half(:\n")
    (tmp_path / "needy.py").write_text("import no_such_library\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("my_recipes", "wrong", "broken", "needy"):
        sys.modules.pop(name, None)


def example(heading: str) -> str:
    """Return the code below a heading of the page."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return str(code)


def test_the_example_is_short() -> None:
    assert len(example("A recipe").splitlines()) <= 10


@pytest.mark.parametrize("words", [["my_recipes:half_momentum"], ["--config", "c.yaml"]])
def test_the_example_of_a_recipe(folder: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "c.yaml").write_text("recipe: my_recipes:half_momentum\n")
    assert main(["run", *words, "--epochs=1", "--print_config"]) == 0
    settings = yaml.safe_load(capsys.readouterr().out)
    assert (settings["alpha"], settings["episodes"], settings["epochs"]) == (0.25, 5, 1)
    assert settings["recipe"] == "my_recipes:half_momentum"


def test_it_is_had_in_python_and_compared(folder: Path) -> None:
    made = ance_tele.recipe("my_recipes:half_momentum")
    assert (made.name, made.mining.alpha) == ("my_recipes:half_momentum", 0.25)
    assert ance_tele.recipe("nq/my_recipes:half_momentum").training.epochs == 40
    own = system("my_recipes:half_momentum alpha=0.1", epochs=2)
    assert (own.mining.alpha, own.episode.episodes, own.training.epochs) == (0.1, 5, 2)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("my_recipe:half", r"There is no module 'my_recipe' for the recipe 'my_recipe:half'; it must lie in"),
        ("my_recipes.x:half", r"There is no module 'my_recipes.x' for the recipe"),
        ("needy:half", r"'needy' of the recipe 'needy:half' cannot be imported: .* No module named 'no_such_library'"),
        ("broken:half", r"'broken' of the recipe 'broken:half' cannot be imported: SyntaxError: .*broken.py, line 3"),
        ("my_recipes:half_momentun", r"my_recipes.py has no 'half_momentun', which '.*' names as recipe\."),
        ("wrong:RATE", r"'RATE' in .*wrong.py is no function, so it can be no recipe\."),
        ("wrong:number", r"'wrong:number' returned int; a recipe function returns a Recipe\."),
        ("wrong:raises", r"The recipe 'wrong:raises' failed \(.*wrong\.py, line 10\): KeyError: 'rate'\."),
        ("wrong:asks", r"The recipe 'wrong:asks' failed: TypeError: asks\(\) missing 1 required positional argument"),
        ("wrong:refused", r"alpha is 2; it must lie between 0 and 1\."),
        ("wrong:", r"There is no recipe 'wrong:'"),
        ("../wrong:number", r"There is no recipe '../wrong:number'"),
    ],
)
def test_what_is_wrong_with_one_is_one_sentence(folder: Path, refusal: Refusal, name: str, sentence: str) -> None:
    said = refusal("run", name)
    assert re.search(sentence, said), said
    with pytest.raises(UserError, match=sentence):
        ance_tele.recipe(name)
