"""Exit codes: the table of the documents is that of the code, and the codes that cost nothing to provoke are these."""

import os
import re
import subprocess
import sys
from pathlib import Path

from ance_tele.cli.main import DONE, EXIT_CODES, FAILED, PIPE_CLOSED, REFUSED, main

PAGE = (Path(__file__).parents[2] / "docs" / "terminal.md").read_text("utf-8")


def test_the_table_is_that_of_the_code() -> None:
    section = PAGE.partition("## Exit codes")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", section, re.MULTILINE)
    assert {int(code): when for code, when in rows} == EXIT_CODES
    assert {130, 143} <= EXIT_CODES.keys()  # tests/console/test_signals.py and test_ending.py provoke them


def test_codes() -> None:
    assert main(["recipes"]) == DONE
    assert main(["recipe"]) == REFUSED
    script = "from ance_tele.cli import main as m, verbs\nm.VERBS = {'recipes': verbs.Verb(lambda given: 1 / 0, '')}\n"
    failing = [sys.executable, "-c", script + "m.main(['recipes'])"]
    assert subprocess.run(failing, capture_output=True).returncode == FAILED
    read, write = os.pipe()
    os.close(read)
    piped = [sys.executable, "-c", "import sys; from ance_tele.cli.main import main; sys.exit(main(['recipes']))"]
    assert subprocess.run(piped, stdout=write, stderr=subprocess.PIPE).returncode == PIPE_CLOSED
    os.close(write)
