#!/usr/bin/env bash
# shtab 1.13.0: values of an argument with nargs="+" in zsh
#
# Guess: an option or argument that takes several values, each of a list of choices, is completed at
#   every value, in zsh as in bash.
# What happens: shtab's script for zsh describes one value. After the first value of the option zsh
#   takes the next word for something else: it offers the choices of the positional argument there, and
#   nothing at all after the first positional one. Its script for bash offers the choices at each word.
#   With the colons that zsh wants ("--fruit[..]:fruit:(..)::fruit:(..)", "*:run:(..)") zsh does too.
# Why it matters: words that Tab offers are taken for valid; here they belong to another argument, and
#   the program refuses them or takes them for one. Whoever tries the script at the first value, or in
#   bash, sees no fault.
# Seen: 2026-11-28 (zsh 5.9; where zsh is not installed, the text of its script is checked alone)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check shtab==1.13.0
cd "$folder"
cat > setup <<'SH'
# In zsh, without its configuration: ^T asks for completion of the line, and what is offered goes into a file.
fpath=($PWD/functions $fpath); autoload -Uz compinit; compinit -u -D
compadd() {
    builtin compadd "$@"; local code=$?
    if [[ ${@[1,(i)(-|--)]} != *-(O|A|D)* ]]; then
        local -a hits; builtin compadd -O hits "$@"; print -rl -- $hits >> offered
    fi
    return code
}
ask() { zle complete-word; print END >> offered; BUFFER= }
zle -N ask; bindkey '^T' ask; print READY >> offered
SH
cat > ask.sh <<'SH'
# In bash: what is offered for the last of the words.
source script.bash
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_shtab_tool tool "${COMP_WORDS[COMP_CWORD]}"
echo "${COMPREPLY[@]}"
SH
"$folder/venv/bin/python" - <<'PY'
import argparse
import os
import pty
import shutil
import subprocess
import time
from pathlib import Path

import shtab

parser = argparse.ArgumentParser("tool")
parser.add_argument("--fruit", nargs="+", choices=["apple", "pear"], help="some fruit")
parser.add_argument("run", nargs="+", choices=["alpha", "beta"], help="some runs")
Path("functions").mkdir()
scripts = {shell: shtab.complete(parser, shell) for shell in ("bash", "zsh")}
Path("script.bash").write_text(scripts["bash"])
repaired = scripts["zsh"].replace(':fruit:(apple pear)"', ':fruit:(apple pear)::fruit:(apple pear)"')
repaired = repaired.replace('"(*):some runs:', '"*:some runs:').replace("one_or_more='(*)'", "one_or_more='*:'")
lines = ["tool --fruit ", "tool --fruit apple ", "tool alpha "]


def by_bash():
    found = [subprocess.check_output(["bash", "--norc", "ask.sh", *line.split(), ""], text=True) for line in lines]
    return [set(one.split()) for one in found]


def by_zsh(script):
    Path("functions/_tool").write_text(script)
    offered = Path("offered")
    child, terminal = pty.fork()
    if not child:
        os.execlp("zsh", "zsh", "-f", "-i")

    def after(text, until):
        offered.write_text("")
        os.write(terminal, text.encode())
        end = time.monotonic() + 30
        while until not in offered.read_text().split() and time.monotonic() < end:
            time.sleep(0.02)
        return set(offered.read_text().split()) - {until}

    try:
        after("source $PWD/setup\n", "READY")
        return [after(f"{line}\x14", "END") for line in lines]
    finally:
        os.close(terminal)
        os.waitpid(child, 0)


fruit, runs = {"apple", "pear"}, {"alpha", "beta"}
seen = {"bash": by_bash()}
assert seen["bash"] == [fruit, fruit, runs]
print([line.strip() for line in scripts["zsh"].splitlines() if "(apple pear)" in line or "(alpha beta)" in line])
assert '"--fruit[some fruit]:fruit:(apple pear)"' in scripts["zsh"] and '"(*):some runs:(alpha beta)"' in scripts["zsh"]
if shutil.which("zsh"):
    seen |= {"zsh": by_zsh(scripts["zsh"]), "zsh, repaired": by_zsh(repaired)}
for shell, offers in seen.items():
    print(f"{shell:14}", {line: sorted(offer) for line, offer in zip(lines, offers, strict=True)})
if "zsh" in seen:
    assert seen["zsh"][0] == fruit and not fruit & seen["zsh"][1] and not runs & seen["zsh"][2]
    assert fruit <= seen["zsh, repaired"][1] and runs <= seen["zsh, repaired"][2]
PY
