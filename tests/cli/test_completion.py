"""Completion: what Tab offers in bash, zsh and fish, by the shells themselves where they are installed."""

import os
import pty
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ance_tele.cli.main import main
from ance_tele.cli.verbs import VERBS
from ance_tele.recipes import RECIPES

pytest.importorskip("shtab")

BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
asked=$(complete -p ance-tele | sed 's/.*-F \\([^ ]*\\).*/\\1/')
"$asked" ance-tele "${COMP_WORDS[COMP_CWORD]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""

# In a terminal; ^T completes the line, and what is offered goes into a file.
ZSH = """
fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D
compadd() {{
    builtin compadd "$@"; local code=$?
    if [[ ${{@[1,(i)(-|--)]}} != *-(O|A|D)* ]]; then
        local -a hits; builtin compadd -O hits "$@"; print -rl -- $hits >> {out}
    fi
    return code
}}
ask() {{ zle complete-word; print END >> {out}; BUFFER= }}
zle -N ask; bindkey '^T' ask; print READY >> {out}
"""


def script(shell: str, path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    capsys.readouterr()
    assert main(["completion", shell]) == 0
    path.write_text(capsys.readouterr().out)
    return path


def by_bash(folder: Path, lines: list[str], capsys: pytest.CaptureFixture[str]) -> list[set[str]]:
    file, found = script("bash", folder / "script", capsys), []
    for line in lines:
        words = [*shlex.split(line), *([""] if line.endswith(" ") else [])]
        asked = ["bash", "--norc", "-c", BASH, "bash", str(file), *words]
        done = subprocess.run(asked, capture_output=True, text=True, check=True, cwd=folder)
        found.append(set(done.stdout.split()))
    return found


def by_fish(folder: Path, lines: list[str], capsys: pytest.CaptureFixture[str]) -> list[set[str]]:
    file, found = script("fish", folder / "script", capsys), []
    for line in lines:
        asked = ["fish", "--no-config", "-c", f"source {file}; complete -C {shlex.quote(line)}"]
        done = subprocess.run(asked, capture_output=True, text=True, check=True, cwd=folder)
        found.append({one.partition("\t")[0] for one in done.stdout.splitlines()})
    return found


def by_zsh(folder: Path, lines: list[str], capsys: pytest.CaptureFixture[str]) -> list[set[str]]:
    home, out = folder / "functions", folder / "offered"
    home.mkdir()
    subprocess.run(["zsh", "-n", script("zsh", home / "_ance-tele", capsys)], check=True)
    (home / "setup").write_text(ZSH.format(folder=home, out=out))
    child, terminal = pty.fork()
    if not child:
        os.chdir(folder)
        os.execlp("zsh", "zsh", "-f", "-i")

    def after(text: str, until: str) -> str:
        out.write_text("")
        os.write(terminal, text.encode())
        end = time.monotonic() + 30
        while until not in out.read_text().split() and time.monotonic() < end:
            time.sleep(0.02)
        return out.read_text()

    try:
        assert "READY" in after(f"source {home / 'setup'}\n", "READY")
        return [set(after(f"{line}\x14", "END").split()) - {"END"} for line in lines]
    finally:
        os.close(terminal)
        os.waitpid(child, 0)


@pytest.mark.parametrize(("shell", "ask"), [("bash", by_bash), ("zsh", by_zsh), ("fish", by_fish)])
def test_a_shell_completes(
    shell: str, ask: Callable[..., list[set[str]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "documents").mkdir()
    ance = {name for name in RECIPES if name.startswith("anc")}
    offered = {
        "re": {"reproduce", "recipes", "retrieve", "report"},
        "run q-neg": {name for name in RECIPES if name.startswith("q-neg")},
        "run dpr --learn": {"--learning_rate"},
        "run dpr --dry": {"--dry_run"},
        "recipes --dry": set(),
        "teach --loss ": {"binary", "list"},
        "export v": {"vectors"},
        "reproduce fig": {"figure4", "figure8"},
        "run dpr --data docu": {"documents"},
        "report documents docu": {"documents"},
        "compare --recipes anc": ance,
        "compare --recipes dpr anc": ance if shell != "fish" else set(),
        "compare --recipes dpr ance --mod": {"--model", "--models"},
        "": set(VERBS),
        "completion ": {"bash", "zsh", "fish"},
    }
    found = ask(tmp_path, [f"ance-tele {line}" for line in offered], capsys)
    for (line, wanted), words in zip(offered.items(), found, strict=True):
        assert {word.rstrip("/") for word in words} - {"-h", "--help"} == wanted, line


def test_descriptions_are_those_of_the_help(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for shell in ("zsh", "fish"):
        text = script(shell, tmp_path / "script", capsys).read_text()
        assert "Peak of the linear schedule" in text and all(name in text for name in (*VERBS, *RECIPES))


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "bash, zsh, fish" in capsys.readouterr().err
