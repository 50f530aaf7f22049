"""The command that installs an extra, by what pip keeps of an installation (PEP 610)."""

import json
from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest

from ance_tele.console import extras

FOLDER = "file:///srv/a%20b"


class Installed:
    def __init__(self, kept: str | None) -> None:
        self.kept = kept

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self.kept


@pytest.mark.parametrize(("kept", "command"), [
    (None, "pip install 'ance-tele[serve]'"),
    ({"url": FOLDER, "dir_info": {"editable": True}}, "pip install -e '/srv/a b[serve]'"),
    ({"url": FOLDER, "dir_info": {}}, f"pip install 'ance-tele[serve] @ {FOLDER}'"),
    (
        {"url": "file:///tmp/ance_tele-0.1.0-py3-none-any.whl", "archive_info": {}},
        "pip install 'ance-tele[serve] @ file:///tmp/ance_tele-0.1.0-py3-none-any.whl'",
    ),
    (
        {"url": "https://host/me/x.git", "vcs_info": {"vcs": "git", "commit_id": "ab"}},
        "pip install 'ance-tele[serve] @ git+https://host/me/x.git'",
    ),
])  # fmt: skip
def test_the_command_fits_the_installation(
    kept: dict[str, Any] | None, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "distribution", lambda _: Installed(kept and json.dumps(kept)))
    assert extras.install("serve") == command


def test_without_metadata_it_is_the_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Installed:
        raise PackageNotFoundError(name)

    for found in (missing, lambda _: Installed("no JSON")):
        monkeypatch.setattr(extras, "distribution", found)
        assert extras.install("ray") == "pip install 'ance-tele[ray]'"
