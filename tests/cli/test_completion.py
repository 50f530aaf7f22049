"""Completion: the script of bash is run by bash; those of other shells name every verb."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ance_tele.cli.main import main
from ance_tele.cli.verbs import VERBS
from ance_tele.recipes import RECIPES

pytest.importorskip("shtab")

ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
asked=$(complete -p ance-tele | sed 's/.*-F \\([^ ]*\\).*/\\1/')
"$asked" ance-tele "${COMP_WORDS[COMP_CWORD]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    capsys.readouterr()
    assert main(["completion", shell]) == 0
    path = folder / f"script.{shell}"
    path.write_text(capsys.readouterr().out)
    return path


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = script("bash", tmp_path, capsys)
    (tmp_path / "documents").mkdir()

    def completed(*words: str) -> set[str]:
        asked = ["bash", "--norc", "-c", ASK, "bash", str(file), "ance-tele", *words]
        done = subprocess.run(asked, capture_output=True, text=True, check=True, cwd=tmp_path)
        return set(done.stdout.split())

    assert completed("") >= set(VERBS)
    assert completed("re") == {"reproduce", "recipes", "retrieve", "report"}
    assert completed("run", "q-neg") == {name for name in RECIPES if name.startswith("q-neg")}
    assert completed("compare", "--recipes", "dpr", "anc") == {name for name in RECIPES if name.startswith("anc")}
    assert completed("run", "dpr", "--learn") == {"--learning_rate"}
    assert completed("run", "dpr", "--dry") == {"--dry_run"} and not completed("recipes", "--dry")
    assert completed("teach", "--loss", "") == {"binary", "list"}
    assert completed("completion", "") >= {"bash", "zsh", "fish"}
    assert completed("run", "dpr", "--data", "docu") == {"documents"}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_every_verb_and_recipe(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = script(shell, tmp_path, capsys)
    text = file.read_text()
    assert all(name in text for name in (*VERBS, *RECIPES, "learning_rate"))
    if shutil.which(shell):
        subprocess.run([shell, "-n", str(file)], check=True)


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "bash, zsh, fish" in capsys.readouterr().err
