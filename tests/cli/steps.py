"""What the tests of the command line share."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

COMMAND = [sys.executable, "-c", "import sys; from ance_tele.cli.main import main; sys.exit(main())"]
Refusal = Callable[..., str]


def settings_of(out: Path) -> dict[str, Any]:
    found = yaml.safe_load((out / "config.yaml").read_text("utf-8"))
    assert isinstance(found, dict)
    return found


def append(name: str, line: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(path.read_text() + line + "\n")

    return change
