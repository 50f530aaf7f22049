"""Exit codes: the table of the documents is that of the code, and the codes that cost nothing to provoke are these."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


_MAIN = "import sys; from ance_tele.cli.main import main; sys.exit(main())"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_stream_that_takes_nothing_changes_no_code() -> None:
    with Path("/dev/full").open("w") as full:
        for words in (["recipes"], ["recipes", "--json"], ["recipe"], ["recipe", "--json"]):
            done = subprocess.run([sys.executable, "-c", _MAIN, *words], stdout=full, stderr=subprocess.PIPE, text=True)
            assert done.returncode == REFUSED and done.stderr.splitlines()[-1].startswith("ance-tele: "), words
        done = subprocess.run([sys.executable, "-c", _MAIN, "recipe", "--json"], stdout=subprocess.PIPE, stderr=full)
    assert done.returncode == REFUSED and json.loads(done.stdout)["exit_code"] == REFUSED


def test_streams_without_unicode_get_escapes(tmp_path: Path) -> None:
    rows = "".join(f"f\u00e4hig \u2013 {number},p{number}\n" for number in range(9))
    (tmp_path / "t.csv").write_text(f"f\u00e4\u2013,p\n{rows}", "utf-8")
    words = ["data", "from-csv", str(tmp_path / "t.csv"), "--query", "x\u00e4\u2013", "--passage", "p", "--out", "o"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"}
    for flags in ([], ["--json"]):
        done = subprocess.run([sys.executable, "-c", _MAIN, *words, *flags], capture_output=True, env=environment)
        assert done.returncode == REFUSED
        assert rb"t.csv has no column 'x\xe4\u2013'; did you mean 'f\xe4\u2013'?" in done.stderr
    assert "did you mean 'f\u00e4\u2013'?" in json.loads(done.stdout)["error"]
