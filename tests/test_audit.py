"""The audit of dependencies: what makes `make check` fail, and that nothing else does."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "tools"))

import audit


def vulnerable(*fixed_in: str) -> dict[str, Any]:
    return {"name": "some", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": list(fixed_in)}]}


CLEAN = {"name": "other", "version": "2.0", "vulns": []}
UNKNOWN = {"name": "ours", "skip_reason": "not on the index"}


@pytest.mark.parametrize(
    ("packages", "code", "line"),
    [
        ([CLEAN, UNKNOWN], 0, "audit: 1 packages, 0 vulnerabilities with a fix, 0 without"),
        ([CLEAN, vulnerable()], 0, "audit: warning: some 1.0: PYSEC-1, not fixed"),
        ([vulnerable("1.1", "2.0")], 1, "audit: some 1.0: PYSEC-1, fixed in 1.1, 2.0"),
        ("it did not end within 3 s", 0, "audit: not done here: it did not end within 3 s"),
    ],
)
def test_only_what_a_release_has_fixed_fails(
    packages: Any, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "probe", lambda seconds: "")
    monkeypatch.setattr(audit, "audited", lambda seconds, *arguments: packages)
    assert audit.main([]) == code
    assert line in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"dependencies": [UNKNOWN]}, "the index answers no questions about vulnerabilities"),
        ({"dependencies": [CLEAN]}, ""),
        ("no JSON", "a line of it"),
        (subprocess.TimeoutExpired("pip-audit", 3), "it did not end within 3 s"),
    ],
)
def test_where_it_cannot_be_done_nothing_fails(answer: Any, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(words: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        if isinstance(answer, Exception):
            raise answer
        out = answer if isinstance(answer, str) else json.dumps(answer)
        return subprocess.CompletedProcess(words, 1, out, "first\na line of it\n")

    monkeypatch.setattr(audit.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr("importlib.metadata.version", lambda name: "2.10")
    monkeypatch.setattr(subprocess, "run", run)
    assert audit.probe(3) == reason
