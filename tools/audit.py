"""Audit the installed packages for known vulnerabilities with pip-audit; fail only for one that a release has fixed.

    python tools/audit.py [--seconds 120]

Where pip-audit is not installed, or its database does not answer (no network, a mirror without it), one line says so,
and nothing fails.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Asked about alone, first: where it is not known, neither are the others, and they are not asked about.
PROBE = "pip-audit"


def audited(seconds: float, *arguments: str) -> list[Mapping[str, Any]] | str:
    """Return the packages that pip-audit reports, or why it could not."""
    words = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    try:
        done = subprocess.run([*words, *arguments], capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"it did not end within {seconds:.0f} s"
    try:
        found: list[Mapping[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1][:200]
    return found


def lines(packages: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Return a line for each vulnerability that a release has fixed, and for each that none has."""
    fixed, open_ = [], []
    for one in packages:
        for known in one.get("vulns", ()):
            releases = ", ".join(known.get("fix_versions", ()))
            line = f"{one['name']} {one['version']}: {known['id']}"
            (fixed if releases else open_).append(f"{line}, fixed in {releases}" if releases else f"{line}, not fixed")
    return fixed, open_


def probe(seconds: float) -> str:
    """Return why nothing can be audited here, "" if it can."""
    if importlib.util.find_spec("pip_audit") is None:
        return 'pip-audit is not installed: pip install "ance-tele[audit]"'
    from importlib.metadata import version

    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "one.txt"
        asked.write_text(f"{PROBE}=={version(PROBE)}\n", "utf-8")
        found = audited(seconds, "--requirement", str(asked), "--no-deps", "--disable-pip")
    if isinstance(found, str):
        return found
    return "" if any("vulns" in one for one in found) else "the index answers no questions about vulnerabilities"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0, help="most of each of the two questions")
    seconds = parser.parse_args(argv).seconds
    found: list[Mapping[str, Any]] | str = probe(seconds) or audited(seconds, "--skip-editable")
    if isinstance(found, str):
        print(f"audit: not done here: {found}")
        return 0
    fixed, open_ = lines(found)
    unknown = [one["name"] for one in found if "skip_reason" in one]
    for line in open_:
        print(f"audit: warning: {line}")
    for line in fixed:
        print(f"audit: {line}")
    print(f"audit: {len(found) - len(unknown)} packages, {len(fixed)} vulnerabilities with a fix, {len(open_)} without")
    return 1 if fixed else 0


if __name__ == "__main__":
    sys.exit(main())
